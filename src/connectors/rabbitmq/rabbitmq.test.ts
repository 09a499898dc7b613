import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createServer } from 'node:tls';
import { createContext, testConnection } from '../../../test/contract/connector-context.ts';
import { startPeer } from '../../../test/contract/peer.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { movedFields } from '../../contract/destination-binding.ts';
import { parseConnection } from '../../contract/validation.ts';
import { rabbitMqConnector } from './rabbitmq.connector.ts';
import { rabbitMq } from './rabbitmq.definition.ts';

const minimal = { type: 'rabbitMq', name: 'rabbit', hostPortList: [{ host: 'a' }] };

function parse(body: object) {
  return parseConnection(rabbitMq, { ...minimal, ...body });
}

test('a frame is unlimited or at least as large as AMQP demands', () => {
  for (const size of [0, 4096]) assert.ok(parse({ connectionFactoryRequestedFrameMax: size }).ok);
  const result = parse({ connectionFactoryRequestedFrameMax: 4095 });
  assert.ok(!result.ok);
  assert.deepEqual(
    result.faults.map(({ field }) => field),
    ['connectionFactoryRequestedFrameMax'],
  );
});

test('an added host moves, a removed or differently spelled one does not; nor do describing properties', () => {
  const config = (body: object) => {
    const result = parse(body);
    assert.ok(result.ok);
    return result.config;
  };
  const one = config({});
  const two = config({ hostPortList: [{ host: 'a' }, { host: 'b', port: 5673 }] });
  assert.deepEqual(movedFields(rabbitMq, one, two), ['hostPortList']);
  assert.deepEqual(movedFields(rabbitMq, two, one), []);
  assert.deepEqual(movedFields(rabbitMq, one, config({ hostPortList: [{ host: 'A.', port: 5672 }] })), []);
  const properties = (connectionFactoryClientProperties: object) =>
    movedFields(rabbitMq, one, config({ connectionFactoryClientProperties }));
  assert.deepEqual(properties({ connection_name: 'x' }), []);
  assert.deepEqual(properties({ something: 'x' }), ['connectionFactoryClientProperties']);
});

/** connection.start of a server that offers these ways to log in (AMQP 0-9-1, 2.2.4). */
function startFrame(mechanisms: string): Buffer {
  const long = (text: string) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    return Buffer.concat([length, Buffer.from(text)]);
  };
  const method = Buffer.concat([
    Buffer.from([0, 10, 0, 10, 0, 9, 0, 0, 0, 0]),
    long(mechanisms),
    long('en_US'),
  ]);
  const head = Buffer.from([1, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32BE(method.length, 3);
  return Buffer.concat([head, method, Buffer.of(0xce)]);
}

test('a server without PLAIN is not sent the password, and what it offers is told', async (t) => {
  const said: Buffer[] = [];
  const peer = await startPeer(t, (socket) => {
    socket.on('data', (bytes: Buffer) => said.push(bytes));
    socket.write(startFrame('EXTERNAL AMQPLAIN'));
  });
  const parsed = parse({
    hostPortList: [{ host: '127.0.0.1', port: peer.port }],
    authenticationEnabled: true,
    connectionFactoryUsername: 'robot',
    connectionFactoryPassword: 'Canary-r4bbit',
  });
  assert.ok(parsed.ok);
  const ctx = createContext({ signal: AbortSignal.timeout(30_000) });
  const { stages } = await testConnection(rabbitMqConnector, parsed.config as never, ctx);
  const authenticate = stages.find(({ stage }) => stage === 'authenticate');
  assert.equal(authenticate?.code, 'authentication_failed');
  assert.match(authenticate?.detail ?? '', /offers EXTERNAL, AMQPLAIN/);
  assert.match(authenticate?.hint ?? '', /auth_mechanisms/);
  assert.ok(!Buffer.concat(said).includes('Canary'));
});

test('connectionFactorySslProtocol is the lowest version that is spoken', async (t) => {
  const { certPem: cert, keyPem: key } = createAuthority().issue({
    commonName: 'mq.test',
    ips: ['127.0.0.1'],
  });
  for (const [spoken, lowest, agreed] of [
    ['TLSv1.2', 'TLSv1.2', true],
    ['TLSv1.2', 'TLSv1.3', false],
    ['TLSv1.1', 'TLSv1.2', false],
    ['TLSv1.1', 'TLSv1.1', true],
  ] as const) {
    const server = createServer({
      cert,
      key,
      minVersion: spoken,
      maxVersion: spoken,
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    server.on('tlsClientError', () => {});
    server.on('secureConnection', (socket) => socket.once('data', () => socket.destroy()));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const body = {
      ...minimal,
      hostPortList: [{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }],
      connectionFactoryUseSslProtocol: true,
      connectionFactorySslProtocol: lowest,
      verifyCertificate: false,
    };
    const parsed = parseConnection(rabbitMq, body);
    assert.ok(parsed.ok);
    const ctx = createContext({ signal: AbortSignal.timeout(30_000) });
    const { stages } = await testConnection(rabbitMqConnector, parsed.config as never, ctx);
    const tls = stages.find(({ stage }) => stage === 'tls');
    assert.equal(tls?.status, agreed ? 'passed' : 'failed', `${spoken} to ${lowest}: ${tls?.detail}`);
    if (agreed) assert.match(tls?.detail ?? '', new RegExp(`^${spoken.replace('.', '\\.')}, `));
  }
});

test('the TLS port without TLS is remarked on', () => {
  const result = parse({ hostPortList: [{ host: 'a', port: 5671 }] });
  assert.ok(result.ok);
  assert.match(result.warnings.join(), /5671/);
});
