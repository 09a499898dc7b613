import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import type { Verdict, VerdictStep } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import { VerdictInbox } from './verdict-inbox.ts';

const verdict = (connection: string, step: VerdictStep): Verdict => ({ connection, revision: 1, step });
const away = () => new AppError('unavailable');

/** An inbox whose store does what a test tells it to, with a clock that it moves. */
function setUp(t: { after(end: () => void): void }) {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.after(() => mock.timers.reset());
  const asked: { said: string[]; answer: PromiseWithResolvers<void> }[] = [];
  const failures: unknown[] = [];
  const inbox = new VerdictInbox({
    store: (verdicts) => {
      const answer = Promise.withResolvers<void>();
      asked.push({ said: verdicts.map(({ connection, step }) => `${connection} ${step}`), answer });
      return answer.promise;
    },
    onFailure: (error) => failures.push(error),
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return {
    inbox,
    failures,
    said: () => asked.map(({ said }) => said),
    async answer(at: number, error?: unknown) {
      if (error) asked[at]!.answer.reject(error);
      else asked[at]!.answer.resolve();
      await settle();
    },
    async pause() {
      mock.timers.tick(1_000);
      await settle();
    },
  };
}

test('what came while the database was away is stored when it is back', async (t) => {
  const { inbox, said, answer, pause, failures } = setUp(t);
  inbox.take([verdict('a', 'valid'), verdict('a', 'connected')]);
  await answer(0, away());
  await pause();
  await answer(1, new AppError('outcome_unknown'));
  inbox.take([verdict('b', 'valid')]);
  await pause();
  await answer(2);
  await pause();
  const both = ['a valid', 'a connected'];
  assert.deepEqual(said(), [both, both, [...both, 'b valid']]);
  assert.equal(failures.length, 2);
});

test('of one connection nothing is stored before what was said earlier, of others it is', async (t) => {
  const { inbox, said, answer, pause } = setUp(t);
  inbox.take([verdict('a', 'unreachable')]);
  inbox.take([verdict('a', 'connected'), verdict('b', 'connected')]);
  assert.deepEqual(said(), [['a unreachable'], ['b connected']]);
  await answer(0);
  assert.deepEqual(said().slice(2), [['a connected']]);
  // The first to be sent fails last, and goes first again.
  inbox.take([verdict('a', 'unreachable')]);
  await answer(1);
  await answer(2, away());
  await pause();
  assert.deepEqual(said().slice(3), [['a connected', 'a unreachable']]);
});

test('of what waits the newest of each step is kept, in a bounded number', async (t) => {
  const { inbox, said, answer, pause } = setUp(t);
  inbox.take([verdict('a', 'connected'), verdict('a', 'unreachable')]);
  inbox.take([verdict('a', 'connected')]);
  await answer(0, away());
  await pause();
  assert.deepEqual(said()[1], ['a unreachable', 'a connected']);
  await answer(1, away());
  inbox.take(Array.from({ length: 20_000 }, (_, at) => verdict(`c${at}`, 'valid')));
  await pause();
  for (let at = 2; at < said().length; at++) await answer(at);
  const stored = said().slice(2);
  assert.equal(Math.max(...stored.map(({ length }) => length)), 500);
  assert.equal(stored.flat().length, 20_000);
  assert.equal(stored[0]![0], 'c0 valid');
});

test('what the database refuses is not tried again, nor what a stream said that has ended', async (t) => {
  const { inbox, said, answer, pause, failures } = setUp(t);
  inbox.take([null as never, verdict('a', 'valid')]);
  await answer(0, new AppError('bad_request'));
  await pause();
  inbox.take([verdict('b', 'valid')]);
  inbox.take([verdict('c', 'valid')]);
  await answer(1, away());
  inbox.close();
  await answer(2, away());
  await pause();
  assert.deepEqual(said(), [['a valid'], ['b valid'], ['c valid']]);
  assert.equal(failures.length, 3);
});
