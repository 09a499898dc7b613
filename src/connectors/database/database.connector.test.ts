import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createContext, testConnection } from '../../../test/contract/connector-context.ts';
import { databaseConfig } from '../../../test/contract/database-subject.ts';
import { startPeer } from '../../../test/contract/peer.ts';
import { freePort } from '../../../test/services/service.ts';
import { parseConnection } from '../../contract/validation.ts';
import { AppError } from '../../errors.ts';
import type { Trust } from '../connector.ts';
import { databaseConnector } from './database.connector.ts';
import { database } from './database.definition.ts';
import type { DatabaseConfig } from './database-client.ts';
import { classifyMysqlError } from './mysql-errors.ts';
import { classifyPostgresError } from './postgres-errors.ts';
import { asIsoTimestamp, parseArray } from './postgres-values.ts';
import { parsePage } from './trino-values.ts';

const noNetwork = {
  resolve: () => assert.fail('resolved'),
  connect: () => assert.fail('dialled'),
  secure: () => assert.fail('secured'),
  datagram: () => assert.fail('sent'),
};

/** Opens a configuration without network, and says what was warned of and asked of the trust material. */
async function open(body: Partial<DatabaseConfig>, trust?: Trust) {
  const config = databaseConfig({ username: 'orders', password: 'some-password', ...body });
  const asked: unknown[] = [];
  const signal = new AbortController().signal;
  const ctx = createContext({
    signal,
    trust: trust ?? {
      tls(fields) {
        asked.push(fields);
        return {};
      },
    },
  });
  const live = await databaseConnector.open(config, { ...ctx, network: noNetwork });
  await databaseConnector.close(live);
  return { warnings: ctx.warnings.join('\n'), asked };
}

async function refusal(body: Partial<DatabaseConfig>): Promise<AppError> {
  try {
    await open(body);
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return error;
  }
  assert.fail('it was expected to be refused');
}

test("the seed's own example opens without network", async () => {
  const { config } = parseConnection(database, {
    type: 'database',
    name: 'my-db-connection',
    description: 'PostgreSQL database connection',
    deployToWorker: true,
    enabled: true,
    host: 'localhost',
    port: 5432,
    databaseName: 'mydb',
    username: 'dbuser',
    password: 'dbpassword',
    driverClassName: 'org.postgresql.Driver',
    jdbcUrl: 'jdbc:postgresql://localhost:5432/mydb',
  }) as unknown as { config: DatabaseConfig };
  await open(config);
});

test('kinds of database whose driver is to be installed say what to install', async () => {
  const urls = {
    FreeTDS: 'jdbc:jtds:sybase://db.example.com:5000/orders',
    'IBM DB2 ODBC DRIVER': 'jdbc:db2://db.example.com:50000/orders',
  };
  for (const [driver, jdbcUrl] of Object.entries(urls)) {
    const { code, details } = await refusal({ jdbcUrl });
    assert.equal(code, 'driver_missing');
    assert.match(String(details['hint']), /npm install --no-save --build-from-source odbc@2;/);
    assert.ok(String(details['hint']).includes(driver));
  }
});

test('a URL that resolved to something unreadable is refused without its values', async () => {
  const { code, message } = await refusal({
    jdbcUrl: 'jdbc:postgresql://db/orders?socketFactory=Canary&password=Canary',
  });
  assert.equal(code, 'invalid_configuration');
  assert.match(message, /socketFactory/);
  assert.doesNotMatch(message, /Canary/);
});

test('PostgreSQL without a user is refused', async () => {
  const { code } = await refusal({ dbType: 'POSTGRES', host: 'db', useCredentials: false });
  assert.equal(code, 'invalid_configuration');
});

test('missing trust material is refused when it is opened', async () => {
  const missing: Trust = {
    tls() {
      throw new AppError('missing_reference', 'trustStoreName: there is none');
    },
  };
  await assert.rejects(open({ dbType: 'MYSQL', host: 'db', trustStoreName: 'ours' }, missing), {
    code: 'missing_reference',
  });
});

