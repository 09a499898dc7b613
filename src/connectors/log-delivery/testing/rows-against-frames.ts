import assert from 'node:assert/strict';
import type { Encoder } from '../outbox.ts';

/** Texts that mean something in one format or another. */
const special = [
  ...Array.from({ length: 0x21 }, (_, code) => String.fromCharCode(code)),
  ...[
    '"',
    '\\',
    ']',
    '~',
    '\x7f',
    '\x80',
    '\xa0',
    '\xff',
    'ğ',
    '中',
    '😀',
    '\ufeff',
    '\u2028',
    '\ud800',
    '\udc00',
  ],
];
/** More than the bytes that are looked at together. */
const places = 18;

/**
 * Compares rows with the frames of their messages, with each special character at each place; answers those
 * with which a row was made, and not left to frames.
 */
export function compareRowsWithFrames<Item>(
  makeEncoder: () => Encoder<Item>,
  item: (message: string) => Item,
): Set<string> {
  const careful = makeEncoder();
  const rowed = new Set<string>();
  for (const text of special)
    for (let place = 0; place < places; place++) {
      const items = ['before', `${'x'.repeat(place)}${text}y`, `behind${text}`].map(item);
      // Made anew, because one that has failed rests.
      const row = makeEncoder().rows!.take(items, 0, items.length, 65_536);
      if (row === undefined) continue;
      rowed.add(text);
      assert.equal(row.count, items.length);
      const frames = items.map((each) => Buffer.from(careful.frame(each) as string));
      assert.deepEqual(Buffer.from(row.text), Buffer.concat(frames), `${JSON.stringify(text)} at ${place}`);
    }
  return rowed;
}
