import { createHmac, type KeyObject, timingSafeEqual, type X509Certificate } from 'node:crypto';
import { AppError } from '../errors.ts';
import { parseCertificate } from './certificate-info.ts';
import {
  childrenOf,
  type DerValue,
  damaged,
  expectTag,
  insideOf,
  integerOf,
  octetsOf,
  oidOf,
  readDer,
  sequenceOf,
  TAG,
} from './der.ts';
import { ChainFinder, type Entries, maxEntries } from './entries.ts';
import {
  bmpPassword,
  decryptByPassword,
  deriveKey,
  derivePkcs12,
  digestBytes,
  type PasswordBytes,
  readDecrypted,
  WorkBudget,
  wrongPassword,
} from './password-encryption.ts';
import { importPkcs8 } from './private-key.ts';

const OID = {
  data: '1.2.840.113549.1.7.1',
  encryptedData: '1.2.840.113549.1.7.6',
  keyBag: '1.2.840.113549.1.12.10.1.1',
  shroudedKeyBag: '1.2.840.113549.1.12.10.1.2',
  certBag: '1.2.840.113549.1.12.10.1.3',
  safeContentsBag: '1.2.840.113549.1.12.10.1.6',
  x509: '1.2.840.113549.1.9.22.1',
  friendlyName: '1.2.840.113549.1.9.20',
  pbmac1: '1.2.840.113549.1.5.14',
  /** Java's mark of a certificate that is trusted, not part of a key's chain. */
  trustedKeyUsage: '2.16.840.1.113894.746875.1.1',
} as const;

const digests: Readonly<Record<string, string>> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.4': 'sha224',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
  '2.16.840.1.101.3.4.2.5': 'sha512-224',
  '2.16.840.1.101.3.4.2.6': 'sha512-256',
};

/** Digests by the identifiers of their HMACs, as PBMAC1 (RFC 9579) names them. */
const macDigests: Readonly<Record<string, string>> = {
  '1.2.840.113549.2.7': 'sha1',
  '1.2.840.113549.2.9': 'sha256',
  '1.2.840.113549.2.10': 'sha384',
  '1.2.840.113549.2.11': 'sha512',
};

const maxNesting = 4;

interface Bags {
  keys: { alias: string | undefined; key: KeyObject }[];
  certificates: { alias: string | undefined; certificate: X509Certificate; isTrusted: boolean }[];
}

/** Opens a PKCS12 file (RFC 7292), as keytool and OpenSSL write it; fails with `bad_request`. */
export async function openPkcs12(file: Buffer, password: string): Promise<Entries> {
  const [version, authSafe, macData] = sequenceOf(readDer(file));
  if (integerOf(version) !== 3) throw new AppError('bad_request', 'The version of the PKCS12 file is not 3');
  const [type, content] = sequenceOf(authSafe);
  if (oidOf(type) !== OID.data)
    throw new AppError('bad_request', 'The PKCS12 file is signed by a public key, which is not supported');
  const safe = octetsOf(insideOf(content, 0xa0));
  const budget = new WorkBudget();
  const passwordBytes = await spellingOf(password, macData, safe, budget);

  const bags: Bags = { keys: [], certificates: [] };
  for (const contentInfo of sequenceOf(readDer(safe))) {
    const [kind, inner] = sequenceOf(contentInfo);
    const name = oidOf(kind);
    if (name === OID.data)
      await readBags(readDer(octetsOf(insideOf(inner, 0xa0))), bags, passwordBytes, budget, 0);
    else if (name === OID.encryptedData) {
      const [, encrypted] = sequenceOf(insideOf(inner, 0xa0));
      const [, algorithm, octets] = sequenceOf(encrypted);
      const plain = await decryptByPassword(algorithm, octetsOf(octets), passwordBytes, budget);
      await readBags(readDecrypted(plain), bags, passwordBytes, budget, 0);
    } else throw new AppError('bad_request', 'A part of the PKCS12 file is encrypted for a public key');
  }
  return toEntries(bags);
}

/**
 * The spelling of the password by which the file's MAC is right. An empty one has two; one beyond
 * ASCII was expanded byte by byte by OpenSSL before 1.1.
 */
async function spellingOf(
  password: string,
  macData: DerValue | undefined,
  safe: Buffer,
  budget: WorkBudget,
): Promise<PasswordBytes> {
  const utf8 = Buffer.from(password, 'utf8');
  const spellings = [bmpPassword(password)];
  if (password === '') spellings.push(Buffer.alloc(0));
  else if (utf8.length !== password.length) spellings.push(bmpPassword(utf8.toString('latin1')));
  if (!macData) return { utf8, bmp: spellings[0]! };
  for (const bmp of spellings) if (await isRight(macData, safe, { utf8, bmp }, budget)) return { utf8, bmp };
  throw wrongPassword();
}

