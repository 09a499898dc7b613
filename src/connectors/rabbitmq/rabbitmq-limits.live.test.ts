import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext, testConnection } from '../../../test/contract/connector-context.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { type RabbitMqService, startRabbitMq } from '../../../test/services/rabbitmq.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import type { PublishInput } from './amqp-message.ts';
import { rabbitMqConnector } from './rabbitmq.connector.ts';
import type { RabbitMqConfig } from './rabbitmq-settings.ts';

const maxMessageBytes = 100_000;

function config(server: RabbitMqService): RabbitMqConfig {
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
    channelRoutingKey: 'orders',
    basicPropertiesAppId: 'apinizer',
    basicPropertiesContentType: 'application/json',
  };
}

function open(t: TestContext, server: RabbitMqService) {
  const live = rabbitMqConnector.open(
    config(server),
    createContext({ signal: new AbortController().signal }),
  );
  assert.ok(!(live instanceof Promise));
  t.after(() => rabbitMqConnector.close(live));
  return {
    publish: (input: PublishInput, timeoutMs = 60_000) =>
      rabbitMqConnector.operations.publish(live, input, { signal: AbortSignal.timeout(timeoutMs) }),
    prove: () => rabbitMqConnector.prove(live, { signal: AbortSignal.timeout(60_000) }),
    blocked: () => rabbitMqConnector.figures!(live)['blocked'],
    bodies: async () =>
      (
        await rabbitMqConnector.operations.get(
          live,
          { queue: 'orders', maxMessages: 100, acknowledge: true },
          { signal: AbortSignal.timeout(60_000) },
        )
      ).messages.map(({ body }) => body.slice(0, 10)),
  };
}

async function failureOf(work: Promise<unknown>) {
  return work.then(
    () => assert.fail('it was expected to fail'),
    (error: unknown) => rabbitMqConnector.classify(error),
  );
}

test('what a RabbitMQ node limits', async (t) => {
  const { certPem, keyPem } = createAuthority().issue({ commonName: 'rabbit.test', ips: ['127.0.0.1'] });
  const server = await startOrSkip(t, () =>
    startRabbitMq({
      certificate: { certPem, keyPem },
      caPem: certPem,
      configuration: [`max_message_size = ${maxMessageBytes}`],
    }),
  );
  if (!server) return;
  t.after(() => server.stop());
  await server.control(
    'eval',
    '{new, _} = rabbit_amqqueue:declare({resource, <<"/">>, queue, <<"orders">>}, true, false, [], none, <<"test">>), ok.',
  );

  await t.test('a message that is too large fails alone, and the next ones pass', async (inner) => {
    const { publish, bodies } = open(inner, server);
    const large = 'x'.repeat(2 * maxMessageBytes);
    const alone = await failureOf(publish({ body: large }));
    assert.deepEqual([alone.code, alone.retryable], ['message_too_large', false], alone.message);
    const { results } = await publish({ messages: [{ body: 'a' }, { body: large }, { body: 'b' }] });
    assert.equal(results[1]?.error?.code, 'message_too_large');
    // The server ends the channel for it, and with it what was on the way beside it.
    for (const at of [0, 2])
      assert.ok(results[at]?.confirmed || results[at]?.error?.retryable, JSON.stringify(results[at]));
    await publish({ body: 'c' });
    const kept = await bodies();
    for (const [at, body] of [
      [0, 'a'],
      [2, 'b'],
    ] as const)
      if (results[at]?.confirmed) assert.ok(kept.includes(body), `${body} was confirmed`);
    assert.equal(kept.at(-1), 'c');
  });

  await t.test(
    'an alarm of memory: what is on the way waits, what comes is refused, then it passes',
    async (inner) => {
      const { publish, prove, blocked, bodies } = open(inner, server);
      await publish({ body: 'before' });
      await server.control('set_vm_memory_high_watermark', 'absolute', '1');
      try {
        const waiting = publish({ body: 'waiting' });
        while (blocked() === 0) await sleep(20);
        const refused = await failureOf(publish({ body: 'refused' }));
        assert.deepEqual([refused.code, refused.retryable], ['target_busy', true], refused.message);
        assert.match(refused.details.hint ?? '', /alarm/);
        const { stages } = await testConnection(
          rabbitMqConnector,
          config(server),
          createContext({ signal: AbortSignal.timeout(60_000) }),
        );
        const failed = stages.find(({ status }) => status === 'failed');
        assert.deepEqual([failed?.stage, failed?.code], ['operate', 'target_busy']);
        assert.match(failed?.hint ?? '', /alarm/);
        assert.equal(
          (await failureOf(prove())).code,
          'target_busy',
          'at once, and not when the time is over',
        );
        await server.control('set_vm_memory_high_watermark', 'absolute', '512MB');
        assert.equal((await waiting).published, 1);
      } finally {
        await server.control('set_vm_memory_high_watermark', 'absolute', '512MB');
      }
      while (blocked() !== 0) await sleep(20);
      await publish({ body: 'after' });
      assert.deepEqual(await bodies(), ['before', 'waiting', 'after']);
    },
  );

  const limits = [
    {
      what: 'an account',
      set: ['set_user_limits', server.user, '{"max-connections": 0}'],
      clear: ['clear_user_limits', server.user, 'all'],
    },
    {
      what: 'a virtual host',
      set: ['set_vhost_limits', '{"max-connections": 0}'],
      clear: ['clear_vhost_limits'],
    },
  ];
  for (const { what, set, clear } of limits)
    await t.test(`${what} without a connection left is busy, and not refused for good`, async (inner) => {
      await server.control(...set);
      try {
        const { publish } = open(inner, server);
        const failure = await failureOf(publish({ body: 'x' }));
        assert.deepEqual([failure.code, failure.retryable], ['target_busy', true], failure.message);
        const { stages } = await testConnection(
          rabbitMqConnector,
          config(server),
          createContext({ signal: AbortSignal.timeout(60_000) }),
        );
        const failed = stages.find(({ status }) => status === 'failed');
        assert.deepEqual([failed?.stage, failed?.code], ['authenticate', 'target_busy']);
      } finally {
        await server.control(...clear);
      }
      await open(inner, server).publish({ body: 'again' });
    });
});
