import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Verdict } from '../contract/worker-protocol.ts';
import { AppError } from '../errors.ts';
import { createNetwork } from './egress.ts';
import { createEgressPolicy } from './egress-policy.ts';
import { LiveConnections } from './live-connections.ts';
import type { Limits } from './live-connections-options.ts';
import { createFake, createLog, desired, until } from './testing/fake-type.ts';

const canary = 'c4nary-s3cret';
const timeoutMs = 20_000;

function setUp(limits: Partial<Limits> = {}, hasControlPlane = true) {
  const fake = createFake();
  const verdicts: Verdict[] = [];
  const log = createLog();
  const live = new LiveConnections({
    definitions: fake.definitions,
    connectors: fake.connectors,
    network: createNetwork({ policy: createEgressPolicy() }),
    log,
    environment: () => 'production',
    hasControlPlane: () => hasControlPlane,
    onVerdict: (verdict) => verdicts.push(verdict),
    limits,
  });
  const steps = (connection: string) =>
    verdicts
      .filter((verdict) => verdict.connection === connection)
      .map(({ step, revision }) => `${step} ${revision}`);
  const reached = (connection: string, step: string) =>
    until(() => steps(connection).includes(step), `${connection}: ${step} (${steps(connection)})`);
  const verdictOf = (connection: string, step: string) =>
    verdicts.find(
      (verdict) => verdict.connection === connection && `${verdict.step} ${verdict.revision}` === step,
    )!;
  return { fake, live, verdicts, steps, reached, verdictOf, log };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'succeeded';
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return error.code;
  }
}

test('a connection opens, is used by its operation, and closes', async () => {
  const { live, reached, steps, fake } = setUp();
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  assert.deepEqual(await live.operate('a', 'say', { text: 'hello' }, { timeoutMs }), {
    said: 'hello',
    host: 'host-1',
  });
  live.remove(['a']);
  await reached('a', 'closed 1');
  assert.equal(fake.openClients, 0);
  assert.equal(await codeOf(live.operate('a', 'say', { text: 'hello' }, { timeoutMs })), 'not_active');
  assert.deepEqual(steps('a'), ['valid 1', 'connected 1', 'closed 1']);
});

test('what is removed without being held is closed all the same', async () => {
  const { live, steps } = setUp();
  live.remove(['unknown']);
  assert.deepEqual(steps('unknown'), ['closed 0']);
});

test('security.md 18: a hung connection costs only itself', async () => {
  const { live, reached, verdictOf } = setUp({ openTimeoutMs: 600 });
  live.put([desired('hung', 1, { open: 'hang' }), desired('deaf', 1, { open: 'ok', proof: 'hang' })]);
  live.prove([{ connection: 'deaf', revision: 1 }]);
  live.put([desired('good', 1)]);
  await reached('good', 'valid 1');
  assert.deepEqual(await live.operate('good', 'say', { text: 'x' }, { timeoutMs }), {
    said: 'x',
    host: 'host-1',
  });
  await reached('hung', 'refused 1');
  assert.equal(verdictOf('hung', 'refused 1').code, 'target_timeout');
  assert.equal(verdictOf('hung', 'refused 1').retryable, true);
  await live.stop(0);
});

test('what is undeployed and deployed again while it opens is opened, and not called refused', async () => {
  const { live, reached, steps } = setUp();
  live.put([desired('a', 1, { open: 'hang' })]);
  await sleep(20);
  live.remove(['a']);
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  assert.deepEqual(steps('a'), ['valid 1']);
  await live.stop(0);
});

test('a client that comes after its deadline is closed', async () => {
  const { live, reached, fake } = setUp({ openTimeoutMs: 50 });
  live.put([desired('late', 1, { open: 'late' })]);
  await reached('late', 'refused 1');
  await until(() => fake.clients.length === 1 && fake.openClients === 0);
  await live.stop(0);
});