test('TLS is demanded and verified as URL and fields say', async () => {
  const url = (parameters: string) => `jdbc:postgresql://db/orders?${parameters}`;
  const cases: [Partial<DatabaseConfig>, verified: boolean | 'no TLS', warning: RegExp | undefined][] = [
    [{ jdbcUrl: url('sslmode=disable') }, 'no TLS', undefined],
    [{ jdbcUrl: url('sslmode=disable'), certificateName: 'ours' }, 'no TLS', /have no effect/],
    [{ jdbcUrl: url('') }, false, /only where the server offers it/],
    [{ jdbcUrl: url('sslmode=prefer') }, false, /only where the server offers it/],
    [{ jdbcUrl: url(''), verifyCertificate: false }, false, undefined],
    [{ jdbcUrl: url('sslmode=require') }, false, /no verification/],
    [{ jdbcUrl: url('sslmode=require'), trustStoreName: 'ours' }, true, undefined],
    [{ jdbcUrl: url(''), certificateName: 'ours' }, true, undefined],
    [{ jdbcUrl: url(''), certificateName: 'ours', verifyCertificate: false }, false, undefined],
    [{ jdbcUrl: url('ssl=true') }, true, undefined],
    [{ jdbcUrl: url('ssl=true'), verifyCertificate: false }, false, undefined],
    [{ jdbcUrl: url('sslmode=verify-ca') }, true, undefined],
    [{ jdbcUrl: url('sslmode=verify-full') }, true, undefined],
    [{ jdbcUrl: url('sslmode=verify-full'), verifyCertificate: false }, true, /has no effect/],
  ];
  for (const [body, verified, warning] of cases) {
    const { warnings, asked } = await open(body);
    const label = JSON.stringify(body);
    if (verified === 'no TLS') assert.deepEqual(asked, [], label);
    else
      assert.deepEqual(
        asked.map((fields) => (fields as { verifyCertificate: boolean }).verifyCertificate),
        [verified],
        label,
      );
    if (warning) assert.match(warnings, warning, label);
    else assert.equal(warnings, '', label);
  }
});

test('parameters without effect are reported by name alone', async () => {
  const { warnings } = await open({
    jdbcUrl: 'jdbc:postgresql://db/orders?sslmode=disable&prepareThreshold=7654321',
  });
  assert.match(warnings, /prepareThreshold is kept but has no effect/);
  assert.doesNotMatch(warnings, /7654321/);
});

test("the servers' errors become codes of ours", () => {
  const postgres: Record<string, string> = {
    '28P01': 'authentication_failed',
    '28000': 'authentication_failed',
    '3D000': 'invalid_configuration',
    '42501': 'permission_denied',
    '53300': 'target_busy',
    '53100': 'quota_exceeded',
    '57P01': 'connection_lost',
    '57P03': 'target_busy',
    '57014': 'target_timeout',
    '08006': 'connection_lost',
    '40001': 'target_busy',
    '23505': 'request_rejected',
    '42601': 'request_rejected',
    '22012': 'request_rejected',
    XX000: 'target_error',
  };
  for (const [code, expected] of Object.entries(postgres)) {
    const error = classifyPostgresError({ code, severity: 'ERROR', message: 'said so' });
    assert.equal(error.code, expected, code);
    assert.match(error.message, new RegExp(`said so \\(SQLSTATE ${code}\\)`));
  }
  const mysql: Record<number, string> = {
    1045: 'authentication_failed',
    1130: 'authentication_failed',
    1049: 'invalid_configuration',
    1044: 'permission_denied',
    1040: 'target_busy',
    1213: 'target_busy',
    1317: 'target_timeout',
    1927: 'connection_lost',
    1062: 'request_rejected',
    1064: 'request_rejected',
  };
  for (const [errno, expected] of Object.entries(mysql))
    assert.equal(
      classifyMysqlError({ errno: Number(errno), sqlState: 'HY000', message: 'said so' }).code,
      expected,
      errno,
    );
  for (const classify of [classifyPostgresError, classifyMysqlError]) {
    assert.equal(classify({ code: 'ECONNRESET', message: 'reset' }).code, 'connection_lost');
    assert.equal(classify(new Error('anything else')).code, 'protocol_error');
    const ours = new AppError('cancelled');
    assert.equal(classify(ours), ours);
  }
});

test('arrays of PostgreSQL are read back whatever their texts hold', () => {
  const written = (items: readonly unknown[]): string =>
    `{${items
      .map((item) =>
        Array.isArray(item)
          ? written(item)
          : item === null
            ? 'NULL'
            : `"${String(item).replace(/["\\]/g, '\\$&')}"`,
      )
      .join(',')}}`;
  const items = fc.array(fc.oneof(fc.string({ unit: 'grapheme' }), fc.constant(null)));
  fc.assert(
    fc.property(fc.oneof(items, fc.array(items, { minLength: 1 })), (list) => {
      assert.deepEqual(
        parseArray(written(list), (text) => text),
        list,
      );
    }),
    { seed: 20261122 },
  );
  assert.deepEqual(parseArray('[2:3]={1,2}', Number), [1, 2]);
});

test('timestamps of PostgreSQL become ISO 8601, and odd ones stay', () => {
  const cases: [string, string][] = [
    ['2026-01-31 10:00:00.123456+03', '2026-01-31T10:00:00.123456+03:00'],
    ['2026-01-31 10:00:00+05:30', '2026-01-31T10:00:00+05:30'],
    ['2026-01-31 10:00:00', '2026-01-31T10:00:00'],
    ['infinity', 'infinity'],
    ['0044-03-15 10:00:00 BC', '0044-03-15 10:00:00 BC'],
  ];
  for (const [text, expected] of cases) assert.equal(asIsoTimestamp(text), expected);
});

test('of MongoDB only what it can be trusted with reaches its driver', async () => {
  const log = { useCredentials: true, username: 'orders', password: 'some-password' };
  const url = (parameters: string) => `mongodb://db.example.com/orders?${parameters}`;
  const refused: [Partial<DatabaseConfig>, RegExp][] = [
    [{ jdbcUrl: url('authMechanism=MONGODB-AWS') }, /authMechanism must be one of/],
    [{ jdbcUrl: url('authMechanism=MONGODB-OIDC') }, /authMechanism must be one of/],
    [{ jdbcUrl: url('authMechanism=GSSAPI') }, /authMechanism must be one of/],
    [{ jdbcUrl: url('authMechanism=PLAIN') }, /in clear/],
    [{ jdbcUrl: url('authMechanism=MONGODB-X509&tls=true') }, /needs keyStoreName/],
    [{ jdbcUrl: url('retryWrites=perhaps') }, /retryWrites must be true or false/],
    [{ jdbcUrl: url('readPreference=far') }, /readPreference must be one of/],
    [{ jdbcUrl: url('proxyHost=169.254.169.254') }, /proxyHost/],
    [{ jdbcUrl: url('loadBalanced=true') }, /loadBalanced/],
    [{ jdbcUrl: url('tlsCAFile=/etc/passwd') }, /tlsCAFile/],
  ];
  for (const [body, message] of refused) {
    const failure = await refusal({ ...log, ...body });
    assert.equal(failure.code, 'invalid_configuration');
    assert.match(failure.message, message);
  }
  const { warnings } = await open({ jdbcUrl: url('tls=false'), maxConnectionAge: 7 });
  assert.match(warnings, /maxConnectionAge: without effect for MONGODB/);
});

