import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Type } from 'typebox';
import { itemsOf, oneOrMany } from './one-or-many.ts';
import { createCompiler } from './validation.ts';

const schema = oneOrMany(
  { body: Type.String(), level: Type.Optional(Type.Integer()) },
  { identifying: 'body', maxItems: 2 },
);

test('takes one in place or several, never both', () => {
  const validate = createCompiler().compile(schema);
  for (const input of [{ body: 'a' }, { body: 'a', level: 1 }, { messages: [{ body: 'a' }, { body: 'b' }] }])
    assert.ok(validate(input), JSON.stringify(input));
  for (const input of [
    {},
    { level: 1 },
    { body: 'a', other: 1 },
    { body: 'a', messages: [{ body: 'b' }] },
    { level: 1, messages: [{ body: 'b' }] },
    { messages: [] },
    { messages: [{}] },
    { messages: [{ body: 'a', messages: [] }] },
    { messages: [{ body: 'a' }, { body: 'b' }, { body: 'c' }] },
  ])
    assert.equal(validate(input), false, JSON.stringify(input));
});

test('lists the items in order', () => {
  assert.deepEqual(itemsOf({ body: 'a' }), [{ body: 'a' }]);
  assert.deepEqual(itemsOf({ messages: [{ body: 'a' }, { body: 'b' }] }), [{ body: 'a' }, { body: 'b' }]);
});
