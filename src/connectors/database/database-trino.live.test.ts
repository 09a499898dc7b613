import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { trustIn } from '../../../test/contract/connector-context.ts';
import { type ConnectorSubject, connectorContract } from '../../../test/contract/connector-contract.ts';
import { databaseConfig, openDatabase, rejected } from '../../../test/contract/database-subject.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { startTrino, type TrinoService } from '../../../test/services/trino.ts';
import { databaseConnector } from './database.connector.ts';
import type { database } from './database.definition.ts';
import type { DatabaseConfig } from './database-client.ts';

const authority = createAuthority();

const base = databaseConfig({ dbType: 'TRINO', useCredentials: false });

function inClear({ host, port }: { host: string; port: number }, rest: Partial<DatabaseConfig> = {}) {
  return { ...base, jdbcUrl: `jdbc:trino://${host}:${port}/memory/default?user=tester`, ...rest };
}

function overTls(
  { host, port }: { host: string; port: number },
  { account }: TrinoService,
  rest: Partial<DatabaseConfig> = {},
): DatabaseConfig {
  return {
    ...base,
    jdbcUrl: `jdbc:trino://${host}:${port}/memory/default?SSL=true`,
    useCredentials: true,
    username: account.user,
    password: account.password,
    ...rest,
  };
}

const page = '<html><body>Bad Request</body></html>';
const otherProtocols = {
  // HTTP is the protocol here: what another server says is a page that ends.
  'an HTTP 400 page': Buffer.from(
    `HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: ${page.length}\r\n\r\n${page}`,
  ),
  'the greeting of a mail server': Buffer.from('220 mail.example.com ESMTP\r\n'),
};

const open = (t: TestContext, config: DatabaseConfig) =>
  openDatabase(t, config, { trust: trustIn(authority.caPem) });

