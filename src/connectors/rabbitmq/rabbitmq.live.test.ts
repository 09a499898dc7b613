import assert from 'node:assert/strict';
import { after, before, suite, type TestContext, test } from 'node:test';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { type RabbitMqService, startRabbitMq } from '../../../test/services/rabbitmq.ts';
import { freePort, startOrSkip } from '../../../test/services/service.ts';
import type { StageName, StageResult } from '../../contract/worker-protocol.ts';
import type { Trust } from '../connector.ts';
import type { GotMessage, MessageInput, PublishInput } from './amqp-message.ts';
import { rabbitMqConnector } from './rabbitmq.connector.ts';
import type { RabbitMqConfig } from './rabbitmq-settings.ts';

const authority = createAuthority();
const trust = trustIn(authority.caPem);
let service: RabbitMqService | undefined;

before(async () => {
  const certificate = authority.issue({
    commonName: 'rabbit.test',
    names: ['localhost'],
    ips: ['127.0.0.1'],
  });
  const start = () => startRabbitMq({ certificate, caPem: authority.caPem });
  service = await startOrSkip({ skip: () => {}, fullName: 'RabbitMQ' }, start);
});
after(() => service?.stop());

/** The server, or a loud skip of the test. */
function needed(t: TestContext): RabbitMqService | undefined {
  if (!service) t.skip('RabbitMQ was NOT exercised');
  return service;
}

function config(server: RabbitMqService, overrides: Partial<RabbitMqConfig> = {}): RabbitMqConfig {
  return {
    type: 'rabbitMq',
    name: 'rabbit',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    hostPortList: [{ host: server.host, port: server.port }],
    connectionFactoryVirtualHost: '/',
    authenticationEnabled: true,
    connectionFactoryUsername: server.user,
    connectionFactoryPassword: server.password,
    connectionFactoryConnectionTimeout: 60_000,
    connectionFactoryClientProperties: {},
    connectionFactoryRequestedChannelMax: 2047,
    connectionFactoryRequestedFrameMax: 0,
    connectionFactoryRequestedHeartbeat: 60,
    connectionFactoryUseSslProtocol: false,
    connectionFactorySslProtocol: 'TLSv1.2',
    verifyCertificate: true,
    channelExchange: '',
    basicPropertiesAppId: 'apinizer',
    basicPropertiesContentType: 'application/json',
    ...overrides,
  };
}

const overTls = (server: RabbitMqService) => ({
  hostPortList: [{ host: server.host, port: server.tlsPort }],
  connectionFactoryUseSslProtocol: true,
});

function open(t: TestContext, settings: RabbitMqConfig, trusted: Trust = trust) {
  const ctx = createContext({ signal: new AbortController().signal, trust: trusted });
  const live = rabbitMqConnector.open(settings, ctx);
  assert.ok(!(live instanceof Promise));
  t.after(() => rabbitMqConnector.close(live));
  const call = () => ({ signal: AbortSignal.timeout(60_000) });
  return {
    live,
    ctx,
    publish: (input: PublishInput) => rabbitMqConnector.operations.publish(live, input, call()),
    get: (queue: string, maxMessages = 10, acknowledge = true) =>
      rabbitMqConnector.operations.get(live, { queue, maxMessages, acknowledge }, call()),
  };
}

async function stagesOf(settings: RabbitMqConfig, trusted: Trust = trust) {
  const ctx = createContext({ signal: AbortSignal.timeout(60_000), trust: trusted });
  const { stages } = await testConnection(rabbitMqConnector, settings, ctx);
  return Object.fromEntries(stages.map((stage) => [stage.stage, stage])) as Record<StageName, StageResult>;
}

const code = (expected: string) => (error: unknown) => {
  const failure = rabbitMqConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  return true;
};

/** Declares what a test needs by the server's own tool, in one start of it. */
async function declare(server: RabbitMqService, terms: string[]): Promise<void> {
  await server.control('eval', `${terms.join(', ')}, ok.`);
}
const queue = (name: string, args = '[]') =>
  `{new, _} = rabbit_amqqueue:declare({resource, <<"/">>, queue, <<"${name}">>}, true, false, ${args}, none, <<"test">>)`;