test('Trino gets passwords over TLS only, and headers that hold one line', async () => {
  const url = (rest: string) => `jdbc:trino://db.example.com:8443/hive/sales${rest}`;
  const refused: [Partial<DatabaseConfig>, RegExp][] = [
    [{ jdbcUrl: url('') }, /over TLS only/],
    [{ jdbcUrl: url('?SSL=false') }, /over TLS only/],
    [{ jdbcUrl: url('?SSL=true'), username: 'a:b' }, /colon/],
    [{ jdbcUrl: url('?SSL=true'), username: 'a\r\nX-Trino-User b' }, /ASCII/],
    [{ jdbcUrl: url('?SSL=true'), username: 'ayşe' }, /ASCII/],
    [{ jdbcUrl: url('?SSL=true&sessionProperties=query_max_run_time%3D1h') }, /sessionProperties/],
    [{ jdbcUrl: url('?SSL=true&accessToken=Canary') }, /accessToken/],
  ];
  for (const [body, message] of refused) {
    const failure = await refusal(body);
    assert.equal(failure.code, 'invalid_configuration');
    assert.match(failure.message, message);
  }
  await open({ jdbcUrl: url('?SSL=true&sessionProperties=query_max_run_time:1h') });
});

test('answers of a coordinator that lead elsewhere or are none are refused', () => {
  for (const body of [
    '',
    '[]',
    '{"data":[[1]]}',
    '{"nextUri":1}',
    '{"columns":[{}]}',
    '<html>',
    '{"error":1}',
  ])
    assert.throws(() => parsePage(Buffer.from(body)), { code: 'protocol_error' }, body);
  const { data } = parsePage(
    Buffer.from('{"columns":[{"name":"a","type":"bigint"}],"data":[[9007199254740993,1,1.5]]}'),
  );
  assert.deepEqual(data, [['9007199254740993', 1, 1.5]]);
});

test('of several hosts the test tells what became of each', async (t) => {
  const dead = [await freePort(), await freePort()];
  const peer = await startPeer(t, (socket) => socket.end());
  const stagesOf = async (hosts: string) => {
    const jdbcUrl = `jdbc:postgresql://${hosts}/orders?sslmode=disable`;
    const config = databaseConfig({ jdbcUrl, username: 'u', password: 'some-password' });
    const ctx = createContext({ signal: AbortSignal.timeout(30_000) });
    const { stages } = await testConnection(databaseConnector, config, ctx);
    return Object.fromEntries(stages.map((stage) => [stage.stage, stage]));
  };
  const none = await stagesOf(dead.map((port) => `127.0.0.1:${port}`).join());
  assert.equal(none['connect']?.code, 'connection_refused');
  for (const port of dead)
    assert.match(none['connect']?.detail ?? '', new RegExp(`127\\.0\\.0\\.1:${port}: .*refused`));
  const one = await stagesOf(`127.0.0.1:${dead[0]},127.0.0.1:${peer.port}`);
  assert.match(one['connect']?.detail ?? '', new RegExp(`:${dead[0]}: .*refused.*; .*:${peer.port} accepts`));
  assert.match(one['connect']?.hint ?? '', /Not every host works/);
  const unknown = await stagesOf('a.invalid,b.invalid');
  assert.equal(unknown['resolve']?.code, 'name_not_resolved');
  assert.match(unknown['resolve']?.detail ?? '', /a\.invalid: .*; b\.invalid: /);
});
