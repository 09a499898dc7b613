import { randomUUID } from 'node:crypto';
import { domainToASCII } from 'node:url';
import MailComposer from 'nodemailer/lib/mail-composer';
import type { InputOf } from '../../contract/connection-type.ts';
import { AppError, type FieldFault } from '../../errors.ts';
import type { email } from './email.definition.ts';
import { type Charset, charsetFor, encodeWords } from './mail-charset.ts';

export type MailInput = InputOf<(typeof email)['operations']['send']>;

export interface Envelope {
  from: string;
  to: string[];
}

/** A mail ready for the wire, lines ending in CR LF, dots not yet stuffed. */
export interface MailMessage {
  readonly messageId: string;
  readonly envelope: Envelope;
  readonly bytes: Buffer;
}

interface Mailbox {
  name: string;
  address: string;
}

/** Header fields that the other inputs or the MIME structure decide. */
const ownHeaders = new Set([
  'from',
  'sender',
  'to',
  'cc',
  'bcc',
  'reply-to',
  'subject',
  'date',
  'message-id',
  'mime-version',
  'return-path',
  'received',
]);

/** Builds a mail; fails with `bad_request` naming every field at fault. */
export async function composeMail(
  input: MailInput,
  options: { sender: string | undefined; charset: Charset },
): Promise<MailMessage> {
  const { charset } = options;
  const faults: FieldFault[] = [];
  const fault = (field: string, message: string) => faults.push({ field, message });

  const mailboxes = (field: 'to' | 'cc' | 'bcc') =>
    (input[field] ?? []).flatMap((text, at) => readMailbox(text, `${field}[${at}]`, fault) ?? []);
  const to = mailboxes('to');
  const cc = mailboxes('cc');
  const bcc = mailboxes('bcc');
  if ((input.to?.length ?? 0) + (input.cc?.length ?? 0) + (input.bcc?.length ?? 0) === 0)
    fault('to', 'name at least one recipient in to, cc or bcc');
  const replyTo = input.replyTo === undefined ? undefined : readMailbox(input.replyTo, 'replyTo', fault);
  const senderText = input.from ?? options.sender;
  if (senderText === undefined)
    fault('from', 'give a sender here or in the connection: it has neither from nor an address as username');
  const from = senderText === undefined ? undefined : readMailbox(senderText, 'from', fault);
  if (hasControl(input.subject)) fault('subject', 'must not hold line breaks or control characters');
  const custom = readHeaders(input.headers ?? {}, fault);
  const attachments = (input.attachments ?? []).map((attachment, at) =>
    readAttachment(attachment, `attachments[${at}]`, fault),
  );
  if (faults.length > 0 || !from)
    throw new AppError('bad_request', undefined, { details: { validationErrors: faults } });

  const messageId = `<${randomUUID()}@${from.address.slice(from.address.lastIndexOf('@') + 1)}>`;
  const list = (boxes: Mailbox[]) => boxes.map((box) => formatMailbox(box, charset)).join(', ');
  const headers = [
    ['From', list([from])],
    ['To', list(to)],
    ['Cc', list(cc)],
    ['Reply-To', replyTo ? list([replyTo]) : ''],
    ['Subject', encodeText(input.subject, charset)],
    ...custom.map(([name, value]) => [name, encodeText(value, charset)]),
  ].filter((header): header is [string, string] => header[1] !== '');
  // RFC 5322 asks for no recipient field, but a mail with only Bcc and none looks broken to filters.
  if (to.length === 0 && cc.length === 0) headers.splice(1, 0, ['To', 'undisclosed-recipients:;']);

  const composer = new MailComposer({
    alternatives: bodies(input, charset),
    attachments,
    messageId,
    newline: '\r\n',
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  const mime = await composer.compile().build();
  const head = headers.map(([name, value]) => `${fold(`${name}: ${value}`)}\r\n`).join('');
  return {
    messageId,
    envelope: {
      from: from.address,
      to: [...new Set([...to, ...cc, ...bcc].map(({ address }) => address))],
    },
    bytes: Buffer.concat([Buffer.from(head, 'utf8'), mime]),
  };
}

function bodies({ text, html }: MailInput, preferred: Charset) {
  const parts = [
    ...(text !== undefined || html === undefined ? [{ kind: 'plain', content: text ?? '' }] : []),
    ...(html === undefined ? [] : [{ kind: 'html', content: html }]),
  ];
  return parts.map(({ kind, content }) => {
    const { charset, bytes } = charsetFor(content.replace(/\r\n|\r|\n/g, '\r\n'), preferred);
    return { contentType: `text/${kind}; charset=${charset.name}`, content: bytes };
  });
}

type Fault = (field: string, message: string) => void;

/** `"Quoted name" <address>` or `Plain name <address>`; an @ in a plain name is a second address. */
const mailboxForm = /^\s*(?:"((?:[^"\\]|\\.)*)"|([^<>"@]*?))\s*<([^<>]+)>\s*$/;

