import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cp, mkdir, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectors } from '../../src/connectors/connectors.ts';
import { definitions } from '../../src/connectors/definitions.ts';
import { connectStream } from '../../src/worker/connect-stream.ts';
import { startWorker, type Worker } from '../../src/worker/worker.ts';
import { startPlugboard } from '../harness/plugboard.ts';
import { callUrl, logLines, newSite, startProcess } from '../harness/plugboard-process.ts';
import { ScriptedWorker } from '../harness/scripted-worker.ts';

const connectionPath = (name: string) => `/apiops/projects/default/connections/${name}/`;
const silent = { debug() {}, info() {}, warn() {}, error() {} };

test('workers end up with what a restored database says, whatever they were told since the backup', async (t) => {
  const asked: string[] = [];
  const target = createServer((request, response) => {
    asked.push(request.url!);
    response.end('{}');
  });
  target.listen(0, '127.0.0.1');
  await once(target, 'listening');
  t.after(() => target.close());
  const { port: targetPort } = target.address() as AddressInfo;
  const hook = (name: string, path: string) => ({
    name,
    type: 'webhook',
    httpMethod: 'POST',
    fullUrl: `http://127.0.0.1:${targetPort}${path}`,
  });

  const site = await newSite();
  let server = await startProcess('server', site.env);
  const { port } = new URL(server.url);
  const restart = async () => {
    server = await startProcess('server', { ...site.env, PLUGBOARD_PORT: port });
  };
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await callUrl(server.url, site.token, method, path, body);
    assert.equal(answer.status, 200, answer.text);
    return answer.body;
  };

  const workers: Worker[] = [];
  t.after(async () => {
    await Promise.all(workers.map((worker) => worker.stop(0)));
    await server.end();
    await site.remove();
  });
  /** Starts a worker that keeps its state under its name. */
  const enrol = async (name: string) => {
    const path = '/apiops/environments/production/enrollment-tokens/';
    const { token } = await ask('POST', path, { name });
    return async () => {
      const worker = await startWorker({
        name,
        version: 'test',
        definitions,
        connectors,
        log: silent,
        connect: () => connectStream({ url: `http://127.0.0.1:${port}`, token }),
        reconnectMs: [20, 100],
        snapshot: { path: join(site.directory, name), credential: token },
      });
      workers.push(worker);
      return worker;
    };
  };
  const staying = await (await enrol('staying'))();
  const startReturning = await enrol('returning');
  let returning = await startReturning();
  const serves = async (worker: Worker, name: string, path: string) => {
    const connection = worker.connections.find('default', name);
    if (!connection) return false;
    asked.length = 0;
    try {
      await worker.connections.operate(connection, 'call', {}, { timeoutMs: 20_000 });
    } catch {
      // It may be on its way out.
      return false;
    }
    return asked.includes(path);
  };
  const holds = (worker: Worker, name: string) => worker.connections.find('default', name) !== undefined;

  for (const name of ['kept', 'changed', 'deleted'])
    await ask('POST', connectionPath(name), hook(name, `/${name}/1`));
  await until('both have what is in the backup', async () => {
    for (const worker of [staying, returning])
      if (!(await serves(worker, 'changed', '/changed/1'))) return false;
    return true;
  });

  await server.end();
  const backup = join(site.directory, 'backup');
  const data = site.env['PLUGBOARD_DATA_DIR']!;
  await cp(data, backup, { recursive: true });

  await restart();
  await ask('PUT', connectionPath('changed'), hook('changed', '/changed/2'));
  await ask('DELETE', connectionPath('deleted'));
  await ask('POST', connectionPath('gone'), hook('gone', '/gone/1'));
  for (const worker of [staying, returning])
    await until('both have what came after it', async () => {
      return (
        (await serves(worker, 'changed', '/changed/2')) && holds(worker, 'gone') && !holds(worker, 'deleted')
      );
    });
  // The snapshot follows a change after a quarter of a second.
  await sleep(800);
  await returning.stop(0);
  await server.end();

  await rm(data, { recursive: true });
  await mkdir(data);
  await cp(backup, data, { recursive: true });
  await restart();
  returning = await startReturning();
  for (const worker of [staying, returning]) {
    await until('it holds what the database says', async () => {
      return (
        holds(worker, 'deleted') && !holds(worker, 'gone') && (await serves(worker, 'changed', '/changed/1'))
      );
    });
    assert.ok(await serves(worker, 'kept', '/kept/1'));
    assert.ok(await serves(worker, 'deleted', '/deleted/1'));
  }
  assert.match(
    logLines(server.output())
      .filter(({ level }) => level === 40)
      .map(({ msg }) => msg)
      .join('\n'),
    /restored from a backup/,
  );

  // The next change has a number, and a revision, that were used before.
  const answer = await ask('PUT', connectionPath('changed'), hook('changed', '/changed/other'));
  assert.equal(answer.deploymentResult.success, true, JSON.stringify(answer));
  for (const worker of [staying, returning]) assert.ok(await serves(worker, 'changed', '/changed/other'));
});

