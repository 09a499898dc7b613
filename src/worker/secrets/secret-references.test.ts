import assert from 'node:assert/strict';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { privateDirectory } from '../../../test/services/service.ts';
import type { Verdict } from '../../contract/worker-protocol.ts';
import { createNetwork } from '../egress.ts';
import { createEgressPolicy } from '../egress-policy.ts';
import { LiveConnections } from '../live-connections.ts';
import type { Limits } from '../live-connections-options.ts';
import { runTest } from '../run-test.ts';
import { createFake, createLog, desired, until } from '../testing/fake-type.ts';
import { type SecretSourceOptions, SecretSources } from './secret-sources.ts';

const timeoutMs = 20_000;

async function setUp(
  t: TestContext,
  options: Partial<SecretSourceOptions> = {},
  limits: Partial<Limits> = {},
) {
  const directory = await privateDirectory('secrets');
  const fake = createFake();
  const verdicts: Verdict[] = [];
  const log = createLog();
  const network = createNetwork({ policy: createEgressPolicy() });
  const given = { allow: [`P file${directory.path}/* *`, 'P env/DB_* *'], environment: {}, ...options };
  const secrets = new SecretSources(given, network, log);
  const { definitions, connectors } = fake;
  const live = new LiveConnections({
    definitions,
    connectors,
    network,
    secrets,
    log,
    environment: () => 'production',
    hasControlPlane: () => true,
    onVerdict: (verdict) => verdicts.push(verdict),
    limits,
  });
  t.after(async () => {
    await live.stop(0);
    await directory.remove();
  });
  const last = () => verdicts.at(-1);
  const put = async (config: Record<string, unknown>, revision = 1) => {
    const before = verdicts.length;
    live.put([desired('a', revision, config)]);
    await until(() => verdicts.length > before, 'a verdict');
    return last()!;
  };
  const say = () => live.operate('a', 'say', { text: 'hi' }, { timeoutMs });
  const passwords = () => fake.clients.map(({ config }) => config.password);
  const path = (name: string) => join(directory.path, name);
  const reference = (name: string) => `secret://file${path(name)}`;
  return { fake, live, verdicts, log, network, secrets, put, say, passwords, path, reference };
}

test('a reference is resolved when the client is opened, and scrubbed like any secret', async (t) => {
  const canary = 'c4nary-from-the-environment';
  const { put, say, passwords, verdicts, log, live, network, secrets, fake } = await setUp(t, {
    environment: { DB_PASSWORD: canary },
  });
  assert.equal((await put({ password: 'secret://env/DB_PASSWORD', open: 'warn' })).step, 'valid');
  assert.deepEqual(passwords(), [canary]);
  assert.deepEqual(await say(), { said: 'hi', host: 'host-1', password: '***' });
  const { definitions, connectors } = fake;
  const config = { host: 'h', password: 'secret://env/DB_PASSWORD', proof: 'connection_refused' };
  const result = await runTest(
    { definitions, connectors, network, secrets, log, environment: 'production' },
    { project: 'P', name: 't', type: 'fake', config, timeoutMs },
    () => {},
  );
  assert.equal(result.stages.find(({ status }) => status === 'failed')?.code, 'connection_refused');
  await put({ password: 'secret://env/DB_PASSWORD', open: 'refuse' }, 2);
  const said = JSON.stringify([verdicts, result, live.verdicts(), live.health(Date.now())]) + log.text();
  assert.ok(!said.includes(canary));
});

