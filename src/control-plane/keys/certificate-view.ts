import { Type } from 'typebox';
import type { CertificateInfo } from '../../trust-material/keystore.ts';

/** A certificate as answers tell it. */
export interface CertificateView {
  subject: string;
  issuer: string;
  serialNumber: string;
  notBefore: string;
  notAfter: string;
  keyType: string;
  keyBits: number;
  fingerprint256: string;
}

export const certificateFields = {
  subject: Type.String(),
  issuer: Type.String(),
  serialNumber: Type.String(),
  notBefore: Type.String(),
  notAfter: Type.String(),
  keyType: Type.String(),
  keyBits: Type.Integer(),
  fingerprint256: Type.String(),
};

export function viewOfCertificate(info: CertificateInfo): CertificateView {
  return {
    subject: info.subject,
    issuer: info.issuer,
    serialNumber: info.serialNumber,
    notBefore: isoTime(info.notBefore),
    notAfter: isoTime(info.notAfter),
    keyType: info.keyType,
    keyBits: info.keyBits,
    fingerprint256: info.fingerprint256,
  };
}

function isoTime(at: number): string {
  return Number.isFinite(at) ? new Date(at).toISOString() : '';
}

const dayMs = 24 * 3_600_000;
const weakestRsaBits = 2048;
/** From when on an end is said to be near. */
export const EXPIRY_DAYS = 30;

/** What whoever stores a certificate should know at once: `label` says which one it is. */
export function certificateWarnings(label: string, view: CertificateView, now = Date.now()): string[] {
  const warnings: string[] = [];
  const end = Date.parse(view.notAfter);
  if (end <= now) warnings.push(`${label}: expired on ${view.notAfter}`);
  else if (end <= now + EXPIRY_DAYS * dayMs) warnings.push(`${label}: ends on ${view.notAfter}`);
  if (Date.parse(view.notBefore) > now) warnings.push(`${label}: not valid before ${view.notBefore}`);
  if (/^rsa/i.test(view.keyType) && view.keyBits > 0 && view.keyBits < weakestRsaBits)
    warnings.push(`${label}: a weak key, RSA of ${view.keyBits} bits; use ${weakestRsaBits} or more`);
  return warnings;
}

/** The soonest end of several certificates, ms since the epoch. */
export function soonestEnd(views: readonly CertificateView[]): number | null {
  const ends = views.map(({ notAfter }) => Date.parse(notAfter)).filter(Number.isFinite);
  return ends.length === 0 ? null : Math.min(...ends);
}
