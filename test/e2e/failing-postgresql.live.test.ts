import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { type PostgresqlService, startPostgresql } from '../services/postgresql.ts';
import { startOrSkip } from '../services/service.ts';

describe('a control plane whose PostgreSQL fails', () => {
  let server: PostgresqlService | undefined;
  let plugboard: Plugboard;

  before(async (t) => {
    server = await startOrSkip(t, startPostgresql);
    if (!server) return;
    plugboard = await startPlugboard({ withWorker: false, databaseUrl: server.url() });
  });
  after(async () => {
    await plugboard?.stop();
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