test('replacing leaves no gap: no operation fails during 50 replacements', async () => {
  const { live, reached, fake } = setUp();
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  let isOver = false;
  let succeeded = 0;
  const user = async () => {
    while (!isOver) {
      await live.operate('a', 'say', { text: 'x', afterMs: 1 }, { timeoutMs });
      succeeded += 1;
    }
  };
  const users = [user(), user(), user(), user()];
  for (let revision = 2; revision <= 51; revision++) {
    live.put([desired('a', revision)]);
    await reached('a', `valid ${revision}`);
    await sleep(1);
  }
  isOver = true;
  await Promise.all(users);
  assert.ok(succeeded >= 50, `${succeeded} operations`);
  assert.equal(fake.clients.length, 51);
  await until(() => fake.openClients === 1, 'the old clients are closed');
  await live.stop(0);
});

test('an operation that runs while its client is replaced ends on the old one', async () => {
  const { live, reached, fake } = setUp();
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  const slow = live.operate('a', 'say', { text: 'slow', afterMs: 150 }, { timeoutMs });
  live.put([desired('a', 2)]);
  await reached('a', 'valid 2');
  assert.equal(fake.clients[0]!.closed, 0, 'the old client drains');
  assert.deepEqual(await slow, { said: 'slow', host: 'host-1' });
  await until(() => fake.clients[0]!.closed === 1);
  await live.stop(0);
});

test('each call has its own deadline, whichever began first and whatever ended before', async () => {
  const { live, reached } = setUp();
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  const call = async (afterMs: number, timeoutMs: number) => {
    const startedAt = performance.now();
    const code = await codeOf(live.operate('a', 'say', { text: 'x', afterMs }, { timeoutMs }));
    if (code === 'target_timeout') assert.ok(performance.now() - startedAt >= timeoutMs - 1);
    return code;
  };
  const lateMs = 20_000;
  assert.equal(await call(0, 300), 'succeeded');
  assert.deepEqual(
    await Promise.all([call(900, 60_000), call(lateMs, 600), call(lateMs, 50), call(lateMs, 350)]),
    ['succeeded', 'target_timeout', 'target_timeout', 'target_timeout'],
  );
  assert.equal(await call(lateMs, 50), 'target_timeout');
  await live.stop(0);
});

test('draining is bounded, in time and in number', async () => {
  const { live, reached, fake } = setUp({ drainMs: 50, draining: 2 });
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  const slow = codeOf(
    live.operate('a', 'say', { text: 'x', afterMs: 60_000, deaf: false }, { timeoutMs: 60_000 }),
  );
  live.put([desired('a', 2)]);
  assert.equal(await slow, 'cancelled');
  await until(() => fake.clients[0]!.closed === 1);
  await live.stop(0);
});

test('a clock that is set in the middle neither lengthens a drain nor keeps a circuit open', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const { live, reached, fake } = setUp({ drainMs: 60_000 });
  live.put([desired('drained', 1)]);
  await reached('drained', 'valid 1');
  const slow = codeOf(
    live.operate('drained', 'say', { text: 'x', afterMs: 60_000, deaf: false }, { timeoutMs: 60_000 }),
  );
  live.put([desired('drained', 2)]);
  await reached('drained', 'valid 2');
  t.mock.timers.setTime(Date.now() + 3_600_000);
  live.remove(['drained']);
  const endedAt = performance.now();
  assert.equal(await slow, 'cancelled');
  assert.ok(performance.now() - endedAt < 30_000, 'as soon as any disabled one');
  assert.equal(fake.clients.length, 2);

  const circuitBreaker = { enabled: true, errorThreshold: 1, sleepWindowSeconds: 1 };
  live.put([desired('broken', 1, { circuitBreaker })]);
  await reached('broken', 'valid 1');
  const call = (more: object) => codeOf(live.operate('broken', 'say', { text: 'x', ...more }, { timeoutMs }));
  assert.equal(await call({ fail: 'target_error' }), 'target_error');
  t.mock.timers.setTime(Date.now() - 7_200_000);
  assert.equal(await call({}), 'circuit_open');
  await sleep(1100);
  assert.equal(await call({}), 'succeeded');
  await live.stop(0);
});

test('security.md 19: a refused revision leaves the last good one serving, and says so', async () => {
  const { live, reached, verdictOf } = setUp();
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  live.put([desired('a', 2, { open: 'refuse', password: canary })]);
  await reached('a', 'refused 2');
  const verdict = verdictOf('a', 'refused 2');
  assert.equal(verdict.serving, 1);
  assert.equal(verdict.code, 'invalid_configuration');
  assert.ok(!JSON.stringify(verdict).includes(canary));
  assert.equal(
    ((await live.operate('a', 'say', { text: 'x' }, { timeoutMs })) as { host: string }).host,
    'host-1',
  );
  assert.equal(live.lastGood('a')?.revision, 1);
  live.put([desired('a', 3)]);
  await reached('a', 'valid 3');
  assert.equal(live.lastGood('a'), undefined);
  await live.stop(0);
});

