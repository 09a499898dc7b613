import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formats } from './formats.ts';
import { maskUrl } from './masking.ts';
import { assertLinear, shortestMs } from './testing/linear.ts';

const isMailbox = formats['mailbox']!.validate;

test('a mailbox is an address, alone or behind a name', () => {
  for (const text of [
    'a@b.example',
    '<a@b.example>',
    'A B <a@b.example>',
    'A B\t  <a@b.example> ',
    '"A \\" <B>" <a@b.example>',
    '"x"<a@b.example>',
  ])
    assert.ok(isMailbox(text), text);
  for (const text of [
    'A B',
    'A <B> <a@b.example>',
    'A" <a@b.example>',
    '"A\\" <a@b.example>',
    '<a@b.example> x',
    'A <a @b.example>',
    'A\nB <a@b.example>',
  ])
    assert.ok(!isMailbox(text), text);
});

test('security 18: a text that is nearly of a format costs what its length does', () => {
  for (const [format, { validate }] of Object.entries(formats))
    for (const unit of [' ', '<', '"', '\\"', 'a.', '1.', ':', '[', 'A', 'é'])
      assertLinear(`${format} of ${JSON.stringify(unit)}`, (length) => {
        const text = `a${unit.repeat(length / unit.length)}!`;
        return shortestMs(() => validate(text));
      });
});

test('security 18: braces in a URL that never close are gone through once', () => {
  // No longer URL is looked into.
  const ofLength = (length: number) => {
    const url = `jdbc:sqlserver://h${';a={'.repeat(length / 4)}`;
    return shortestMs(() => maskUrl(url, false));
  };
  ofLength(2_000);
  const [short, long] = [ofLength(2_000), ofLength(16_000)];
  assert.ok(long! < 24 * short! + 2, `${short} ms, then ${long} ms`);
});