const exchange = (name: string, type: string) =>
  `rabbit_exchange:declare({resource, <<"/">>, exchange, <<"${name}">>}, ${type}, true, false, false, [], <<"test">>)`;
const binding = (from: string, key: string, to: string) =>
  `ok = rabbit_binding:add({binding, {resource, <<"/">>, exchange, <<"${from}">>}, <<"${key}">>, {resource, <<"/">>, queue, <<"${to}">>}, []}, <<"test">>)`;

suite('RabbitMQ', () => {
  before(async () => {
    if (service)
      await declare(service, [
        queue('contract'),
        queue('orders'),
        queue('properties'),
        queue('look'),
        queue('large'),
        queue('durable'),
        queue('short', '[{<<"x-max-length">>, long, 1}, {<<"x-overflow">>, longstr, <<"reject-publish">>}]'),
        exchange('events', 'topic'),
        exchange('gone', 'fanout'),
        binding('events', 'order.*', 'orders'),
        binding('gone', '', 'orders'),
      ]);
  });

  for (const title of ['plain', 'TLS'])
    test(`contract, ${title}`, async (t) => {
      const server = needed(t);
      if (!server) return;
      const base = {
        ...(title === 'TLS' ? overTls(server) : {}),
        channelRoutingKey: 'contract',
      };
      await connectorContract(t, `rabbitMq, ${title}`, {
        connector: rabbitMqConnector,
        config: () => config(server, base),
        configAt: ({ host, port, timeoutMs }) =>
          config(server, {
            ...base,
            hostPortList: [{ host, port }],
            connectionFactoryConnectionTimeout: timeoutMs,
          }),
        badCredentials: () => config(server, { ...base, connectionFactoryPassword: 'Canary-wr0ng-passw0rd' }),
        operate: (live, call) => rabbitMqConnector.operations.publish(live, { body: '{"order":1}' }, call),
        restart: () => server.restart(),
        trust,
        silentAt: title === 'TLS' ? 'tls' : 'authenticate',
        garbledAt: title === 'TLS' ? 'tls' : 'authenticate',
        secrets: [server.password, 'Canary-wr0ng-passw0rd'],
        tls: title === 'TLS',
      });
    });

  test('properties travel whole', async (t) => {
    const server = needed(t);
    if (!server) return;
    const { publish, get } = open(
      t,
      config(server, {
        channelRoutingKey: 'properties',
        basicPropertiesContentEncoding: 'utf-8',
        basicPropertiesDeliveryMode: 2,
        basicPropertiesPriority: 7,
        basicPropertiesReplyTo: 'replies',
        basicPropertiesExpiration: '60000',
        basicPropertiesType: 'order.created',
        basicPropertiesUserId: server.user,
        basicPropertiesClusterId: 'cluster-1',
      }),
    );
    const headers = { text: 'Grüße 🐇', whole: 7, fraction: 1.5, big: 2 ** 40, on: true, none: null };
    await publish({ body: 'Grüße 🐇', headers, messageId: 'm-1', correlationId: 'c-1' });
    await publish({
      body: Buffer.from([0, 255, 254]).toString('base64'),
      bodyEncoding: 'base64',
      contentType: 'application/octet-stream',
      contentEncoding: 'identity',
      deliveryMode: 1,
      priority: 1,
      replyTo: 'elsewhere',
      expirationMs: 30_000,
      type: 'blob',
    });
    const { messages, remaining } = await get('properties');
    assert.equal(remaining, 0);
    const [text, bytes] = messages as [GotMessage, GotMessage];
    assert.deepEqual(
      [text.body, text.bodyEncoding, text.exchange, text.routingKey, text.redelivered],
      ['Grüße 🐇', 'utf8', '', 'properties', false],
    );
    assert.deepEqual(text.headers, headers);
    const { timestamp, ...fixed } = text.properties;
    assert.ok(Math.abs(Number(timestamp) - Date.now() / 1000) < 120);
    assert.deepEqual(fixed, {
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      deliveryMode: 2,
      priority: 7,
      correlationId: 'c-1',
      replyTo: 'replies',
      expiration: '60000',
      messageId: 'm-1',
      type: 'order.created',
      userId: server.user,
      appId: 'apinizer',
      clusterId: 'cluster-1',
    });
    assert.deepEqual([bytes.body, bytes.bodyEncoding], ['AP/+', 'base64']);
    assert.equal(bytes.properties['contentType'], 'application/octet-stream');
    assert.equal(bytes.properties['deliveryMode'], 1);
    assert.equal(bytes.properties['expiration'], '30000');
  });

  test('get puts messages back, or removes them when told to', async (t) => {
    const server = needed(t);
    if (!server) return;
    const { publish, get } = open(t, config(server));
    await publish({ messages: ['1', '2', '3'].map((body) => ({ body, routingKey: 'look' })) });
    const looked = await get('look', 2, false);
    assert.deepEqual(
      looked.messages.map(({ body }) => body),
      ['1', '2'],
    );
    assert.equal(looked.remaining, 1);
    const taken = await get('look', 10, true);
    assert.deepEqual(
      taken.messages.map(({ body, redelivered }) => `${body} ${redelivered}`),
      ['1 true', '2 true', '3 false'],
    );
    assert.deepEqual(await get('look', 10, true), { messages: [], remaining: 0 });
    await assert.rejects(get('nowhere'), code('request_rejected'));
  });

  test('a message that reaches no queue is an error, unless it may be dropped', async (t) => {
    const server = needed(t);
    if (!server) return;
    const { publish, get } = open(t, config(server, { channelExchange: 'events' }));
    await assert.rejects(publish({ body: 'x', routingKey: 'nobody' }), code('unroutable'));
    await assert.rejects(publish({ body: 'x', routingKey: 'nobody' }), code('unroutable'));
    assert.equal((await publish({ body: 'x', routingKey: 'nobody', mandatory: false })).published, 1);
    const messages: MessageInput[] = Array.from({ length: 200 }, (_, at) => ({
      body: 'same',
      routingKey: at % 3 === 0 ? 'nobody' : 'order.new',
    }));
    const { published, results } = await publish({ messages });
    assert.equal(published, 133);
    results.forEach((result, at) => {
      assert.equal(result.confirmed, at % 3 !== 0);
      assert.equal(result.error?.code, at % 3 === 0 ? 'unroutable' : undefined);
    });
    assert.equal((await get('orders', 1000)).messages.length, 133);
  });

  test('a missing exchange fails its own messages alone', async (t) => {
    const server = needed(t);
    if (!server) return;
    const { publish, get } = open(t, config(server, { channelRoutingKey: 'orders' }));
    await assert.rejects(publish({ body: 'x', exchange: 'missing' }), code('request_rejected'));
    const { results } = await publish({
      messages: [{ body: 'a' }, { body: 'b', exchange: 'missing' }, { body: 'c' }, { body: 'x'.repeat(2) }],
    });
    assert.deepEqual(
      results.map(({ confirmed }) => confirmed),
      [true, false, true, true],
    );
    assert.match(results[1]?.error?.message ?? '', /no exchange 'missing'/);

    // Proven first and deleted then: what follows finds out, and the connection goes on.
    await publish({ body: 'd', exchange: 'gone' });
    await declare(server, [
      'rabbit_exchange:delete({resource, <<"/">>, exchange, <<"gone">>}, false, <<"test">>)',
    ]);
    await assert.rejects(publish({ body: 'e', exchange: 'gone' }), code('request_rejected'));
    await assert.rejects(publish({ body: 'e', exchange: 'gone' }), code('request_rejected'));
    await publish({ body: 'f' });
    const bodies = (await get('orders')).messages.map(({ body }) => body);
    assert.deepEqual(bodies, ['a', 'c', 'xx', 'd', 'f']);
  });

  test('a full queue, a foreign user and a long key are refused with the reason', async (t) => {
    const server = needed(t);
    if (!server) return;
    const { publish } = open(t, config(server));
    await publish({ body: '1', routingKey: 'short' });
    await assert.rejects(publish({ body: '2', routingKey: 'short' }), code('quota_exceeded'));
    await assert.rejects(publish({ body: '2', routingKey: 'ü'.repeat(200) }), code('request_rejected'));
    const foreign = open(t, config(server, { basicPropertiesUserId: 'other', channelRoutingKey: 'orders' }));
    await assert.rejects(foreign.publish({ body: 'x' }), code('request_rejected'));
    await assert.rejects(publish({ body: '=', bodyEncoding: 'base64' }), code('request_rejected'));
  });

  test('a large message is split into frames as agreed', async (t) => {
    const server = needed(t);
    if (!server) return;
    const { publish, get } = open(
      t,
      config(server, {
        ...overTls(server),
        connectionFactoryRequestedFrameMax: 4096,
        connectionFactoryRequestedHeartbeat: 5,
        channelRoutingKey: 'large',
      }),
    );
    const body = 'x'.repeat(3_000_000);
    await publish({ body });
    assert.equal((await get('large')).messages[0]?.body, body);
    const { authenticate } = await stagesOf(
      config(server, {
        connectionFactoryRequestedFrameMax: 4096,
        connectionFactoryRequestedChannelMax: 10,
        connectionFactoryRequestedHeartbeat: 5,
      }),
    );
    assert.match(
      authenticate?.detail ?? '',
      /RabbitMQ 3.*heartbeat 5 s, frames up to 4096 bytes, 10 channels/,
    );
  });

  test('the test says what is wrong and what to do', async (t) => {
    const server = needed(t);
    if (!server) return;
    const good = await stagesOf(config(server, { channelRoutingKey: 'durable' }));
    assert.match(good.operate?.detail ?? '', /'durable', in which 0 messages wait; none was sent/);
    assert.equal(good.tls?.status, 'skipped');

    const wrong = await stagesOf(config(server, { connectionFactoryPassword: 'Canary-wr0ng-passw0rd' }));
    assert.match(wrong.authenticate?.detail ?? '', /\(PLAIN; the server offers [A-Z, -]*PLAIN/);
    const host = await stagesOf(config(server, { connectionFactoryVirtualHost: 'absent' }));
    assert.equal(host.authenticate?.code, 'request_rejected');
    assert.match(host.authenticate?.hint ?? '', /add_vhost/);

    const stranger = {
      connectionFactoryUsername: server.stranger.user,
      connectionFactoryPassword: server.stranger.password,
    };
    const closed = await stagesOf(config(server, { ...stranger, connectionFactoryVirtualHost: 'orders' }));
    assert.equal(closed.authenticate?.code, 'permission_denied');
    const forbidden = await stagesOf(config(server, { ...stranger, channelExchange: 'events' }));
    assert.equal(forbidden.operate?.code, 'permission_denied');
    assert.match(forbidden.operate?.hint ?? '', /set_permissions/);

    const missing = await stagesOf(config(server, { channelExchange: 'missing' }));
    assert.equal(missing.operate?.code, 'request_rejected');
    assert.match(missing.operate?.hint ?? '', /exchange/);
    const noQueue = await stagesOf(config(server, { channelRoutingKey: 'missing' }));
    assert.equal(noQueue.operate?.code, 'request_rejected');
    assert.match(noQueue.operate?.hint ?? '', /queue/);

    const plainToTls = await stagesOf(
      config(server, {
        hostPortList: [{ host: server.host, port: server.tlsPort }],
        connectionFactoryConnectionTimeout: 3000,
      }),
    );
    assert.equal(plainToTls.authenticate?.status, 'failed');
    assert.match(plainToTls.authenticate?.hint ?? '', /connectionFactoryUseSslProtocol/);
    const tlsToPlain = await stagesOf(
      config(server, { connectionFactoryUseSslProtocol: true, connectionFactoryConnectionTimeout: 3000 }),
    );
    assert.equal(tlsToPlain.tls?.status, 'failed');
  });

  test('the server knows the client by its properties, and guest when authentication is off', async (t) => {
    const server = needed(t);
    if (!server) return;
    const { publish, ctx } = open(
      t,
      config(server, {
        channelRoutingKey: 'durable',
        connectionFactoryClientProperties: { team: 'orders', product: 'Gateway', capabilities: 'none' },
      }),
    );
    await publish({ body: 'x' });
    assert.match(ctx.warnings.join(), /capabilities has no effect/);
    const seen = await server.control('list_connections', 'user', 'vhost', 'client_properties');
    const own = seen.split('\n').find((line) => line.includes('"team"')) ?? '';
    assert.match(own, /^test\t\/\t/);
    assert.match(own, /\{"team","orders"\}/);
    assert.match(own, /\{"product","Gateway"\}/);
    assert.match(own, /\{"connection_name","plugboard Contract\/subject \(test\)"\}/);
    assert.match(own, /\{"publisher_confirms",true\}/);

    const { authenticate } = await stagesOf(config(server, { authenticationEnabled: false }));
    const asGuest = await server.control('authenticate_user', 'guest', 'guest').then(
      () => true,
      () => false,
    );
    assert.equal(authenticate?.status, asGuest ? 'passed' : 'failed');
    assert.match(asGuest ? (authenticate?.detail ?? '') : (authenticate?.hint ?? ''), /guest/);
  });

  test('the certificate is verified', async (t) => {
    const server = needed(t);
    if (!server) return;
    const other = trustIn(createAuthority('Another CA').caPem);
    const secure = config(server, overTls(server));
    assert.equal((await stagesOf(secure, other)).tls?.code, 'certificate_untrusted');
    const lax = await stagesOf({ ...secure, verifyCertificate: false }, other);
    assert.match(lax.tls?.detail ?? '', /rabbit\.test.*NOT verified/);
    const newest = await stagesOf({ ...secure, connectionFactorySslProtocol: 'TLSv1.3' });
    assert.match(newest.tls?.detail ?? '', /TLSv1\.3/);
  });

  test('hosts are tried in turn', async (t) => {
    const server = needed(t);
    if (!server) return;
    const dead = { host: '127.0.0.1', port: await freePort() };
    const alive = { host: server.host, port: server.port };
    const settings = config(server, {
      hostPortList: [dead, { host: 'nowhere.invalid', port: 5672 }, alive],
      channelRoutingKey: 'orders',
    });
    const { publish, get } = open(t, settings);
    await publish({ body: 'found' });
    assert.equal((await get('orders')).messages[0]?.body, 'found');
    const { resolve, connect } = await stagesOf(settings);
    assert.match(resolve?.hint ?? '', /resolved/);
    assert.match(connect?.detail ?? '', new RegExp(`${dead.port}.*refused.*nowhere.invalid`));

    const none = open(t, config(server, { hostPortList: [dead, { ...dead, host: 'localhost' }] }));
    await assert.rejects(none.publish({ body: 'x' }), (error: Error) => {
      assert.match(error.message, /None of the hosts.*127\.0\.0\.1:.*localhost:/);
      return code('connection_refused')(error);
    });
  });

  test('nothing that was confirmed is lost when the server restarts in the middle', async (t) => {
    const server = needed(t);
    if (!server) return;
    const { live, publish, get } = open(
      t,
      config(server, { channelRoutingKey: 'durable', basicPropertiesDeliveryMode: 2 }),
    );
    await publish({ body: 'warm' });
    const confirmed = ['warm'];
    let failed = 0;
    let restarting = true;
    const restarted = server.restart().finally(() => {
      restarting = false;
    });
    for (let round = 0; restarting || round < 5; round++) {
      const messages = Array.from({ length: 50 }, (_, at) => ({ body: `${round}-${at}` }));
      try {
        const { results } = await publish({ messages });
        results.forEach(({ confirmed: isConfirmed, error }, at) => {
          if (isConfirmed) confirmed.push(`${round}-${at}`);
          else {
            failed++;
            assert.equal(error?.retryable, true, error?.message);
          }
        });
      } catch (error) {
        failed++;
        assert.ok(rabbitMqConnector.classify(error).retryable, String(error));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    await restarted;
    assert.ok(failed > 0, 'the restart was noticed');
    await publish({ body: 'last' });
    confirmed.push('last');
    assert.equal(rabbitMqConnector.figures?.(live)['connections'], 1);
    const found = new Set<string>();
    for (;;) {
      const { messages } = await get('durable', 1000);
      for (const { body } of messages) found.add(body);
      if (messages.length === 0) break;
    }
    assert.deepEqual(
      confirmed.filter((body) => !found.has(body)),
      [],
    );
  });
});