test('security.md 19: a worker that starts later serves the last good revision too', async () => {
  const { live, reached, verdictOf, steps } = setUp();
  const lastGood = { revision: 1, config: { host: 'good' } };
  live.put([desired('a', 2, { open: 'refuse' }, { lastGood })]);
  await reached('a', 'refused 2');
  assert.equal(verdictOf('a', 'refused 2').serving, 1);
  assert.equal(
    ((await live.operate('a', 'say', { text: 'x' }, { timeoutMs })) as { host: string }).host,
    'good',
  );
  assert.ok(!steps('a').includes('valid 2'));
  await live.stop(0);
});

test('a refused connection that serves nothing says why it is not active', async () => {
  const { live, reached } = setUp();
  live.put([desired('a', 1, { trustStoreName: 'corporate' })]);
  await reached('a', 'refused 1');
  await assert.rejects(live.operate('a', 'say', { text: 'x' }, { timeoutMs }), (error: AppError) => {
    assert.equal(error.code, 'not_active');
    assert.match(error.message, /corporate/);
    return true;
  });
  await live.stop(0);
});

test('what cannot be made live is refused with its reason', async () => {
  const { live, reached, verdictOf } = setUp();
  live.put([
    desired('stored', 1, {}, { type: 'stored' }),
    desired('alien', 1, {}, { type: 'alien' }),
    desired('wrong', 1, { host: 7, hsot: 'x' }),
    desired('prototype', 1, {}, { type: 'constructor' }),
    desired('bug', 1, { open: 'bug', password: canary }),
  ]);
  for (const name of ['stored', 'alien', 'wrong', 'prototype', 'bug']) await reached(name, 'refused 1');
  assert.match(verdictOf('stored', 'refused 1').message!, /does not make them live/);
  assert.equal(verdictOf('stored', 'refused 1').code, 'driver_missing');
  assert.equal(verdictOf('alien', 'refused 1').code, 'driver_missing');
  assert.equal(verdictOf('prototype', 'refused 1').code, 'driver_missing');
  assert.equal(verdictOf('wrong', 'refused 1').code, 'invalid_configuration');
  assert.match(verdictOf('wrong', 'refused 1').message!, /host.*hsot|hsot.*host/);
  assert.ok(!JSON.stringify(verdictOf('bug', 'refused 1')).includes(canary));
  await live.stop(0);
});

test('a refusal that may pass is tried again', async () => {
  const { live, verdicts } = setUp({ retryOpenMs: [10, 20] });
  live.put([desired('a', 1, { open: 'flaky' })]);
  await until(() => verdicts.filter(({ step }) => step === 'refused').length >= 3);
  assert.equal(verdicts[0]!.retryable, true);
  await live.stop(0);
});

test('security.md 21: disabling refuses operations at once, aborts what runs and closes', async () => {
  for (const close of ['remove', 'enabled', 'deployToWorker']) {
    const { live, reached, fake } = setUp();
    live.put([desired('a', 1)]);
    await reached('a', 'valid 1');
    const quick = live.operate('a', 'say', { text: 'quick', afterMs: 20 }, { timeoutMs });
    const slow = codeOf(live.operate('a', 'say', { text: 'slow', afterMs: 60_000 }, { timeoutMs: 60_000 }));
    if (close === 'remove') live.remove(['a']);
    else live.put([desired('a', 2, { [close]: false })]);
    assert.equal(await codeOf(live.operate('a', 'say', { text: 'x' }, { timeoutMs })), 'not_active');
    assert.deepEqual(await quick, { said: 'quick', host: 'host-1' });
    assert.equal(await slow, 'not_active');
    await reached('a', 'closed 1');
    assert.equal(fake.openClients, 0);
    assert.equal(fake.aborts, 1, 'the signal of open is aborted');
    await live.stop(0);
  }
});

