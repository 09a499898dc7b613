import assert from 'node:assert/strict';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readMessage } from './read-message.ts';
import { SnapshotFile } from './snapshot.ts';
import { createFake, createLog, desired, until } from './testing/fake-type.ts';
import { createScriptedControlPlane } from './testing/scripted-control-plane.ts';
import { startWorker, type Worker, type WorkerOptions } from './worker.ts';

const directory = await mkdtemp(join(tmpdir(), 'plugboard-worker-'));
const workers: Worker[] = [];
after(async () => {
  await Promise.all(workers.map((worker) => worker.stop(0)));
  await rm(directory, { recursive: true, force: true });
});

const canary = 'c4nary-s3cret';
const credential = 'credential-of-the-worker';
let count = 0;
const newSnapshot = () => ({ path: join(directory, `snapshot-${count++}`), credential });
const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

async function setUp(options: Partial<WorkerOptions> = {}, plane = createScriptedControlPlane()) {
  const fake = createFake();
  const log = createLog();
  const worker = await startWorker({
    name: 'w-1',
    version: '1.2.3',
    definitions: fake.definitions,
    connectors: fake.connectors,
    log,
    connect: () => plane.connect(),
    reconnectMs: [5, 20],
    ...options,
  });
  workers.push(worker);
  return { plane, fake, worker, log };
}

const operate = (connection: string, input: unknown = { text: 'x' }) =>
  ({ kind: 'operate', connection, operation: 'say', input, timeoutMs: 20_000 }) as const;

test('the worker says hello first and applies a snapshot and deltas', async () => {
  const { plane } = await setUp();
  await plane.hellos(1);
  assert.deepEqual(plane.received[0], { kind: 'hello', protocol: 1, name: 'w-1', version: '1.2.3' });
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 5, items: [desired('a', 1), desired('b', 1)] });
  await plane.reached('b', 'valid 1');
  plane.send({ kind: 'delta', seq: 6, put: [desired('a', 2), desired('c', 1)], remove: ['b'] });
  await plane.reached('a', 'valid 2');
  await plane.reached('b', 'closed 1');
  await plane.reached('c', 'valid 1');
  assert.deepEqual(
    plane.of('received').map(({ seq }) => seq),
    [5, 6],
  );
});

test('a snapshot in several frames is applied as one', async () => {
  const { plane, fake } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 5, items: [desired('a', 1), desired('b', 1)] });
  await plane.reached('b', 'valid 1');
  const part = { kind: 'snapshot', epoch: 'e1', seq: 9 } as const;
  plane.send({ ...part, items: [desired('c', 1), desired('d', 1)], more: true });
  plane.send({ kind: 'tokens', tokens: [] });
  plane.send({ ...part, items: [], more: true });
  assert.equal((await plane.ask(operate('b'))).answer.kind, 'answer');
  assert.equal(fake.clients.length, 2, 'nothing is opened before the last frame');
  assert.deepEqual(
    plane.steps('b').filter((step) => step.startsWith('closed')),
    [],
  );
  plane.send({ ...part, items: [desired('a', 1), desired('d', 2)] });
  await plane.reached('c', 'valid 1');
  await plane.reached('d', 'valid 2');
  await plane.reached('b', 'closed 1');
  assert.ok(!plane.steps('a').includes('closed 1'));
  assert.ok(!plane.steps('d').includes('valid 1'), 'the later item counts');
  assert.deepEqual(
    plane.of('received').map(({ seq }) => seq),
    [5, 9],
  );
  plane.send({ ...part, items: [desired('a', 1)] });
  await plane.reached('c', 'closed 1');
});

test('of a snapshot that ends in the middle nothing is applied, neither then nor with the next', async () => {
  const { plane } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 5, items: [desired('a', 1)] });
  await plane.reached('a', 'valid 1');
  const part = { kind: 'snapshot', epoch: 'e1', seq: 9 } as const;
  plane.send({ ...part, items: [desired('b', 1)], more: true });
  plane.close();
  await plane.hellos(2);
  assert.deepEqual(plane.of('hello')[1]!.cursor, { epoch: 'e1', seq: 5 });
  plane.send({ ...part, items: [desired('c', 1)], more: true });
  plane.send({ kind: 'delta', seq: 10, put: [], remove: ['a'] });
  await plane.hellos(3);
  assert.equal(plane.closes[1], 4400, 'no delta comes in between');
  plane.send({ ...part, items: [desired('a', 1), desired('d', 1)] });
  await plane.reached('d', 'valid 1');
  for (const connection of ['b', 'c']) assert.deepEqual(plane.steps(connection), []);
  assert.ok(!plane.steps('a').includes('closed 1'));
});

