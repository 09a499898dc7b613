import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Life } from './life.ts';

test('what it begins with is answered with its end, which comes once', async () => {
  const life = new Life();
  const begun = life.begin(new Promise(() => {}));
  const reason = new Error('undeployed');
  life.end(reason);
  life.end(new Error('a second end'));
  await assert.rejects(begun, reason);
  assert.deepEqual(life.ended, { reason });
  assert.throws(() => life.throwIfEnded(), reason);
});

test('work that is done is its own answer, whatever comes later', async () => {
  const life = new Life();
  assert.equal(await life.begin(Promise.resolve(7)), 7);
  life.throwIfEnded();
  life.end(new Error('later'));
  const failed = new Life();
  await assert.rejects(failed.begin(Promise.reject(new Error('its own'))), /its own/);
});

test('a life that is over begins nothing', async () => {
  const life = new Life();
  life.end(new Error('over'));
  await assert.rejects(life.begin(Promise.resolve(7)), /over/);
});

test('the signal aborts with the end, whether it was asked for before or after', () => {
  const reason = new Error('undeployed');
  const [before, after] = [new Life(), new Life()];
  const early = before.signal;
  assert.equal(early.aborted, false);
  for (const life of [before, after]) life.end(reason);
  assert.equal(early.aborted, true);
  for (const life of [before, after]) assert.equal(life.signal.reason, reason);
});
