import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import rhea from 'rhea';
import { createContext } from '../../test/contract/connector-context.ts';
import { startPeer } from '../../test/contract/peer.ts';
import type { ConnectionType } from '../contract/connection-type.ts';
import { parseConnection } from '../contract/validation.ts';
import type { AppError } from '../errors.ts';
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