test('security.md 21: undeploying while a revision hangs in opening does not wait for it', async () => {
  const { live, steps, reached } = setUp({ openTimeoutMs: 60_000 });
  live.put([desired('a', 1, { open: 'hang' })]);
  await sleep(20);
  live.remove(['a']);
  await reached('a', 'closed 1');
  assert.ok(!steps('a').includes('valid 1'));
});

test('a connector that does not close is given up, and one that fails to close does no harm', async () => {
  const { live, reached, log } = setUp();
  live.put([
    desired('hangs', 1, { closing: 'hang' }),
    desired('fails', 1, { closing: 'fail', password: canary }),
  ]);
  await reached('hangs', 'valid 1');
  await reached('fails', 'valid 1');
  live.remove(['hangs', 'fails']);
  await reached('fails', 'closed 1');
  await reached('hangs', 'closed 1');
  assert.match(log.text(), /a client did not close cleanly/);
  assert.ok(!log.text().includes(canary));
});

test('a newer revision does not wait for one that hangs in opening', async () => {
  const { live, reached, verdictOf, steps } = setUp({ openTimeoutMs: 60_000, supersedeAfterMs: 30 });
  live.put([desired('a', 1, { open: 'hang' })]);
  await sleep(10);
  live.put([desired('a', 2)]);
  live.put([desired('a', 3)]);
  await reached('a', 'valid 3');
  assert.match(verdictOf('a', 'refused 1').message!, /Superseded/);
  assert.match(verdictOf('a', 'refused 2').message!, /Superseded/);
  assert.ok(!steps('a').includes('valid 2'));
  await live.stop(0);
});

test('the same revision again changes nothing and answers again; other values under it do', async () => {
  const { live, steps, fake, verdicts } = setUp();
  live.put([desired('a', 1)]);
  await until(() => steps('a').length === 1);
  live.put([desired('a', 1)]);
  await until(() => steps('a').length === 2);
  assert.deepEqual(steps('a'), ['valid 1', 'valid 1']);
  assert.equal(fake.clients.length, 1);
  live.put([desired('a', 1, { host: 'resolved-anew' })]);
  await until(() => fake.clients.length === 2);
  await until(() => verdicts.length === 3);
  await live.stop(0);
});

test('a whole desired state closes what is not in it', async () => {
  const { live, reached, fake } = setUp();
  live.put([desired('a', 1), desired('b', 1)]);
  await reached('b', 'valid 1');
  live.replaceAll([desired('b', 1), desired('c', 1)]);
  await reached('a', 'closed 1');
  await reached('c', 'valid 1');
  assert.equal(fake.openClients, 2);
  assert.equal(live.find('P', 'A'), undefined);
  assert.equal(live.find('P', 'B'), 'b');
  assert.equal(live.find('p', 'b'), undefined, 'projects match exactly');
  await live.stop(0);
});

test('an operation waits for a client that is being opened', async () => {
  const { live } = setUp();
  live.put([desired('a', 1, { open: 'late' })]);
  assert.equal(await codeOf(live.operate('a', 'say', { text: 'x' }, { timeoutMs: 20 })), 'target_timeout');
  assert.equal(await codeOf(live.operate('a', 'say', { text: 'x' }, { timeoutMs })), 'succeeded');
  await live.stop(0);
});

test('the time that an operation waited for its client is taken from its own', async () => {
  const { live } = setUp();
  live.put([desired('a', 1, { open: 'late' })]);
  await assert.rejects(
    live.operate('a', 'say', { text: 'x', afterMs: 60_000 }, { timeoutMs: 1000 }),
    (error: AppError) => {
      const leftMs = Number(/within ([\d.]+) ms/.exec(error.message)?.[1]);
      return leftMs > 1 && leftMs < 1000;
    },
  );
  await live.stop(0);
});

test('an operation that has ended leaves nothing with whoever asked', async () => {
  const { live, reached } = setUp();
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  const asker = new AbortController();
  await live.operate('a', 'say', { text: 'x' }, { timeoutMs, asker });
  assert.equal(getEventListeners(asker.signal, 'abort').length, 0);
  await live.stop(0);
});

