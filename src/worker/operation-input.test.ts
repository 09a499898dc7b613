import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OperationSchema } from '../contract/connection-type.ts';
import { inputCheck } from './operation-input.ts';

test('lengths of texts are counted in characters', () => {
  const schema = {
    input: { type: 'object', properties: { text: { type: 'string', minLength: 2, maxLength: 3 } } },
  } as unknown as OperationSchema;
  const check = inputCheck(schema);
  for (const text of ['xy', 'xyz', '😀x', '😀😀', '😀😀😀']) check({ text });
  for (const text of ['', 'x', '😀'])
    assert.throws(() => check({ text }), /text must NOT have fewer than 2 characters/);
  for (const text of ['wxyz', '😀😀😀x', '😀😀😀😀'])
    assert.throws(() => check({ text }), /text must NOT have more than 3 characters/);
});
