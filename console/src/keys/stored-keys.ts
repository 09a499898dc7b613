import type { KeystoreType } from './keystore-file.ts';

export interface CertificateInfo {
  subject: string;
  issuer: string;
  notAfter: string;
  keyType: string;
  keyBits: number;
  fingerprint256: string;
}

export interface KeystoreEntry extends CertificateInfo {
  alias: string;
  kind: string;
}

export interface KeystoreFile {
  environmentName: string;
  type: KeystoreType;
  alias: string | null;
  entries: KeystoreEntry[];
  expiresAt: string | null;
}

export interface Keystore {
  name: string;
  description: string | null;
  keyStoreEnvironmentList: KeystoreFile[];
}

export interface Certificate {
  name: string;
  description: string | null;
  alias: string | null;
  environmentList: string[];
  pemEncodedFile: string;
  certificates: CertificateInfo[];
  expiresAt: string | null;
}

/** Path of the keystores or certificates of a project in the API, or of one of them. */
export function keysApi(project: string, kind: 'keystores' | 'certificates', name?: string): string {
  const list = `/apiops/projects/${encodeURIComponent(project)}/${kind}/`;
  return name === undefined ? list : `${list}${encodeURIComponent(name)}/`;
}
