import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { startPeer } from '../../../test/contract/peer.ts';
import { privateDirectory } from '../../../test/services/service.ts';
import { STAGES, type StageResult } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import { createNetwork } from '../../worker/egress.ts';
import { createEgressPolicy } from '../../worker/egress-policy.ts';
import type { Stages } from '../connector.ts';
import type { DialectSettings } from './dialect.ts';
import { connectionStringOf, db2, odbcDialect, sybase } from './odbc.dialect.ts';
import { classifyOdbcError } from './odbc-errors.ts';
import type { OdbcConnection, OdbcCursor, OdbcModule, OdbcResult } from './odbc-module.ts';
import { threadedOdbc } from './odbc-thread.ts';

const password = 'Canary};Server=evil;{p4ss';

/** Stages as a session runs them, and how each ended. */
function recordStages(): Stages & { results(): string[] } {
  const seen = new Map<string, StageResult['status']>();
  return {
    async run(stage, work) {
      try {
        const value = await work({ detail() {}, hint() {} });
        seen.set(stage, 'passed');
        return value;
      } catch (error) {
        seen.set(stage, 'failed');
        throw error;
      }
    },
    skip(stage) {
      seen.set(stage, 'skipped');
    },
    results: () => STAGES.map((stage) => `${stage} ${seen.get(stage) ?? 'skipped'}`),
  };
}

function settingsAt(port: number, rest: Partial<DialectSettings> = {}): DialectSettings {
  return {
    hosts: [{ host: '127.0.0.1', port }],
    database: 'orders',
    isSid: false,
    user: 'sa',
    password,
    parameters: {},
    tls: { demand: 'none', verified: false, options: {} },
    timeoutMs: 2_000,
    maxStatements: 100,
    network: createNetwork({ policy: createEgressPolicy() }),
    ...rest,
  };
}

function result(rows: Record<string, unknown>[], columns: [string, string][], count = -1): OdbcResult {
  return Object.assign(rows, {
    count,
    columns: columns.map(([name, dataTypeName]) => ({ name, dataTypeName })),
  });
}

/** A module with the interface of `odbc`: it dials the port of its connection string, and answers by `answer`. */
function fakeOdbc(answer: (sql: string, parameters: unknown[]) => OdbcResult | Promise<OdbcResult>) {
  const seen = { connectionString: '', parameters: [] as unknown[], closed: 0 };
  const odbc: OdbcModule = {
    async connect({ connectionString }) {
      seen.connectionString = connectionString;
      const port = Number(/Port=(\d+);/.exec(connectionString)?.[1]);
      const socket = connect({ port, host: '127.0.0.1' });
      socket.on('error', () => {});
      await once(socket, 'connect');
      const query = async (sql: string, parameters: unknown[], options?: object) => {
        seen.parameters = parameters;
        const rows = await answer(sql, parameters);
        if (!options || rows.columns?.length === 0) return rows;
        const cursor: OdbcCursor & { noData: boolean } = {
          noData: false,
          async fetch() {
            const part = result(rows.splice(0, 2), [], -1);
            part.columns = rows.columns!;
            cursor.noData = rows.length === 0;
            return part;
          },
          async close() {},
        };
        return cursor;
      };
      return {
        query: query as OdbcConnection['query'],
        async close() {
          seen.closed++;
          socket.destroy();
        },
      };
    },
  };
  return { odbc, seen };
}

const signal = new AbortController().signal;

