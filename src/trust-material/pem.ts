import { createPrivateKey, type KeyObject } from 'node:crypto';
import { AppError } from '../errors.ts';
import { parseCertificate } from './certificate-info.ts';
import { octetsOf, readDer, sequenceOf } from './der.ts';
import { ChainFinder, type Entries, maxEntries } from './entries.ts';
import {
  bmpPassword,
  decryptByPassword,
  readDecrypted,
  WorkBudget,
  wrongPassword,
} from './password-encryption.ts';
import { importPkcs8 } from './private-key.ts';

export interface PemBlock {
  /** What stands behind BEGIN. */
  readonly label: string;
  readonly text: string;
}

/** The blocks of a text in PEM form (RFC 7468); what stands between them is no matter. */
export function readPem(text: string): PemBlock[] {
  const blocks: PemBlock[] = [];
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    const labelEnd = text.indexOf('-----', at + begin.length);
    const label = text.slice(at + begin.length, labelEnd);
    if (labelEnd < 0 || !/^[A-Z0-9 ]{1,40}$/.test(label)) throw cutOff();
    const end = `-----END ${label}-----`;
    const endsAt = text.indexOf(end, labelEnd);
    if (endsAt < 0) throw cutOff();
    blocks.push({ label, text: text.slice(at, endsAt + end.length) });
    if (blocks.length > maxEntries)
      throw new AppError('bad_request', `The file has more than ${maxEntries} entries`);
    at = endsAt + end.length;
  }
  return blocks;
}

const begin = '-----BEGIN ';

/** Opens keys and certificates in PEM form; encrypted keys with the password. Fails with `bad_request`. */
export async function openPem(file: Buffer, password: string): Promise<Entries> {
  const blocks = readPem(file.toString('latin1'));
  const budget = new WorkBudget();
  const keys: KeyObject[] = [];
  const certificates = blocks
    .filter(({ label }) => isCertificate(label))
    .map(({ text, label }) => parseCertificate(label === 'CERTIFICATE' ? text : derOf(text)));
  for (const block of blocks)
    if (block.label.endsWith('PRIVATE KEY')) keys.push(await openKey(block, password, budget));
  const chains = new ChainFinder(certificates);
  const found = keys.map((key, index) => ({ alias: `key-${index + 1}`, key, chain: chains.chainOf(key) }));
  const ofKeys = new Set(found.flatMap(({ chain }) => chain));
  return {
    keys: found,
    trusted: certificates
      .filter((certificate) => !ofKeys.has(certificate))
      .map((certificate, index) => ({ alias: `certificate-${index + 1}`, certificate })),
  };
}

export function isCertificate(label: string): boolean {
  return label === 'CERTIFICATE' || label === 'X509 CERTIFICATE';
}

async function openKey(block: PemBlock, password: string, budget: WorkBudget): Promise<KeyObject> {
  switch (block.label) {
    case 'PRIVATE KEY':
      return importPkcs8(derOf(block.text));
    case 'ENCRYPTED PRIVATE KEY': {
      const [algorithm, octets] = sequenceOf(readDer(derOf(block.text)));
      const spellings = { utf8: Buffer.from(password, 'utf8'), bmp: bmpPassword(password) };
      const plain = await decryptByPassword(algorithm, octetsOf(octets), spellings, budget);
      return importPkcs8(readDecrypted(plain).whole);
    }
    case 'RSA PRIVATE KEY':
    case 'EC PRIVATE KEY':
      return openTraditional(block.text, password);
    case 'OPENSSH PRIVATE KEY':
      throw new AppError('bad_request', 'The key is in the form of OpenSSH; TLS needs it in PKCS8 form');
    default:
      throw new AppError('bad_request', `A private key is of a kind that TLS does not use (${block.label})`);
  }
}

/** The forms of OpenSSL before 1.0, with one round of hashing where they are encrypted. */
function openTraditional(text: string, password: string): KeyObject {
  const isEncrypted = text.includes('Proc-Type: 4,ENCRYPTED');
  if (text.length > maxTraditionalLength)
    throw new AppError('bad_request', 'A private key is larger than RSA with 16,384 bits');
  try {
    return createPrivateKey({ key: text, format: 'pem', ...(isEncrypted ? { passphrase: password } : {}) });
  } catch {
    throw isEncrypted ? wrongPassword() : cutOff();
  }
}

const maxTraditionalLength = 24_576;

function derOf(text: string): Buffer {
  const lines = text.split(/\r?\n|\r/);
  return Buffer.from(lines.slice(1, -1).join(''), 'base64');
}

function cutOff(): AppError {
  return new AppError('bad_request', 'The PEM text is damaged or cut off');
}
