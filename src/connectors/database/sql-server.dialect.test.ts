import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext } from '../../../test/contract/connector-context.ts';
import { databaseConfig, failuresOf } from '../../../test/contract/database-subject.ts';
import { startPeer } from '../../../test/contract/peer.ts';
import { freePort } from '../../../test/services/service.ts';
import { createNetwork } from '../../worker/egress.ts';
import { createEgressPolicy } from '../../worker/egress-policy.ts';
import { databaseConnector } from './database.connector.ts';
import type { DatabaseConfig } from './database-client.ts';
import { named } from './sql-server.dialect.ts';
import { classifySqlServerError } from './sql-server-errors.ts';

const password = 'Canary-SqlServer-p4ss+word';

function configAt(port: number, connectionTimeout: number): DatabaseConfig {
  return databaseConfig({
    jdbcUrl: `jdbc:sqlserver://127.0.0.1:${port};databaseName=orders`,
    username: 'sa',
    password,
    connectionTimeout,
  });
}

async function failuresAt(port: number, connectionTimeout = 1_500) {
  const { seen } = await failuresOf(configAt(port, connectionTimeout), { sql: 'select ?', parameters: [1] });
  return seen;
}

test('a closed port is refused at connect', async () => {
  assert.deepEqual(await failuresAt(await freePort()), [
    'connect',
    'connection_refused',
    'connection_refused',
  ]);
});

test('peers that are no SQL Server end in a typed error and leave no socket', async (t) => {
  const cases: [string, (socket: Socket) => void, RegExp][] = [
    ['silent', () => {}, /^(target|connect)_timeout$/],
    ['HTTP', (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'), /^protocol_error$/],
    ['bytes', (socket) => socket.write(Buffer.from('d2f1008a0dfe0a11f3c3280a', 'hex')), /^protocol_error$/],
    ['half-closed', (socket) => socket.end(), /^(connection_lost|protocol_error)$/],
    // A whole, empty answer to PRELOGIN: no encryption is offered.
    [
      'no TLS',
      (socket) => socket.write(Buffer.from('0401000f000001000100060001ff02', 'hex')),
      /^tls_not_offered$/,
    ],
  ];
  for (const [name, onSocket, code] of cases) {
    const peer = await startPeer(t, onSocket);
    const [stage, tested, operated] = await failuresAt(peer.port);
    assert.equal(stage, 'authenticate', name);
    assert.match(tested!, code, name);
    assert.match(operated!, code, name);
    assert.notEqual(operated, 'internal_error', name);
    await peer.allClosed();
  }
});

test('an abort ends the log-in at once', async (t) => {
  const peer = await startPeer(t, () => {});
  const ctx = createContext({ signal: new AbortController().signal });
  const live = await databaseConnector.open(configAt(peer.port, 300_000), ctx);
  t.after(() => databaseConnector.close(live));
  const abort = new AbortController();
  const proving = assert.rejects(databaseConnector.prove(live, { signal: abort.signal }), {
    code: 'cancelled',
  });
  await sleep(200);
  abort.abort();
  await proving;
  await peer.allClosed();
});

test('nothing is dialled that the egress policy forbids', async (t) => {
  const peer = await startPeer(t, () => assert.fail('dialled'));
  const ctx = createContext({ signal: new AbortController().signal });
  const network = createNetwork({ policy: createEgressPolicy({ deny: ['127.0.0.1/32'] }) });
  const live = await databaseConnector.open(configAt(peer.port, 2_000), { ...ctx, network });
  t.after(() => databaseConnector.close(live));
  const call = { signal: AbortSignal.timeout(30_000) };
  await assert.rejects(databaseConnector.prove(live, call), { code: 'egress_denied' });
});

test('question marks become parameters, but for those in texts, names and comments', () => {
  assert.equal(
    named("select ?, '?''?', \"?\", [a?]]?] -- ?\n/* ? */ from t where a = ?", 2),
    "select @p1, '?''?', \"?\", [a?]]?] -- ?\n/* ? */ from t where a = @p2",
  );
  assert.equal(named('select @p1, ?', 1), 'select @p1, ?');
  assert.equal(named('select ?', 0), 'select ?');
});

test("the server's errors become codes of ours", () => {
  const codes: Record<number, string> = {
    18456: 'authentication_failed',
    4060: 'invalid_configuration',
    229: 'permission_denied',
    1205: 'target_busy',
    102: 'request_rejected',
  };
  for (const [number, code] of Object.entries(codes))
    assert.equal(classifySqlServerError({ number: Number(number), message: 'said so' }).code, code);
  assert.equal(
    classifySqlServerError({ code: 'ELOGIN', message: 'Login failed' }).code,
    'authentication_failed',
  );
  assert.equal(classifySqlServerError({ code: 'ESOCKET' }).code, 'connection_lost');
  assert.equal(classifySqlServerError(new Error('anything else')).code, 'protocol_error');
});
