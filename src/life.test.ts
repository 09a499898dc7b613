import assert from 'node:assert/strict';
import { test } from 'node:test';
import { untilAborted } from './connectors/connector.ts';
import { AppError } from './errors.ts';
import { Life } from './life.ts';

test('whoever waits is answered with its end, which comes once', async () => {
  const life = new Life();
  const begun = untilAborted(life, new Promise(() => {}));
  const reason = new AppError('cancelled', 'undeployed');
  life.end(reason);
  life.end(new Error('a second end'));
  await assert.rejects(begun, reason);
  assert.deepEqual(life.ended, { reason });
  assert.throws(() => life.throwIfEnded(), reason);
});

test('work that is done is its own answer, whatever comes later', async () => {
  const life = new Life();
  assert.equal(await untilAborted(life, Promise.resolve(7)), 7);
  life.throwIfEnded();
  life.end(new Error('later'));
  const failed = new Life();
  await assert.rejects(untilAborted(failed, Promise.reject(new Error('its own'))), /its own/);
});

test('nobody waits for a life that is over', async () => {
  const life = new Life();
  const reason = new Error('over');
  life.end(reason);
  // Whatever it ended for is told as an error of ours.
  await assert.rejects(untilAborted(life, Promise.resolve(7)), { code: 'cancelled', cause: reason });
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

test('tells each listener once, unless that is taken back', () => {
  const life = new Life();
  const told: string[] = [];
  const forget = life.whenAborted(() => told.push('never'));
  life.whenAborted((reason) => told.push(`first: ${reason}`));
  life.whenAborted((reason) => told.push(`second: ${reason}`));
  forget();
  forget();
  life.end('over');
  life.end('again');
  life.whenAborted((reason) => told.push(`late: ${reason}`));
  assert.deepEqual(told, ['first: over', 'second: over', 'late: over']);
  assert.equal(life.isAborted, true);
});
