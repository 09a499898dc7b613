import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Scrubbing } from './scrubbing.ts';

const circle: { self?: unknown } = {};
circle.self = circle;
const noJson = {
  'a whole number without end': { count: 1n },
  'one within a list': [1, [{ count: 1n }]],
  'a circle': circle,
  'what refuses': {
    toJSON() {
      throw new Error('no');
    },
  },
};

for (const [what, value] of Object.entries(noJson))
  test(`a result that is no JSON fails, with or without secrets: ${what}`, () => {
    assert.throws(() => new Scrubbing([]).result(value));
    assert.throws(() => new Scrubbing(['s3cret']).result(value));
  });

test('a result without secrets is answered as it is', () => {
  const item = Object.freeze({ accepted: true });
  const values = [
    null,
    'x',
    7,
    { accepted: 2, results: [item, item] },
    { at: new Date(0), bytes: Buffer.of(1) },
  ];
  for (const value of values) {
    assert.equal(new Scrubbing([]).result(value), value);
    assert.deepEqual(new Scrubbing(['s3cret']).result(value), value);
  }
  assert.equal(new Scrubbing([]).result(undefined), null);
});
