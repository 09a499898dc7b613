import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HealthReport } from '../../src/contract/worker-protocol.ts';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { ScriptedWorker } from '../harness/scripted-worker.ts';

const project = '/apiops/projects/MyProject/';
const one = `${project}connections/hook/`;
const body = { type: 'webhook', name: 'hook', fullUrl: 'http://127.0.0.1:9/x' };

let plugboard: Plugboard;
beforeEach(async () => {
  plugboard = await startPlugboard({ withWorker: false, deployTimeoutMs: 5000 });
});
afterEach(() => plugboard.stop());

interface Heard {
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: what an event holds differs
  data: any;
}

/** Listens; `next` waits until there was one of that kind since the last that it answered. */
async function listen(token = plugboard.token) {
  const response = await fetch(`${plugboard.url}/apiops/events/`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const all: Heard[] = [];
  let at = 0;
  const ended = (async () => {
    let text = '';
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const parts = text.split('\n\n');
      text = parts.pop()!;
      for (const part of parts) {
        const found = /^id: \d+\nevent: (.+)\ndata: (.+)$/.exec(part);
        if (found) all.push({ event: found[1]!, data: JSON.parse(found[2]!) });
      }
    }
  })();
  return {
    all,
    ended,
    async next(kind: string, matches: (data: Heard['data']) => boolean = () => true) {
      for (const deadline = Date.now() + 5000; Date.now() < deadline; await sleep(5)) {
        const found = all.findIndex(({ event, data }, n) => n >= at && event === kind && matches(data));
        if (found < 0) continue;
        at = found + 1;
        return all[found]!.data;
      }
      return assert.fail(`no event ${kind} after ${JSON.stringify(all)}`);
    },
  };
}

const viewer = async (name: string): Promise<string> => {
  const grants = [{ project: name, permissions: ['CONNECTIONS:VIEW'] }];
  return (await plugboard.call('POST', '/apiops/tokens/', { name, grants })).body.token;
};

/** Creates the connection, which the worker calls valid; answers its id. */
async function created(worker: ScriptedWorker): Promise<string> {
  const answer = plugboard.call('POST', one, body);
  const { connection } = (await worker.next('delta', ({ put }) => put.length > 0)).put[0]!;
  worker.verdict({ connection, revision: 1, step: 'valid' });
  assert.equal((await answer).body.deploymentResult.success, true);
  return connection;
}

test('changes and deployments are told to those who may see the project, and to nobody else', async () => {
  const worker = await ScriptedWorker.connect(plugboard, 'w-1');
  await plugboard.call('POST', '/apiops/projects/', { name: 'Other' });
  const mine = await listen(await viewer('MyProject'));
  const others = await listen(await viewer('Other'));
  await created(worker);
  const { by, ...made } = await mine.next('connection');
  assert.deepEqual(made, { project: 'MyProject', connection: 'hook', action: 'created' });
  assert.equal(typeof by, 'string');
  assert.deepEqual(await mine.next('deployment'), {
    project: 'MyProject',
    connection: 'hook',
    environmentName: 'production',
    worker: 'w-1',
    revision: 1,
    step: 'valid',
  });
  await plugboard.call('PUT', '/apiops/projects/Other/', { description: 'theirs' });
  await others.next('project');
  assert.deepEqual(
    others.all.map(({ event, data }) => [event, data.project]),
    [['project', 'Other']],
  );
});

test('a change is told by the name that is stored, and a new name with the one before', async () => {
  const heard = await listen();
  const path = (name: string) => `${project}connections/${name}/`;
  const change = async (method: string, url: string, given?: object) =>
    assert.equal((await plugboard.call(method, `${url}?async=true`, given)).status, 200, `${method} ${url}`);
  await change('POST', path('hook'), body);
  await change('PUT', path('HOOK'), { ...body, description: 'spelt otherwise' });
  const renamed = { ...body, name: 'catch' };
  assert.equal((await plugboard.call('PUT', `${one}?async=true&rename=true`, renamed)).status, 200);
  await change('POST', `${path('Catch')}undeploy/`);
  await change('POST', `${path('Catch')}deploy/`);
  await change('POST', `${path('catch')}revisions/1/restore/`);
  await change('DELETE', path('Hook'));
  await heard.next('connection', ({ action }) => action === 'deleted');
  assert.deepEqual(
    heard.all
      .filter(({ event }) => event === 'connection')
      .map(({ data }) => [data.action, data.connection, data.renamedFrom]),
    [
      ['created', 'hook', undefined],
      ['updated', 'hook', undefined],
      ['updated', 'catch', 'hook'],
      ['undeployed', 'catch', undefined],
      ['deployed', 'catch', undefined],
      ['restored', 'hook', 'catch'],
      ['deleted', 'hook', undefined],
    ],
  );
});