test('deadline, cancel, unknown operation and faulty input', async () => {
  const { live, reached } = setUp();
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  const slow = { text: 'x', afterMs: 60_000 };
  assert.equal(await codeOf(live.operate('a', 'say', slow, { timeoutMs: 30 })), 'target_timeout');
  assert.equal(
    await codeOf(live.operate('a', 'say', { ...slow, afterMs: 500, deaf: true }, { timeoutMs: 30 })),
    'target_timeout',
  );
  const controller = new AbortController();
  const cancelled = codeOf(live.operate('a', 'say', slow, { timeoutMs, asker: controller }));
  controller.abort();
  assert.equal(await cancelled, 'cancelled');
  assert.equal(
    await codeOf(live.operate('a', 'say', slow, { timeoutMs, asker: { signal: AbortSignal.abort() } })),
    'cancelled',
  );
  for (const name of ['nothing', 'constructor', '__proto__', 'toString'])
    assert.equal(await codeOf(live.operate('a', name, {}, { timeoutMs })), 'not_found', name);
  await assert.rejects(
    live.operate('a', 'say', { to: ['a@example.com', 'nobody'], afterMs: -1, txet: 1 }, { timeoutMs }),
    (error: AppError) => {
      assert.equal(error.code, 'bad_request');
      assert.deepEqual(error.details.validationErrors?.map(({ field }) => field).sort(), [
        'afterMs',
        'text',
        'to[1]',
        'txet',
      ]);
      return true;
    },
  );
  for (const input of [null, 7, 'x', [], undefined])
    assert.equal(await codeOf(live.operate('a', 'say', input, { timeoutMs })), 'bad_request');
  await live.stop(0);
});

test('whatever a connector does wrong in an operation is answered, and the operation counts as over', async () => {
  const { fake, live, reached, log } = setUp({ concurrency: 1 });
  const connector = await fake.connectors.fake();
  const faults: Record<string, () => Promise<unknown>> = {
    'throws at once': () => {
      throw Object.assign(new Error('no'), { code: 'target_error' });
    },
    'answers no JSON': async () => ({ count: 1n }),
    'cannot classify': () => Promise.reject(null),
  };
  const say = (_: unknown, { text }: { text: string }) => faults[text]?.() ?? Promise.resolve(text);
  fake.connectors.fake = async () =>
    ({ ...connector, operations: { ...connector.operations, say } }) as never;
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  const outcomes = [];
  for (const text of [...Object.keys(faults), 'well'])
    outcomes.push(await codeOf(live.operate('a', 'say', { text }, { timeoutMs })));
  assert.deepEqual(outcomes, ['target_error', 'internal_error', 'internal_error', 'succeeded']);
  await assert.rejects(live.operateToJson('a', 'say', { text: 'answers no JSON' }, { timeoutMs }), {
    code: 'internal_error',
    message: /no JSON/,
  });
  assert.match(log.text(), /could not classify an error/);
  assert.match(log.text(), /failed in a way that it does not know/);
  await live.stop(0);
});

test('security.md 3: errors and results are scrubbed of the secrets of the connection', async () => {
  const { live, reached, log } = setUp();
  live.put([
    desired('long', 1, { password: canary }),
    desired('short', 1, { password: 'abc' }),
    desired('warned', 1, { password: canary, open: 'warn' }),
  ]);
  await reached('long', 'valid 1');
  await reached('short', 'valid 1');
  const base64 = Buffer.from(`user:${canary}`).toString('base64');
  const result = await live.operate('long', 'say', { text: `echo ${canary} ${base64}` }, { timeoutMs });
  assert.ok(!JSON.stringify(result).includes(canary));
  assert.ok(!JSON.stringify(result).includes(base64));
  await assert.rejects(
    live.operate('long', 'say', { text: 'refused', fail: 'authentication_failed' }, { timeoutMs }),
    (error: AppError) => {
      assert.equal(error.code, 'authentication_failed');
      assert.match(error.message, /the driver said: refused/);
      assert.ok(!error.message.includes(canary));
      assert.equal(error.cause, undefined);
      return true;
    },
  );
  await assert.rejects(
    live.operate(
      'short',
      'say',
      { text: 'text of the driver', fail: 'authentication_failed' },
      { timeoutMs },
    ),
    (error: AppError) => error.message === 'The target refused the credentials',
  );
  const warned = live.verdicts().find(({ connection, step }) => connection === 'warned' && step === 'valid')!;
  assert.equal(warned.warnings?.length, 1);
  assert.ok(!JSON.stringify(live.verdicts()).includes(canary));
  assert.ok(!JSON.stringify(live.health(Date.now())).includes(canary));
  assert.ok(!live.scrub(`out of band: ${canary}`).includes(canary));
  assert.ok(!log.text().includes(canary));
  await live.stop(0);
});

