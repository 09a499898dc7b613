import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteMeanings, PlainRows } from './plain-rows.ts';

const rowsOfLines = () =>
  new PlainRows<string>({
    format: (text) => `${text}\n`,
    meanings: byteMeanings({ ends: 0x0a, isUnicode: false }),
    isEnded: true,
    mustBeWellFormed: false,
  });

test('a row takes as many messages as are wanted, and as have room', () => {
  const items = ['one', 'two', 'three', 'four'];
  assert.deepEqual(rowsOfLines().take(items, 1, 2, 65_536), {
    text: 'two\nthree\n',
    count: 2,
    bytes: 10,
  });
  assert.deepEqual(rowsOfLines().take(items, 0, 4, 13), {
    text: 'one\ntwo\n',
    count: 2,
    bytes: 8,
  });
  assert.equal(rowsOfLines().take(items, 0, 4, 3), undefined);
});

test('a row is as long as its characters are in UTF-8', () => {
  const rows = new PlainRows<string>({
    format: (text) => `${text}\n`,
    meanings: byteMeanings({ ends: 0x0a, isUnicode: true }),
    isEnded: true,
    mustBeWellFormed: true,
  });
  const items = ['grün', '€ 5', '🙂'];
  assert.equal(rows.take(items, 0, 3, 65_536)?.bytes, Buffer.byteLength(`${items.join('\n')}\n`));
});

test('a row that is longer than what is looked at together is looked at to its end', () => {
  for (let length = 0; length < 70; length++) {
    const text = 'x'.repeat(length);
    assert.equal(rowsOfLines().take([text, text], 0, 2, 65_536)?.count, 2);
    assert.equal(rowsOfLines().take([text, `${text}\r`], 0, 2, 65_536), undefined);
    assert.equal(rowsOfLines().take([`${text}\n`, text], 0, 2, 65_536), undefined);
  }
});

test('while rows are not plain they are tried less and less, and again each time when one was', () => {
  let formatted = 0;
  const rows = new PlainRows<string>({
    format(text) {
      formatted++;
      return text;
    },
    meanings: byteMeanings({ isUnicode: false }),
    isEnded: false,
    mustBeWellFormed: false,
  });
  const turnsTried = (text: string, turns: number) =>
    Array.from({ length: turns }, (_, turn) => turn).filter(() => {
      formatted = 0;
      rows.take([text], 0, 1, 65_536);
      return formatted > 0;
    });
  assert.deepEqual(turnsTried('\r', 150), [0, 2, 6, 14, 30, 62, 95, 128]);
  assert.deepEqual(turnsTried('x', 14), [11, 12, 13]);
});
