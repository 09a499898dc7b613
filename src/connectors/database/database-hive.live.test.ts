import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { type ConnectorSubject, connectorContract } from '../../../test/contract/connector-contract.ts';
import { databaseConfig, openDatabase, rejected } from '../../../test/contract/database-subject.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { type HiveService, startHive } from '../../../test/services/hive.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { databaseConnector } from './database.connector.ts';
import type { database } from './database.definition.ts';
import type { DatabaseConfig } from './database-client.ts';

const authority = createAuthority();

const base = databaseConfig({
  dbType: 'APACHE_HIVE',
  useCredentials: false,
  connectionTimeout: 60_000,
  testConnectionOnCheckout: false,
});

type Target = { host: string; port: number };

const inClear = ({ host, port }: Target, rest: Partial<DatabaseConfig> = {}): DatabaseConfig => ({
  ...base,
  jdbcUrl: `jdbc:hive2://${host}:${port}/default;auth=noSasl`,
  ...rest,
});

const overTls = (
  { host, port }: Target,
  { account }: HiveService,
  rest: Partial<DatabaseConfig> = {},
): DatabaseConfig => ({
  ...base,
  jdbcUrl: `jdbc:hive2://${host}:${port}/default;ssl=true`,
  useCredentials: true,
  username: account.user,
  password: account.password,
  ...rest,
});

const open = (t: TestContext, config: DatabaseConfig) =>
  openDatabase(t, config, { trust: trustIn(authority.caPem) });

test('HiveServer2 without SASL keeps the contract, and does what statements say', async (t) => {
  const server = await startOrSkip(t, () => startHive({ logIn: false }));
  if (!server) return;
  t.after(() => server.stop());
  const subject: ConnectorSubject<typeof database, Awaited<ReturnType<typeof open>>['live']> = {
    connector: databaseConnector,
    config: () => inClear(server),
    configAt: ({ timeoutMs, ...target }) => inClear(target, { connectionTimeout: timeoutMs }),
    operate: (live, call) =>
      databaseConnector.operations.query(live, { sql: 'select ? as said', parameters: ['hello'] }, call),
    restart: () => server.restart(),
    silentAt: 'authenticate',
    garbledAt: 'authenticate',
    secrets: [],
    tls: false,
  };
  await connectorContract(t, 'HiveServer2 without SASL', subject);

  await t.test('security 11: values are bound, whatever they hold', async (t) => {
    const db = await open(t, inClear(server));
    assert.deepEqual(await db.execute({ sql: 'create table notes (id bigint, body string)' }), {
      affectedRows: 0,
    });
    const attempts = [
      "'; drop table notes; --",
      "' or '1'='1",
      "\\' or 1=1 --",
      '\\',
      '${system:user.name} ${hiveconf:hive.server2.thrift.port} ${env:PATH}',
      '? :1 %s \\u0041 \\101',
      '\u2028"\'`\n\r\t\u001a',
      '猫🐈',
      "''",
    ];
    const rows = attempts.map((_, id) => `select ${id}, ?`).join(' union all ');
    const inserted = await db.execute({ sql: `insert into notes ${rows}`, parameters: attempts });
    assert.deepEqual(inserted, { affectedRows: attempts.length });
    const read = await db.query({ sql: 'select body from notes order by id' });
    // Tables of text end a row at a line feed and a carriage return: those are read back from no table.
    const { rows: echoed } = await db.query({
      sql: `select ${attempts.map(() => '?').join(', ')}`,
      parameters: attempts,
    });
    assert.deepEqual(echoed, [attempts]);
    assert.deepEqual(read.rows.flat().slice(0, 6), attempts.slice(0, 6));
    const kinds = await db.query({
      sql: 'select ?, ?, ?, ?, ?, 1-?',
      parameters: [1.5, true, null, 1e300, -0.1, -5],
    });
    assert.deepEqual(kinds.rows, [[1.5, true, null, 1e300, -0.1, 6]]);
  });

  await t.test('values come out exactly', async (t) => {
    const db = await open(t, inClear(server));
    const { columns, rows } = await db.query({
      sql: "select cast(9223372036854775807 as bigint) as big, cast('12345678901234567890.5' as decimal(30,1)) as amount, timestamp '2026-01-31 10:00:00.123456' as at, date '2026-01-31' as day, cast('abc' as binary) as bytes, array(1, 2) as list, cast(null as string) as nothing, false as no, cast('NaN' as double) as nan",
    });
    assert.deepEqual(columns[0], { name: 'big', type: 'bigint' });
    assert.deepEqual(rows, [
      [
        '9223372036854775807',
        '12345678901234567890.5',
        '2026-01-31T10:00:00.123456',
        '2026-01-31',
        'YWJj',
        '[1,2]',
        null,
        false,
        'NaN',
      ],
    ]);
    const many = 'select pos from (select posexplode(split(space(4999), " ")) as (pos, v)) t';
    const cut = await db.query({ sql: many, maxRows: 3 });
    assert.deepEqual([cut.rows, cut.truncated], [[[0], [1], [2]], true]);
    const all = await db.query({ sql: many, maxRows: 5000 });
    assert.deepEqual([all.rows.length, all.rows[4999], all.truncated], [5000, [4999], false]);
  });

  await t.test('what one caller sets is not there for the next', async (t) => {
    const db = await open(t, inClear(server, { maxPoolSize: 1 }));
    await db.execute({ sql: 'create database other' });
    await db.execute({ sql: 'use other' });
    const { rows } = await db.query({ sql: 'select current_database()' });
    assert.deepEqual(rows, [['default']]);
  });

  await t.test('timeoutMs and an abort end the statement on the server', async (t) => {
    const db = await open(t, inClear(server));
    await db.execute({ sql: 'create table late (id bigint, body string)' });
    const slow = (id: number) =>
      `insert into late select ${id}, reflect('java.lang.Thread', 'sleep', cast(x * 8000 as bigint)) from (select explode(array(1)) as x) t`;
    assert.equal((await rejected(db.execute({ sql: slow(1), timeoutMs: 3_000 }))).code, 'target_timeout');
    const abort = new AbortController();
    const aborted = rejected(db.execute({ sql: slow(2) }, abort.signal));
    await sleep(3_000);
    abort.abort();
    assert.equal((await aborted).code, 'cancelled');
    const deadline = Date.now() + 30_000;
    while (databaseConnector.figures!(db.live)['busy']! > 0) {
      assert.ok(Date.now() < deadline, 'a place in the pool was never given back');
      await sleep(100);
    }
    assert.deepEqual(await db.execute({ sql: "insert into late select 3, 'in time'" }), { affectedRows: 1 });
    // By now they would have been written.
    await sleep(8_000);
    assert.deepEqual((await db.query({ sql: 'select id from late' })).rows, [['3']]);
  });

  await t.test('what the server refuses is told', async (t) => {
    const db = await open(t, inClear(server));
    const failures = {
      select: 'request_rejected',
      'select * from nowhere': 'request_rejected',
      'select ?': 'request_rejected',
      'insert into nowhere values (1)': 'request_rejected',
    };
    for (const [sql, code] of Object.entries(failures))
      assert.equal((await rejected(db.query({ sql }))).code, code, sql);
    const ctx = createContext({ signal: new AbortController().signal });
    const nowhere = inClear(server, {
      jdbcUrl: `jdbc:hive2://${server.host}:${server.port}/nowhere;auth=noSasl`,
    });
    const tested = await testConnection(databaseConnector, nowhere, ctx);
    assert.equal(tested.stages.find(({ status }) => status === 'failed')?.code, 'invalid_configuration');
    const withSasl = inClear(server, { jdbcUrl: `jdbc:hive2://${server.host}:${server.port}/default` });
    const mistaken = await testConnection(databaseConnector, withSasl, ctx);
    const failed = mistaken.stages.find(({ status }) => status === 'failed');
    assert.deepEqual([failed?.stage, failed?.code], ['authenticate', 'connection_lost']);
    assert.match(failed?.hint ?? '', /noSasl/);
  });
});