test('the circuit opens after failures in a row, lets one through after the window, and closes by its success', async () => {
  const { live, reached } = setUp();
  const circuitBreaker = { enabled: true, errorThreshold: 3, sleepWindowSeconds: 1 };
  live.put([desired('a', 1, { circuitBreaker })]);
  await reached('a', 'valid 1');
  const fail = () => codeOf(live.operate('a', 'say', { text: 'x', fail: 'target_error' }, { timeoutMs }));
  const succeed = () => codeOf(live.operate('a', 'say', { text: 'x' }, { timeoutMs }));
  assert.deepEqual(
    [await fail(), await fail(), await succeed()],
    ['target_error', 'target_error', 'succeeded'],
  );
  assert.deepEqual(
    [await fail(), await fail(), await fail()],
    ['target_error', 'target_error', 'target_error'],
  );
  await assert.rejects(live.operate('a', 'say', { text: 'x' }, { timeoutMs }), (error: AppError) => {
    assert.equal(error.code, 'circuit_open');
    assert.equal(error.details.retryAfter, 1);
    return true;
  });
  assert.equal(
    await codeOf(live.operate('a', 'say', {}, { timeoutMs })),
    'bad_request',
    'faulty input is told first',
  );
  await sleep(1100);
  const probe = codeOf(live.operate('a', 'say', { text: 'x', afterMs: 100 }, { timeoutMs }));
  assert.equal(await succeed(), 'circuit_open', 'only one is let through');
  assert.equal(await probe, 'succeeded');
  assert.equal(await succeed(), 'succeeded');
  await live.stop(0);
});

test('operations in flight are limited for each connection, counting those that ignore their deadline', async () => {
  const { live, reached } = setUp({ concurrency: 2 });
  live.put([desired('a', 1), desired('b', 1)]);
  await reached('b', 'valid 1');
  const deaf = { text: 'x', afterMs: 300, deaf: true };
  assert.equal(await codeOf(live.operate('a', 'say', deaf, { timeoutMs: 10 })), 'target_timeout');
  assert.equal(await codeOf(live.operate('a', 'say', deaf, { timeoutMs: 10 })), 'target_timeout');
  assert.equal(await codeOf(live.operate('a', 'say', { text: 'x' }, { timeoutMs })), 'target_busy');
  assert.equal(await codeOf(live.operate('b', 'say', { text: 'x' }, { timeoutMs })), 'succeeded');
  await sleep(400);
  assert.equal(await codeOf(live.operate('a', 'say', { text: 'x' }, { timeoutMs })), 'succeeded');
  await live.stop(0);
});

test('security.md 17: proofs are answered by verdicts, also for a revision that is still opening', async () => {
  const { live, reached, verdictOf } = setUp({ proveTimeoutMs: 30 });
  live.put([
    desired('good', 1, { open: 'late' }),
    desired('bad', 1, { proof: 'connection_refused', password: canary }),
    desired('hung', 1, { proof: 'hang' }),
  ]);
  live.prove(['good', 'bad', 'hung'].map((connection) => ({ connection, revision: 1 })));
  await reached('good', 'connected 1');
  await reached('bad', 'unreachable 1');
  await reached('hung', 'unreachable 1');
  assert.equal(verdictOf('bad', 'unreachable 1').code, 'connection_refused');
  assert.equal(verdictOf('bad', 'unreachable 1').retryable, true);
  assert.ok(!verdictOf('bad', 'unreachable 1').message!.includes(canary));
  assert.equal(verdictOf('hung', 'unreachable 1').code, 'target_timeout');
  assert.equal(
    await codeOf(live.operate('bad', 'say', { text: 'x' }, { timeoutMs })),
    'succeeded',
    'an operation is tried all the same',
  );
  await reached('bad', 'connected 1');
  await live.stop(0);
});