function readMailbox(text: string, field: string, fault: Fault): Mailbox | undefined {
  if (hasControl(text)) {
    fault(field, 'must not hold line breaks or control characters');
    return undefined;
  }
  const [, quoted, plain, bracketed] = mailboxForm.exec(text) ?? [];
  const given = bracketed ?? text.trim();
  const at = given.lastIndexOf('@');
  const domain = given.slice(at + 1);
  const domainOnWire = /^\[[\x21-\x5a\x5e-\x7e]+\]$/.test(domain) ? domain : domainToASCII(domain);
  const local = given.slice(0, at);
  if (at < 1 || !domainOnWire || !/^[^\s<>()[\]\\,;:"@\x00-\x20\x7f]+$/.test(local)) {
    fault(field, 'must be one address such as name@example.com, or "Name <name@example.com>"');
    return undefined;
  }
  const name = quoted === undefined ? (plain ?? '') : quoted.replace(/\\(.)/g, '$1');
  return { name, address: `${local}@${domainOnWire}` };
}

function readHeaders(headers: Record<string, string>, fault: Fault): [string, string][] {
  return Object.entries(headers).filter(([name, value]) => {
    const field = `headers.${name.replace(/[^\x21-\x7e]/g, '?')}`;
    // RFC 5322 3.6.8
    if (!/^[\x21-\x39\x3b-\x7e]{1,76}$/.test(name)) fault(field, 'is not the name of a header');
    else if (ownHeaders.has(name.toLowerCase()) || /^(content|resent)-/i.test(name))
      fault(field, 'cannot be given here');
    else if (hasControl(value)) fault(field, 'must not hold line breaks or control characters');
    else return true;
    return false;
  });
}

function readAttachment(
  { filename, content, contentType }: NonNullable<MailInput['attachments']>[number],
  field: string,
  fault: Fault,
) {
  if (filename === '' || hasControl(filename))
    fault(`${field}.filename`, 'must be a name without line breaks or control characters');
  const type = contentType ?? 'application/octet-stream';
  // A type of several parts would let the content forge the structure of the mail.
  if (!/^(?!multipart\/|message\/)[\w.+-]+\/[\w.+-]+(;[\x20-\x7e]*)?$/i.test(type))
    fault(`${field}.contentType`, 'must be a media type such as application/pdf');
  const base64 = content.replace(/\s+/g, '');
  if (base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64))
    fault(`${field}.content`, 'must be base64');
  return {
    filename,
    content: Buffer.from(base64, 'base64'),
    contentType: type,
    contentDisposition: 'attachment',
    contentTransferEncoding: 'base64',
  };
}

function hasControl(text: string): boolean {
  // Besides CR and LF also the line ends that only some servers know.
  return /[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]/.test(text);
}

function formatMailbox({ name, address }: Mailbox, charset: Charset): string {
  if (name === '') return address;
  if (!/^[\x20-\x7e]*$/.test(name) || name.includes('=?'))
    return `${encodeWords(name, charset)} <${address}>`;
  return /^[\w ]+$/.test(name) ? `${name} <${address}>` : `"${name.replace(/["\\]/g, '\\$&')}" <${address}>`;
}

/** Unstructured text (RFC 5322 2.2.1), encoded where it is not plain ASCII that can be folded. */
function encodeText(text: string, charset: Charset): string {
  const plain = /^[\x20-\x7e\t]*$/.test(text) && !text.includes('=?') && !/\S{900}/.test(text);
  return plain && text.trim() === text ? text : encodeWords(text, charset);
}

/** Breaks a header line at spaces (RFC 5322 2.2.3), at 76 characters where it can. */
function fold(line: string): string {
  let folded = '';
  let column = 0;
  for (const piece of line.split(/(?=[ \t]\S)/)) {
    // Nothing may be folded right behind the name: a line of white space alone is obsolete syntax.
    if (column > 0 && column + piece.length > 76 && !folded.endsWith(':')) {
      folded += '\r\n';
      column = 0;
    }
    folded += piece;
    column += piece.length;
  }
  return folded;
}
