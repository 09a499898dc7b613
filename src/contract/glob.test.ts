import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matchesGlob } from './glob.ts';

const meaning = new Map([
  ['*', '.*'],
  ['?', '.'],
  ['.', '\\.'],
]);

test('a glob matches what the same regular expression does', () => {
  const characters = fc.array(fc.constantFrom('a', 'b', '.', '*', '?'), { maxLength: 8 });
  const names = fc.array(fc.constantFrom('a', 'b', '.'), { maxLength: 8 });
  fc.assert(
    fc.property(characters, names, (glob, name) => {
      const source = glob.map((one) => meaning.get(one) ?? one).join('');
      assert.equal(matchesGlob(glob.join(''), name.join('')), new RegExp(`^${source}$`).test(name.join('')));
    }),
    { numRuns: 5_000, seed: 7 },
  );
});

test('no glob takes longer than its length times that of the name', () => {
  const glob = `${'a*'.repeat(120)}b`;
  assert.equal(matchesGlob(glob, 'a'.repeat(250)), false);
});
