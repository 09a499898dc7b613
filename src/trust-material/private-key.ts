import { createPrivateKey, createPublicKey, type KeyObject, type X509Certificate } from 'node:crypto';
import { AppError } from '../errors.ts';
import { damaged, integerOf, oidOf, readDer, sequenceOf } from './der.ts';

/** The kinds of keys that TLS can use; others make the runtime compute without bound. */
const usableKeys = new Set([
  '1.2.840.113549.1.1.1',
  '1.2.840.113549.1.1.10',
  '1.2.840.10045.2.1',
  '1.3.101.112',
  '1.3.101.113',
]);

/** More than an RSA key of 16,384 bits takes. */
const maxKeyBytes = 16_384;

/** Reads an unencrypted PKCS8 key; fails with `bad_request` for kinds that TLS does not use. */
export function importPkcs8(der: Buffer): KeyObject {
  const [version, algorithm] = sequenceOf(readDer(der));
  integerOf(version);
  const oid = oidOf(sequenceOf(algorithm)[0]);
  if (!usableKeys.has(oid))
    throw new AppError('bad_request', `A private key is of a kind that TLS does not use (${oid})`);
  if (der.length > maxKeyBytes)
    throw new AppError('bad_request', 'A private key is larger than RSA with 16,384 bits');
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } catch {
    throw damaged();
  }
}

/** The public half in a form that can be compared. */
export function publicHalfOf(key: KeyObject): string {
  return publicForm(createPublicKey(key));
}

/** As `publicHalfOf`; undefined for a certificate whose key the runtime cannot read. */
export function publicKeyOf(certificate: X509Certificate): string | undefined {
  try {
    return publicForm(certificate.publicKey);
  } catch {
    return undefined;
  }
}

function publicForm(key: KeyObject): string {
  return key.export({ format: 'der', type: 'spki' }).toString('base64');
}