test('without a control plane a worker proves by itself; with one it waits to be asked', async () => {
  const alone = setUp({}, false);
  alone.live.put([desired('a', 1)]);
  await alone.reached('a', 'connected 1');
  await alone.live.stop(0);
  const led = setUp({}, true);
  led.live.put([desired('a', 1)]);
  await led.reached('a', 'valid 1');
  assert.equal(led.fake.proofs, 0);
  await led.live.stop(0);
});

test('a hold keeps the worker from logging in, also one that comes before the client is open', async () => {
  const { live, reached, fake, verdictOf } = setUp();
  live.put([desired('a', 1, { open: 'late' }), desired('b', 1)]);
  live.hold('a', 1, 400);
  await reached('b', 'valid 1');
  live.hold('b', 1, 60_000);
  live.prove([
    { connection: 'a', revision: 1 },
    { connection: 'b', revision: 1 },
  ]);
  await reached('a', 'valid 1');
  assert.equal(fake.proofs, 0);
  await reached('b', 'unreachable 1');
  const { code, isUntried } = verdictOf('b', 'unreachable 1');
  assert.deepEqual({ code, isUntried }, { code: 'authentication_failed', isUntried: true });
  const unreachable = live.health(Date.now()).filter(({ state }) => state === 'unreachable');
  assert.deepEqual(unreachable, [], 'nobody has looked');
  await reached('a', 'connected 1');
  assert.equal(fake.proofs, 1);
  await live.stop(0);
});

test('health counts operations by the minute and reports what changed', async () => {
  const { live, reached } = setUp();
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  await live.operate('a', 'say', { text: 'x' }, { timeoutMs });
  await codeOf(live.operate('a', 'say', { text: 'x', fail: 'permission_denied' }, { timeoutMs }));
  const now = Date.now();
  const [report] = live.health(now);
  assert.deepEqual([report!.operations.ok, report!.operations.failed], [1, 1]);
  assert.equal(report!.minute % 60_000, 0);
  assert.equal(report!.state, 'connected');
  assert.equal(report!.lastError?.code, 'permission_denied');
  assert.deepEqual(report!.figures, { running: 0 });
  assert.deepEqual(live.health(report!.minute + 59_999), [], 'nothing changed');
  const [final] = live.health(report!.minute + 60_000);
  assert.equal(final!.operations.ok, 1, 'the minute is reported whole at its end');
  const [next] = live.health(report!.minute + 120_000);
  assert.deepEqual([next!.minute, next!.operations.ok], [report!.minute + 60_000, 0]);
  await live.stop(0);
});

test('what was counted until a connection closed is reported, as of one that is not open any more', async () => {
  const { live, reached } = setUp();
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  const operate = () => live.operate('a', 'say', { text: 'x' }, { timeoutMs });
  await operate();
  const [open] = live.health(0);
  assert.deepEqual([open!.state, open!.operations.ok], ['connected', 1]);
  await operate();
  live.remove(['a']);
  await reached('a', 'closed 1');
  const [closed, ...others] = live.health(0);
  assert.deepEqual([closed!.revision, closed!.state, closed!.operations.ok], [1, 'unknown', 2]);
  assert.deepEqual(others, []);
  assert.deepEqual(live.health(0), [], 'nothing changed');
  // The minute is the same, and what is said of it last is what counts.
  live.put([desired('a', 2)]);
  await reached('a', 'valid 2');
  await operate();
  const [again] = live.health(0);
  assert.deepEqual([again!.revision, again!.operations.ok], [2, 3]);
  live.remove(['a']);
  await reached('a', 'closed 2');
  const [final] = live.health(closed!.minute + 60_000);
  assert.deepEqual([final!.minute, final!.state, final!.operations.ok], [closed!.minute, 'unknown', 3]);
  assert.deepEqual(live.health(closed!.minute + 120_000), [], 'and then it is forgotten');
  await live.stop(0);
});

test('stopping lets what runs end, and takes nothing new', async () => {
  const { live, reached, fake } = setUp();
  live.put([desired('a', 1)]);
  await reached('a', 'valid 1');
  const running = live.operate('a', 'say', { text: 'last', afterMs: 100 }, { timeoutMs });
  const stopping = live.stop(10_000);
  assert.equal(await codeOf(live.operate('a', 'say', { text: 'x' }, { timeoutMs })), 'unavailable');
  assert.deepEqual(await running, { said: 'last', host: 'host-1' });
  await stopping;
  assert.equal(fake.openClients, 0);
});
