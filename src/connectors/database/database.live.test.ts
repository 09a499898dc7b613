import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { type ConnectorSubject, connectorContract } from '../../../test/contract/connector-contract.ts';
import { databaseConfig, rejected } from '../../../test/contract/database-subject.ts';
import { startTap } from '../../../test/contract/tap.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { type MariadbOptions, startMariadb } from '../../../test/services/mariadb.ts';
import { type PostgresqlOptions, startPostgresql } from '../../../test/services/postgresql.ts';
import { privateDirectory, startOrSkip } from '../../../test/services/service.ts';
import { AppError } from '../../errors.ts';
import type { Network, Trust } from '../connector.ts';
import { databaseConnector } from './database.connector.ts';
import type { database } from './database.definition.ts';
import type { DatabaseConfig } from './database-client.ts';

const authority = createAuthority();
const directory = await privateDirectory('database-test');
after(() => directory.remove());

const caFile = join(directory.path, 'ca.pem');
await writeFile(caFile, authority.caPem);

async function certificateFiles(
  name: string,
  request: { names?: string[]; ips?: string[]; expired?: boolean },
) {
  const { certPem, keyPem } = authority.issue({ commonName: name, ...request });
  const certFile = join(directory.path, `${name}.crt`);
  const keyFile = join(directory.path, `${name}.key`);
  await writeFile(certFile, certPem);
  await writeFile(keyFile, keyPem);
  return { certFile, keyFile, caFile };
}

const base = databaseConfig({});

/** What the tests need to know of either database. */
interface Flavour {
  title: string;
  dbType: 'POSTGRES' | 'MYSQL';
  scheme: string;
  plain: string;
  verified: string;
  placeholder: string;
  sleep(seconds: number): string;
  /** Counts statements that sleep, on every session but this one. */
  sleeping: string;
  series(count: number): string;
  badPassword: string;
  /** Answers a number of the session's own. */
  session: string;
  /** Statements that leave something in their session, with a query for it and what the next call is to find. */
  left: [statement: string, look: string, found: unknown][];
}

const postgres: Flavour = {
  title: 'PostgreSQL',
  dbType: 'POSTGRES',
  scheme: 'jdbc:postgresql',
  plain: 'sslmode=disable',
  verified: 'sslmode=verify-full',
  placeholder: '$1',
  sleep: (seconds) => `select pg_sleep(${seconds})`,
  sleeping:
    "select count(*) from pg_stat_activity where state = 'active' and query like 'select pg_sleep%' and pid <> pg_backend_pid()",
  series: (count) => `select generate_series(1, ${count})`,
  badPassword: 'Canary-wr0ng/pass+word',
  session: 'select pg_backend_pid()',
  left: [
    ["set time zone 'Asia/Tokyo'", "select current_setting('timezone') = 'Asia/Tokyo'", false],
    ['/* mine */ set role pg_monitor', "select current_user = 'pg_monitor'", false],
    ['set search_path to pg_catalog', 'select current_schema()', 'public'],
    ["select set_config('search_path', 'pg_catalog', false)", 'select current_schema()', 'public'],
    ['create temporary table mine (id integer)', "select to_regclass('mine')", null],
    ['select 1 as id into temp mine', "select to_regclass('mine')", null],
    ['select pg_advisory_lock(42)', "select count(*) from pg_locks where locktype = 'advisory'", 0],
    ['prepare mine as select 1', "select count(*) from pg_prepared_statements where name = 'mine'", 0],
    ['listen mine', 'select count(*) from pg_listening_channels()', 0],
  ],
};

const mysql: Flavour = {
  title: 'MariaDB',
  dbType: 'MYSQL',
  scheme: 'jdbc:mysql',
  plain: 'sslMode=DISABLED',
  verified: 'sslMode=VERIFY_IDENTITY',
  placeholder: '?',
  sleep: (seconds) => `select sleep(${seconds})`,
  sleeping:
    "select count(*) from information_schema.processlist where info like 'select sleep%' and id <> connection_id()",
  series: (count) => `select seq from seq_1_to_${count}`,
  badPassword: 'Canary-wr0ng/pass+word',
  session: 'select connection_id()',
  left: [
    ["set time_zone = '+09:00'", "select @@time_zone = '+09:00'", 0],
    ['# mine\nuse information_schema', "select database() = 'information_schema'", 0],
    ['/*!40101 set @mine = 1 */', 'select @mine', null],
    ['select 1 into @mine', 'select @mine', null],
    ["select get_lock('mine', 0)", "select is_used_lock('mine')", null],
    [
      'create temporary table mine (id integer)',
      "select count(*) from information_schema.statistics where table_name = 'mine'",
      0,
    ],
    ['lock tables mysql.user read', 'select count(*) >= 0 from information_schema.schemata', 1],
  ],
};

