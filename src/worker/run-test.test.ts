import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StageResult } from '../contract/worker-protocol.ts';
import { createNetwork } from './egress.ts';
import { createEgressPolicy } from './egress-policy.ts';
import { runTest } from './run-test.ts';
import { createFake, createLog } from './testing/fake-type.ts';

const canary = 'c4nary-s3cret';

async function run(
  config: Record<string, unknown>,
  {
    type = 'fake',
    timeoutMs = 20_000,
    signal,
  }: { type?: string; timeoutMs?: number; signal?: AbortSignal } = {},
) {
  const fake = createFake();
  const log = createLog();
  const streamed: StageResult[] = [];
  const result = await runTest(
    {
      definitions: fake.definitions,
      connectors: fake.connectors,
      network: createNetwork({ policy: createEgressPolicy() }),
      log,
      environment: 'production',
    },
    { project: 'P', name: 'a', type, config: { host: 'host-1', password: canary, ...config }, timeoutMs },
    (stage) => streamed.push(stage),
    signal,
  );
  assert.deepEqual(streamed, result.stages, 'every stage is streamed once, in order');
  assert.deepEqual(
    result.stages.map(({ stage }) => stage),
    ['resolve', 'connect', 'tls', 'authenticate', 'operate'],
  );
  for (const stage of result.stages) {
    if (stage.status === 'failed') assert.ok(stage.detail && stage.code, 'a failure says what was seen');
    if (stage.status === 'skipped') assert.equal(stage.durationMs, undefined);
  }
  assert.ok(!JSON.stringify(result).includes(canary), 'security.md 3');
  assert.ok(!log.text().includes(canary), 'security.md 3');
  return { ...result, statuses: result.stages.map(({ status }) => status).join(' ') };
}

test('a stage that does not apply is skipped, never passed', async () => {
  const { success, statuses, stages } = await run({});
  assert.equal(success, true);
  assert.equal(statuses, 'passed passed skipped skipped passed');
  assert.match(stages[0]!.detail!, /^host-1 with \*\*\*$/);
  assert.equal(stages[2]!.detail, 'TLS is off');
});

test('what follows a failed stage is skipped, and the failure has code, detail and hint', async () => {
  const { success, statuses, stages } = await run({ proof: 'connection_refused' });
  assert.equal(success, false);
  assert.equal(statuses, 'passed failed skipped skipped skipped');
  const failed = stages[1]!;
  assert.equal(failed.code, 'connection_refused');
  assert.equal(failed.retryable, true);
  assert.match(failed.detail!, /the driver said: failed with \*\*\*/);
  assert.match(failed.hint!, /look at \*\*\*/);
});

test('errors of the network keep their code and get a hint', async () => {
  const { stages } = await run({ proof: 'resolve', host: '169.254.169.254' });
  assert.equal(stages[0]!.code, 'egress_denied');
  assert.match(stages[0]!.hint!, /PLUGBOARD_WORKER_EGRESS_ALLOW/);
});

test('an error between stages is the failure of the next one', async () => {
  const { statuses, stages } = await run({ proof: 'outside' });
  assert.equal(statuses, 'passed failed skipped skipped skipped');
  assert.match(stages[1]!.detail!, /between stages/);
});

test('the deadline fails the stage that is running', async () => {
  const { statuses, stages } = await run({ proof: 'hang' }, { timeoutMs: 50 });
  assert.equal(statuses, 'passed failed skipped skipped skipped');
  assert.equal(stages[1]!.code, 'target_timeout');
});

test('a cancelled test ends', async () => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  const { success, stages } = await run({ proof: 'hang' }, { signal: controller.signal });
  assert.equal(success, false);
  assert.equal(stages[1]!.code, 'cancelled');
  assert.equal((await run({}, { signal: AbortSignal.abort() })).success, false);
});

test('what keeps a test from beginning is the failure of its first stage', async () => {
  const stored = await run({}, { type: 'stored' });
  assert.equal(stored.statuses, 'failed skipped skipped skipped skipped');
  assert.equal(stored.stages[0]!.code, 'driver_missing');
  const faulty = await run({ host: 7 });
  assert.equal(faulty.stages[0]!.code, 'invalid_configuration');
  assert.match(faulty.stages[0]!.detail!, /host/);
  const unknown = await run({}, { type: 'alien' });
  assert.equal(unknown.success, false);
});

test('warnings of the connector reach the answer', async () => {
  const { warnings } = await run({ proof: 'warn' });
  assert.deepEqual(warnings, ['weak: ***']);
});

test('security.md 3: of a connection with a very short secret no text of the target is shown', async () => {
  const failed = await run({ proof: 'authentication_failed', password: 'abc' });
  assert.equal(failed.stages[0]!.detail, undefined);
  assert.equal(failed.stages[1]!.detail, 'The target refused the credentials');
  assert.ok(failed.stages[1]!.hint);
});
