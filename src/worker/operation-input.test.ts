import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OperationSchema } from '../contract/connection-type.ts';
import type { AppError } from '../errors.ts';
import { inputCheck } from './operation-input.ts';

test('lengths of texts are counted in characters', () => {
  const schema = {
    input: { type: 'object', properties: { text: { type: 'string', minLength: 2, maxLength: 3 } } },
  } as unknown as OperationSchema;
  const check = inputCheck(schema);
  for (const text of ['xy', 'xyz', '😀x', '😀😀', '😀😀😀']) check({ text });
  for (const text of ['', 'x', '😀'])
    assert.throws(() => check({ text }), /text must have at least 2 characters/);
  for (const text of ['wxyz', '😀😀😀x', '😀😀😀😀'])
    assert.throws(() => check({ text }), /text must have at most 3 characters/);
});

test('what is wrong with an input is said in words, and an unknown field with the known one', () => {
  const schema = {
    input: {
      type: 'object',
      properties: {
        to: { type: 'array', minItems: 1, items: { type: 'string' } },
        subject: { type: 'string' },
        size: { type: 'integer', minimum: 1, maximum: 9 },
        id: { type: ['string', 'integer', 'null'] },
        level: { type: 'string', enum: ['INFO', 'WARN'] },
      },
      additionalProperties: false,
    },
  } as unknown as OperationSchema;
  const faults = (input: unknown) => {
    try {
      inputCheck(schema)(input);
    } catch (error) {
      return Object.fromEntries(
        (error as AppError).details.validationErrors!.map(({ field, message }) => [field, message]),
      );
    }
    return {};
  };
  assert.deepEqual(faults({ to: 'ann', sbject: 'hello', size: 10, id: [], level: 'LOUD' }), {
    to: 'must be a list',
    sbject: 'is not known; did you mean `subject`?',
    size: 'must be a whole number from 1 to 9',
    id: 'must be text or a whole number',
    level: 'must be one of INFO, WARN',
  });
  assert.deepEqual(faults({ to: [], subject: 1 }), {
    to: 'must have at least one item',
    subject: 'must be text',
  });
  assert.deepEqual(faults([]), { input: 'must be an object' });
});