test('an answer that the stream does not carry is a failure of its request alone', async () => {
  const plane = createScriptedControlPlane();
  const { worker } = await setUp(
    { connect: async () => ({ ...(await plane.connect()), takes: (text) => text.length < 5_000 }) },
    plane,
  );
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1)] });
  await plane.reached('a', 'valid 1');
  const { answer } = await plane.ask(operate('a', { text: 'x'.repeat(5_000) }));
  assert.ok(answer.kind === 'failure');
  assert.equal(answer.failure.code, 'payload_too_large');
  assert.equal((await plane.ask(operate('a', { text: 'x'.repeat(1_000) }))).answer.kind, 'answer');
  assert.ok(worker.isConnected);
});

test('deltas are idempotent, and an older one than the position changes nothing', async () => {
  const { plane, fake } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 5, items: [desired('a', 2)] });
  await plane.reached('a', 'valid 2');
  plane.send({ kind: 'delta', seq: 5, put: [desired('a', 2)], remove: [] });
  plane.send({ kind: 'delta', seq: 4, put: [desired('a', 1)], remove: [] });
  plane.send({ kind: 'delta', seq: 3, put: [], remove: ['a'] });
  plane.send({ kind: 'delta', seq: 6, put: [desired('z', 1)], remove: [] });
  await plane.reached('z', 'valid 1');
  assert.equal(fake.clients.length, 2);
  assert.ok(!plane.steps('a').includes('closed 2'));
  assert.deepEqual(
    plane.of('received').map(({ seq }) => seq),
    [5, 5, 5, 5, 6],
  );
});

test('many changes answer in few frames', async () => {
  const { plane } = await setUp();
  await plane.hellos(1);
  const items = Array.from({ length: 300 }, (_, index) => desired(`c${index}`, 1));
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items });
  await plane.reached('c299', 'valid 1');
  await until(() => plane.of('verdicts').flatMap(({ items: verdicts }) => verdicts).length === 300);
  assert.ok(plane.of('verdicts').length < 30, `${plane.of('verdicts').length} frames`);
});

test('operations and their failures are answered', async () => {
  const { plane } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1, { password: canary })] });
  const good = await plane.ask(operate('a', { text: canary }));
  assert.deepEqual(good.answer, {
    kind: 'answer',
    request: good.answer.request,
    result: { said: '***', host: 'host-1', password: '***' },
  });
  const bad = await plane.ask(operate('a', { text: 7 }));
  assert.ok(bad.answer.kind === 'failure');
  assert.equal(bad.answer.failure.code, 'bad_request');
  assert.deepEqual(
    bad.answer.failure.validationErrors?.map(({ field }) => field),
    ['text'],
  );
  const unknown = await plane.ask(operate('unknown'));
  assert.ok(unknown.answer.kind === 'failure' && unknown.answer.failure.code === 'not_active');
});

test('a test streams its stages and then answers; a cancel ends it', async () => {
  const { plane } = await setUp();
  await plane.hellos(1);
  const draft = { kind: 'test', project: 'P', name: 'draft', type: 'fake', timeoutMs: 20_000 } as const;
  const { answer, stages } = await plane.ask({ ...draft, config: { host: 'h', password: canary } });
  assert.ok(answer.kind === 'answer');
  assert.equal((answer.result as { success: boolean }).success, true);
  assert.equal(stages.length, 5);
  plane.send({ ...draft, request: 'cancelled', config: { host: 'h', proof: 'hang' } });
  await sleep(20);
  plane.send({ kind: 'cancel', request: 'cancelled' });
  const cancelled = await plane.answerOf('cancelled');
  assert.ok(cancelled.answer.kind === 'answer');
  assert.equal((cancelled.answer.result as { success: boolean }).success, false);
  assert.ok(!JSON.stringify(plane.received).includes(canary));
});

test('an operation is cancelled on request, and when its stream ends', async () => {
  const { plane, fake } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1)] });
  await plane.reached('a', 'valid 1');
  plane.send({ ...operate('a', { text: 'x', afterMs: 60_000 }), request: 'one' });
  await until(() => fake.clients[0]!.running === 1);
  plane.send({ kind: 'cancel', request: 'one' });
  const { answer } = await plane.answerOf('one');
  assert.ok(answer.kind === 'failure' && answer.failure.code === 'cancelled');
  plane.send({ ...operate('a', { text: 'x', afterMs: 60_000 }), request: 'two' });
  await until(() => fake.clients[0]!.running === 1);
  plane.close();
  await until(() => fake.clients[0]!.running === 0);
  await plane.hellos(2);
});

