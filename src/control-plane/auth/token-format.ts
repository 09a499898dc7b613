import { hash, randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const RANDOM_LENGTH = 40;
const CHECKSUM_LENGTH = 6;
const FORMAT = new RegExp(`^(pb[tw])_([0-9A-Za-z]{${RANDOM_LENGTH}})_([0-9A-Za-z]{${CHECKSUM_LENGTH}})$`);

/** `pbt`: a token of the API; `pbw`: a worker's credential. */
export type TokenPrefix = 'pbt' | 'pbw';

/** A new secret of 238 bits: recognisable prefix, base62, and a CRC-32 so that scanners tell it from noise. */
export function makeToken(prefix: TokenPrefix): string {
  let random = '';
  for (let index = 0; index < RANDOM_LENGTH; index++) random += ALPHABET[randomInt(ALPHABET.length)];
  return `${prefix}_${random}_${checksum(prefix, random)}`;
}

/** Whether the text has the form and checksum of a token we made. */
export function isWellFormedToken(text: string, prefix: TokenPrefix): boolean {
  const parts = FORMAT.exec(text);
  return parts !== null && parts[1] === prefix && checksum(prefix, parts[2]!) === parts[3];
}

/** What is stored of a token: base64url SHA-256. */
export function hashToken(token: string): string {
  return hash('sha256', token, 'base64url');
}

function checksum(prefix: TokenPrefix, random: string): string {
  let rest = crc32(`${prefix}_${random}`);
  let text = '';
  for (let index = 0; index < CHECKSUM_LENGTH; index++) {
    text = ALPHABET[rest % ALPHABET.length] + text;
    rest = Math.floor(rest / ALPHABET.length);
  }
  return text;
}