interface Server {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const start = {
  POSTGRES: (options: PostgresqlOptions = {}): Promise<Server> => startPostgresql(options),
  MYSQL: (options: MariadbOptions = {}): Promise<Server> => startMariadb(options),
};

async function serve(
  t: TestContext,
  { dbType }: Flavour,
  options: PostgresqlOptions & MariadbOptions = {},
): Promise<Server | undefined> {
  const server = await startOrSkip(t, () => start[dbType](options));
  if (server) t.after(() => server.stop());
  return server;
}

function configFor(
  flavour: Flavour,
  server: Server,
  overrides: Partial<DatabaseConfig> = {},
): DatabaseConfig {
  return {
    ...base,
    dbType: flavour.dbType,
    host: server.host,
    port: server.port,
    databaseName: server.database,
    username: server.user,
    password: server.password,
    ...overrides,
  };
}

function urlFor(flavour: Flavour, server: Pick<Server, 'host' | 'port'>, parameters: string): string {
  return `${flavour.scheme}://${server.host}:${server.port}/test?${parameters}`;
}

/** A live connection for one test; closed behind it. */
async function open(t: TestContext, config: DatabaseConfig, trust: Trust = trustIn(authority.caPem)) {
  const abort = new AbortController();
  const ctx = createContext({ signal: abort.signal, trust });
  const sockets: Socket[] = [];
  const network: Network = {
    ...ctx.network,
    async connect(target) {
      const socket = await ctx.network.connect(target);
      sockets.push(socket);
      return socket;
    },
  };
  const live = await databaseConnector.open(config, { ...ctx, network });
  t.after(() => databaseConnector.close(live));
  const { query, execute } = databaseConnector.operations;
  const patience = () => ({ signal: AbortSignal.timeout(60_000) });
  return {
    ctx,
    live,
    abort,
    /** Of every socket so far. */
    bytesRead: () => sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0),
    query: (sql: string, input: Partial<Parameters<typeof query>[1]> = {}, call = patience()) =>
      query(live, { sql, ...input }, call),
    execute: (sql: string, input: Partial<Parameters<typeof execute>[1]> = {}, call = patience()) =>
      execute(live, { sql, ...input }, call),
    figures: () => databaseConnector.figures!(live),
    close: () => databaseConnector.close(live),
  };
}

/** Waits until the value is as expected; the servers notice closed sockets a moment later. */
async function eventually<T>(read: () => Promise<T> | T, expected: T): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const value = await read();
    if (value === expected) return;
    assert.ok(Date.now() < deadline, `still ${value} instead of ${expected}`);
    await sleep(50);
  }
}

