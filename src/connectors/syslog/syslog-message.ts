import { hostname } from 'node:os';
import type { ConfigOf, InputOf } from '../../contract/connection-type.ts';
import type { Encoder } from '../log-delivery/outbox.ts';
import { byteMeanings, PlainRows } from '../log-delivery/plain-rows.ts';
import { type syslog, syslogFacilities, syslogSeverities } from './syslog.definition.ts';

export type SyslogConfig = ConfigOf<typeof syslog>;
export type LogInput = InputOf<(typeof syslog)['operations']['log']>;
export type SyslogItem = NonNullable<LogInput['messages']>[number];

/** Whether the transport carries a newline inside a message without ending it. */
export type Framing = 'newline' | 'octet-counted' | 'datagram';

/** How messages are told apart, as the configuration says (RFC 6587 3.4, RFC 5425 4.3, RFC 5426 3.1). */
function framingOf(config: SyslogConfig): Framing {
  const { framing, syslogMessageFormat, syslogProtocolType } = config;
  if (syslogProtocolType === 'UDP') return 'datagram';
  const isCounted =
    framing === 'OCTET_COUNTING' || (framing === 'AUTO' && syslogMessageFormat === 'RFC_5425');
  return isCounted ? 'octet-counted' : 'newline';
}

/** Makes what turns messages into their texts on the wire (UTF-8), framing included. */
export function messageEncoder(config: SyslogConfig): Encoder<SyslogItem> {
  const framing = framingOf(config);
  const isBsd = config.syslogMessageFormat === 'RFC_3164';
  const { format, isUnicode } = isBsd ? rfc3164(config) : rfc5424(config, framing !== 'newline');
  const careful = (item: SyslogItem) => format(item, Date.now(), true);
  if (framing === 'datagram') return { frame: careful };
  if (framing === 'newline')
    return {
      frame: (item) => `${careful(item)}\n`,
      rows: new PlainRows({
        format: (item: SyslogItem, nowMs) => `${format(item, nowMs, false)}\n`,
        meanings: byteMeanings({ ends: newline, controls: [tab], isUnicode }),
        isEnded: true,
        mustBeWellFormed: false,
      }),
    };
  return {
    frame: (item) => {
      const text = careful(item);
      return `${Buffer.byteLength(text)} ${text}`;
    },
    rows: new PlainRows({
      // Of ASCII alone, which everything else is not plain for, the bytes are as many as the characters.
      format: (item: SyslogItem, nowMs) => {
        const text = format(item, nowMs, false);
        return `${text.length} ${text}`;
      },
      meanings: byteMeanings({ controls: isBsd ? [tab] : [tab, newline], isUnicode: false }),
      isEnded: false,
      mustBeWellFormed: false,
    }),
  };
}

const tab = 0x09;
const newline = 0x0a;

interface Format {
  /** Without care the message is taken as it is. */
  format(item: SyslogItem, nowMs: number, isCareful: boolean): string;
  /** Whether a message beyond ASCII needs no mark. */
  isUnicode: boolean;
}

/** RFC 3164 4.1: one printable line, the time local and without year. */
function rfc3164(config: SyslogConfig): Format {
  const middle = ` ${hostOf(config)} ${config.syslogAppName}: `;
  const headOf = heads(config, (priority, ms) => [`<${priority}>`, bsdTimestamp(new Date(ms)), middle]);
  return {
    format: ({ message, severity, timestampMs = -1 }, nowMs, isCareful) =>
      headOf(severity, timestampMs < 0 ? nowMs : timestampMs) +
      (isCareful ? escapeControls(message) : message),
    isUnicode: true,
  };
}

/** RFC 5424 6: a header, structured data, and the message, marked as UTF-8 where it is not plain ASCII. */
function rfc5424(config: SyslogConfig, keepsNewlines: boolean): Format {
  const clean = (text: string) => escapeControls(text, keepsNewlines);
  const middle = ` ${hostOf(config)} ${config.syslogAppName} - `;
  const startOf = (end: string) =>
    heads(config, (priority, ms) => [`<${priority}>1 `, new Date(ms).toISOString(), middle, end]);
  const headOf = startOf('');
  const usualHeadOf = startOf('- - ');
  return {
    format: ({ message, severity, timestampMs = -1, msgId, structuredData }, nowMs, isCareful) => {
      const ms = timestampMs < 0 ? nowMs : timestampMs;
      const head =
        msgId === undefined && structuredData === undefined
          ? usualHeadOf(severity, ms)
          : `${headOf(severity, ms)}${msgId ?? '-'} ${structuredData ? writtenData(structuredData, clean) : '-'} `;
      if (!isCareful || !uncommon.test(message)) return head + message;
      const text = clean(message);
      return `${head}${isAscii(text) ? '' : byteOrderMark}${text}`;
    },
    isUnicode: false,
  };
}

/** The beginnings of messages. Neighbours in a list have theirs in common: that of the one before is kept. */
function heads(
  config: SyslogConfig,
  partsOf: (priority: number, timestampMs: number) => string[],
): (severity: SyslogItem['severity'], timestampMs: number) => string {
  const facility = syslogFacilities.indexOf(config.syslogFacility) * 8;
  let lastSeverity: SyslogItem['severity'];
  let lastMs: number | undefined;
  let head = '';
  return (severity, timestampMs) => {
    if (timestampMs !== lastMs || severity !== lastSeverity) {
      const priority = facility + syslogSeverities.indexOf(severity ?? config.syslogSeverity);
      // Joined it lies in one piece, where a sum would be put together anew for each message.
      head = partsOf(priority, timestampMs).join('');
      lastMs = timestampMs;
      lastSeverity = severity;
    }
    return head;
  };
}

/** What is neither printable ASCII nor a tab. */
const uncommon = /[^\t -~]/;

function isAscii(text: string): boolean {
  return Buffer.byteLength(text) === text.length;
}

const byteOrderMark = '\ufeff';

function writtenData(
  elements: Record<string, Record<string, string>>,
  clean: (text: string) => string,
): string {
  const written = Object.entries(elements).map(([id, params]) => {
    const pairs = Object.entries(params).map(
      ([name, value]) => ` ${name}="${clean(value).replace(/[\\"\]]/g, '\\$&')}"`,
    );
    return `[${id}${pairs.join('')}]`;
  });
  return written.join('') || '-';
}

const control = /[\x00-\x1f\x7f]/;

/**
 * Control characters as `#` and three octal digits, which is how rsyslog writes them; a tab stays, and a
 * newline where the framing carries it.
 */
function escapeControls(text: string, keepsNewlines = false): string {
  if (!control.test(text)) return text;
  return text.replace(
    keepsNewlines ? /[\x00-\x08\x0b-\x1f\x7f]/g : /[\x00-\x08\x0a-\x1f\x7f]/g,
    (found) => `#${found.charCodeAt(0).toString(8).padStart(3, '0')}`,
  );
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Mmm dd hh:mm:ss` of the local time; a day below 10 has a space in front. */
function bsdTimestamp(date: Date): string {
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
  return `${months[date.getMonth()]} ${String(date.getDate()).padStart(2, ' ')} ${clock}`;
}

const ownHost =
  hostname()
    .replace(/[^!-~]/g, '-')
    .slice(0, 255) || '-';

function hostOf({ syslogMessageHostname }: SyslogConfig): string {
  return syslogMessageHostname ?? ownHost;
}