test('HiveServer2 with SASL PLAIN over TLS keeps the contract', async (t) => {
  const certificate = authority.issue({ commonName: 'hive.test', ips: ['127.0.0.1'] });
  const server = await startOrSkip(t, () => startHive({ logIn: true, certificate }));
  if (!server) return;
  t.after(() => server.stop());
  const badPassword = 'Canary-wr0ng/pass+word';
  const subject: ConnectorSubject<typeof database, Awaited<ReturnType<typeof open>>['live']> = {
    connector: databaseConnector,
    config: () => overTls(server, server),
    configAt: ({ timeoutMs, ...target }) => overTls(target, server, { connectionTimeout: timeoutMs }),
    badCredentials: () => overTls(server, server, { password: badPassword }),
    operate: (live, call) =>
      databaseConnector.operations.query(live, { sql: 'select ? as said', parameters: ['hello'] }, call),
    restart: () => server.restart(),
    trust: trustIn(authority.caPem),
    silentAt: 'tls',
    garbledAt: 'tls',
    secrets: [server.account.password, badPassword],
    tls: true,
  };
  await connectorContract(t, 'HiveServer2 with SASL PLAIN over TLS', subject);

  await t.test('a large answer comes through the frames whole', async (t) => {
    const db = await open(t, overTls(server, server));
    const { rows } = await db.query({ sql: "select repeat('0123456789', 200000), 'end'" });
    assert.deepEqual(rows, [['0123456789'.repeat(200_000), 'end']]);
  });
});
