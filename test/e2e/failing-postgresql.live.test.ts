import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { ScriptedWorker } from '../harness/scripted-worker.ts';
import { type LostCommits, startLostCommits } from '../services/lost-commit.ts';
import { type PostgresqlService, startPostgresql } from '../services/postgresql.ts';
import { startOrSkip } from '../services/service.ts';

describe('a control plane whose PostgreSQL fails', () => {
  let server: PostgresqlService | undefined;
  let proxy: LostCommits;
  let plugboard: Plugboard;

  before(async (t) => {
    server = await startOrSkip(t, startPostgresql);
    if (!server) return;
    proxy = await startLostCommits(server.url());
    plugboard = await startPlugboard({ withWorker: false, databaseUrl: proxy.url });
  });
  after(async () => {
    await plugboard?.stop();
    await proxy?.stop();
    await server?.stop();
  });

  const available = (t: TestContext): boolean => {
    if (!server) t.skip('PostgreSQL is not installed');
    return server !== undefined;
  };
  const until = async (what: string, holds: () => Promise<boolean>) => {
    const deadline = Date.now() + 20_000;
    while (!(await holds())) {
      assert.ok(Date.now() < deadline, `never: ${what}`);
      await sleep(20);
    }
  };

  const list = '/apiops/projects/MyProject/connections/';
  const hook = (name: string, changes: object = {}) => ({
    type: 'webhook',
    name,
    fullUrl: 'http://127.0.0.1:9/x',
    ...changes,
  });

  test('tells its workers at once of a change whose commit was not answered', async (t) => {
    if (!available(t)) return;
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    await worker.next('snapshot');
    await plugboard.ok('POST', `${list}told/?async=true`, hook('told'));
    const { connection } = (await worker.next('delta')).put[0]!;
    const lost = proxy.loseNext('connection.update');
    const disabled = await plugboard.call('PUT', `${list}told/`, hook('told', { enabled: false }));
    await lost;
    const answered = Date.now();
    assert.equal(disabled.status, 503, disabled.text);
    assert.deepEqual([disabled.body.error, disabled.body.reason], ['unavailable', 'outcome_unknown']);
    assert.match(disabled.body.error_description, /see what is there/);
    assert.deepEqual((await worker.next('delta')).remove, [connection]);
    // The hub looks by itself every five seconds.
    assert.ok(Date.now() - answered < 2_500, 'it was announced');
    worker.close();
  });

  test('does not do again under its Idempotency-Key what it may have done', async (t) => {
    if (!available(t)) return;
    const key = { headers: { 'idempotency-key': 'once' } };
    const create = () => plugboard.call('POST', `${list}once/`, hook('once'), key);
    const lost = proxy.loseNext('connection.create');
    assert.equal((await create()).status, 503);
    await lost;
    const again = await create();
    assert.equal(again.status, 409, again.text);
    assert.match(again.body.error_description, /outcome .* is not known; see what is there/);
    assert.equal((await plugboard.call('GET', `${list}once/`)).status, 200);
  });

  /** Calls with the commit of an action done and its answer lost. */
  const lose = async (action: string, method: string, path: string, body?: unknown) => {
    const lost = proxy.loseNext(action);
    const answer = await plugboard.call(method, path, body);
    await lost;
    assert.equal(answer.body.reason, 'outcome_unknown', answer.text);
  };
  const statusOf = async (path: string, token?: string) =>
    (await plugboard.call('GET', path, undefined, token === undefined ? {} : { token })).status;
  const makeToken = async (name: string) =>
    (await plugboard.ok('POST', '/apiops/tokens/', {
      name,
      grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:USE'] }],
    })) as { id: string; token: string };

  test('a token whose revocation was not answered is of no use, here and with the workers', async (t) => {
    if (!available(t)) return;
    const worker = await ScriptedWorker.connect(plugboard, 'w-tokens');
    const { id, token } = await makeToken('lost');
    const kept = await makeToken('kept');
    assert.equal(await statusOf('/apiops/projects/MyProject/', token), 200);
    const known = () => {
      const told = worker.received.findLast((message) => message.kind === 'tokens');
      return told?.kind === 'tokens' ? told.tokens.length : 0;
    };
    await until('the worker knows both', async () => known() === 2);
    await lose('token.revoke', 'DELETE', `/apiops/tokens/${id}/`);
    await until('it is refused', async () => (await statusOf('/apiops/projects/MyProject/', token)) === 401);
    assert.equal(await statusOf('/apiops/projects/MyProject/', kept.token), 200);
    await until('the worker knows one', async () => known() === 1);
    worker.close();
  });

  test('a revocation is in force as soon as a database is back that was away behind it', async (t) => {
    if (!available(t)) return;
    const { id, token } = await makeToken('away');
    const lost = proxy.loseNext('token.revoke');
    const answer = plugboard.call('DELETE', `/apiops/tokens/${id}/`);
    await lost;
    await server!.shutDown();
    assert.equal((await answer).status, 503);
    await server!.restart();
    await until('it is refused', async () => (await statusOf('/apiops/projects/MyProject/', token)) === 401);
  });

  test('users, projects, environments and workers follow a change whose commit was not answered', async (t) => {
    if (!available(t)) return;
    await lose('user.create', 'POST', '/apiops/users/', { username: 'ann', password: 'Canary-1234' });
    await until('the user is there', async () => (await statusOf('/apiops/users/ann/')) === 200);
    await lose('user.delete', 'DELETE', '/apiops/users/ann/');
    await until('the user is gone', async () => (await statusOf('/apiops/users/ann/')) === 404);

    await lose('environment.create', 'POST', '/apiops/environments/', { name: 'lost' });
    await until(
      'the environment is there',
      async () => (await statusOf('/apiops/environments/lost/')) === 200,
    );
    const enrolled = '/apiops/environments/lost/enrollment-tokens/';
    const { id } = (await plugboard.ok('POST', enrolled, { name: 'w' })) as { id: string };
    await lose('enrollment.revoke', 'DELETE', `${enrolled}${id}/`);
    await until(
      'the worker has no credential',
      async () => (await plugboard.call('GET', enrolled)).body.resultList.length === 0,
    );

    await lose('project.create', 'POST', '/apiops/projects/', { name: 'Lost', environments: ['lost'] });
    await until('the project is there', async () => (await statusOf('/apiops/projects/Lost/')) === 200);
    await lose('project.delete', 'DELETE', '/apiops/projects/Lost/');
    await until('the project is gone', async () => (await statusOf('/apiops/projects/Lost/')) === 404);
  });

  test('shows what a worker said while the database was away', async (t) => {
    if (!available(t)) return;
    const worker = await ScriptedWorker.connect(plugboard, 'w-2');
    await worker.next('snapshot');
    await plugboard.ok('POST', `${list}seen/?async=true`, hook('seen'));
    const { connection } = (await worker.next('delta')).put[0]!;
    worker.verdict({ connection, revision: 1, step: 'valid' });
    worker.verdict({ connection, revision: 1, step: 'connected' });
    const step = async () => {
      const answer = await plugboard.call('GET', `${list}seen/deployments/`);
      return answer.body.resultList?.[0]?.workers[0]?.step;
    };
    await until('it is connected', async () => (await step()) === 'connected');
    await server!.shutDown();
    worker.verdict({ connection, revision: 1, step: 'unreachable', code: 'connection_refused' });
    await until('it is lost', async () => plugboard.log.some((line) => line.includes('not be stored')));
    await server!.restart();
    await until('the status follows', async () => (await step()) === 'unreachable');
    worker.close();
  });

  test('is not ready while the database can only be read', async (t) => {
    if (!available(t)) return;
    const { default: pg } = await import('pg');
    const client = new pg.Client({ connectionString: server!.url() });
    await client.connect();
    const makeReadOnly = async (value: 'on' | 'off') => {
      await client.query(`alter system set default_transaction_read_only = ${value}`);
      await client.query('select pg_reload_conf()');
    };
    const ready = async () => (await plugboard.call('GET', '/readyz', undefined, { token: null })).status;
    try {
      assert.equal(await ready(), 200);
      await makeReadOnly('on');
      await until('it says so', async () => (await ready()) === 503);
    } finally {
      await makeReadOnly('off');
      await until('it is ready again', async () => (await ready()) === 200);
      await client.end();
    }
  });
});
