import { X509Certificate } from 'node:crypto';
import { AppError } from '../errors.ts';

/** What people want to know of a certificate. */
export interface CertificateInfo {
  /** In the order of RFC 4514: `CN=…, O=…, C=…`. */
  subject: string;
  issuer: string;
  /** Hexadecimal. */
  serialNumber: string;
  /** ms since the epoch. */
  notBefore: number;
  /** ms since the epoch. */
  notAfter: number;
  /** `rsa`, `ec`, `ed25519`, …; `unknown` for a key that the runtime cannot read. */
  keyType: string;
  /** 0 when it is not known. */
  keyBits: number;
  /** SHA-256 of the DER form, in hexadecimal with colons. */
  fingerprint256: string;
}

/** Parses one certificate, DER or PEM; fails with `bad_request`. */
export function parseCertificate(encoded: Buffer | string): X509Certificate {
  try {
    return new X509Certificate(encoded);
  } catch {
    throw new AppError('bad_request', 'A certificate of the file cannot be read');
  }
}

export function describeCertificate(certificate: X509Certificate): CertificateInfo {
  return {
    subject: inRfc4514Order(certificate.subject),
    issuer: inRfc4514Order(certificate.issuer),
    serialNumber: certificate.serialNumber,
    notBefore: Date.parse(certificate.validFrom),
    notAfter: Date.parse(certificate.validTo),
    ...keyOf(certificate),
    fingerprint256: certificate.fingerprint256,
  };
}

function inRfc4514Order(name: string | undefined): string {
  return (name ?? '').split('\n').reverse().join(', ');
}

const curveBits: Readonly<Record<string, number>> = {
  prime256v1: 256,
  secp256k1: 256,
  secp384r1: 384,
  secp521r1: 521,
  brainpoolP256r1: 256,
  brainpoolP384r1: 384,
  brainpoolP512r1: 512,
  secp224r1: 224,
  prime192v1: 192,
};

const fixedBits: Readonly<Record<string, number>> = { ed25519: 256, ed448: 448 };

function keyOf(certificate: X509Certificate): { keyType: string; keyBits: number } {
  try {
    const { asymmetricKeyType: keyType = 'unknown', asymmetricKeyDetails: details } = certificate.publicKey;
    return {
      keyType,
      keyBits: details?.modulusLength ?? curveBits[details?.namedCurve ?? ''] ?? fixedBits[keyType] ?? 0,
    };
  } catch {
    return { keyType: 'unknown', keyBits: 0 };
  }
}
