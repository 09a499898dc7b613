import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext, trustIn } from '../../../test/contract/connector-context.ts';
import { databaseConfig, failuresOf } from '../../../test/contract/database-subject.ts';
import { startPeer } from '../../../test/contract/peer.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { freePort } from '../../../test/services/service.ts';
import { createNetwork } from '../../worker/egress.ts';
import { createEgressPolicy } from '../../worker/egress-policy.ts';
import type { Network, Trust } from '../connector.ts';
import { databaseConnector } from './database.connector.ts';
import type { DatabaseConfig } from './database-client.ts';
import { classifyOracleError } from './oracle-errors.ts';
import { boundValue, connectDescriptor, jsonValue } from './oracle-values.ts';

const password = 'Canary-Oracle-p4ss+word';

function configAt(port: number, rest: Partial<DatabaseConfig> = {}): DatabaseConfig {
  return databaseConfig({
    jdbcUrl: `jdbc:oracle:thin:@127.0.0.1:${port}/orders`,
    username: 'scott',
    password,
    connectionTimeout: 1_500,
    ...rest,
  });
}

/** A packet of TNS: length, checksum, type, flags, checksum, body. */
function packet(type: number, body: Buffer, flags = 0): Buffer {
  const head = Buffer.from([0, 0, 0, 0, type, flags, 0, 0]);
  head.writeUInt16BE(8 + body.length);
  return Buffer.concat([head, body]);
}

function refuse(error: number): Buffer {
  const text = `(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR=${error})(ERROR_STACK=(ERROR=(CODE=${error})(EMFI=4))))`;
  const length = Buffer.alloc(2);
  length.writeUInt16BE(text.length);
  return packet(4, Buffer.concat([Buffer.of(34, 0), length, Buffer.from(text)]));
}

function redirect(port: number): Buffer {
  const text = `(ADDRESS=(PROTOCOL=tcp)(HOST=127.0.0.1)(PORT=${port}))`;
  const length = Buffer.alloc(2);
  length.writeUInt16BE(text.length);
  return packet(5, Buffer.concat([length, Buffer.from(text)]));
}

const resend = packet(11, Buffer.alloc(0));

/** A listener that answers each connect packet with the next of its answers; tells what it was asked. */
function listener(answers: Buffer[], asked: string[] = []) {
  return (socket: Socket) => {
    const rest = [...answers];
    let got: Buffer = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      while (got.length >= 8 && got.length >= got.readUInt16BE()) {
        const length = got.readUInt16BE();
        asked.push(/\(DESCRIPTION=.*/s.exec(got.toString('latin1', 0, length))?.[0] ?? '');
        got = got.subarray(length);
        const answer = rest.shift();
        if (answer) socket.write(answer);
      }
    });
  };
}

const failuresWith = (config: DatabaseConfig, context?: { network?: Network; trust?: Trust }) =>
  failuresOf(config, { sql: 'select :1 from dual', parameters: [1] }, context);

test('a closed port is refused at connect', async () => {
  const { seen } = await failuresWith(configAt(await freePort()));
  assert.deepEqual(seen, ['connect', 'connection_refused', 'connection_refused']);
});

