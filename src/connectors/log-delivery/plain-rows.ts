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

/** The frames of messages one after the other. */
export interface PlainRow {
  text: string;
  count: number;
  /** Of the text in UTF-8. */
  bytes: number;
}

/** Bytes that are looked at together. */
const stepBytes = 16;
const del = 0x7f;
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
  take(items: readonly Item[], first: number, most: number, mostLength: number): PlainRow | undefined {
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
    const bytes = this.#plainBytes(text, count);
    if (bytes !== undefined) {
      this.#pause = 0;
      return { text, count, bytes };
    }
    this.#pause = Math.min(maxPause, this.#pause * 2 + 1);
    this.#rest = this.#pause;
    return undefined;
  }

  /** How long it is in UTF-8 where it is plain. */
  #plainBytes(text: string, count: number): number | undefined {
    const { meanings, isEnded, mustBeWellFormed } = this.#format;
    const spare = takeSpare();
    const length = spare.write(text);
    const isAscii = length === text.length;
    const ends = isEnded ? count : 0;
    const isPlain =
      // As nearly always: each message has its end, so there is no other control character.
      (isAscii &&
        countControls(spare, length) === ends &&
        (meanings[del] === fine || !text.includes('\x7f'))) ||
      (countEnds(spare, length, meanings) === ends && (isAscii || !mustBeWellFormed || text.isWellFormed()));
    giveSpareBack(spare);
    return isPlain ? length : undefined;
  }
}

/** How many bytes below 0x20 there are, where none is above 0x7f. */
function countControls(bytes: Buffer, length: number): number {
  const steps = Math.ceil(length / stepBytes);
  bytes.fill(' ', length, steps * stepBytes);
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, steps * 4);
  let controls = 0;
  for (let at = 0; at < words.length; at += 4) {
    const a = words[at]!;
    const b = words[at + 1]!;
    const c = words[at + 2]!;
    const d = words[at + 3]!;
    // Four bytes at a time: the highest bit of one below 0x20 is set, and of a space behind it, by the borrow.
    const differences = (a - 0x20202020) | (b - 0x20202020) | (c - 0x20202020) | (d - 0x20202020);
    if ((differences & 0x80808080) !== 0)
      controls += Math.imul(controlsIn(a) + controlsIn(b) + controlsIn(c) + controlsIn(d), 0x01010101) >>> 24;
  }
  return controls;
}

/** 1 in each byte of the word that is below 0x20. */
function controlsIn(word: number): number {
  return (~(word + 0x60606060) & 0x80808080) >>> 7;
}

/** How many of the bytes end a message; NaN where one needs care. */
function countEnds(bytes: Buffer, length: number, meanings: ByteMeanings): number {
  let ends = 0;
  for (let at = 0; at < length; at++) {
    const meaning = meanings[bytes[at]!]!;
    if (meaning === careful) return Number.NaN;
    ends += meaning;
  }
  return ends;
}