test('Trino keeps the contract, and does what statements say', async (t) => {
  const certificate = authority.issue({ commonName: 'trino.test', ips: ['127.0.0.1'] });
  const server = await startOrSkip(t, () => startTrino({ certificate }));
  if (!server) return;
  t.after(() => server.stop());
  const secured = { host: server.host, port: server.tlsPort };
  const badPassword = 'Canary-wr0ng/pass+word';

  for (const tls of [false, true]) {
    const subject: ConnectorSubject<typeof database, Awaited<ReturnType<typeof open>>['live']> = {
      connector: databaseConnector,
      config: () => (tls ? overTls(secured, server) : inClear(server)),
      configAt: ({ timeoutMs, ...target }) =>
        tls
          ? overTls(target, server, { connectionTimeout: timeoutMs })
          : inClear(target, { connectionTimeout: timeoutMs }),
      badCredentials: tls ? () => overTls(secured, server, { password: badPassword }) : undefined,
      operate: (live, call) =>
        databaseConnector.operations.query(live, { sql: 'select ? as said', parameters: ['hello'] }, call),
      restart: () => server.restart(),
      trust: trustIn(authority.caPem),
      silentAt: tls ? 'tls' : 'authenticate',
      garbledAt: tls ? 'tls' : 'authenticate',
      otherProtocols,
      secrets: [server.account.password, badPassword],
      tls,
    };
    await connectorContract(t, `Trino ${tls ? 'over TLS' : 'in clear'}`, subject);
  }

  await t.test('security 11: values are bound, whatever they hold', async (t) => {
    const db = await open(t, inClear(server));
    await db.execute({ sql: 'create table notes (id bigint, body varchar)' });
    const attempts = ["'; drop table notes; --", "' or '1'='1", '\\', '? :1 %s', '\u2028"\'`', '猫🐈', "''"];
    for (const [id, body] of attempts.entries())
      assert.deepEqual(await db.execute({ sql: 'insert into notes select ?, ?', parameters: [id, body] }), {
        affectedRows: 1,
      });
    const { rows } = await db.query({ sql: 'select body from notes order by id' });
    assert.deepEqual(
      rows,
      attempts.map((body) => [body]),
    );
    const kinds = await db.query({ sql: 'select ?, ?, ?, ?', parameters: [1.5, true, null, 1e300] });
    assert.deepEqual(kinds.rows, [[1.5, true, null, 1e300]]);
    assert.equal((await rejected(db.query({ sql: 'select 1; select 2' }))).code, 'request_rejected');
    assert.equal((await rejected(db.query({ sql: 'select ?' }))).code, 'request_rejected');
  });

  await t.test('values come out exactly', async (t) => {
    const db = await open(t, inClear(server));
    const { columns, rows } = await db.query({
      sql: "select 9223372036854775807 as big, decimal '123456789012345678901234.5' as amount, timestamp '2026-01-31 10:00:00.123456' as at, timestamp '2026-01-31 10:00:00 UTC' as instant, x'00ff' as bytes, array[9007199254740993] as list, date '2026-01-31' as day, nan() as none",
    });
    assert.deepEqual(columns[0], { name: 'big', type: 'bigint' });
    assert.deepEqual(rows, [
      [
        '9223372036854775807',
        '123456789012345678901234.5',
        '2026-01-31T10:00:00.123456',
        '2026-01-31T10:00:00Z',
        'AP8=',
        ['9007199254740993'],
        '2026-01-31',
        'NaN',
      ],
    ]);
  });

  const running = async (db: Awaited<ReturnType<typeof open>>) => {
    const { rows } = await db.query({
      sql: "select count(*) from system.runtime.queries where state in ('RUNNING', 'QUEUED', 'PLANNING', 'FINISHING') and query like '%sequence(1, 9000%' and query not like '%runtime.queries%'",
    });
    return Number(rows[0]![0]);
  };
  const long =
    'select count(*) from unnest(sequence(1, 9000)) a(x) cross join unnest(sequence(1, 9000)) b(y) cross join unnest(sequence(1, 9000)) c(z) where x * y + z = 17';

  await t.test('maxRows and timeoutMs end the statement on the server', async (t) => {
    const db = await open(t, inClear(server));
    const cut = await db.query({ sql: 'select x from unnest(sequence(1, 9500)) t(x)', maxRows: 3 });
    assert.deepEqual([cut.rows, cut.truncated], [[['1'], ['2'], ['3']], true]);
    assert.equal((await rejected(db.query({ sql: long, timeoutMs: 1500 }))).code, 'target_timeout');
    const abort = new AbortController();
    const aborted = rejected(db.query({ sql: long }, abort.signal));
    const deadline = Date.now() + 60_000;
    while ((await running(db)) === 0) {
      assert.ok(Date.now() < deadline, 'it never ran');
      await sleep(100);
    }
    abort.abort();
    assert.equal((await aborted).code, 'cancelled');
    while ((await running(db)) > 0) {
      assert.ok(Date.now() < deadline, 'it still runs');
      await sleep(100);
    }
  });

  await t.test('a coordinator that leads elsewhere is not followed', async (t) => {
    const asked: string[] = [];
    const peer = createServer((request, response) => {
      asked.push(request.url ?? '');
      const isInfo = request.url === '/v1/info';
      const answer = isInfo
        ? { nodeVersion: { version: 'evil' } }
        : { id: '1', nextUri: `http://localhost:${server.port}/v1/statement/queued/1` };
      response.end(JSON.stringify(answer));
    });
    peer.listen(0, '127.0.0.1');
    await once(peer, 'listening');
    t.after(() => peer.close());
    const { port } = peer.address() as { port: number };
    const db = await open(t, inClear({ host: '127.0.0.1', port }));
    const failure = await rejected(db.query({ sql: 'select 1' }));
    assert.equal(failure.code, 'protocol_error');
    assert.match(failure.message, /another origin/);
    assert.deepEqual(asked, ['/v1/info', '/v1/statement']);
  });

  await t.test('what the coordinator refuses is told', async (t) => {
    const db = await open(t, inClear(server));
    const failures = {
      select: 'request_rejected',
      'select * from nowhere': 'request_rejected',
      'select 1 / 0': 'request_rejected',
    };
    for (const [sql, code] of Object.entries(failures))
      assert.equal((await rejected(db.query({ sql }))).code, code, sql);
  });
});