test('peers that are no Oracle end in a typed error and leave no socket', async (t) => {
  const cases: [string, (socket: Socket) => void, RegExp][] = [
    ['silent', () => {}, /^(target|connect)_timeout$/],
    ['HTTP', (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'), /^protocol_error$/],
    ['bytes', (socket) => socket.write(Buffer.from('d2f1008a0dfe0a11f3c3280a', 'hex')), /^protocol_error$/],
    ['half-closed', (socket) => socket.end(), /^connection_lost$/],
    ['resend for ever', listener(Array.from({ length: 3 }, () => resend)), /^(target|connect)_timeout$/],
  ];
  for (const [name, onSocket, code] of cases) {
    const peer = await startPeer(t, onSocket);
    const { seen } = await failuresWith(configAt(peer.port));
    assert.equal(seen[0], 'authenticate', name);
    assert.match(seen[1]!, code, name);
    assert.match(seen[2]!, code, name);
    await peer.allClosed();
  }
});

test('what a listener refuses is told, with what to do about it', async (t) => {
  const cases: [number, string, RegExp][] = [
    [12514, 'invalid_configuration', /lsnrctl/],
    [12505, 'invalid_configuration', /SID/],
    [12516, 'target_busy', /room/],
    [12528, 'target_busy', /started/],
    [12541, 'connection_refused', /listener/],
  ];
  for (const [number, code, hint] of cases) {
    const peer = await startPeer(t, listener([resend, refuse(number)]));
    const { failed, failure, seen } = await failuresWith(configAt(peer.port));
    assert.deepEqual(seen, ['authenticate', code, code], String(number));
    assert.match(failed?.hint ?? '', hint);
    assert.match(failure.message, new RegExp(`${number}|NJS-51[89]`));
    assert.doesNotMatch(failure.message, /CONNECTION_ID/);
    await peer.allClosed();
  }
});

test('the descriptor names service or SID as the URL does', async (t) => {
  const asked: string[] = [];
  const peer = await startPeer(t, listener([refuse(12514)], asked));
  await failuresWith(configAt(peer.port));
  assert.match(asked[0]!, /\(SERVICE_NAME=orders\)/);
  await failuresWith(configAt(peer.port, { jdbcUrl: `jdbc:oracle:thin:@127.0.0.1:${peer.port}:ORCL` }));
  assert.match(asked.at(-1)!, /\(SID=ORCL\)/);
  const smuggled = configAt(peer.port, {
    host: '127.0.0.1',
    port: peer.port,
    dbType: 'ORACLE',
    databaseName: 'x)(SERVER=dedicated',
  });
  delete (smuggled as { jdbcUrl?: string }).jdbcUrl;
  assert.deepEqual((await failuresWith(smuggled)).seen, [
    'authenticate',
    'invalid_configuration',
    'invalid_configuration',
  ]);
});

test('a redirect is followed by the worker’s network alone, and not for ever', async (t) => {
  const target = await startPeer(t, listener([refuse(12514)]));
  const first = await startPeer(t, listener([redirect(target.port)]));
  const { seen } = await failuresWith(configAt(first.port));
  assert.deepEqual(seen, ['authenticate', 'invalid_configuration', 'invalid_configuration']);
  assert.equal(target.count(), 2);
  await target.allClosed();

  const before = target.count();
  const policy = createEgressPolicy({ deny: [`127.0.0.1:${target.port}`] });
  const denied = await failuresWith(configAt(first.port), { network: createNetwork({ policy }) });
  assert.deepEqual(denied.seen, ['authenticate', 'egress_denied', 'egress_denied']);
  assert.equal(target.count(), before, 'nothing was dialled that is forbidden');

  const circle: { port: number } = { port: 0 };
  const round = await startPeer(t, (socket) => listener([redirect(circle.port)])(socket));
  circle.port = round.port;
  const { failure } = await failuresWith(configAt(round.port));
  assert.match(failure.message, /redirect/i);
  await round.allClosed();
});

test('nothing is dialled that the egress policy forbids', async (t) => {
  const peer = await startPeer(t, () => assert.fail('dialled'));
  const network = createNetwork({ policy: createEgressPolicy({ deny: ['127.0.0.1/32'] }) });
  const { seen } = await failuresWith(configAt(peer.port), { network });
  assert.equal(seen[2], 'egress_denied');
});

test('an abort ends the log-in at once', async (t) => {
  const peer = await startPeer(t, () => {});
  const ctx = createContext({ signal: new AbortController().signal });
  const live = await databaseConnector.open(configAt(peer.port, { connectionTimeout: 300_000 }), ctx);
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

test('tcps verifies the server before a word of Oracle is spoken', async (t) => {
  const authority = createAuthority();
  const certificate = authority.issue({ commonName: 'oracle.test', ips: ['127.0.0.1'] });
  const { createServer: createTlsServer } = await import('node:tls');
  const asked: string[] = [];
  const server = createTlsServer({ cert: certificate.certPem, key: certificate.keyPem }, (socket) => {
    socket.on('error', () => {});
    listener([refuse(12514)], asked)(socket);
  });
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  const config = configAt(port, { jdbcUrl: `jdbc:oracle:thin:@tcps://127.0.0.1:${port}/orders` });
  const trusted = await failuresWith(config, { trust: trustIn(authority.caPem) });
  assert.deepEqual(trusted.seen, ['authenticate', 'invalid_configuration', 'invalid_configuration']);
  assert.match(asked[0]!, /\(PROTOCOL=tcps\)|SERVICE_NAME=orders/);
  const before = asked.length;
  const stranger = await failuresWith(config);
  assert.deepEqual(stranger.seen, ['tls', 'certificate_untrusted', 'certificate_untrusted']);
  assert.equal(asked.length, before);
});

test('errors of Oracle become codes of ours', () => {
  const codes: Record<string, string> = {
    'ORA-01017: invalid credential or not authorized; logon denied': 'authentication_failed',
    'ORA-28000: The account is locked.': 'authentication_failed',
    'ORA-28001: The account has expired.': 'authentication_failed',
    'ORA-01045: user lacks CREATE SESSION privilege': 'permission_denied',
    'ORA-00942: table or view does not exist': 'request_rejected',
    'ORA-00060: deadlock detected while waiting for resource': 'target_busy',
    'ORA-00001: unique constraint violated': 'request_rejected',
    'ORA-01653: unable to extend table': 'quota_exceeded',
    'NJS-500: connection to the Oracle Database was broken\nORA-03113: end-of-file': 'connection_lost',
    'NJS-098: 2 positional bind values are required but 1 were provided': 'request_rejected',
    'something else': 'protocol_error',
  };
  for (const [message, code] of Object.entries(codes))
    assert.equal(classifyOracleError(new Error(message)).code, code, message);
  assert.match(String(classifyOracleError(new Error('ORA-28000: locked')).details['hint']), /locked/);
});

test('values go in and come out as JSON can hold them', () => {
  assert.deepEqual([true, false, null, 1.5, 'x'].map(boundValue), [1, 0, null, 1.5, 'x']);
  assert.equal(jsonValue('42', 'NUMBER'), 42);
  assert.equal(jsonValue('9007199254740993', 'NUMBER'), '9007199254740993');
  assert.equal(jsonValue('1.10', 'NUMBER'), '1.10');
  assert.equal(jsonValue(new Date(2026, 0, 31, 10, 0, 0, 250), 'TIMESTAMP'), '2026-01-31T10:00:00.250');
  assert.equal(jsonValue(new Date(2026, 0, 31), 'DATE'), '2026-01-31T00:00:00');
  assert.equal(jsonValue(new Date(0), 'TIMESTAMP WITH TIME ZONE'), '1970-01-01T00:00:00.000Z');
  assert.equal(jsonValue(Buffer.from('ab'), 'RAW'), 'YWI=');
  assert.equal(jsonValue(Number.NaN, 'BINARY_DOUBLE'), 'NaN');
  assert.equal(
    connectDescriptor({ address: '::1', port: 1, secured: false, database: "a'b", isSid: false }),
    undefined,
  );
});