test('security.md 20: a worker goes on without the control plane and catches up from its position', async () => {
  const { plane, worker, fake } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 9, items: [desired('a', 1)] });
  await plane.reached('a', 'valid 1');
  plane.away = true;
  plane.close();
  await until(() => !worker.isConnected);
  assert.deepEqual(await worker.connections.operate('a', 'say', { text: 'x' }, { timeoutMs: 20_000 }), {
    said: 'x',
    host: 'host-1',
  });
  plane.received.length = 0;
  plane.away = false;
  await plane.hellos(1);
  assert.deepEqual(plane.of('hello')[0]!.cursor, { epoch: 'e1', seq: 9 });
  await plane.reached('a', 'valid 1');
  await plane.reached('a', 'connected 1');
  plane.send({ kind: 'delta', seq: 10, put: [desired('a', 2)], remove: [] });
  await plane.reached('a', 'valid 2');
  assert.equal(fake.clients.length, 2);
});

test('a control plane of another epoch replaces everything', async () => {
  const { plane } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 9, items: [desired('a', 1), desired('b', 1)] });
  await plane.reached('b', 'valid 1');
  plane.epoch = 'e2';
  plane.close();
  await plane.hellos(2);
  plane.send({ kind: 'snapshot', epoch: 'e2', seq: 1, items: [desired('b', 1)] });
  await plane.reached('a', 'closed 1');
  plane.close();
  await plane.hellos(3);
  assert.deepEqual(plane.of('hello')[2]!.cursor, { epoch: 'e2', seq: 1 });
});

test('between the welcome of another epoch and its snapshot nothing is told, and nothing lost', async () => {
  const snapshot = newSnapshot();
  const first = await setUp({ snapshot });
  await first.plane.hellos(1);
  first.plane.send({ kind: 'snapshot', epoch: 'e1', seq: 9, items: [desired('a', 5)] });
  await first.plane.reached('a', 'valid 5');
  await first.worker.stop(0);

  const plane = createScriptedControlPlane({ epoch: 'e2' });
  const { worker, fake } = await setUp({ snapshot }, plane);
  await plane.hellos(1);
  await until(() => worker.isConnected);
  assert.equal(fake.clients.length, 0);
  // The stream ends before the snapshot: the state of the file still serves.
  plane.away = true;
  plane.close();
  await until(() => fake.clients.length === 1);
  plane.away = false;
  await plane.hellos(2);
  assert.deepEqual(plane.of('hello')[1]!.cursor, { epoch: 'e1', seq: 9 });
  await until(() => worker.isConnected);
  plane.send({ kind: 'prove', items: [{ connection: 'a', revision: 5 }] });
  await sleep(100);
  assert.deepEqual(plane.steps('a'), []);
  plane.send({ kind: 'snapshot', epoch: 'e2', seq: 2, items: [desired('a', 3)] });
  await plane.reached('a', 'valid 3');
  assert.ok(!plane.steps('a').some((step) => step.endsWith(' 5')), plane.steps('a').join());
});

test('a delta of another epoch without its snapshot is refused and everything asked for', async () => {
  const { plane } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 9, items: [desired('a', 1)] });
  await plane.reached('a', 'valid 1');
  plane.epoch = 'e2';
  plane.close();
  await plane.hellos(2);
  plane.send({ kind: 'delta', seq: 10, put: [], remove: ['a'] });
  await plane.hellos(3);
  assert.deepEqual(plane.closes, [1000, 4400]);
  assert.equal(plane.of('hello')[2]!.cursor, undefined);
  assert.ok(!plane.steps('a').includes('closed 1'));
});

