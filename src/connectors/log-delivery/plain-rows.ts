import { giveSpareBack, takeSpare } from './spare-buffers.ts';

/** What a byte of a row means: it may stand anywhere, it ends a message, or the row has to be encoded with care. */
export type ByteMeanings = Uint8Array;

const fine = 0;
const end = 1;
const careful = 2;

export interface PlainFormat<Item> {
  /**
   * The frame of an item with its texts as they are, as if nothing in them had to be escaped; fails with an
   * AppError on an item that cannot be sent.
   */
  format(item: Item, nowMs: number): string;
  /** Of each byte in UTF-8. */
  readonly meanings: ByteMeanings;
  /** Whether the byte that ends a message is counted on, which none has inside. */
  readonly isEnded: boolean;
  /** Half a surrogate pair is not what UTF-8 makes of it. */
  readonly mustBeWellFormed: boolean;
}

/** Bytes that may stand in a row: printable ASCII and what is named; `ends` ends each message. */
export function byteMeanings(options: {
  ends?: number;
  controls?: readonly number[];
  isUnicode: boolean;
}): ByteMeanings {
  const meanings = new Uint8Array(256).fill(careful);
  meanings.fill(fine, 0x20, 0x7f);
  if (options.isUnicode) meanings.fill(fine, 0x80);
  for (const control of options.controls ?? []) meanings[control] = fine;
  if (options.ends !== undefined) meanings[options.ends] = end;
  return meanings;
}

/** Bytes that are looked at together. */
const stepBytes = 8;
/** Most rows in a row that are not tried because earlier ones were not plain. */
const maxPause = 32;

/**
 * Makes many messages into bytes at once. A look through all of their bytes costs a fraction of a look
 * through each message, and nearly always there is nothing to escape.
 */
export class PlainRows<Item> {
  readonly #format: PlainFormat<Item>;
  #pause = 0;
  #rest = 0;

  constructor(format: PlainFormat<Item>) {
    this.#format = format;
  }

  /**
   * The frames of the items from `first` on, at most `most` and as far as `mostLength` UTF-16 units reach, of
   * which a spare buffer holds as many; undefined when they have to be encoded one by one.
   */
  take(
    items: readonly Item[],
    first: number,
    most: number,
    mostLength: number,
  ): { text: string; count: number } | undefined {
    if (this.#rest > 0) {
      this.#rest--;
      return undefined;
    }
    const { format } = this.#format;
    const nowMs = Date.now();
    let text = '';
    let count = 0;
    try {
      for (; count < most; count++) {
        const frame = format(items[first + count]!, nowMs);
        if (text.length + frame.length > mostLength) break;
        text += frame;
      }
    } catch {
      // It is encoded again in its own turn.
    }
    if (count === 0) return undefined;
    if (this.#isPlain(text, count)) {
      this.#pause = 0;
      return { text, count };
    }
    this.#pause = Math.min(maxPause, this.#pause * 2 + 1);
    this.#rest = this.#pause;
    return undefined;
  }

  #isPlain(text: string, count: number): boolean {
    const { meanings, isEnded, mustBeWellFormed } = this.#format;
    const spare = takeSpare();
    const length = spare.write(text);
    const ends = countEnds(spare, length, meanings);
    giveSpareBack(spare);
    if (ends !== (isEnded ? count : 0)) return false;
    // Of ASCII alone it always is.
    return !mustBeWellFormed || length === text.length || text.isWellFormed();
  }
}

/** How many of the bytes end a message; NaN where one needs care. */
function countEnds(bytes: Buffer, length: number, meanings: ByteMeanings): number {
  const steps = Math.ceil(length / stepBytes);
  bytes.fill(' ', length, steps * stepBytes);
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, steps * 2);
  let ends = 0;
  for (let at = 0; at < words.length; at += 2) {
    const one = words[at]!;
    const two = words[at + 1]!;
    // The highest bit of each byte: set by the difference below 0x20, by the sum at 0x7f, and from 0x80 on.
    const isUsual =
      (((one - 0x20202020) | (one + 0x01010101) | one | (two - 0x20202020) | (two + 0x01010101) | two) &
        0x80808080) ===
      0;
    if (isUsual) continue;
    for (let byte = at * 4; byte < at * 4 + stepBytes; byte++) {
      const meaning = meanings[bytes[byte]!]!;
      if (meaning === careful) return Number.NaN;
      ends += meaning;
    }
  }
  return ends;
}