test('projects, keys and variables are told as they change; what was refused or repeated is not', async () => {
  const heard = await listen();
  const call = (method: string, url: string, given?: object, headers?: Record<string, string>) =>
    plugboard.call(method, url, given, headers ? { headers } : {});
  const variables = `${project}environmentVariables/`;
  const variable = (name: string) => ({ name, global: true, globalValue: 'x', globalVisible: true });
  const once = { 'idempotency-key': 'once' };
  await call('POST', '/apiops/projects/', { name: 'New' }, once);
  await call('POST', '/apiops/projects/', { name: 'New' }, once);
  assert.equal((await call('POST', '/apiops/projects/', { name: 'New' })).status, 400);
  await call('PUT', '/apiops/projects/New/', { description: 'changed' });
  await call('POST', variables, variable('FIRST'));
  await call('PUT', `${variables}FIRST/?rename=true`, variable('SECOND'));
  await call('DELETE', `${variables}SECOND/`);
  await call('DELETE', '/apiops/projects/New/');
  await heard.next('project', ({ action }) => action === 'deleted');
  assert.deepEqual(
    heard.all.map(({ event, data: { by: _, ...data } }) => ({ event, ...data })),
    [
      { event: 'project', project: 'New', action: 'created' },
      { event: 'project', project: 'New', action: 'updated' },
      { event: 'variable', project: 'MyProject', name: 'FIRST', action: 'created' },
      {
        event: 'variable',
        project: 'MyProject',
        name: 'SECOND',
        action: 'updated',
        renamedFrom: 'FIRST',
      },
      { event: 'variable', project: 'MyProject', name: 'SECOND', action: 'deleted' },
      { event: 'project', project: 'New', action: 'deleted' },
    ],
  );
});

test('health is told when a connection comes into another state on a worker, and not with every report', async () => {
  const worker = await ScriptedWorker.connect(plugboard, 'w-1');
  const heard = await listen(await viewer('MyProject'));
  const connection = await created(worker);
  const minute = Math.floor(Date.now() / 60_000) * 60_000;
  const report = (state: HealthReport['state'], since: number, at = minute): HealthReport => ({
    connection,
    revision: 1,
    minute: at,
    state,
    since,
    ...(state === 'unreachable' ? { lastError: { code: 'target_timeout', message: 'slow', at } } : {}),
    operations: { ok: 1, failed: 0, totalMs: 1, maxMs: 1 },
  });
  const say = (...items: HealthReport[]) => worker.say({ kind: 'health', items });
  const past = minute - 60_000;
  say(report('connected', past + 1, past), report('connected', past + 1));
  assert.deepEqual(await heard.next('health'), {
    project: 'MyProject',
    connection: 'hook',
    environmentName: 'production',
    worker: 'w-1',
    state: 'connected',
    since: new Date(past + 1).toISOString(),
  });
  say(report('connected', past + 1));
  say({ ...report('unreachable', minute + 2), connection: 'made-up' });
  say(report('unreachable', minute + 3));
  const { state, since, code, message } = await heard.next('health');
  assert.deepEqual(
    [state, since, code, message],
    ['unreachable', new Date(minute + 3).toISOString(), 'target_timeout', 'slow'],
  );
  say(report('connected', minute + 4));
  assert.equal((await heard.next('health')).state, 'connected');
  assert.equal(heard.all.filter(({ event }) => event === 'health').length, 3);
});

test('a worker has no say in a connection that was never deployed where it is', async () => {
  const worker = await ScriptedWorker.connect(plugboard, 'w-1');
  const heard = await listen();
  await plugboard.call('POST', `${one}?async=true`, { ...body, deployToWorker: false });
  const { id } = (await plugboard.db.get<{ id: string }>('select id from connections'))!;
  const say = (connection: string) => {
    worker.verdict({ connection, revision: 1, step: 'refused', message: 'made up' });
    const operations = { ok: 0, failed: 0, totalMs: 0, maxMs: 0 };
    worker.say({
      kind: 'health',
      items: [{ connection, revision: 1, minute: 0, state: 'refused', since: 1, operations }],
    });
  };
  say(id);
  await plugboard.call('PUT', `${one}?async=true`, body);
  await worker.next('delta', ({ put }) => put.length > 0);
  worker.verdict({ connection: id, revision: 2, step: 'valid' });
  assert.equal((await heard.next('deployment')).step, 'valid');
  await plugboard.call('DELETE', `${one}?async=true`);
  worker.verdict({ connection: id, revision: 2, step: 'closed' });
  assert.equal((await heard.next('deployment')).step, 'closed');
  assert.equal(heard.all.filter(({ event }) => event === 'health').length, 0);
});
