import assert from 'node:assert/strict';
import { access, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Plugboard as Client } from '../../client/plugboard.ts';
import { runCli } from '../../src/cli/cli.ts';
import { connectors } from '../../src/connectors/connectors.ts';
import { definitions } from '../../src/connectors/definitions.ts';
import type { StageResult } from '../../src/contract/worker-protocol.ts';
import { AppError } from '../../src/errors.ts';
import { connectStream } from '../../src/worker/connect-stream.ts';
import { startWorker, type Worker } from '../../src/worker/worker.ts';
import { type Answer, type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { startOrSkip } from '../services/service.ts';
import { type SshdService, startSshd } from '../services/sshd.ts';

const base = '/apiops/projects/MyProject';
const silent = { debug() {}, info() {}, warn() {}, error() {} };

interface Case {
  body(sshd: SshdService): Record<string, unknown>;
  operation: string;
  input: unknown;
  /** The proof that the operation reached the server. */
  right(result: unknown): boolean;
}

const logInOf = ({ user, password, privateKey }: SshdService) => ({
  username: user,
  ...(password === undefined ? { privateKey } : { password }),
});

const cases: Record<string, Case> = {
  'linux-script': {
    body: (sshd) => ({
      type: 'linux-script',
      hostName: '127.0.0.1',
      sshPort: sshd.port,
      connectTimeout: 20_000,
      ...logInOf(sshd),
    }),
    operation: 'run',
    input: { script: 'echo done' },
    right: (result) => (result as { stdout: string }).stdout === 'done\n',
  },
  SFTP: {
    body: (sshd) => ({
      type: 'ftp',
      protocol: 'SFTP',
      host: '127.0.0.1',
      port: sshd.port,
      workingDir: sshd.home,
      timeout: 20_000,
      ...logInOf(sshd),
    }),
    operation: 'list',
    input: {},
    right: (result) => Array.isArray((result as { entries: unknown }).entries),
  },
};

for (const [title, proof] of Object.entries(cases))
  test(`host keys of ${title}: pinned on first use, refused when changed, accepted by trust-host-key`, async (t) => {
    const sshd = await startOrSkip(t, () => startSshd());
    if (!sshd) return;
    t.after(() => sshd.stop());
    await prove(t, sshd, proof);
  });

async function prove(t: TestContext, sshd: SshdService, proof: Case): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'plugboard-host-keys-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const app = await startPlugboard({ deployTimeoutMs: 60_000 });
  t.after(() => app.stop());
  const ok = async (method: string, path: string, given?: unknown) => {
    const answer = await app.call(method, path, given);
    assert.equal(answer.status, 200, answer.text);
    return answer.body;
  };
  await ok('POST', '/apiops/environments/', { name: 'test', type: 'TEST' });
  await ok('PUT', `${base}/`, { environments: ['production', 'test'] });
  const other = await app.addWorker('test', 'other');
  const remote = await remoteWorker(app, join(directory, 'snapshot'));
  let separate = await remote.start();
  t.after(() => separate.stop(0));
  await until('all workers are there', () => other.isConnected && separate.isConnected);

  const path = `${base}/connections/server/`;
  const body = { ...proof.body(sshd), name: 'server' };
  const use = (environment = 'production') =>
    app.call(
      'POST',
      `${path}operations/${proof.operation}/?environment=${environment}&timeoutMs=30000`,
      proof.input,
    );
  const works = (answer: Answer) => {
    assert.equal(answer.status, 200, answer.text);
    assert.ok(proof.right(answer.body.result), answer.text);
  };
  const testIn = async (query: string, draft?: unknown) => {
    const where = draft ? `${base}/connection-test/` : `${path}test/`;
    const { results } = await ok('POST', `${where}?${query}`, draft);
    return results as { worker: string; success: boolean; stages: StageResult[] }[];
  };
  const pinIn = async (environment: string) =>
    (await ok('GET', `${path}deployments/`)).resultList.find(
      (one: { environmentName: string }) => one.environmentName === environment,
    ).hostKey;
  const pinIs = (environment: string, fingerprint: string) =>
    until(`${fingerprint} is pinned in ${environment}`, async () => {
      const pin = await pinIn(environment);
      return pin?.fingerprint === fingerprint;
    });
  const server = `127.0.0.1:${sshd.port}`;
  const first = sshd.fingerprint;

  // A draft is tested without leaving anything.
  const [draft] = await testIn('environment=production&worker=embedded', { ...body, name: 'draft' });
  assert.equal(draft?.success, true, JSON.stringify(draft));
  assert.match(draft.stages.find(({ stage }) => stage === 'connect')?.hint ?? '', /first one seen/);
  assert.deepEqual(await app.db.all('select server from host_keys'), []);

  // First use pins, in each environment by itself.
  const created = await ok('POST', `${path}?prove=true`, body);
  assert.equal(created.deploymentResult.success, true, JSON.stringify(created));
  await pinIs('production', first);
  await pinIs('test', first);
  const { pinnedBy, algorithm, server: pinnedServer } = await pinIn('production');
  assert.match(pinnedBy, /^worker:/);
  assert.equal(algorithm, 'ssh-ed25519');
  assert.equal(pinnedServer, server);
  works(await use());
  const [known] = await testIn('environment=production&worker=separate');
  assert.equal(known?.success, true, JSON.stringify(known));
  assert.equal(known.stages.find(({ stage }) => stage === 'connect')?.hint, undefined, 'it is as pinned');
  await until('the snapshot is written', () => exists(join(directory, 'snapshot')));
  // It follows a change after a quarter of a second.
  await sleep(800);

  // Another key is refused: by operations,
  await sshd.restartWithNewHostKey();
  const second = sshd.fingerprint;
  assert.notEqual(second, first);
  const isRefusal = (said: string) => {
    for (const part of [server, second, first, 'trust-host-key']) assert.ok(said.includes(part), said);
  };
  const refusedUse = async () => {
    let answer = await use();
    // A session of before may be found broken first.
    await until('the operation is refused', async () => {
      if (answer.body.reason === 'host_key_mismatch') return true;
      assert.notEqual(answer.status, 200, answer.text);
      answer = await use();
      return false;
    });
    assert.equal(answer.status, 502);
    isRefusal(answer.body.error_description);
    assert.match(answer.body.hint, /trust-host-key\/\?environment=production/);
  };
  await refusedUse();
  // by tests on every worker, of the stored body and of a draft that would send the kept secret,
  for (const results of [
    await testIn('environment=production'),
    await testIn('environment=production', { ...body, password: null, privateKey: null }),
  ]) {
    assert.equal(results.length, 2);
    for (const { success, stages } of results) {
      assert.equal(success, false);
      const failed = stages.find(({ status }) => status === 'failed');
      assert.equal(failed?.stage, 'connect');
      assert.equal(failed.code, 'host_key_mismatch');
      isRefusal(failed.detail ?? '');
      assert.match(failed.hint ?? '', /trust-host-key/);
    }
  }
  // by the proof of a deployment,
  const changed = await ok('PUT', `${path}?prove=true`, { ...body, description: 'changed' });
  assert.equal(changed.deploymentResult.deploymentResults.length, 2);
  for (const deployed of changed.deploymentResult.deploymentResults) {
    assert.equal(deployed.success, false);
    for (const worker of deployed.workers) isRefusal(worker.message);
  }
  // and by a worker that starts again, with and without the control plane.
  await separate.stop(0);
  const alone = await remote.start(async () => {
    throw new AppError('unavailable');
  });
  let connection: string | undefined;
  await until('it serves from its snapshot', () => {
    connection = alone.connections.find('MyProject', 'server');
    return connection !== undefined;
  });
  await assert.rejects(
    alone.connections.operate(connection!, proof.operation, proof.input, { timeoutMs: 30_000 }),
    (error) => {
      assert.ok(error instanceof AppError);
      assert.equal(error.code, 'host_key_mismatch', error.message);
      isRefusal(error.message);
      return true;
    },
  );
  await alone.stop(0);
  separate = await remote.start();
  await until('it is back', () => separate.isConnected && separate.connections.find('MyProject', 'server'));
  const [restarted] = await testIn('environment=production&worker=separate');
  assert.equal(restarted?.stages.find(({ status }) => status === 'failed')?.code, 'host_key_mismatch');
  await refusedUse();
  assert.equal((await pinIn('production')).fingerprint, first);
  assert.equal((await pinIn('production')).refused.fingerprint, second);

  // Accepted in one environment: it works there, and in no other.
  const tokenFile = join(directory, 'token');
  await writeFile(tokenFile, app.token);
  const printed: string[] = [];
  const print = (text: string) => void printed.push(text);
  const cli = (...words: string[]) =>
    runCli([...words, '--url', app.url, '--token-file', tokenFile], { out: print, err: print });
  assert.equal(
    await cli('trust-host-key', 'MyProject/server', first, '--environment', 'production'),
    0,
    printed.join(''),
  );
  assert.equal((await pinIn('production')).fingerprint, first, 'what is pinned already stays');
  const code = await cli('trust-host-key', 'MyProject/server', second, '--environment', 'production');
  assert.equal(code, 0, printed.join(''));
  assert.match(printed.join(''), /trusted\.\nproduction: applied by 2 of 2 workers/);
  assert.equal((await pinIn('production')).fingerprint, second);
  for (let n = 0; n < 6; n++) works(await use());
  for (const { success, stages } of await testIn('environment=production'))
    assert.equal(success, true, JSON.stringify(stages));
  const elsewhere = await use('test');
  assert.equal(elsewhere.status, 502, elsewhere.text);
  assert.equal((await pinIn('test')).fingerprint, first);
  await until('it is refused there', async () => (await use('test')).body.reason === 'host_key_mismatch');
  const client = new Client({ url: app.url, token: app.token });
  await assert.rejects(
    client.trustHostKey('MyProject', 'server', `SHA256:${'A'.repeat(43)}`, { environment: 'test' }),
  );
  const trusted = await client.trustHostKey('MyProject', 'server', second, { environment: 'test' });
  assert.equal(trusted.deploymentResult?.success, true, JSON.stringify(trusted));
  works(await use('test'));

  // A configured fingerprint is what counts, whatever is pinned.
  const configured = (hostKeyFingerprint: string | null) =>
    ok('PUT', `${path}?prove=true`, { ...body, hostKeyFingerprint });
  const wrong = await configured(first);
  assert.equal(wrong.deploymentResult.success, false);
  assert.match(JSON.stringify(wrong), /hostKeyFingerprint expects/);
  assert.equal(await pinIn('production'), undefined);
  await sshd.restartWithNewHostKey();
  const right = await configured(sshd.fingerprint);
  assert.equal(right.deploymentResult.success, true, JSON.stringify(right));
  works(await use());
  assert.deepEqual(await app.db.all('select server from host_keys'), []);
  // Without one again, the next key is a first use.
  assert.equal((await configured(null)).deploymentResult.success, true);
  await pinIs('production', sshd.fingerprint);
  works(await use());
}

/** A worker of production over a WebSocket, with a snapshot. */
async function remoteWorker(app: Plugboard, snapshotPath: string) {
  const enrolled = await app.call('POST', '/apiops/environments/production/enrollment-tokens/', {
    name: 'separate',
  });
  const { token } = enrolled.body as { token: string };
  return {
    start: (connect = () => connectStream({ url: app.url, token })): Promise<Worker> =>
      startWorker({
        name: 'separate',
        version: 'test',
        definitions,
        connectors,
        log: silent,
        connect,
        snapshot: { path: snapshotPath, credential: token },
      }),
  };
}

async function until(what: string, holds: () => unknown): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `${what}: not in time`);
    await sleep(50);
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
