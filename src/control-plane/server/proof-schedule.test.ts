import assert from 'node:assert/strict';
import { test } from 'node:test';
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

/** A schedule for connection `c` on some workers; `sent` tells who was sent what since it was asked last. */
function setUp(t: { after(done: () => void): void }, ...names: string[]) {
  const workers = names.map(named);
  let outbox: [string, ToWorker][] = [];
  const schedule = new ProofSchedule((worker, message) => outbox.push([worker.id, message]));
  t.after(() => schedule.close());
  const worker = (name: string) => workers.find(({ id }) => id === name)!;
  return {
    says: (name: string, verdict: Pick<Verdict, 'step'> & Partial<Verdict>) =>
      schedule.note(worker(name), [{ connection: 'c', revision: 1, ...verdict }], workers),
    leaves: (name: string) => {
      const [gone] = workers.splice(workers.indexOf(worker(name)), 1);
      schedule.gone(gone!, workers);
    },
    sent: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      const messages = outbox;
      outbox = [];
      return messages.map(([to, { kind }]) => `${kind} ${to}`);
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
  assert.deepEqual(await sent(), ['hold a', 'hold c']);
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
