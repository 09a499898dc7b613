import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from './errors.ts';
import { loggableError } from './loggable-error.ts';

const canary = 'Canary-l0g/p4ss+word';

function parseFailure(): unknown {
  try {
    return JSON.parse(`{"password": ${canary}`);
  } catch (error) {
    return error;
  }
}

test("an error of ours keeps its words, its causes' are dropped, and every place is named", () => {
  const driver = Object.assign(new Error(`syntax error at or near "${canary}"`), { code: '42601' });
  const outer = new AppError('internal_error', 'The row could not be read', {
    cause: new TypeError(`bad value ${canary}`, { cause: driver }),
  });
  const logged = loggableError(outer);
  assert.equal(logged.type, 'AppError');
  assert.equal(logged.code, 'internal_error');
  assert.equal(logged.message, 'The row could not be read');
  assert.match(logged.stack[0]!, /loggable-error\.test\.ts:\d+:\d+/);
  assert.equal(logged.cause?.type, 'TypeError');
  assert.equal(logged.cause.message, undefined);
  assert.match(logged.cause.stack[0]!, /loggable-error\.test\.ts:\d+:\d+/);
  assert.deepEqual([logged.cause.cause?.type, logged.cause.cause?.code], ['Error', '42601']);
  assert.doesNotMatch(JSON.stringify(logged), /Canary/);
});

test('nothing of a message passes, however the error is made', () => {
  const renamed = new Error('x');
  renamed.name = canary;
  const changed = new Error(`first ${canary}`);
  changed.message = 'second';
  const multiline = new Error(`a\n    at ${canary} (/tmp/x.ts:1:2)\n    at /${canary}:1:2\nb`);
  const odd = Object.assign(new Error('odd'), { code: canary, stack: 5 });
  const round = new Error(canary);
  round.cause = round;
  const detailed = Object.assign(new Error(canary), { detail: canary, query: canary, errors: [canary] });
  for (const error of [
    parseFailure(),
    renamed,
    changed,
    multiline,
    odd,
    round,
    detailed,
    canary,
    { message: canary },
    null,
    new AggregateError([new Error(canary)], canary),
    new Error('outer', { cause: canary }),
  ])
    assert.doesNotMatch(JSON.stringify(loggableError(error)), /Canary/);
});
