import type { X509Certificate } from 'node:crypto';
import { AppError } from '../errors.ts';
import { type CertificateInfo, describeCertificate, parseCertificate } from './certificate-info.ts';
import type { Entries } from './entries.ts';
import { jksMagic, openJks } from './jks.ts';
import { isCertificate, openPem, readPem } from './pem.ts';
import { openPkcs12 } from './pkcs12.ts';

export type { CertificateInfo };

export type KeystoreType = 'JKS' | 'PKCS12' | 'PEM';

export interface OpenedKeystore {
  /** Private keys, each with its chain: its own certificate first. */
  keys: { alias: string; keyPem: string; chainPem: string[]; certificates: CertificateInfo[] }[];
  /** Certificates that belong to no key. */
  trusted: { alias: string; pem: string; certificate: CertificateInfo }[];
}

/** The largest file that is opened: 1 MiB. */
export const maxKeystoreBytes = 1024 * 1024;
const maxPasswordLength = 1_024;

/**
 * Opens a keystore. As Java does, a PKCS12 file is opened under the name of JKS and the other way
 * round. Bounded in time and memory; fails with `bad_request` and a sentence that never repeats the
 * password.
 */
export async function openKeystore({
  type,
  file,
  password,
}: {
  type: KeystoreType;
  file: Buffer;
  password: string;
}): Promise<OpenedKeystore> {
  if (file.length === 0) throw refused('The file is empty');
  if (file.length > maxKeystoreBytes) throw refused('The file is larger than 1 MiB');
  if (password.length > maxPasswordLength)
    throw refused(`The password is longer than ${maxPasswordLength} characters`);
  let entries: Entries;
  try {
    entries = await openByContent(type, file, password);
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('bad_request', 'The file is damaged', { cause: error });
  }
  if (entries.keys.length + entries.trusted.length === 0)
    throw refused('The file has neither a private key nor a certificate');
  const bare = entries.keys.find(({ chain }) => chain.length === 0);
  if (bare) throw refused(`The private key '${bare.alias}' has no certificate in the file`);
  return {
    keys: entries.keys.map(({ alias, key, chain }) => ({
      alias,
      keyPem: key.export({ format: 'pem', type: 'pkcs8' }) as string,
      chainPem: chain.map(toPem),
      certificates: chain.map(describeCertificate),
    })),
    trusted: entries.trusted.map(({ alias, certificate }) => ({
      alias,
      pem: toPem(certificate),
      certificate: describeCertificate(certificate),
    })),
  };
}

/**
 * Reads one or more certificates in PEM form; fails with `bad_request`, also for a private key among
 * them.
 */
export function openCertificates(pem: string): CertificateInfo[] {
  if (pem.length > maxKeystoreBytes) throw refused('The text is larger than 1 MiB');
  const blocks = readPem(pem);
  if (blocks.some(({ label }) => label.endsWith('PRIVATE KEY')))
    throw refused(
      'The text holds a private key; store it as a keystore of type PEM, and only its certificate here',
    );
  const other = blocks.find(({ label }) => !isCertificate(label));
  if (other) throw refused(`The text holds a ${other.label}, which is no certificate`);
  if (blocks.length === 0) throw refused("The text holds no certificate: no '-----BEGIN CERTIFICATE-----'");
  return blocks.map(({ text }) => describeCertificate(parseCertificate(text)));
}

function openByContent(type: KeystoreType, file: Buffer, password: string): Promise<Entries> | Entries {
  const magic = file.length >= 4 ? file.readUInt32BE() : 0;
  if (magic === jceksMagic)
    throw refused(
      'The file is of type JCEKS, which is not supported: convert it to PKCS12 with keytool -importkeystore',
    );
  const isPem = file.subarray(0, 65_536).includes('-----BEGIN ');
  if (type === 'PEM') {
    if (isPem) return openPem(file, password);
    throw refused("The file is not in PEM form: it has no '-----BEGIN ' line");
  }
  if (magic === jksMagic) return openJks(file, password);
  if (file[0] === 0x30) return openPkcs12(file, password);
  throw refused(
    isPem
      ? `The file is in PEM form and not of type ${type}: store it with type PEM`
      : `The file is neither a JKS nor a PKCS12 file`,
  );
}

const jceksMagic = 0xcececece;

function toPem(certificate: X509Certificate): string {
  return certificate.toString();
}

function refused(sentence: string): AppError {
  return new AppError('bad_request', sentence);
}
