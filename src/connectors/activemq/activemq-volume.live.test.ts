import assert from 'node:assert/strict';
import { after, before, suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext } from '../../../test/contract/connector-context.ts';
import { type ActiveMqService, brokers, startActiveMq } from '../../../test/services/activemq.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { activeMqConnector } from './activemq.connector.ts';
import type { ActiveMqConfig } from './activemq-settings.ts';
import type { SendInput } from './send-input.ts';

const protocols = { OpenWire: 'TCP', 'AMQP 1.0': 'AMQP' } as const;
const modes = ['AUTO_ACKNOWLEDGE', 'SESSION_TRANSACTED'] as const;
/** Long enough that whoever waits for it does not pass for one that was given everything. */
const patienceMs = 60_000;

function numbers(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => from + at);
}

for (const product of brokers)
  suite(`many messages of ${product}`, () => {
    let service: ActiveMqService | undefined;

    before(async () => {
      const certificate = createAuthority().issue({ commonName: 'activemq.test', ips: ['127.0.0.1'] });
      service = await startOrSkip({ skip: () => {}, fullName: `many messages of ${product}` }, () =>
        startActiveMq({ broker: product, certificate, amqp: true }),
      );
    });
    after(() => service?.stop());

    function open(
      t: TestContext,
      protocol: keyof typeof protocols,
      fields: Pick<ActiveMqConfig, 'destinationName' | 'sessionAcknowledgement'> & { sendTimeout?: number },
    ) {
      if (!service) {
        t.skip(`${product} was NOT exercised`);
        return undefined;
      }
      const { host, port, amqpPort, account } = service;
      const config: ActiveMqConfig = {
        type: 'activeMq',
        name: 'broker',
        deployToWorker: true,
        enabled: true,
        environments: [],
        labels: {},
        circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
        activeMqConnectionProtocolType: protocols[protocol],
        brokerURL: protocol === 'OpenWire' ? `tcp://${host}:${port}` : `amqp://${host}:${amqpPort}`,
        username: account.user,
        password: account.password,
        destinationType: 'QUEUE',
        sendTimeout: 60_000,
        requestTimeout: 60_000,
        closeTimeout: 60_000,
        connectTimeout: 60_000,
        verifyCertificate: true,
        ...fields,
      };
      const live = activeMqConnector.open(config, createContext({ signal: new AbortController().signal }));
      assert.ok(!(live instanceof Promise));
      t.after(() => activeMqConnector.close(live));
      const call = () => ({ signal: AbortSignal.timeout(2 * patienceMs) });
      return {
        classify: (error: unknown) => activeMqConnector.classify(error),
        send: (input: SendInput) => activeMqConnector.operations.send(live, input, call()),
        /** The number at the head of each message that one call takes, and how long it took. */
        async take(maxMessages: number, timeoutMs = patienceMs) {
          const began = performance.now();
          const input = { maxMessages, timeoutMs };
          const { messages } = await activeMqConnector.operations.receive(live, input, call());
          const waited = performance.now() - began >= timeoutMs;
          return { taken: messages.map(({ body }) => Number(body.split(':', 1)[0])), waited };
        },
      };
    }

    for (const protocol of Object.keys(protocols) as (keyof typeof protocols)[]) {
      for (const sessionAcknowledgement of modes)
        test(`${protocol}, ${sessionAcknowledgement}: a call takes a thousand of them, also side by side`, async (t) => {
          const destinationName = `many.${protocols[protocol]}.${sessionAcknowledgement}`;
          const opened = open(t, protocol, { destinationName, sessionAcknowledgement });
          if (!opened) return;
          const { send, take } = opened;
          for (const from of numbers(0, 5).map((batch) => 500 * batch))
            await send({ messages: numbers(from, 500).map((number) => ({ body: `${number}:` })) });
          assert.deepEqual(await take(1000), { taken: numbers(0, 1000), waited: false });
          const sides = await Promise.all([take(500), take(500), take(500)]);
          assert.deepEqual(
            sides.flatMap(({ taken }) => taken).toSorted((a, b) => a - b),
            numbers(1000, 1500),
          );
          assert.ok(!sides.some(({ waited }) => waited));
          assert.deepEqual(await take(1, 300), { taken: [], waited: true });
        });

      for (const sessionAcknowledgement of modes)
        test(`${protocol}, ${sessionAcknowledgement}: a queue that is full takes no more until there is room`, async (t) => {
          const destinationName = `full.${protocols[protocol]}.${sessionAcknowledgement}`;
          const opened = open(t, protocol, { destinationName, sessionAcknowledgement, sendTimeout: 10_000 });
          if (!opened) return;
          const { send, take, classify } = opened;
          const body = 'x'.repeat(40_000);
          let sent = 0;
          const failure = await (async () => {
            for (; sent < 100; sent++) await send({ body: `${sent}:${body}` });
          })().then(() => assert.fail('it took all of them'), classify);
          assert.deepEqual([failure.code, failure.retryable], ['quota_exceeded', true], failure.message);
          assert.ok(sent > 0);
          const batch = numbers(1000, 20).map((number) => ({ body: `${number}:${body}` }));
          const together = await send({ messages: batch }).catch(classify);
          if (sessionAcknowledgement === 'SESSION_TRANSACTED')
            assert.equal('code' in together && together.code, 'quota_exceeded');
          else
            assert.ok(
              'results' in together &&
                together.results.every(({ error }) => !error || error.code === 'quota_exceeded') &&
                together.results.some(({ error }) => error),
            );
          const { taken } = await take(100, 3000);
          assert.deepEqual(taken.slice(0, sent), numbers(0, sent));
          if (sessionAcknowledgement === 'SESSION_TRANSACTED')
            assert.equal(taken.length, sent, 'all or none');
          // What is acknowledged makes room a moment later.
          const deadline = Date.now() + patienceMs;
          for (;;)
            try {
              await send({ body: '2000:' });
              break;
            } catch (error) {
              assert.equal(classify(error).code, 'quota_exceeded');
              assert.ok(Date.now() < deadline);
              await sleep(100);
            }
          assert.deepEqual((await take(1)).taken, [2000]);
        });

      test(`${protocol}: a call takes no more than 8 MiB of them, and leaves the rest`, async (t) => {
        const opened = open(t, protocol, {
          destinationName: `large.${protocols[protocol]}`,
          sessionAcknowledgement: 'AUTO_ACKNOWLEDGE',
        });
        if (!opened) return;
        const { send, take } = opened;
        const body = 'x'.repeat(512 * 1024);
        for (const number of numbers(0, 20)) await send({ body: `${number}:${body}` });
        assert.deepEqual(await take(100), { taken: numbers(0, 16), waited: false });
        assert.deepEqual(await take(4), { taken: numbers(16, 4), waited: false });
      });
    }
  });
