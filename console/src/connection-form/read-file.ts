import { connectionForm as texts } from '../texts/connection-form.ts';

const maxBytes = 700_000;

/** What a chosen file holds; throws when it is larger than any field takes. */
export async function readFileAs(file: File, as: 'text' | 'base64'): Promise<string> {
  if (file.size > maxBytes) throw new Error(texts.fileTooLarge(maxBytes));
  if (as === 'text') return file.text();
  const bytes = new Uint8Array(await file.arrayBuffer());
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}