/** A database that goes back by as many changes, as when a backup is restored under a running server. */
async function lose(plugboard: Awaited<ReturnType<typeof startPlugboard>>, changes: number): Promise<void> {
  await plugboard.db.write((tx) =>
    tx.run('update change_counter set value = value - $1 where id = 1', [changes]),
  );
}

async function withChanges(t: TestContext, count: number) {
  const plugboard = await startPlugboard({ projects: ['default'], withWorker: false });
  t.after(() => plugboard.stop());
  for (let index = 0; index < count; index++)
    await plugboard.ok('POST', `${connectionPath(`c${index}`)}?async=true`, {
      name: `c${index}`,
      type: 'webhook',
      httpMethod: 'POST',
      fullUrl: 'http://127.0.0.1:9/',
    });
  return plugboard;
}

test('who was told less than the restored database knows gets a snapshot too, once it is noticed', async (t) => {
  const plugboard = await withChanges(t, 4);
  const first = await ScriptedWorker.connect(plugboard, 'first');
  const { epoch, seq } = await first.next('snapshot');
  assert.equal(seq, 4);
  first.close();
  await lose(plugboard, 2);

  // Nothing about this one shows it.
  const early = await ScriptedWorker.connect(plugboard, 'early', { cursor: { epoch, seq: 1 } });
  assert.equal((await early.next('delta')).put.length, 3);
  const witness = await ScriptedWorker.connect(plugboard, 'witness', { cursor: { epoch, seq } });
  const { epoch: later } = await witness.next('snapshot');
  assert.notEqual(later, epoch);
  await until('it has to come again', () => early.closed);
  assert.equal(early.closed?.code, 1012);
  for (const name of ['early', 'late']) {
    const back = await ScriptedWorker.connect(plugboard, name, { cursor: { epoch, seq: 1 } });
    assert.equal((await back.next('snapshot')).epoch, later);
  }
  assert.equal(plugboard.log.filter((line) => line.includes('restored from a backup')).length, 1);
});

test('a database that goes back under a running server is noticed without anybody coming', async (t) => {
  const plugboard = await withChanges(t, 4);
  const worker = await ScriptedWorker.connect(plugboard, 'w-1');
  const { epoch, seq } = await worker.next('snapshot');
  await lose(plugboard, 2);
  await until('it has to come again', () => worker.closed);
  assert.equal(worker.closed?.code, 1012);
  const back = await ScriptedWorker.connect(plugboard, 'w-1', { cursor: { epoch, seq } });
  assert.notEqual((await back.next('snapshot')).epoch, epoch);
});

test('a verdict of the history that ended does not stand in the way of those to come', async (t) => {
  const plugboard = await withChanges(t, 1);
  const worker = await ScriptedWorker.connect(plugboard, 'w-1');
  const [item] = (await worker.next('snapshot')).items;
  const { connection } = item!;
  const stored = async () => {
    const { resultList } = await plugboard.ok('GET', `${connectionPath('c0')}deployments/`);
    const [{ lastGoodRevision, workers }] = resultList;
    return [lastGoodRevision, workers[0]?.step, workers[0]?.revision];
  };
  const becomes = (expected: unknown[]) =>
    until(JSON.stringify(expected), async () => JSON.stringify(await stored()) === JSON.stringify(expected));
  worker.verdict({ connection, revision: 7, step: 'valid' });
  worker.verdict({ connection, revision: 7, step: 'closed' });
  await becomes([null, 'closed', 1]);
  worker.verdict({ connection, revision: 1, step: 'valid' });
  await becomes([1, 'valid', 1]);
});

async function until(what: string, holds: () => unknown): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `${what}: not in time`);
    await sleep(50);
  }
}