test('a session goes through a socket of ours, and binds what it is given', async (t) => {
  const server = await startPeer(t);
  const { odbc, seen } = fakeOdbc(() =>
    result(
      [
        { n: 1n, said: 'a', raw: new Uint8Array([0, 255]).buffer },
        { n: 2n, said: null, raw: null },
        { n: 3n, said: 'c', raw: null },
      ],
      [
        ['n', 'SQL_BIGINT'],
        ['said', 'SQL_VARCHAR'],
        ['raw', 'SQL_VARBINARY'],
      ],
      7,
    ),
  );
  const settings = settingsAt(server.port);
  const stages = recordStages();
  const dialect = odbcDialect(settings, sybase, odbc);
  const session = await dialect.connect({ hosts: settings.hosts, stages, signal, lost() {} });
  assert.deepEqual(stages.results(), [
    'resolve passed',
    'connect passed',
    'tls skipped',
    'authenticate passed',
    'operate skipped',
  ]);
  assert.match(seen.connectionString, /^Driver=\{FreeTDS\};Server=127\.0\.0\.1;TDS_Version=5\.0;/);
  assert.ok(seen.connectionString.includes('Pwd={Canary}};Server=evil;{p4ss};'));
  assert.doesNotMatch(seen.connectionString, new RegExp(`Port=${server.port};`));
  const statement = { sql: 'select ?, ?', parameters: [true, "'; drop table t; --"] };
  const answer = await session.query(statement, { maxRows: 10, maxBytes: 1000 });
  assert.deepEqual(seen.parameters, [1, "'; drop table t; --"]);
  assert.deepEqual(answer, {
    columns: [
      { name: 'n', type: 'bigint' },
      { name: 'said', type: 'varchar' },
      { name: 'raw', type: 'varbinary' },
    ],
    rows: [
      ['1', 'a', 'AP8='],
      ['2', null, null],
      ['3', 'c', null],
    ],
    truncated: false,
  });
  const cut = await session.query(statement, { maxRows: 2, maxBytes: 1000 });
  assert.deepEqual([cut.rows.length, cut.truncated], [2, true]);
  assert.deepEqual(await session.execute(statement), { affectedRows: 7 });
  assert.equal(session.reusable, true);
  await session.execute({ sql: 'begin transaction', parameters: [] });
  assert.equal(session.reusable, false);
  session.end(false);
  session.end(false);
  await server.allClosed();
});

test('two columns of one name are refused, as one would be lost', async (t) => {
  const server = await startPeer(t);
  const { odbc } = fakeOdbc(() =>
    result(
      [{ n: 1 }],
      [
        ['n', 'SQL_INTEGER'],
        ['n', 'SQL_INTEGER'],
      ],
    ),
  );
  const settings = settingsAt(server.port);
  const session = await odbcDialect(settings, db2, odbc).connect({
    hosts: settings.hosts,
    stages: recordStages(),
    signal,
    lost() {},
  });
  t.after(() => session.end(true));
  await assert.rejects(session.query({ sql: 'select', parameters: [] }, { maxRows: 1, maxBytes: 1 }), {
    code: 'request_rejected',
  });
});

test('a lost server, a cancel and a log-in that hangs leave no socket', async (t) => {
  const server = await startPeer(t);
  const settings = settingsAt(server.port, { timeoutMs: 300 });
  const { odbc } = fakeOdbc(() => new Promise<OdbcResult>(() => {}));
  const open = (lost: () => void) =>
    odbcDialect(settings, db2, odbc).connect({
      hosts: settings.hosts,
      stages: recordStages(),
      signal,
      lost,
    });
  const gone = Promise.withResolvers<void>();
  const first = await open(gone.resolve);
  server.drop();
  await gone.promise;
  first.end(true);
  const second = await open(() => {});
  void second.query({ sql: 'select 1', parameters: [] }, { maxRows: 1, maxBytes: 1 }).catch(() => {});
  await second.cancel(signal);
  assert.equal(second.reusable, false);
  await server.allClosed();
  const hung: OdbcModule = { connect: () => new Promise(() => {}) };
  const failure = odbcDialect(settings, db2, hung).connect({
    hosts: settings.hosts,
    stages: recordStages(),
    signal,
    lost() {},
  });
  await assert.rejects(failure, { code: 'target_timeout' });
  await server.allClosed();
});

test('nothing is dialled that the egress policy forbids', async (t) => {
  const server = await startPeer(t);
  const network = createNetwork({ policy: createEgressPolicy({ deny: ['127.0.0.1/32'] }) });
  const settings = settingsAt(server.port, { network });
  const { odbc } = fakeOdbc(() => assert.fail('asked'));
  const stages = recordStages();
  const opening = odbcDialect(settings, db2, odbc).connect({
    hosts: settings.hosts,
    stages,
    signal,
    lost() {},
  });
  await assert.rejects(opening, { code: 'egress_denied' });
  assert.equal(server.count(), 0);
});

