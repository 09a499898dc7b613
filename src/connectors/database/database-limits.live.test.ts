import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  databaseConfig,
  failuresOf,
  openDatabase,
  rejected,
} from '../../../test/contract/database-subject.ts';
import { startMariadb } from '../../../test/services/mariadb.ts';
import { startPostgresql } from '../../../test/services/postgresql.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import type { StageName } from '../../contract/worker-protocol.ts';
import type { DatabaseConfig } from './database-client.ts';

const password = 'Canary-l1mits/pass+word';

interface Account {
  /** Makes the account `limited`; `password` is its own. */
  readonly make: readonly string[];
  readonly code: string;
  readonly hint: RegExp;
  /** Where it is refused; default the log-in. */
  readonly stage?: StageName;
}

/** Every account is refused, with the password that is right. */
async function checkAccounts(
  t: TestContext,
  admin: DatabaseConfig,
  accounts: Readonly<Record<string, Account>>,
): Promise<void> {
  const { execute } = await openDatabase(t, admin);
  for (const [title, { make, code, hint, stage = 'authenticate' }] of Object.entries(accounts))
    await t.test(title, async () => {
      for (const sql of make) await execute({ sql });
      const limited = { ...admin, username: 'limited', password };
      const { seen, failed, failure } = await failuresOf(limited, { sql: 'select 1' });
      assert.deepEqual(seen, [stage, code, code], failure.message);
      assert.match(failed?.hint ?? '', hint);
      assert.equal(failed?.retryable, failure.retryable);
    });
}

test('PostgreSQL: accounts and limits', async (t) => {
  const server = await startOrSkip(t, startPostgresql);
  if (!server) return;
  t.after(() => server.stop());
  const admin = databaseConfig({
    dbType: 'POSTGRES',
    jdbcUrl: `jdbc:postgresql://${server.host}:${server.port}/${server.database}?sslmode=disable`,
    username: server.user,
    password: server.password,
  });
  const { query } = await openDatabase(t, admin);
  await checkAccounts(t, admin, {
    'a role that may not log in': {
      make: [`create role limited password '${password}'`],
      code: 'authentication_failed',
      hint: /locked.*ALTER ROLE/,
    },
    'a password that has expired': {
      make: ["alter role limited login valid until '2001-01-01'"],
      code: 'authentication_failed',
      hint: /expired|valid until/i,
    },
    'a role without a connection left': {
      make: ["alter role limited valid until 'infinity' connection limit 0"],
      code: 'target_busy',
      hint: /maxPoolSize/,
    },
  });

  await t.test('a quota of the session that is used up', async () => {
    const failure = await rejected(
      query({
        sql: "select set_config('temp_file_limit', '64kB', false), set_config('work_mem', '64kB', false), (select count(*) from (select repeat('x', 200) || g from generate_series(1, 200000) g order by 1) s)",
      }),
    );
    assert.deepEqual([failure.code, failure.retryable], ['quota_exceeded', true], failure.message);
    assert.match(failure.details.hint ?? '', /temp_file_limit/);
  });
});

test('MariaDB: accounts and limits', async (t) => {
  const server = await startOrSkip(t, () =>
    startMariadb({
      users: [
        { user: 'limited', password },
        { user: 'blocked', password },
      ],
      arguments: ['--max-password-errors=2', '--max-allowed-packet=1M', '--max-heap-table-size=16K'],
    }),
  );
  if (!server) return;
  t.after(() => server.stop());
  const admin = databaseConfig({
    dbType: 'MYSQL',
    jdbcUrl: `jdbc:mysql://${server.host}:${server.port}/${server.database}?sslMode=DISABLED`,
    username: server.user,
    password: server.password,
  });
  const { execute, query } = await openDatabase(t, admin);
  await checkAccounts(t, admin, {
    'an account that is locked': {
      make: ["alter user limited@'%' account lock"],
      code: 'authentication_failed',
      hint: /locked/,
    },
    'a password that has expired': {
      make: ["alter user limited@'%' account unlock", "alter user limited@'%' password expire"],
      code: 'authentication_failed',
      hint: /expired/,
      // The server lets it in, to set a new one.
      stage: 'operate',
    },
  });

  await t.test('an account whose hour is used up', async () => {
    await execute({
      sql: `alter user limited@'%' identified by '${password}' with max_connections_per_hour 1`,
    });
    const limited = { ...admin, username: 'limited', password };
    const first = await openDatabase(t, limited);
    assert.deepEqual((await first.query({ sql: 'select 1 as one' })).rows, [[1]]);
    const { seen, failed } = await failuresOf(limited, { sql: 'select 1' });
    assert.deepEqual(seen, ['authenticate', 'target_busy', 'target_busy']);
    assert.deepEqual([failed?.retryable, /quota/.test(failed?.hint ?? '')], [true, true]);
  });

  await t.test('an account that is blocked after wrong passwords', async () => {
    const as = (given: string) => ({ ...admin, username: 'blocked', password: given });
    await failuresOf(as('Canary-wr0ng'), { sql: 'select 1' });
    const { seen, failed } = await failuresOf(as(password), { sql: 'select 1' });
    assert.deepEqual(seen, ['authenticate', 'authentication_failed', 'authentication_failed']);
    assert.match(failed?.hint ?? '', /blocked/);
  });

  await t.test('a table that is full', async () => {
    await execute({ sql: 'create table full (value varchar(4000)) engine = memory' });
    const failure = await rejected(
      (async () => {
        for (let row = 0; row < 100; row++)
          await execute({ sql: 'insert into full values (?)', parameters: ['x'.repeat(4000)] });
      })(),
    );
    assert.deepEqual([failure.code, failure.retryable], ['quota_exceeded', true], failure.message);
  });

  await t.test('a statement that is larger than the server takes, and the next one', async () => {
    const failure = await rejected(
      query({ sql: 'select length(?) as size', parameters: ['x'.repeat(2 * 1024 * 1024)] }),
    );
    assert.deepEqual([failure.code, failure.retryable], ['message_too_large', false], failure.message);
    assert.match(failure.details.hint ?? '', /max_allowed_packet/);
    assert.deepEqual((await query({ sql: 'select 1 as one' })).rows, [[1]]);
  });
});