test('what is not allowed is refused in a sentence, and nothing is read', async (t) => {
  const { put } = await setUp(t, { environment: { DB_PASSWORD: 'x', OTHER: 'y' } });
  for (const password of ['secret://env/OTHER', 'secret://file/etc/hostname', 'secret://vault/a/b#c']) {
    const verdict = await put({ password });
    assert.equal(verdict.step, 'refused');
    assert.equal(verdict.code, 'invalid_configuration');
    assert.match(verdict.message!, /password: this worker does not allow project 'P' to use 'secret:/);
  }
});

test('without any sources no reference is resolved', async (t) => {
  const { put } = await setUp(t, { allow: [] });
  assert.match((await put({ password: 'secret://env/DB_PASSWORD' })).message!, /does not allow/);
});

test('what is not there is refused by name, and taken by itself once it comes', async (t) => {
  const { put, reference, path, passwords, verdicts } = await setUp(t, {}, { secretCheckMs: 50 });
  const verdict = await put({ password: reference('late') });
  assert.equal(verdict.code, 'missing_reference');
  assert.match(verdict.message!, /password: there is no file '.*late' on the worker/);
  const before = verdicts.length;
  await sleep(300);
  assert.equal(verdicts.length, before, 'nothing changed, nothing is said');
  await writeFile(path('late'), 'now-it-is-there\n');
  await until(() => verdicts.at(-1)?.step === 'valid');
  assert.deepEqual(passwords(), ['now-it-is-there']);
});

test('a changed file replaces the client without a gap; an unchanged one does nothing', async (t) => {
  // Only the watching can be quick enough here.
  const { put, reference, path, passwords, say, fake, verdicts } = await setUp(
    t,
    {},
    { secretCheckMs: 3_600_000 },
  );
  await writeFile(path('password'), 'first-password');
  await put({ password: reference('password') });
  let isDone = false;
  let failures = 0;
  const load = (async () => {
    while (!isDone) {
      await say().catch(() => {
        failures += 1;
      });
      await sleep(1);
    }
  })();
  await writeFile(path('next'), 'first-password\n');
  await rename(path('next'), path('password'));
  await sleep(500);
  assert.deepEqual(passwords(), ['first-password']);
  await writeFile(path('next'), 'second-password\n');
  await rename(path('next'), path('password'));
  await until(() => passwords().length === 2, 'the replacement');
  await until(() => fake.openClients === 1, 'the end of the old client');
  isDone = true;
  await load;
  assert.equal(failures, 0);
  assert.deepEqual(passwords(), ['first-password', 'second-password']);
  assert.deepEqual(
    verdicts.filter(({ step }) => step !== 'connected').map(({ step, revision }) => `${step} ${revision}`),
    ['valid 1', 'valid 1'],
  );
});

test('a value that cannot be used any more leaves the last good client serving', async (t) => {
  const { put, reference, path, say, passwords, verdicts } = await setUp(t, {}, { secretCheckMs: 50 });
  await writeFile(path('password'), 'good-password');
  await put({ password: reference('password') });
  await rename(path('password'), path('away'));
  await sleep(300);
  await say();
  assert.deepEqual(passwords(), ['good-password']);
  // A new revision needs it, and is refused; the old one serves.
  const refused = await put({ password: reference('password'), proof: 'hang' }, 2);
  assert.equal(refused.step, 'refused');
  assert.equal(refused.serving, 1);
  await say();
  await rename(path('away'), path('password'));
  await until(() => verdicts.at(-1)?.step === 'valid' && verdicts.at(-1)?.revision === 2);
});

test('a refused log-in looks the secret up again', async (t) => {
  const environment: Record<string, string> = { DB_PASSWORD: 'old-password' };
  const { put, live, passwords } = await setUp(t, { environment }, { secretCheckMs: 3_600_000 });
  await put({ password: 'secret://env/DB_PASSWORD' });
  environment['DB_PASSWORD'] = 'new-password';
  const call = live.operate('a', 'say', { text: 'x', fail: 'authentication_failed' }, { timeoutMs });
  await assert.rejects(call);
  await until(() => passwords().length === 2);
  assert.equal(passwords()[1], 'new-password');
});

test('security 11: files: links stay inside, size and form are bounded', async (t) => {
  const { put, reference, path } = await setUp(t);
  const outside = await privateDirectory('outside');
  t.after(() => outside.remove());
  await writeFile(join(outside.path, 'secret'), 'not-for-you');
  await symlink(join(outside.path, 'secret'), path('link'));
  await symlink(outside.path, path('linked'));
  await mkdir(path('directory'));
  await mkdir(path('..data'));
  await writeFile(path('..data/password'), 'as-mounted\r\n');
  await symlink('..data/password', path('mounted'));
  await writeFile(path('large'), 'x'.repeat(70_000));
  await writeFile(path('binary'), Buffer.from([0xff, 0xfe, 0x00]));
  await writeFile(path('empty'), '\n');
  const refusals: [string, RegExp][] = [
    ['link', /leads out of what is allowed/],
    ['linked/secret', /leads out of what is allowed/],
    ['directory', /no regular file/],
    ['large', /larger than 64 KiB/],
    ['binary', /is no text/],
    ['empty', /is empty/],
  ];
  for (const [name, said] of refusals) {
    const verdict = await put({ password: reference(name) });
    assert.equal(verdict.step, 'refused', name);
    assert.match(verdict.message!, said);
    assert.ok(!verdict.message!.includes('not-for-you'));
  }
  assert.equal((await put({ password: reference('mounted') }, 2)).step, 'valid');
});