test('a connection string holds its values, whatever they are', () => {
  assert.equal(connectionStringOf([['Uid', 'sa']]), 'Uid=sa;');
  assert.equal(connectionStringOf([['Pwd', 'a;Server=b']]), 'Pwd={a;Server=b};');
  assert.equal(connectionStringOf([['Pwd', 'a}b{']]), 'Pwd={a}}b{};');
  assert.equal(connectionStringOf([['Pwd', ' =\'"']]), 'Pwd={ =\'"};');
  assert.throws(() => connectionStringOf([['Pwd', 'a\0b']]), { code: 'invalid_configuration' });
});

test("drivers' errors become codes of ours", () => {
  const cases: [string, number, string, string][] = [
    ['28000', 0, 'password authentication failed', 'authentication_failed'],
    ['08001', -30082, '[IBM][CLI Driver] SQL30082N  Security processing failed', 'authentication_failed'],
    ['42000', 4002, '[FreeTDS][SQL Server]Login failed.', 'authentication_failed'],
    ['08S01', 0, 'Communication link failure', 'connection_lost'],
    ['40001', -911, 'SQL0911N  deadlock', 'target_busy'],
    ['42S02', 208, 'nothing not found', 'request_rejected'],
    ['IM002', 0, 'Data source name not found', 'driver_missing'],
    ['01000', 0, "Can't open lib 'x' : file not found", 'driver_missing'],
    ['HY000', 1, 'anything', 'target_error'],
  ];
  for (const [state, code, message, expected] of cases) {
    const error = Object.assign(new Error('[odbc] failed'), { odbcErrors: [{ state, code, message }] });
    assert.equal(classifyOdbcError(error, db2).code, expected, message);
  }
  const own = new AppError('cancelled');
  assert.equal(classifyOdbcError(own, db2), own);
});

test('a driver that waits for its server in its own thread does not hold up ours', async (t) => {
  const directory = await privateDirectory('odbc');
  t.after(directory.remove);
  const path = join(directory.path, 'odbc.mjs');
  const source = `
    const shared = new Int32Array(new SharedArrayBuffer(4));
    export const connect = async ({ connectionString }) => {
      if (connectionString === 'refused') throw Object.assign(new Error('no'), { odbcErrors: [{ state: '28000', code: 1, message: 'no' }] });
      return {
        async query(sql, parameters, options) {
          Atomics.wait(shared, 0, 0, Number(parameters[0]));
          const rows = Object.assign([{ sql }], { count: 4, columns: [{ name: 'sql', dataTypeName: 'SQL_VARCHAR' }] });
          if (!options) return rows;
          const cursor = { noData: false, async fetch() { cursor.noData = true; return rows; }, async close() {} };
          return cursor;
        },
        async close() {},
      };
    };`;
  await writeFile(path, source);
  const odbc = threadedOdbc(pathToFileURL(path).href);
  const connection = await odbc.connect({ connectionString: '', loginTimeout: 1 });
  let ticks = 0;
  const ticking = setInterval(() => ticks++, 5);
  const answer = await connection.query('update', [400]);
  clearInterval(ticking);
  assert.ok(ticks > 3, `${ticks} ticks`);
  assert.deepEqual([answer.count, [...answer]], [4, [{ sql: 'update' }]]);
  const cursor = await connection.query('select', [0], { cursor: true, fetchSize: 1 });
  assert.ok('fetch' in cursor);
  assert.equal((await cursor.fetch())[0]!['sql'], 'select');
  assert.equal(cursor.noData, true);
  await cursor.close();
  await connection.close();
  await assert.rejects(connection.query('late', [0]), { code: 'connection_lost' });
  const refused = await odbc
    .connect({ connectionString: 'refused', loginTimeout: 1 })
    .catch((error: unknown) => error);
  assert.equal(classifyOdbcError(refused, db2).code, 'authentication_failed');
  const missing = threadedOdbc(pathToFileURL(join(directory.path, 'nowhere.mjs')).href);
  await assert.rejects(missing.connect({ connectionString: '', loginTimeout: 1 }), {
    code: 'driver_missing',
  });
});
