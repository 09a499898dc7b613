import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import rhea from 'rhea';
import { createContext } from '../../test/contract/connector-context.ts';
import { startPeer } from '../../test/contract/peer.ts';
import type { ConnectionType } from '../contract/connection-type.ts';
import { parseConnection } from '../contract/validation.ts';
import type { AppError } from '../errors.ts';
import { encodeWireFormatInfo } from './activemq/openwire/openwire-commands.ts';
import { OpenWireWriter } from './activemq/openwire/openwire-data.ts';
import { connectors } from './connectors.ts';
import { type ConnectionTypeId, definitions } from './definitions.ts';

/** An operation of a connection, which is expected to fail. */
async function failureOf(
  t: TestContext,
  type: ConnectionTypeId,
  body: Record<string, unknown>,
  operation: string,
  input: object,
): Promise<AppError> {
  const definition: ConnectionType = definitions[type];
  const parsed = parseConnection(definition, { type, name: 'subject', ...body });
  assert.ok(parsed.ok, JSON.stringify(parsed));
  const connector = await connectors[type]!();
  const ctx = createContext({ signal: new AbortController().signal });
  const live = await connector.open(parsed.config as never, ctx);
  t.after(() => connector.close(live));
  const call = { signal: AbortSignal.timeout(30_000) };
  return connector.operations[operation]!(live, input as never, call).then(
    () => assert.fail('it was expected to fail'),
    (error: unknown) => connector.classify(error),
  );
}

async function listening(t: TestContext, server: Server): Promise<number> {
  if (!server.listening) await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

const redirected = [
  {
    type: 'elasticsearch',
    operation: 'search',
    input: { index: 'logs', query: { match_all: {} } },
    body: (port: number) => ({
      elasticHostList: [{ host: '127.0.0.1', port }],
      elasticsearchMajorVersion: 'ES_8',
    }),
  },
  {
    type: 'ops-genie',
    operation: 'createAlert',
    input: { message: 'It burns' },
    body: (port: number) => ({ apiUrl: `http://127.0.0.1:${port}`, apiKey: 'some-api-key' }),
  },
] as const;

for (const { type, operation, input, body } of redirected)
  for (const status of [301, 307])
    test(`${type}: HTTP ${status} leads nowhere`, async (t) => {
      const other = await startPeer(t);
      let asked = 0;
      const server = createServer((request, response) => {
        asked++;
        request.resume();
        response.writeHead(status, { location: `http://127.0.0.1:${other.port}${request.url}` }).end('{}');
      });
      const port = await listening(t, server);
      const { code, retryable } = await failureOf(t, type, body(port), operation, input);
      assert.deepEqual([code, retryable], ['request_rejected', false]);
      assert.ok(asked > 0);
      assert.equal(other.count(), 0);
    });

test('activeMq: a broker of AMQP that redirects leads nowhere', async (t) => {
  const other = await startPeer(t);
  const container = rhea.create_container();
  container.sasl_server_mechanisms.enable_anonymous();
  container.on('connection_open', ({ connection }) =>
    connection.close({
      condition: 'amqp:connection:redirect',
      description: 'go elsewhere',
      info: { hostname: '127.0.0.1', 'network-host': '127.0.0.1', port: other.port },
    }),
  );
  const port = await listening(t, container.listen({ port: 0, host: '127.0.0.1' }));
  const body = {
    activeMqConnectionProtocolType: 'AMQP',
    brokerURL: `amqp://127.0.0.1:${port}`,
    destinationType: 'QUEUE',
    destinationName: 'orders',
  };
  const { code } = await failureOf(t, 'activeMq', body, 'send', { body: 'x' });
  assert.equal(code, 'request_rejected');
  assert.equal(other.count(), 0);
});

test('activeMq: a broker of OpenWire that wants its clients elsewhere leads nowhere', async (t) => {
  const other = await startPeer(t);
  const elsewhere = `tcp://127.0.0.1:${other.port}`;
  const CONNECTION_CONTROL = 18;
  const RESPONSE = 30;
  const framed = (body: Buffer) => new OpenWireWriter().int(body.length).raw(body).finish();
  const control = framed(
    [false, false, false, false, false]
      .reduce(
        (writer, flag) => writer.boolean(flag),
        new OpenWireWriter().byte(CONNECTION_CONTROL).int(0).boolean(false),
      )
      .string(elsewhere)
      .string(elsewhere)
      .boolean(true)
      .finish(),
  );
  let asked = 0;
  const server = createTcpServer((socket) => {
    socket.on('error', () => {});
    socket.write(encodeWireFormatInfo({ maxInactivityMs: 30_000, maxFrameBytes: 1024 * 1024 }));
    let unread = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      unread = Buffer.concat([unread, chunk]);
      while (unread.length >= 4 && unread.length >= 4 + unread.readInt32BE(0)) {
        const command = unread.subarray(4, 4 + unread.readInt32BE(0));
        unread = unread.subarray(4 + command.length);
        if (command[0] === 1 || command[5] !== 1) continue;
        asked++;
        const reply = new OpenWireWriter().byte(RESPONSE).int(0).boolean(false).int(command.readInt32BE(1));
        socket.write(Buffer.concat([control, framed(reply.finish())]));
      }
    });
  });
  const port = await listening(t, server);
  const parsed = parseConnection(definitions.activeMq, {
    type: 'activeMq',
    name: 'subject',
    activeMqConnectionProtocolType: 'TCP',
    brokerURL: `failover:(tcp://127.0.0.1:${port})?updateURIsSupported=true`,
    destinationType: 'QUEUE',
    destinationName: 'orders',
  });
  assert.ok(parsed.ok);
  const connector = await connectors.activeMq!();
  const live = await connector.open(
    parsed.config as never,
    createContext({ signal: new AbortController().signal }),
  );
  t.after(() => connector.close(live));
  const call = { signal: AbortSignal.timeout(30_000) };
  await connector.prove(live, call);
  await connector.operations['send']!(live, { body: 'x' } as never, call);
  assert.ok(asked > 2);
  assert.equal(other.count(), 0);
});