for (const flavour of [postgres, mysql]) {
  for (const tls of [false, true])
    test(`${flavour.title} ${tls ? 'over TLS' : 'in clear'} keeps the contract`, async (t) => {
      const server = await serve(
        t,
        flavour,
        tls ? { tls: await certificateFiles(`${flavour.dbType}-contract`, { ips: ['127.0.0.1'] }) } : {},
      );
      if (!server) return;
      const parameters = tls ? flavour.verified : flavour.plain;
      const { host: _host, port: _port, databaseName: _database, ...rest } = configFor(flavour, server);
      const config = { ...rest, jdbcUrl: urlFor(flavour, server, parameters) };
      const stage = tls && flavour === postgres ? 'tls' : 'authenticate';
      const subject: ConnectorSubject<typeof database, Awaited<ReturnType<typeof open>>['live']> = {
        connector: databaseConnector,
        config: () => config,
        configAt: ({ timeoutMs, ...target }) => ({
          ...config,
          jdbcUrl: urlFor(flavour, target, parameters),
          connectionTimeout: timeoutMs,
        }),
        badCredentials: () => ({ ...config, password: flavour.badPassword }),
        operate: (live, call) =>
          databaseConnector.operations.query(
            live,
            { sql: `select ${flavour.placeholder} as said`, parameters: ['hello'] },
            call,
          ),
        restart: () => server.restart(),
        trust: trustIn(authority.caPem),
        silentAt: stage,
        garbledAt: stage,
        secrets: [server.password, flavour.badPassword],
        tls,
      };
      await connectorContract(t, flavour.title, subject);
    });

  test(`${flavour.title}: one server, what statements do`, async (t) => {
    const canary = 'Canary-s3cret/of+reader';
    const server = await serve(t, flavour, { users: [{ user: 'reader', password: canary }] });
    if (!server) return;
    const config = configFor(flavour, server);
    const { placeholder } = flavour;

    await t.test('security 11: values are bound, whatever they hold', async (t) => {
      const db = await open(t, config);
      await db.execute('create table notes (id integer primary key, body varchar(500))');
      const attempts = ["'; drop table notes; --", "' or '1'='1", '\\', '$1 ? :1 %s', '\u2028"\'`', '猫🐈'];
      for (const [id, body] of attempts.entries()) {
        const sql = `insert into notes values (${id}, ${placeholder})`;
        assert.deepEqual(await db.execute(sql, { parameters: [body] }), { affectedRows: 1 });
        const found = await db.query(`select id from notes where body = ${placeholder}`, {
          parameters: [body],
        });
        assert.deepEqual(found.rows, [[id]]);
      }
      const { rows } = await db.query('select body from notes order by id');
      assert.deepEqual(
        rows,
        attempts.map((body) => [body]),
      );
      const changed = await db.execute(`update notes set body = ${placeholder}`, { parameters: [null] });
      assert.equal(changed.affectedRows, attempts.length);
    });

    await t.test('several statements at once are refused by the protocol', async (t) => {
      const db = await open(t, config);
      await db.execute('create table kept (id integer)');
      for (const sql of ['select 1; drop table kept', 'insert into kept values (1); drop table kept']) {
        assert.equal((await rejected(db.query(sql))).code, 'request_rejected');
        assert.equal((await rejected(db.execute(sql))).code, 'request_rejected');
      }
      assert.deepEqual((await db.query('select * from kept')).rows, []);
      assert.equal((await rejected(db.query('select 1 \0 as x'))).code, 'request_rejected');
    });

    await t.test('maxRows ends the reading, and says that there was more', async (t) => {
      const db = await open(t, { ...config, maxPoolSize: 1 });
      const exact = await db.query(flavour.series(10), { maxRows: 10 });
      assert.equal(exact.rows.length, 10);
      assert.equal(exact.truncated, false);
      const cut = await db.query(flavour.series(1_000_000), { maxRows: 10 });
      assert.deepEqual(
        cut.rows.map(([value]) => Number(value)),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
      );
      assert.equal(cut.truncated, true);
      // A million rows are more than 6 MB in either protocol.
      assert.ok(db.bytesRead() < 1_000_000, `${db.bytesRead()} bytes were read`);
      assert.equal((await db.query(flavour.series(2000))).rows.length, 1000, 'the default');
      assert.equal((await db.query(flavour.series(2000), { maxRows: 2000 })).rows.length, 2000);
    });

    await t.test('timeoutMs cancels on the server', async (t) => {
      const db = await open(t, config);
      const failure = await rejected(db.query(flavour.sleep(600), { timeoutMs: 300 }));
      assert.equal(failure.code, 'target_timeout');
      await eventually(async () => Number((await db.query(flavour.sleeping)).rows[0]![0]), 0);
    });

    await t.test('an abort cancels on the server and leaves the pool usable', async (t) => {
      const db = await open(t, { ...config, maxPoolSize: 2 });
      const watch = await open(t, config);
      const abort = new AbortController();
      const running = [1, 2].map(() => rejected(db.query(flavour.sleep(600), {}, { signal: abort.signal })));
      await eventually(async () => Number((await watch.query(flavour.sleeping)).rows[0]![0]), 2);
      abort.abort();
      for (const failure of await Promise.all(running)) assert.equal(failure.code, 'cancelled');
      await eventually(async () => Number((await watch.query(flavour.sleeping)).rows[0]![0]), 0);
      assert.equal((await db.query('select 1')).rows.length, 1);
    });

    await t.test('close by force cancels what runs', async (t) => {
      const db = await open(t, config);
      const watch = await open(t, config);
      const running = rejected(db.query(flavour.sleep(600), {}, { signal: db.abort.signal }));
      await eventually(async () => Number((await watch.query(flavour.sleeping)).rows[0]![0]), 1);
      db.abort.abort();
      await db.close();
      await running;
      await eventually(async () => Number((await watch.query(flavour.sleeping)).rows[0]![0]), 0);
    });

    await t.test('close waits for what runs', async (t) => {
      const db = await open(t, config);
      const running = db.query(flavour.sleep(0.5));
      await eventually(() => db.figures()['busy'], 1);
      await db.close();
      assert.equal((await running).rows.length, 1);
      assert.deepEqual(db.figures(), { size: 0, idle: 0, busy: 0, waiting: 0 });
    });

    await t.test('a transaction that is left open is rolled back, and said to be', async (t) => {
      const db = await open(t, { ...config, maxPoolSize: 1 });
      assert.match((await rejected(db.execute('begin'))).message, /rolled back/);
      await db.execute('create table loose (id integer)');
      await db.execute('insert into loose values (1)');
      assert.equal((await (await open(t, config)).query('select * from loose')).rows.length, 1);
    });

    await t.test('what one caller leaves in a session is not there for the next', async (t) => {
      for (const [statement, look, found] of flavour.left) {
        const db = await open(t, { ...config, maxPoolSize: 1 });
        await db.query(statement);
        const { rows } = await db.query(look);
        assert.equal(String(rows[0]![0]), String(found), statement);
        await db.close();
      }
    });

    await t.test('what leaves nothing goes on with the same session', async (t) => {
      const db = await open(t, { ...config, maxPoolSize: 1 });
      const whose = async () => (await db.query(flavour.session)).rows[0]![0];
      await db.execute('create table lasting (id integer)');
      const first = await whose();
      await db.execute('insert into lasting values (1)');
      await db.execute('update lasting set id = 2');
      await db.execute('/* of mine */ delete from lasting');
      assert.equal(await whose(), first);
      await db.execute('set @x = 1').catch(() => {});
      assert.notEqual(await whose(), first);
    });

    await t.test('100 side by side over 5 connections', async (t) => {
      const db = await open(t, config);
      let most = 0;
      const answers = await Promise.all(
        Array.from({ length: 100 }, async (_, index) => {
          const { rows } = await db.query(`select ${placeholder} as number`, { parameters: [`n${index}`] });
          most = Math.max(most, db.figures()['size']!);
          return rows[0]![0];
        }),
      );
      assert.deepEqual(
        answers,
        Array.from({ length: 100 }, (_, index) => `n${index}`),
      );
      assert.ok(most <= 5 && most > 1, `${most} connections`);
    });

    await t.test('an account may only what it is granted', async (t) => {
      const db = await open(t, { ...config, username: 'reader', password: canary });
      const failure = await rejected(db.execute('create table mine (id integer)'));
      // PostgreSQL 14 and older let everybody create in public.
      if (flavour === mysql) assert.equal(failure.code, 'permission_denied');
      else assert.ok(['permission_denied', 'request_rejected'].includes(failure.code), failure.code);
    });

    await t.test('a database that is not there is named at the stage authenticate', async () => {
      const ctx = createContext({ signal: AbortSignal.timeout(60_000) });
      const { stages } = await testConnection(databaseConnector, { ...config, databaseName: 'nowhere' }, ctx);
      const stage = stages.find(({ status }) => status === 'failed');
      assert.equal(stage?.stage, 'authenticate');
      assert.equal(stage?.code, 'invalid_configuration');
      assert.match(stage?.hint ?? '', /does not exist/);
    });

    await t.test('the test says what was not encrypted', async () => {
      const ctx = createContext({ signal: AbortSignal.timeout(60_000) });
      const { success, stages, warnings } = await testConnection(databaseConnector, config, ctx);
      assert.equal(success, true, JSON.stringify(stages));
      const byName = Object.fromEntries(stages.map((stage) => [stage.stage, stage]));
      assert.equal(byName['tls']?.status, 'skipped');
      assert.match(byName['tls']?.detail ?? '', /nothing is encrypted/);
      assert.match(byName['operate']?.detail ?? '', flavour === mysql ? /MariaDB 1/ : /PostgreSQL 1/);
      assert.match(warnings?.join() ?? '', /not verified/);
    });

    await t.test('hosts are tried in turn', async (t) => {
      const { host: _host, port: _port, databaseName: _database, ...rest } = config;
      const jdbcUrl = `${flavour.scheme}://127.0.0.1:1,${server.host}:${server.port}/test?${flavour.plain}`;
      const db = await open(t, { ...rest, jdbcUrl });
      assert.equal((await db.query('select 1')).rows.length, 1);
      const { success, stages } = await testConnection(
        databaseConnector,
        { ...rest, jdbcUrl },
        createContext({ signal: AbortSignal.timeout(60_000) }),
      );
      assert.equal(success, true, JSON.stringify(stages));
    });

    await t.test('operations of documents are refused by name', async (t) => {
      const { live } = await open(t, config);
      const failure = await rejected(
        databaseConnector.operations.find(live, { collection: 'x' }, { signal: AbortSignal.timeout(1000) }),
      );
      assert.equal(failure.code, 'request_rejected');
      assert.match(failure.message, new RegExp(`${flavour.dbType} has no operation find`));
    });
  });

  test(`${flavour.title}: TLS is verified as it is configured`, async (t) => {
    const server = await serve(t, flavour, {
      tls: await certificateFiles(`${flavour.dbType}-wrong-name`, { names: ['elsewhere.test'] }),
    });
    const trusted = await serve(t, flavour, {
      tls: await certificateFiles(`${flavour.dbType}-right-name`, { ips: ['127.0.0.1'] }),
    });
    if (!server || !trusted) return;
    const stagesOf = async (to: Server, parameters: string, trust: Trust) => {
      const { host: _host, port: _port, databaseName: _database, ...rest } = configFor(flavour, to);
      const config = { ...rest, jdbcUrl: urlFor(flavour, to, parameters) };
      const ctx = createContext({ signal: AbortSignal.timeout(60_000), trust });
      const { success, stages, warnings = [] } = await testConnection(databaseConnector, config, ctx);
      const tls = stages.find(({ stage }) => stage === 'tls');
      return { success, tls, warnings };
    };
    const ours = trustIn(authority.caPem);
    const others = trustIn(createAuthority('Somebody else').caPem);

    const good = await stagesOf(trusted, flavour.verified, ours);
    assert.equal(good.success, true, JSON.stringify(good));
    assert.match(
      good.tls?.detail ?? '',
      /TLSv1\.[23], .+, subject .+, issuer Plugboard Test CA, valid until /,
    );
    assert.deepEqual(good.warnings, []);

    const unknown = await stagesOf(trusted, flavour.verified, others);
    assert.equal(unknown.tls?.code, 'certificate_untrusted');
    const wrongName = await stagesOf(server, flavour.verified, ours);
    assert.equal(wrongName.tls?.code, 'certificate_wrong_host');

    const required = flavour === postgres ? 'sslmode=require' : 'sslMode=REQUIRED';
    const unverified = await stagesOf(server, required, others);
    assert.equal(unverified.success, true, JSON.stringify(unverified));
    assert.match(unverified.tls?.hint ?? '', /nobody verified/);
    assert.match(unverified.warnings.join(), /no verification/);

    const preferred = await stagesOf(
      server,
      flavour === postgres ? 'sslmode=prefer' : 'sslMode=PREFERRED',
      others,
    );
    assert.equal(preferred.tls?.status, 'passed', 'TLS is used where it is offered');
  });

  test(`${flavour.title}: TLS that is demanded but not offered is an error`, async (t) => {
    const server = await serve(t, flavour);
    if (!server) return;
    const { host: _host, port: _port, databaseName: _database, ...rest } = configFor(flavour, server);
    const config = { ...rest, jdbcUrl: urlFor(flavour, server, flavour.verified) };
    const { stages } = await testConnection(
      databaseConnector,
      config,
      createContext({ signal: AbortSignal.timeout(60_000) }),
    );
    const failed = stages.find(({ status }) => status === 'failed');
    assert.equal(failed?.code, 'tls_not_offered', JSON.stringify(stages));
    assert.equal(failed?.stage, 'tls');
    const db = await open(t, config);
    assert.equal((await rejected(db.query('select 1'))).code, 'tls_not_offered');
  });
}

