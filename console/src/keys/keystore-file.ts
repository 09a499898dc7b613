import { keys as texts } from '../texts/keys.ts';

export type KeystoreType = 'JKS' | 'PKCS12' | 'PEM';

const maxBytes = 1024 * 1024;

/** What a chosen file holds, in base64, with the type that its content or else its name says; throws when it is too large. */
export async function readKeystoreFile(file: File): Promise<{ base64: string; type: KeystoreType | null }> {
  const bytes = await bytesOf(file);
  return { base64: base64Of(bytes), type: guessKeystoreType(bytes, file.name) };
}

/** By the first bytes, then by the name; null when neither says. */
export function guessKeystoreType(bytes: Uint8Array, name: string): KeystoreType | null {
  if (bytes[0] === 0xfe && bytes[1] === 0xed && bytes[2] === 0xfe && bytes[3] === 0xed) return 'JKS';
  if (isPem(bytes)) return 'PEM';
  if (bytes[0] === 0x30) return 'PKCS12';
  if (/\.(jks|keystore|truststore)$/i.test(name)) return 'JKS';
  if (/\.(p12|pfx|pkcs12)$/i.test(name)) return 'PKCS12';
  if (/\.(pem|crt|cer|key)$/i.test(name)) return 'PEM';
  return null;
}

/** Certificates of a chosen file as PEM, also of one in DER; throws when it is too large. */
export async function readCertificateFile(file: File): Promise<string> {
  const bytes = await bytesOf(file);
  if (bytes[0] !== 0x30) return new TextDecoder().decode(bytes);
  const lines = base64Of(bytes).match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

async function bytesOf(file: File): Promise<Uint8Array> {
  if (file.size > maxBytes) throw new Error(texts.fileTooLarge);
  return new Uint8Array(await file.arrayBuffer());
}

function isPem(bytes: Uint8Array): boolean {
  return new TextDecoder().decode(bytes.subarray(0, 65_536)).includes('-----BEGIN ');
}

function base64Of(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}