test('an unknown kind is ignored, a malformed frame closes the stream with 4400', async () => {
  const { plane, log } = await setUp();
  await plane.hellos(1);
  plane.sendText('{"kind":"tomorrow","payload":1}');
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1)] });
  await plane.reached('a', 'valid 1');
  // So short that the parser's own message quotes all of it.
  assert.throws(() => JSON.parse(canary), { message: new RegExp(canary) });
  const malformed = [
    canary,
    `{"kind":"delta","seq":2,"put":[${canary}`,
    'null',
    '[]',
    '{}',
    '{"kind":7}',
    '{"kind":"delta","seq":-1,"put":[],"remove":[]}',
    '{"kind":"delta","seq":2,"put":[{}],"remove":[]}',
    '{"kind":"snapshot","epoch":"e1","seq":"2","items":[]}',
    '{"kind":"snapshot","epoch":"e1","seq":2,"items":[],"more":1}',
    '{"kind":"operate","request":"r","connection":"a","operation":"say","timeoutMs":0}',
  ];
  for (const [index, text] of malformed.entries()) {
    plane.sendText(text);
    await plane.hellos(index + 2);
    assert.equal(plane.closes[index], 4400, text);
  }
  assert.ok(!log.text().includes(canary), 'a frame that cannot be read is not quoted');
  assert.match(log.text(), /cannot be understood err=.*a frame is not JSON/, 'but what is wrong is said');
  assert.deepEqual((await plane.ask(operate('a'))).answer.kind, 'answer');
});

test('a control plane of another protocol version, or one that speaks before its welcome, is left', async () => {
  const plane = createScriptedControlPlane();
  plane.silent = true;
  await setUp({}, plane);
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [] });
  await plane.hellos(2);
  plane.send({ kind: 'welcome', protocol: 99, epoch: 'e1', environment: 'x', worker: 'w' });
  await plane.hellos(3);
  assert.deepEqual(plane.closes, [4400, 4400]);
});

test('readMessage knows every kind of the protocol', () => {
  assert.equal(readMessage('{"kind":"hold","connection":"a","revision":1,"forMs":5}')?.kind, 'hold');
  assert.equal(readMessage('{"kind":"tokens","tokens":[]}')?.kind, 'tokens');
  assert.equal(readMessage('{"kind":"constructor"}'), undefined);
  assert.throws(() => readMessage('{"kind":"tokens","tokens":[{"hash":1}]}'));
});

test('security.md 14: a revoked worker closes everything, deletes its snapshot and ends', async () => {
  const snapshot = newSnapshot();
  const { plane, worker, fake } = await setUp({ snapshot });
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1)] });
  plane.send({ kind: 'tokens', tokens: [{ hash: 'h', expiresAt: null, actor: 'x', grants: [] }] });
  await plane.reached('a', 'valid 1');
  while (!(await isThere(snapshot.path))) await sleep(10);
  const running = worker.connections.operate(
    'a',
    'say',
    { text: 'x', afterMs: 60_000 },
    { timeoutMs: 60_000 },
  );
  const refused = assert.rejects(running);
  plane.close(4401);
  assert.equal(await worker.ended, 'revoked');
  await refused;
  assert.equal(fake.openClients, 0);
  assert.equal(await isThere(snapshot.path), false);
  assert.deepEqual(worker.tokens, []);
  assert.equal(plane.of('hello').length, 1, 'it does not come back');
});

test('security.md 14: a credential that is refused while connecting ends the worker too', async () => {
  const plane = createScriptedControlPlane();
  plane.revoked = true;
  const snapshot = newSnapshot();
  await new SnapshotFile(snapshot.path, credential).save({
    environment: 'production',
    cursor: { epoch: 'e1', seq: 1 },
    items: [desired('a', 1)],
    tokens: [],
    heardAt: Date.now(),
  });
  const { worker, fake } = await setUp({ snapshot }, plane);
  assert.equal(await worker.ended, 'revoked');
  assert.equal(fake.clients.length, 0, 'nothing was opened from the snapshot');
  assert.equal(await isThere(snapshot.path), false);
});

test('a worker whose name another one took ends and leaves its snapshot', async () => {
  const snapshot = newSnapshot();
  const { plane, worker } = await setUp({ snapshot });
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1)] });
  await plane.reached('a', 'valid 1');
  plane.close(4409);
  assert.equal(await worker.ended, 'replaced');
  assert.equal(await isThere(snapshot.path), true);
});