test('PostgreSQL: the pool as the server sees it', async (t) => {
  const server = await serve(t, postgres);
  if (!server) return;
  const { host: _host, port: _port, databaseName: _database, ...rest } = configFor(postgres, server);
  const watch = await open(t, configFor(postgres, server));
  const named = (name: string, overrides: Partial<DatabaseConfig> = {}) => ({
    ...rest,
    jdbcUrl: urlFor(postgres, server, `sslmode=disable&ApplicationName=${name}`),
    ...overrides,
  });
  const sessions = async (name: string) =>
    Number(
      (
        await watch.query('select count(*) from pg_stat_activity where application_name = $1', {
          parameters: [name],
        })
      ).rows[0]![0],
    );

  await t.test('nothing is open before the first use, then the initial size', async (t) => {
    const db = await open(t, named('lazy', { initialPoolSize: 3, minPoolSize: 2 }));
    assert.equal(await sessions('lazy'), 0);
    await databaseConnector.prove(db.live, { signal: AbortSignal.timeout(30_000) });
    await eventually(() => sessions('lazy'), 3);
    await db.close();
    await eventually(() => sessions('lazy'), 0);
  });

  await t.test('grows by the increment up to the maximum, and shrinks to the minimum', async (t) => {
    const db = await open(
      t,
      named('grows', { minPoolSize: 2, maxPoolSize: 6, incrementCount: 2, maxIdleTime: 1500 }),
    );
    const many = Promise.all(Array.from({ length: 12 }, () => db.query('select pg_sleep(0.3)')));
    await eventually(() => sessions('grows'), 6);
    await many;
    await eventually(() => sessions('grows'), 2);
  });

  await t.test('currentSchema and options of the URL are those of the session', async (t) => {
    const db = await open(t, {
      ...rest,
      jdbcUrl: urlFor(
        postgres,
        server,
        `sslmode=disable&currentSchema=orders,public&options=${encodeURIComponent('-c work_mem=7MB')}`,
      ),
    });
    const { rows } = await db.query(
      "select current_setting('search_path'), current_setting('work_mem'), current_setting('application_name')",
    );
    assert.deepEqual(rows, [['orders,public', '7MB', 'plugboard']]);
  });

  await t.test('an old connection is replaced', async (t) => {
    const db = await open(t, named('ages', { maxPoolSize: 1, maxConnectionAge: 1000 }));
    const pid = async () => (await db.query('select pg_backend_pid()')).rows[0]![0];
    const first = await pid();
    const deadline = Date.now() + 20_000;
    while ((await pid()) === first) {
      assert.ok(Date.now() < deadline, 'never replaced');
      await sleep(100);
    }
  });

  await t.test('a connection that the server ended is replaced before anybody notices', async (t) => {
    for (const testConnectionOnCheckout of [true, false]) {
      const name = `ended-${testConnectionOnCheckout}`;
      const db = await open(t, named(name, { testConnectionOnCheckout }));
      const ended = (await db.query('select pg_backend_pid()')).rows[0]?.[0] as number;
      const replaced = async () => {
        const others = 'select 1 from pg_stat_activity where application_name = $1 and pid <> $2';
        return (await watch.query(others, { parameters: [name, ended] })).rows.length;
      };
      await watch.query('select pg_terminate_backend($1)', { parameters: [ended] });
      await eventually(replaced, 1);
      assert.equal((await db.query('select 1')).rows.length, 1);
    }
  });

  await t.test(
    'connections are tested before use, after use and while they are idle, as configured',
    async (t) => {
      const tap = await startTap(t, server.port);
      /** Requests so far: each ends in a Sync. */
      const requests = () => tap.sent().toString('latin1').split('S\0\0\0\x04').length - 1;
      const behindTap = (overrides: Partial<DatabaseConfig>) =>
        open(t, {
          ...named('tested', { maxPoolSize: 1, idleConnectionTestPeriod: 0, ...overrides }),
          jdbcUrl: urlFor(postgres, { ...server, port: tap.port }, 'sslmode=disable'),
        });
      for (const testConnectionOnCheckout of [false, true])
        for (const testConnectionOnCheckin of [false, true]) {
          const db = await behindTap({ testConnectionOnCheckout, testConnectionOnCheckin });
          await db.query('select 2');
          await eventually(() => db.figures()['idle'], 1);
          const before = requests();
          await db.query('select 2');
          await eventually(() => db.figures()['idle'], 1);
          const tests = Number(testConnectionOnCheckout) + Number(testConnectionOnCheckin);
          assert.equal(
            requests() - before,
            1 + tests,
            `${testConnectionOnCheckout} ${testConnectionOnCheckin}`,
          );
          await db.close();
        }
      for (const idleConnectionTestPeriod of [0, 200]) {
        const db = await behindTap({ idleConnectionTestPeriod });
        await db.query('select 2');
        await eventually(() => db.figures()['idle'], 1);
        const before = requests();
        if (idleConnectionTestPeriod > 0) await eventually(() => requests() >= before + 2, true);
        else {
          await sleep(1000);
          assert.equal(requests(), before);
        }
        await db.close();
      }
    },
  );

  await t.test('waiting longer than connectionTimeout is said to be the pool', async (t) => {
    const db = await open(t, named('full', { maxPoolSize: 1, connectionTimeout: 800 }));
    await db.query('select 1');
    const running = db.query('select pg_sleep(3)');
    await eventually(() => db.figures()['busy'], 1);
    const failure = await rejected(db.query('select 1'));
    assert.equal(failure.code, 'unavailable');
    assert.match(failure.message, /1 of 1 busy/);
    await running;
  });

  await t.test('prepared statements are cached, and no more than configured', async (t) => {
    const db = await open(t, named('caches', { maxPoolSize: 1, maxStatements: 3 }));
    for (let round = 0; round < 10; round++) await db.query(`select ${round} as number`);
    const prepared = await db.query('select count(*) from pg_prepared_statements');
    assert.equal(Number(prepared.rows[0]![0]), 3);
    await db.query('select $1::int as again', { parameters: [1] });
    await db.query('select $1::int as again', { parameters: [2] });
    const used = await db.query(
      "select generic_plans + custom_plans from pg_prepared_statements where statement like '%again%' and statement not like '%generic%'",
    );
    assert.deepEqual(used.rows, [['2']]);
    const none = await open(t, named('none', { maxPoolSize: 1, maxStatements: 0 }));
    await none.query('select 1');
    assert.equal(Number((await none.query('select count(*) from pg_prepared_statements')).rows[0]![0]), 0);
  });

  await t.test('a plan that went stale is made anew', async (t) => {
    const db = await open(t, named('stale', { maxPoolSize: 1 }));
    await db.execute('create table shifting (id integer)');
    assert.deepEqual((await db.query('select * from shifting')).columns.length, 1);
    await db.execute('alter table shifting add column more text');
    assert.deepEqual((await db.query('select * from shifting')).columns.length, 2);
    await db.execute('deallocate all');
    assert.deepEqual((await db.query('select * from shifting')).rows, []);
  });

  await t.test('values fit JSON without loss', async (t) => {
    const db = await open(t, named('values'));
    const { columns, rows } = await db.query(
      `select 1::int as a, 9007199254740993::bigint as b, 1.10::numeric as c, 'NaN'::float8 as d,
        timestamptz '2026-01-31 10:00:00.5+00' as e, timestamp '2026-01-31 10:00:00' as f, date '2026-01-31' as g,
        '\\x00ff'::bytea as h, '{"a":[1]}'::jsonb as i, null as j, true as k, array[1,null,3] as l,
        array['a"b','c,d','NULL', ''] as m, array[array[1,2],array[3,4]] as n, 'infinity'::timestamptz as o`,
    );
    assert.deepEqual(JSON.parse(JSON.stringify(rows[0])), [
      1,
      '9007199254740993',
      '1.10',
      'NaN',
      '2026-01-31T10:00:00.5+00:00',
      '2026-01-31T10:00:00',
      '2026-01-31',
      'AP8=',
      { a: [1] },
      null,
      true,
      [1, null, 3],
      ['a"b', 'c,d', 'NULL', ''],
      [
        [1, 2],
        [3, 4],
      ],
      'infinity',
    ]);
    assert.deepEqual(
      columns.slice(0, 6).map(({ type }) => type),
      ['int4', 'int8', 'numeric', 'float8', 'timestamptz', 'timestamp'],
    );
  });

  await t.test('numbers within JSON that a double does not hold stay text', async (t) => {
    const db = await open(t, named('json'));
    const { rows } = await db.query(
      `select '{"id":12345678901234567890,"p":0.1234567890123456789,"n":[1,-2.5,1e3,9007199254740991]}'::jsonb`,
    );
    assert.deepEqual(rows, [
      [{ id: '12345678901234567890', p: '0.1234567890123456789', n: [1, -2.5, 1000, 9007199254740991] }],
    ]);
  });

  await t.test('a wrong number of parameters is the fault of the call', async (t) => {
    const db = await open(t, named('parameters'));
    for (const [sql, parameters] of [
      ['select $1::int', []],
      ['select 1', [5]],
    ] as const) {
      const failure = await rejected(db.query(sql, { parameters: [...parameters] }));
      assert.deepEqual([failure.code, failure.retryable], ['request_rejected', false], failure.message);
    }
  });

  await t.test('a large answer is cut at its bytes, not only at its rows', async (t) => {
    const db = await open(t, named('large'));
    const { rows, truncated } = await db.query("select repeat('x', 1048576) from generate_series(1, 200)");
    assert.equal(truncated, true);
    assert.ok(rows.length >= 32 && rows.length < 40, `${rows.length} rows`);
  });

  await t.test("the worker's own PG variables are not sent to a target", async (t) => {
    const before = { ...process.env };
    Object.assign(process.env, {
      PGPASSWORD: 'Canary-of-the-worker',
      PGOPTIONS: '-c search_path=evil',
      PGAPPNAME: 'evil',
      PGSSLMODE: 'require',
    });
    try {
      const db = await open(t, configFor(postgres, server, { useCredentials: false }));
      const failure = await rejected(db.query('select 1'));
      assert.equal(failure.code, 'invalid_configuration');
    } catch (error) {
      assert.equal((error as AppError).code, 'invalid_configuration');
    } finally {
      for (const name of ['PGPASSWORD', 'PGOPTIONS', 'PGAPPNAME', 'PGSSLMODE']) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
    }
  });
});

