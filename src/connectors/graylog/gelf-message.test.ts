import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareRowsWithFrames } from '../log-delivery/testing/rows-against-frames.ts';
import { type GelfItem, type GraylogConfig, messageEncoder } from './gelf-message.ts';

const makeEncoder = () =>
  messageEncoder({
    transportType: 'TCP',
    gelfMessageLevel: 'INFO',
    appendToAttributes: true,
    appendToMessage: true,
  } as unknown as GraylogConfig);

test('messages in a row are what they are one by one', () => {
  for (const more of [
    {},
    { level: 'ERROR' as const, host: 'h "1"\n' },
    { fullMessage: 'at a\n\tat b "c"', fields: { order: 4711, text: '"\\\u0001', isOpen: true, none: null } },
  ]) {
    const item = (message: string): GelfItem => ({ message, timestampMs: 1_700_000_000_123, ...more });
    const rowed = compareRowsWithFrames(makeEncoder, item);
    for (const text of ['"', '\\', '\x7f', 'ğ', '😀', '\u2028'])
      assert.ok(rowed.has(text), JSON.stringify(text));
    for (const text of ['\0', '\n', '\t', '\ud800', '\udc00'])
      assert.ok(!rowed.has(text), JSON.stringify(text));
  }
});

test('a frame is the JSON of its message, ended by a zero byte', () => {
  const item: GelfItem = {
    message: 'say "hi"\n\ud800',
    fullMessage: 'more',
    level: 'ERROR',
    host: 'gateway-1',
    timestampMs: 1_700_000_000_123,
    fields: { order: 4711, _isOpen: true, none: null },
  };
  const frame = makeEncoder().frame(item) as string;
  assert.equal(frame.at(-1), '\0');
  assert.deepEqual(JSON.parse(frame.slice(0, -1)), {
    version: '1.1',
    host: 'gateway-1',
    short_message: 'say "hi"\n\ud800',
    full_message: 'more\n{"order":4711,"isOpen":"true"}',
    timestamp: 1700000000.123,
    level: 3,
    _order: 4711,
    _isOpen: 'true',
  });
});

test('security 11: no message, host or field ends its frame or adds a field to it', () => {
  const forged = '\0{"a":1}","level":0,"x":"\n\\"';
  const item: GelfItem = { message: forged, fullMessage: forged, host: forged, fields: { order: forged } };
  const frame = makeEncoder().frame(item) as string;
  assert.equal(frame.indexOf('\0'), frame.length - 1);
  const read = JSON.parse(frame.slice(0, -1));
  assert.deepEqual([read.short_message, read.host, read._order], [forged, forged, forged]);
  assert.equal(read.level, 6);
  assert.ok(!('x' in read) && !('a' in read));
});

test('a row ends before a message that cannot be sent', () => {
  const items = [{ message: 'a' }, { message: 'b' }, { message: 'c', fields: { id: 1 } }, { message: 'd' }];
  assert.equal(makeEncoder().rows!.take(items, 0, items.length, 65_536)?.count, 2);
});