async function isRight(
  macData: DerValue,
  safe: Buffer,
  password: PasswordBytes,
  budget: WorkBudget,
): Promise<boolean> {
  const [digestInfo, salt, iterations] = sequenceOf(macData);
  const [algorithm, stored] = sequenceOf(digestInfo);
  const [oid, parameters] = sequenceOf(algorithm);
  const expected = octetsOf(stored);
  let mac: Buffer;
  if (oidOf(oid) === OID.pbmac1) {
    const [derivation, scheme] = sequenceOf(parameters);
    const digest = known(macDigests, oidOf(sequenceOf(scheme)[0]));
    const length = digestBytes[digest]![0];
    mac = createHmac(digest, await deriveKey(derivation, password.utf8, length, budget))
      .update(safe)
      .digest();
  } else {
    const digest = known(digests, oidOf(oid));
    const length = digestBytes[digest]![0];
    const count = iterations ? integerOf(iterations) : 1;
    const key = await derivePkcs12(digest, 3, password.bmp, octetsOf(salt), count, length, budget);
    mac = createHmac(digest, key).update(safe).digest();
  }
  return mac.length === expected.length && timingSafeEqual(mac, expected);
}

function known(names: Readonly<Record<string, string>>, oid: string): string {
  const name = Object.hasOwn(names, oid) ? names[oid] : undefined;
  if (!name) throw new AppError('bad_request', `The file has a MAC that is not supported (${oid})`);
  return name;
}

async function readBags(
  contents: DerValue,
  bags: Bags,
  password: PasswordBytes,
  budget: WorkBudget,
  nesting: number,
): Promise<void> {
  if (nesting > maxNesting) throw damaged();
  for (const bag of sequenceOf(contents)) {
    const [type, wrapped, attributes] = sequenceOf(bag);
    const value = insideOf(wrapped, 0xa0);
    const { alias, isTrusted } = readAttributes(attributes);
    switch (oidOf(type)) {
      case OID.keyBag:
        bags.keys.push({ alias, key: importPkcs8(value.whole) });
        break;
      case OID.shroudedKeyBag: {
        const [algorithm, octets] = sequenceOf(value);
        const plain = await decryptByPassword(algorithm, octetsOf(octets), password, budget);
        bags.keys.push({ alias, key: importPkcs8(plain) });
        break;
      }
      case OID.certBag: {
        const [kind, octets] = sequenceOf(value);
        if (oidOf(kind) !== OID.x509) break;
        const certificate = parseCertificate(octetsOf(insideOf(octets, 0xa0)));
        bags.certificates.push({ alias, certificate, isTrusted });
        break;
      }
      case OID.safeContentsBag:
        await readBags(value, bags, password, budget, nesting + 1);
        break;
      // Revocation lists and secrets that are no keys are not what is looked for.
      default:
        break;
    }
    if (bags.keys.length + bags.certificates.length > maxEntries)
      throw new AppError('bad_request', `The keystore has more than ${maxEntries} entries`);
  }
}

function readAttributes(attributes: DerValue | undefined): { alias: string | undefined; isTrusted: boolean } {
  let alias: string | undefined;
  let isTrusted = false;
  for (const attribute of attributes ? childrenOf(expectTag(attributes, TAG.set)) : []) {
    const [oid, values] = sequenceOf(attribute);
    const name = oidOf(oid);
    if (name === OID.trustedKeyUsage) isTrusted = true;
    if (name !== OID.friendlyName) continue;
    const [text] = childrenOf(expectTag(values, TAG.set));
    const { content } = expectTag(text, TAG.bmpString);
    if (content.length % 2 === 0 && content.length > 0)
      alias = Buffer.from(content).swap16().toString('utf16le');
  }
  return { alias, isTrusted };
}

/** Java trusts what it marked; from OpenSSL everything is trusted that belongs to no key. */
function toEntries({ keys, certificates }: Bags): Entries {
  const chains = new ChainFinder(certificates.map(({ certificate }) => certificate));
  const ofKeys = new Set<X509Certificate>();
  let unnamed = 0;
  const named = (alias: string | undefined) => alias ?? String(++unnamed);
  const found = keys.map(({ alias, key }) => {
    const chain = chains.chainOf(key);
    for (const certificate of chain) ofKeys.add(certificate);
    return { alias: named(alias), key, chain };
  });
  return {
    keys: found,
    trusted: certificates
      .filter(({ certificate, isTrusted }) => isTrusted || !ofKeys.has(certificate))
      .map(({ alias, certificate }) => ({ alias: named(alias), certificate })),
  };
}