test('MariaDB: values, keys and files', async (t) => {
  const server = await serve(t, mysql);
  if (!server) return;
  const config = configFor(mysql, server, { maxPoolSize: 1, maxStatements: 3 });

  await t.test('what changes something is done whole, also where its answer is cut', async (t) => {
    const db = await open(t, { ...config, name: 'cut' });
    await db.execute('create table cut_answers (id int auto_increment primary key, tx text)');
    const cut = await db.query(
      "insert into cut_answers (tx) select repeat('x', 100) from seq_1_to_1500 returning id, tx",
    );
    assert.deepEqual([cut.rows.length, cut.truncated], [1000, true]);
    assert.deepEqual((await db.query('select count(*) from cut_answers')).rows.flat().map(Number), [1500]);
  });

  await t.test('values fit JSON without loss', async (t) => {
    const db = await open(t, config);
    const { columns, rows } = await db.query(
      `select 1 as a, cast(9007199254740993 as signed) as b, cast(1.10 as decimal(5,2)) as c,
        cast('2026-01-31 10:00:00.5' as datetime(1)) as d, cast('2026-01-31' as date) as e, x'00ff' as f,
        json_object('a', 1) as g, null as h, 1.5e0 as i, '猫' as j`,
    );
    assert.deepEqual(rows, [
      [
        1,
        '9007199254740993',
        '1.10',
        '2026-01-31T10:00:00.5',
        '2026-01-31',
        'AP8=',
        { a: 1 },
        null,
        1.5,
        '猫',
      ],
    ]);
    assert.deepEqual(
      columns.slice(0, 5).map(({ type }) => type),
      ['int', 'bigint', 'decimal', 'datetime', 'date'],
    );
  });

  await t.test('a generated key is told, and a timestamp is in UTC', async (t) => {
    const db = await open(t, config);
    await db.execute(
      'create table keyed (id bigint auto_increment primary key, at timestamp null, flags bit(3))',
    );
    assert.deepEqual(await db.execute('insert into keyed (at, flags) values (from_unixtime(1), 5)'), {
      affectedRows: 1,
      insertId: '1',
    });
    assert.deepEqual((await db.query('select * from keyed')).rows, [['1', '1970-01-01T00:00:01Z', '101']]);
  });

  await t.test('no file of the worker is sent', async (t) => {
    const db = await open(t, config);
    await db.execute('create table line_list (line text)');
    assert.equal(
      (await rejected(db.execute("load data local infile '/etc/hostname' into table line_list"))).code,
      'request_rejected',
    );
    assert.deepEqual((await db.query('select * from line_list')).rows, []);
  });

  await t.test('prepared statements are cached, and no more than configured', async (t) => {
    const db = await open(t, config);
    for (let round = 0; round < 10; round++) await db.query(`select ${round} as number`);
    const watch = await open(t, { ...config, maxStatements: 0 });
    const count = async () =>
      Number((await watch.query("show global status like 'Prepared_stmt_count'")).rows[0]![1]);
    // One is the watcher's own.
    await eventually(count, 3 + 1);
    await db.close();
    await eventually(count, 1);
  });

  await t.test('autocommit cannot be switched off for the next one', async (t) => {
    const db = await open(t, config);
    assert.match((await rejected(db.execute('set autocommit = 0'))).message, /autocommit/);
    assert.deepEqual((await db.query('select @@autocommit')).rows, [['1']]);
  });
});

test('a server restart in the middle of statements is survived', async (t) => {
  for (const flavour of [postgres, mysql]) {
    const server = await serve(t, flavour);
    if (!server) return;
    const db = await open(t, configFor(flavour, server, { connectionTimeout: 20_000 }));
    let stop = false;
    const outcomes = { served: 0, failed: 0 };
    const clients = Array.from({ length: 4 }, async () => {
      while (!stop) {
        try {
          await db.query('select 1');
          outcomes.served++;
        } catch (error) {
          assert.ok(error instanceof AppError && error.retryable, String(error));
          outcomes.failed++;
        }
        await sleep(5);
      }
    });
    await sleep(200);
    await server.restart();
    const before = outcomes.served;
    await eventually(() => outcomes.served > before + 20, true);
    stop = true;
    await Promise.all(clients);
    assert.ok(db.figures()['size']! <= 5);
  }
});
