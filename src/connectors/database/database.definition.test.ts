import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { movedFields } from '../../contract/destination-binding.ts';
import { splitSecrets } from '../../contract/masking.ts';
import { completeConfig, parseConnection } from '../../contract/validation.ts';
import { database } from './database.definition.ts';

const definition = database as unknown as ConnectionType;
const ground = { type: 'database', name: 'db', username: 'u', password: 'p-secret' };

function parse(body: object) {
  const result = parseConnection(definition, { ...ground, ...body });
  assert.ok(result.ok, JSON.stringify(result));
  return result;
}

function faultsOf(body: object): string[] {
  const result = parseConnection(definition, { ...ground, ...body });
  return result.ok ? [] : result.faults.map(({ field }) => field);
}

test('the example of the seed is taken, and its kind told', () => {
  const { config, warnings } = parse({
    description: 'PostgreSQL database connection',
    host: 'localhost',
    port: 5432,
    databaseName: 'mydb',
    driverClassName: 'org.postgresql.Driver',
    jdbcUrl: 'jdbc:postgresql://localhost:5432/mydb',
  });
  assert.equal(config['dbType'], 'POSTGRES');
  assert.deepEqual(warnings, []);
});

test('the kind is told from the URL, else the driver class, else the port, else asked for', () => {
  const kind = (body: object) => parse(body).config['dbType'];
  assert.equal(kind({ jdbcUrl: 'jdbc:mysql://h/db', driverClassName: 'org.postgresql.Driver' }), 'MYSQL');
  assert.equal(kind({ host: 'h', port: 3306, driverClassName: 'oracle.jdbc.OracleDriver' }), 'ORACLE');
  for (const [port, type] of [
    [5432, 'POSTGRES'],
    [3306, 'MYSQL'],
    [1521, 'ORACLE'],
    [1433, 'SQL_SERVER'],
    [27017, 'MONGODB'],
    [50000, 'DB2'],
    [5000, 'SYBASE'],
    [10000, 'APACHE_HIVE'],
    [21050, 'APACHE_IMPALA'],
  ] as const)
    assert.equal(kind({ host: 'h', port }), type);
  assert.deepEqual(faultsOf({ host: 'h' }), ['dbType']);
  assert.deepEqual(faultsOf({ host: 'h', port: 8080 }), ['dbType']);
});

test('what stands beside a URL must agree with it', () => {
  const jdbcUrl = 'jdbc:postgresql://h:5432/db';
  assert.deepEqual(faultsOf({ jdbcUrl, host: 'H.', port: 5432, databaseName: 'db' }), []);
  assert.deepEqual(
    faultsOf({ jdbcUrl, host: 'i', port: 5433, databaseName: 'x', dbType: 'MYSQL' }).toSorted(),
    ['databaseName', 'dbType', 'host', 'port'],
  );
  assert.deepEqual(faultsOf({ jdbcUrl: `${jdbcUrl}?user=v&password=w` }).toSorted(), [
    'password',
    'username',
  ]);
});

test('a dangerous parameter is refused by name, one without effect is said', () => {
  const result = parseConnection(definition, {
    ...ground,
    jdbcUrl: 'jdbc:mysql://h/db?allowLoadLocalInfile=true',
  });
  assert.ok(!result.ok);
  assert.match(result.faults[0]!.message, /allowLoadLocalInfile/);
  const { warnings } = parse({ jdbcUrl: 'jdbc:postgresql://h/db?connectTimeout=5' });
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /connectTimeout/);
});

test('a URL with variables is judged when they are resolved', () => {
  const jdbcUrl = 'jdbc:postgresql://${HOST}:5432/db';
  assert.equal(parse({ jdbcUrl }).config['dbType'], 'POSTGRES');
  const resolved = parseConnection(definition, { ...ground, jdbcUrl }, { resolved: true });
  assert.ok(!resolved.ok);
});

test('the smallest pool is no larger than the largest', () => {
  assert.deepEqual(faultsOf({ host: 'h', port: 5432, minPoolSize: 6 }), ['minPoolSize']);
  assert.deepEqual(faultsOf({ host: 'h', port: 5432, minPoolSize: 6, maxPoolSize: 6 }), []);
});

test('log tables are named by their kinds alone', () => {
  assert.deepEqual(
    faultsOf({ host: 'h', port: 5432, logTableNameOverrides: { AuditEvent: 'a', Other: 'b' } }),
    ['logTableNameOverrides.Other'],
  );
});

test('credentials in a URL are masked, kept, and bound to where the URL leads', () => {
  const { config } = parse({ jdbcUrl: 'jdbc:postgresql://h:5432/db?user=u&password=p-secret' });
  const { masked } = splitSecrets(definition, completeConfig(definition, config));
  assert.equal(masked['jdbcUrl'], 'jdbc:postgresql://h:5432/db?user=***&password=***');
  const update = (jdbcUrl: string) => {
    const result = parseConnection(definition, { ...masked, jdbcUrl }, { stored: config });
    assert.ok(result.ok, JSON.stringify(result));
    return { kept: result.kept, moved: movedFields(definition, config, result.config) };
  };
  assert.deepEqual(update(String(masked['jdbcUrl'])), { kept: ['jdbcUrl', 'password'], moved: [] });
  assert.deepEqual(update('jdbc:postgresql://evil:5432/db?user=***&password=***'), {
    kept: ['jdbcUrl', 'password'],
    moved: ['jdbcUrl'],
  });
});
