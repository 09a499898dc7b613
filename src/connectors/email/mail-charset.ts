import iconv from 'iconv-lite';
import { AppError } from '../../errors.ts';

/** A character set of mails under the name that the configuration gives it. */
export interface Charset {
  readonly name: string;
  /** The text's bytes; undefined when the set lacks one of its characters. */
  encode(text: string): Buffer | undefined;
}

export const utf8: Charset = { name: 'UTF-8', encode: (text) => Buffer.from(text, 'utf8') };

/** Finds a character set that mail can use; fails with `invalid_configuration`. */
export function findCharset(name: string): Charset {
  // Java writes ISO8859_9 and UTF8 where the registered names are ISO-8859-9 and UTF-8.
  const registered = name
    .replace(/^iso[-_]?8859[-_](\d{1,2})$/i, 'ISO-8859-$1')
    .replace(/^utf[-_]?8$/i, 'UTF-8');
  if (registered === 'UTF-8') return utf8;
  if (!iconv.encodingExists(registered))
    throw new AppError(
      'invalid_configuration',
      `defaultEncoding: the character set ${name} is not known here`,
    );
  const ascii = 'Az09 =?._-\r\n';
  // RFC 2046 4.1.1: lines of text end in CR LF whatever the character set, which rules out UTF-16.
  if (iconv.encode(ascii, registered).toString('latin1') !== ascii)
    throw new AppError('invalid_configuration', `defaultEncoding: ${name} cannot be used in mail`);
  return {
    name: registered,
    encode(text) {
      const bytes = iconv.encode(text, registered);
      return iconv.decode(bytes, registered, { stripBOM: false }) === text ? bytes : undefined;
    },
  };
}

/** The configured set when it has every character of the text, else UTF-8: nothing becomes a question mark. */
export function charsetFor(text: string, preferred: Charset): { charset: Charset; bytes: Buffer } {
  const bytes = preferred.encode(text);
  return bytes ? { charset: preferred, bytes } : { charset: utf8, bytes: Buffer.from(text, 'utf8') };
}

/** Longest encoded-word (RFC 2047 2). */
const maxWordLength = 75;

/** Text as encoded-words in base64 (RFC 2047), each of whole characters, separated by spaces. */
export function encodeWords(text: string, preferred: Charset): string {
  const { charset } = charsetFor(text, preferred);
  const maxBytes = Math.floor((maxWordLength - charset.name.length - '=??B??='.length) / 4) * 3;
  const words: string[] = [];
  let word = '';
  let wordBytes: Buffer | undefined;
  for (const character of text) {
    const extended = charset.encode(word + character) ?? Buffer.from(character);
    if (wordBytes && extended.length > maxBytes) {
      words.push(wordBytes.toString('base64'));
      word = character;
      wordBytes = charset.encode(character) ?? Buffer.from(character);
    } else {
      word += character;
      wordBytes = extended;
    }
  }
  if (wordBytes) words.push(wordBytes.toString('base64'));
  return words.map((base64) => `=?${charset.name}?B?${base64}?=`).join(' ');
}
