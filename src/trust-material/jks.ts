import { hash, type X509Certificate } from 'node:crypto';
import { AppError } from '../errors.ts';
import { parseCertificate } from './certificate-info.ts';
import { damaged, octetsOf, oidOf, readDer, sequenceOf } from './der.ts';
import { type Entries, maxEntries } from './entries.ts';
import { wrongPassword } from './password-encryption.ts';
import { importPkcs8, publicHalfOf, publicKeyOf } from './private-key.ts';

export const jksMagic = 0xfeedfeed;
const digestLength = 20;
const keyProtector = '1.3.6.1.4.1.42.2.17.1.1';
const maxChain = 100;

/** Opens a file of Java's own format, whose keys have the file's password; fails with `bad_request`. */
export function openJks(file: Buffer, password: string): Entries {
  if (file.length < 12 + digestLength) throw damaged();
  const passwordBytes = Buffer.from(password, 'utf16le').swap16();
  const body = file.subarray(0, -digestLength);
  const digest = hash('sha1', Buffer.concat([passwordBytes, integrityPhrase, body]), 'buffer');
  if (!digest.equals(file.subarray(-digestLength))) throw wrongPassword();

  const reader = new Reader(body.subarray(4));
  const version = reader.uint32();
  if (version !== 1 && version !== 2)
    throw new AppError('bad_request', 'The version of the JKS file is not known');
  const count = reader.uint32();
  if (count > maxEntries)
    throw new AppError('bad_request', `The keystore has more than ${maxEntries} entries`);
  const entries: Entries = { keys: [], trusted: [] };
  const certificate = () => {
    const type = version === 2 ? reader.text() : 'X.509';
    const der = reader.bytes(reader.uint32());
    if (type !== 'X.509') throw new AppError('bad_request', 'A certificate of the file is not of type X.509');
    return parseCertificate(der);
  };
  for (let i = 0; i < count; i += 1) {
    const tag = reader.uint32();
    const alias = reader.text();
    // The date of its creation.
    reader.bytes(8);
    if (tag === 2) entries.trusted.push({ alias, certificate: certificate() });
    else if (tag === 1) {
      const sealed = reader.bytes(reader.uint32());
      const length = reader.uint32();
      if (length > maxChain) throw damaged();
      const chain = Array.from({ length }, certificate);
      entries.keys.push({ alias, key: openKey(sealed, passwordBytes, alias, chain), chain });
    } else throw damaged();
  }
  return entries;
}

const integrityPhrase = Buffer.from('Mighty Aphrodite', 'utf8');

function openKey(sealed: Buffer, password: Buffer, alias: string, chain: readonly X509Certificate[]) {
  const [algorithm, octets] = sequenceOf(readDer(sealed));
  if (oidOf(sequenceOf(algorithm)[0]) !== keyProtector)
    throw new AppError('bad_request', `The key '${alias}' is protected in a way that JKS does not have`);
  const protectedKey = octetsOf(octets);
  if (protectedKey.length < 2 * digestLength) throw damaged();
  const plain = Buffer.from(protectedKey.subarray(digestLength, -digestLength));
  let stream = protectedKey.subarray(0, digestLength);
  for (let at = 0; at < plain.length; at += digestLength) {
    stream = hash('sha1', Buffer.concat([password, stream]), 'buffer');
    for (let i = 0; i < digestLength && at + i < plain.length; i += 1) plain[at + i]! ^= stream[i]!;
  }
  const check = hash('sha1', Buffer.concat([password, plain]), 'buffer');
  if (!check.equals(protectedKey.subarray(-digestLength)))
    throw new AppError(
      'bad_request',
      `The key '${alias}' has another password than the keystore; give it the same`,
    );
  const key = importPkcs8(plain);
  if (chain[0] && publicKeyOf(chain[0]) !== publicHalfOf(key))
    throw new AppError('bad_request', `The certificate of '${alias}' does not belong to its private key`);
  return key;
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  bytes(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw damaged();
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  uint32(): number {
    return this.bytes(4).readUInt32BE();
  }

  text(): string {
    return this.bytes(this.bytes(2).readUInt16BE()).toString('utf8');
  }
}
