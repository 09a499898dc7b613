import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import type { ToWorker, Verdict } from '../../contract/worker-protocol.ts';
import type { ConnectedWorker } from '../deployments/connected-workers.ts';
import { ProofSchedule } from './proof-schedule.ts';

const named = (name: string): ConnectedWorker => ({
  id: name,
  name,
  version: 'x',
  environment: { id: 'e', name: 'production' },
  connectedAt: 0,
});
const refused = { step: 'unreachable', code: 'authentication_failed' } as const;
/** What a worker says that was asked and did not try. */
const spared = { ...refused, isUntried: true, retryInMs: 20_000 };

/** A schedule for connection `c` on some workers; `sent` tells who was sent what since it was asked last. */
function setUp(t: { after(done: () => void): void }, ...names: string[]) {
  let now = 1_000;
  const clock = mock.method(performance, 'now', () => now);
  t.after(() => clock.mock.restore());
  const workers = names.map(named);
  let outbox: [string, ToWorker][] = [];
  const schedule = new ProofSchedule((worker, message) => outbox.push([worker.id, message]));
  t.after(() => schedule.close());
  const worker = (name: string) => workers.find(({ id }) => id === name)!;
  return {
    says: (name: string, verdict: Pick<Verdict, 'step'> & Partial<Verdict>) =>
      schedule.note(worker(name), [{ connection: 'c', revision: 1, ...verdict }], workers),
    pass: (ms: number) => {
      now += ms;
    },
    leaves: (name: string) => {
      const [gone] = workers.splice(workers.indexOf(worker(name)), 1);
      schedule.gone(gone!, workers);
    },
    sent: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      const messages = outbox;
      outbox = [];
      return messages.map(([to, message]) =>
        message.kind === 'hold' ? `hold ${to} ${message.forMs / 1000} s` : `${message.kind} ${to}`,
      );
    },
  };
}

test('one worker proves, the others follow when the target was reached', async (t) => {
  const { says, sent } = setUp(t, 'a', 'b', 'c');
  for (const name of ['a', 'b', 'c']) says(name, { step: 'valid' });
  assert.deepEqual(await sent(), ['prove a']);
  says('a', { step: 'connected' });
  assert.deepEqual(await sent(), ['prove b', 'prove c']);
});

test('deployed anew with the same revision, one worker proves first again', async (t) => {
  const { says, sent } = setUp(t, 'a', 'b', 'c');
  for (const name of ['a', 'b', 'c']) {
    says(name, { step: 'valid' });
    says(name, { step: 'connected' });
  }
  await sent();
  for (const name of ['b', 'a', 'c']) says(name, { step: 'valid' });
  assert.deepEqual(await sent(), ['prove b'], 'and not everybody, with what may be the wrong password');
  says('b', refused);
  assert.deepEqual(await sent(), ['hold a 90 s', 'hold c 90 s', 'prove a', 'prove c']);
});

test('what a worker saw of the deployment before frees nobody', async (t) => {
  const { says, sent } = setUp(t, 'a', 'b');
  says('a', { step: 'valid' });
  says('b', { step: 'valid' });
  assert.deepEqual(await sent(), ['prove a']);
  // Deployed anew: b has opened it while a still proves the one before.
  says('b', { step: 'valid' });
  assert.deepEqual(await sent(), ['prove b']);
  says('a', { step: 'connected' });
  says('a', { step: 'valid' });
  assert.deepEqual(await sent(), []);
  says('b', { step: 'connected' });
  assert.deepEqual(await sent(), ['prove a']);
});

test('who waits already when the proof begins anew is asked all the same', async (t) => {
  const { says, sent } = setUp(t, 'a', 'b');
  says('a', { step: 'valid' });
  // Deployed anew before b had opened the one before, of which it says nothing then.
  says('b', { step: 'valid' });
  says('a', { step: 'valid' });
  await sent();
  says('a', { step: 'connected' });
  assert.deepEqual(await sent(), ['prove b']);
});

test('what all workers have closed is forgotten', async (t) => {
  const { says, sent } = setUp(t, 'a', 'b');
  says('a', { step: 'valid' });
  says('b', { step: 'valid' });
  says('a', refused);
  await sent();
  says('a', { step: 'closed' });
  says('b', { step: 'closed' });
  await sent();
  says('b', { step: 'valid' });
  assert.deepEqual(await sent(), ['prove b']);
});

test('when the first one leaves or closes, the next is asked', async (t) => {
  const { says, leaves, sent } = setUp(t, 'a', 'b', 'c');
  for (const name of ['a', 'b', 'c']) says(name, { step: 'valid' });
  assert.deepEqual(await sent(), ['prove a']);
  leaves('a');
  assert.deepEqual(await sent(), ['prove b']);
  says('b', { step: 'closed' });
  assert.deepEqual(await sent(), ['prove c']);
});

test('each refusal lets the others hold until after the next try; a success ends that', async (t) => {
  const { says, sent, pass } = setUp(t, 'a', 'b', 'c');
  for (const name of ['a', 'b']) says(name, { step: 'valid' });
  says('a', { ...refused, retryInMs: 30_000 });
  assert.deepEqual(await sent(), ['hold b 90 s', 'hold c 90 s', 'prove a', 'prove b']);
  says('b', spared);
  assert.deepEqual(await sent(), [], 'b dialled nothing');
  pass(36_000);
  says('a', { ...refused, retryInMs: 60_000 });
  assert.deepEqual(await sent(), ['hold b 90 s', 'hold c 90 s']);
  pass(60_000);
  says('a', { ...refused, retryInMs: 900_000 });
  assert.deepEqual(await sent(), ['hold b 1350 s', 'hold c 1350 s']);
  pass(350_000);
  says('c', { step: 'valid' });
  assert.deepEqual(await sent(), ['hold c 1000 s', 'prove c'], 'who comes later holds as long');
  says('a', { step: 'unreachable', code: 'connect_timeout' });
  assert.deepEqual(await sent(), [], 'which says nothing of the password');
  says('a', { step: 'connected' });
  assert.deepEqual(await sent(), ['hold b 0 s', 'hold c 0 s', 'prove b', 'prove c']);
});

test('deployed anew while nobody may try, nobody does, and whose turn it is stays', async (t) => {
  const { says, sent } = setUp(t, 'a', 'b');
  says('a', { step: 'valid' });
  says('b', { step: 'valid' });
  says('a', { ...refused, retryInMs: 900_000 });
  says('b', spared);
  await sent();
  says('b', { step: 'valid' });
  says('a', { step: 'valid' });
  assert.deepEqual(await sent(), ['prove b']);
  says('b', spared);
  assert.deepEqual(await sent(), ['hold b 1350 s', 'prove a']);
  says('a', spared);
  says('a', { ...refused, retryInMs: 900_000 });
  assert.deepEqual(await sent(), ['hold b 1350 s']);
});

test('when the one leaves whose turn it is after a refusal, one takes its place', async (t) => {
  const { says, leaves, sent, pass } = setUp(t, 'a', 'b', 'c');
  for (const name of ['a', 'b', 'c']) says(name, { step: 'valid' });
  says('a', { ...refused, retryInMs: 120_000 });
  await sent();
  pass(100_000);
  leaves('a');
  assert.deepEqual(await sent(), ['hold c 120 s'], 'b tries when its 80 s are over');
});
