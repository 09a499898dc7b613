import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createTurns } from './one-at-a-time.ts';

test('a job begins when the one before it has ended, well or not, and each has its own outcome', async () => {
  const inTurn = createTurns();
  const steps: string[] = [];
  const job = (name: string, fails = false) =>
    inTurn(async () => {
      steps.push(`${name} begins`);
      await nextTurn();
      steps.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    });
  const outcomes = await Promise.allSettled([job('a'), job('b', true), job('c')]);
  assert.deepEqual(
    outcomes.map((one) => (one.status === 'fulfilled' ? one.value : String(one.reason))),
    ['a', 'Error: b', 'c'],
  );
  assert.deepEqual(steps, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
});
