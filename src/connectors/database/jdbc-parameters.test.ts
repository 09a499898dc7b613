import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createContext } from '../../../test/contract/connector-context.ts';
import { databaseConfig } from '../../../test/contract/database-subject.ts';
import { startPeer } from '../../../test/contract/peer.ts';
import { parseConnection } from '../../contract/validation.ts';
import { databaseConnector } from './database.connector.ts';
import { database } from './database.definition.ts';
import { parseJdbcUrl } from './jdbc-url.ts';
import { mongoSettings } from './mongodb-settings.ts';
import { db2, sybase } from './odbc.dialect.ts';

test('Trino hears source, tags, time zone, session properties, catalog and schema of the URL', async (t) => {
  const said: Buffer[] = [];
  const peer = await startPeer(t, (socket) => {
    socket.on('data', (bytes: Buffer) => {
      said.push(bytes);
      socket.destroy();
    });
  });
  const headersOf = async (parameters: string) => {
    said.length = 0;
    const jdbcUrl = `jdbc:trino://127.0.0.1:${peer.port}/tpch/tiny?user=u${parameters}`;
    const config = databaseConfig({ jdbcUrl, useCredentials: false });
    const live = await databaseConnector.open(
      config,
      createContext({ signal: new AbortController().signal }),
    );
    t.after(() => databaseConnector.close(live));
    const call = { signal: AbortSignal.timeout(20_000) };
    await assert.rejects(databaseConnector.prove(live, call));
    const lines = Buffer.concat(said).toString().toLowerCase().split('\r\n');
    return lines.filter((line) => line.startsWith('x-trino-')).toSorted();
  };
  const common = ['x-trino-catalog: tpch', 'x-trino-client-capabilities: parametric_datetime'];
  assert.deepEqual(await headersOf(''), [
    ...common,
    'x-trino-schema: tiny',
    'x-trino-source: plugboard',
    'x-trino-time-zone: utc',
    'x-trino-user: u',
  ]);
  const all =
    '&source=gateway&clientTags=a,b&timezone=Europe/Istanbul&sessionProperties=query_max_run_time:5m;x.y:a%20b';
  assert.deepEqual(await headersOf(all), [
    ...common,
    'x-trino-client-tags: a,b',
    'x-trino-schema: tiny',
    'x-trino-session: query_max_run_time=5m,x.y=a%20b',
    'x-trino-source: gateway',
    'x-trino-time-zone: europe/istanbul',
    'x-trino-user: u',
  ]);
});

test('the driver of MongoDB is given what the URL says', () => {
  const optionsOf = (parameters: string) => {
    const url = parseJdbcUrl(`mongodb://a:1,b:2/orders?${parameters}`);
    const config = databaseConfig({ username: 'u', password: 'some-password' });
    const ctx = createContext({ signal: new AbortController().signal });
    return mongoSettings(config, url, ctx).options as Record<string, unknown>;
  };
  for (const [parameters, expected] of [
    ['replicaSet=rs0', { replicaSet: 'rs0' }],
    ['directConnection=true', { directConnection: true }],
    ['retryWrites=false', { retryWrites: false }],
    ['retryReads=false', { retryReads: false }],
    ['readPreference=secondaryPreferred', { readPreference: 'secondaryPreferred' }],
    ['w=2', { writeConcern: { w: 2 } }],
    ['w=majority', { writeConcern: { w: 'majority' } }],
    ['appName=gateway', { appName: 'gateway' }],
    ['', { appName: 'plugboard', authSource: 'orders', tls: false }],
    ['authSource=admin', { authSource: 'admin' }],
    ['authMechanism=SCRAM-SHA-256', { authMechanism: 'SCRAM-SHA-256' }],
    ['tls=true', { tls: true, rejectUnauthorized: true }],
    ['ssl=true', { tls: true, rejectUnauthorized: true }],
    ['tls=true&tlsInsecure=true', { tls: true, rejectUnauthorized: false }],
  ] as const) {
    const options = optionsOf(parameters);
    const given = Object.fromEntries(Object.keys(expected).map((name) => [name, options[name]]));
    assert.deepEqual(given, expected, parameters);
  }
});

test('ODBC is told application and schema of the URL', () => {
  const partsOf = (product: typeof db2, jdbcUrl: string) => {
    const { database: name, parameters } = parseJdbcUrl(jdbcUrl);
    return Object.fromEntries(product.parts({ database: name, parameters } as never));
  };
  const plain = partsOf(db2, 'jdbc:db2://h:50000/orders');
  assert.deepEqual([plain['CurrentSchema'], plain['ClientApplName']], [undefined, 'plugboard']);
  const told = partsOf(
    db2,
    'jdbc:db2://h:50000/orders:currentSchema=APP;clientApplicationInformation=Gateway;',
  );
  assert.deepEqual([told['CurrentSchema'], told['ClientApplName']], ['APP', 'Gateway']);
  assert.equal(partsOf(sybase, 'jdbc:sybase:Tds:h:5000/orders')['APP'], 'plugboard');
  assert.equal(partsOf(sybase, 'jdbc:sybase:Tds:h:5000/orders?APPLICATIONNAME=Gateway')['APP'], 'Gateway');
  assert.equal(partsOf(sybase, 'jdbc:jtds:sybase://h:5000/orders;appName=Gateway')['APP'], 'Gateway');
});

test('httpPath of Hive and Impala has no effect, as HTTP is not spoken', () => {
  for (const jdbcUrl of [
    'jdbc:hive2://h:10000/x;httpPath=cliservice',
    'jdbc:impala://h:21050/x;httpPath=y',
  ]) {
    const parsed = parseConnection(database, { type: 'database', name: 'n', jdbcUrl, useCredentials: false });
    assert.ok(parsed.ok, JSON.stringify(parsed));
    assert.ok(parsed.warnings.includes('jdbcUrl: the parameter httpPath is kept but has no effect'));
  }
});