test('security.md 20: a worker restarts from its snapshot without the control plane, last good revisions included', async () => {
  const snapshot = newSnapshot();
  const first = await setUp({ snapshot });
  await first.plane.hellos(1);
  const token = { hash: 'h', expiresAt: null, actor: 'x', grants: [{ project: 'P' }] };
  first.plane.send({ kind: 'tokens', tokens: [token] });
  first.plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1), desired('b', 1)] });
  await first.plane.reached('b', 'valid 1');
  first.plane.send({ kind: 'delta', seq: 2, put: [desired('a', 2, { open: 'refuse' })], remove: [] });
  await first.plane.reached('a', 'refused 2');
  await first.worker.stop(0);

  const plane = createScriptedControlPlane();
  plane.away = true;
  const second = await setUp({ snapshot }, plane);
  await until(() => second.fake.openClients === 2);
  await until(() => second.fake.proofs === 2, 'it proves by itself');
  assert.equal(second.worker.environment, 'production');
  assert.deepEqual(second.worker.tokens, [token]);
  for (const connection of ['a', 'b'])
    assert.deepEqual(
      await second.worker.connections.operate(connection, 'say', { text: 'x' }, { timeoutMs: 20_000 }),
      {
        said: 'x',
        host: 'host-1',
      },
    );
  plane.away = false;
  await plane.hellos(1);
  assert.deepEqual(plane.of('hello')[0]!.cursor, { epoch: 'e1', seq: 2 });
  await plane.reached('a', 'refused 2');
  assert.equal(plane.verdicts('a').find(({ step }) => step === 'refused')!.serving, 1);
  await plane.reached('b', 'valid 1');
});

test('a control plane that is there at the start is asked only for what changed', async () => {
  const snapshot = newSnapshot();
  const first = await setUp({ snapshot });
  await first.plane.hellos(1);
  first.plane.send({ kind: 'snapshot', epoch: 'e1', seq: 4, items: [desired('a', 1)] });
  await first.plane.reached('a', 'valid 1');
  await first.worker.stop(0);
  const second = await setUp({ snapshot });
  await second.plane.hellos(1);
  assert.deepEqual(second.plane.of('hello')[0]!.cursor, { epoch: 'e1', seq: 4 });
  second.plane.send({ kind: 'delta', seq: 5, put: [desired('b', 1)], remove: [] });
  await second.plane.reached('a', 'valid 1');
  await second.plane.reached('b', 'valid 1');
});

test('a snapshot that cannot be used is no reason not to start', async () => {
  const snapshot = newSnapshot();
  await new SnapshotFile(snapshot.path, 'another credential').save({
    environment: 'production',
    cursor: { epoch: 'e1', seq: 1 },
    items: [desired('a', 1)],
    tokens: [],
    heardAt: Date.now(),
  });
  const { plane } = await setUp({ snapshot });
  await plane.hellos(1);
  assert.equal(plane.of('hello')[0]!.cursor, undefined);
});

test('security.md 14: without the control plane for too long nothing is served any more', async () => {
  const snapshot = newSnapshot();
  const { plane, worker, fake } = await setUp({ snapshot, offlineMaxMs: 400 });
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1)] });
  await plane.reached('a', 'valid 1');
  plane.away = true;
  plane.close();
  await until(() => fake.openClients === 0, 'it closes');
  await assert.rejects(worker.connections.operate('a', 'say', { text: 'x' }, { timeoutMs: 20_000 }), {
    code: 'not_active',
  });
  while (await isThere(snapshot.path)) await sleep(10);
  plane.received.length = 0;
  plane.away = false;
  await plane.hellos(1);
  assert.equal(plane.of('hello')[0]!.cursor, undefined);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1)] });
  await plane.reached('a', 'valid 1');
});

test('stopping drains what the control plane asked for, and its answer still arrives', async () => {
  const { plane, worker, fake } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1)] });
  await plane.reached('a', 'valid 1');
  const last = plane.ask(operate('a', { text: 'last', afterMs: 100 }));
  await until(() => fake.clients[0]!.running === 1);
  await worker.stop();
  assert.equal((await last).answer.kind, 'answer');
  assert.equal(fake.openClients, 0);
  assert.equal(await worker.ended, 'stopped');
  await until(() => plane.closes.includes(1001));
});

test('the last that a worker says is the health of what it has closed', async () => {
  const { plane, worker } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1)] });
  await plane.ask(operate('a'));
  await worker.stop();
  await until(() => plane.closes.includes(1001));
  const last = plane
    .of('health')
    .flatMap(({ items }) => items)
    .at(-1);
  assert.deepEqual([last?.state, last?.operations.ok], ['unknown', 1]);
});

test('health reaches the control plane without being asked for', async () => {
  const { plane } = await setUp();
  await plane.hellos(1);
  plane.send({ kind: 'snapshot', epoch: 'e1', seq: 1, items: [desired('a', 1)] });
  await plane.ask(operate('a'));
  await until(() =>
    plane
      .of('health')
      .flatMap(({ items }) => items)
      .some(({ operations }) => operations.ok === 1),
  );
});
