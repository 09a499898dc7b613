import assert from 'node:assert/strict';
import { after, before, suite, type TestContext, test } from 'node:test';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { type ActiveMqService, brokers, startActiveMq } from '../../../test/services/activemq.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { freePort, startOrSkip } from '../../../test/services/service.ts';
import type { StageName, StageResult } from '../../contract/worker-protocol.ts';
import { activeMqConnector } from './activemq.connector.ts';
import type { ActiveMqConfig } from './activemq-settings.ts';
import type { SendInput } from './send-input.ts';

const authority = createAuthority();
const trust = trustIn(authority.caPem);

function config(broker: ActiveMqService, overrides: Partial<ActiveMqConfig> = {}): ActiveMqConfig {
  return {
    type: 'activeMq',
    name: 'broker',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    activeMqConnectionProtocolType: 'AMQP',
    brokerURL: `amqp://${broker.host}:${broker.amqpPort}`,
    username: broker.account.user,
    password: broker.account.password,
    destinationType: 'QUEUE',
    destinationName: 'orders',
    sessionAcknowledgement: 'AUTO_ACKNOWLEDGE',
    sendTimeout: 60_000,
    requestTimeout: 60_000,
    closeTimeout: 60_000,
    connectTimeout: 60_000,
    verifyCertificate: true,
    ...overrides,
  };
}

function open(t: TestContext, settings: ActiveMqConfig) {
  const ctx = createContext({ signal: new AbortController().signal, trust });
  const live = activeMqConnector.open(settings, ctx);
  assert.ok(!(live instanceof Promise));
  t.after(() => activeMqConnector.close(live));
  const call = () => ({ signal: AbortSignal.timeout(60_000) });
  return {
    live,
    send: (input: SendInput) => activeMqConnector.operations.send(live, input, call()),
    receive: async (maxMessages = 10, timeoutMs = 500) =>
      (await activeMqConnector.operations.receive(live, { maxMessages, timeoutMs }, call())).messages,
  };
}

async function stagesOf(settings: ActiveMqConfig) {
  const ctx = createContext({ signal: AbortSignal.timeout(60_000), trust });
  const { stages } = await testConnection(activeMqConnector, settings, ctx);
  return Object.fromEntries(stages.map((stage) => [stage.stage, stage])) as Record<StageName, StageResult>;
}

const code = (expected: string) => (error: unknown) => {
  const failure = activeMqConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  return true;
};

const bodies = (messages: { body: string }[]) => messages.map(({ body }) => body);

for (const product of brokers)
  suite(`${product} by AMQP 1.0`, () => {
    let service: ActiveMqService | undefined;

    before(async () => {
      const certificate = authority.issue({
        commonName: 'activemq.test',
        names: ['localhost'],
        ips: ['127.0.0.1'],
      });
      service = await startOrSkip({ skip: () => {}, fullName: `${product} by AMQP 1.0` }, () =>
        startActiveMq({ broker: product, certificate, amqp: true }),
      );
    });
    after(() => service?.stop());

    /** The broker, or a loud skip of the test. */
    function needed(t: TestContext): ActiveMqService | undefined {
      if (!service) t.skip(`${product} was NOT exercised`);
      return service;
    }

    for (const title of ['TCP', 'TLS'])
      test(`contract, AMQP 1.0 over ${title}`, async (t) => {
        const broker = needed(t);
        if (!broker) return;
        const [scheme, port] = title === 'TLS' ? ['amqps', broker.amqpsPort] : ['amqp', broker.amqpPort];
        const base = { brokerURL: `${scheme}://${broker.host}:${port}`, destinationName: 'contract' };
        await connectorContract(t, `activeMq, AMQP over ${title}`, {
          connector: activeMqConnector,
          config: () => config(broker, base),
          configAt: ({ host, port: at, timeoutMs }) =>
            config(broker, {
              ...base,
              brokerURL: `${scheme}://${host}:${at}`,
              sendTimeout: timeoutMs,
              requestTimeout: timeoutMs,
              closeTimeout: timeoutMs,
              connectTimeout: timeoutMs,
            }),
          badCredentials: () => config(broker, { ...base, password: 'Canary-wr0ng-passw0rd' }),
          operate: (live, call) => activeMqConnector.operations.send(live, { body: '{"order":1}' }, call),
          restart: () => broker.restart(),
          trust,
          silentAt: title === 'TLS' ? 'tls' : 'authenticate',
          garbledAt: title === 'TLS' ? 'tls' : 'authenticate',
          secrets: [broker.account.password, 'Canary-wr0ng-passw0rd'],
          tls: title === 'TLS',
        });
      });

    const rich = {
      body: 'Grüße 🐇',
      properties: { text: 'Grüße 🐇', whole: 7, negative: -1, long: 2 ** 40, fraction: 1.5, on: true },
      correlationId: 'c-1',
      replyTo: 'replies',
      type: 'order.created',
      priority: 9,
      timeToLiveMs: 60_000,
    };

    for (const [from, to] of [
      ['AMQP', 'AMQP'],
      ['AMQP', 'OpenWire'],
      ['OpenWire', 'AMQP'],
    ])
      test(`what is sent by ${from} is read by ${to}`, async (t) => {
        const broker = needed(t);
        if (!broker) return;
        const openWire = {
          activeMqConnectionProtocolType: 'TCP' as const,
          brokerURL: `tcp://${broker.host}:${broker.port}`,
        };
        const named = { destinationName: `${from}.${to}`, contentType: 'text/plain' };
        const { send } = open(t, config(broker, { ...named, ...(from === 'OpenWire' ? openWire : {}) }));
        const { receive } = open(t, config(broker, { ...named, ...(to === 'OpenWire' ? openWire : {}) }));
        const { sent } = await send({ messages: [rich, { body: 'AP/+', bodyEncoding: 'base64' }] });
        assert.equal(sent, 2);
        const received = await receive(2, 10_000);
        const text = received.find(({ type }) => type === 'order.created');
        const bytes = received.find((each) => each !== text);
        assert.equal(text?.body, rich.body);
        assert.deepEqual(
          Object.fromEntries(Object.keys(rich.properties).map((name) => [name, text?.properties[name]])),
          rich.properties,
        );
        assert.deepEqual([text?.correlationId, text?.priority], ['c-1', 9]);
        assert.match(text?.replyTo ?? '', /replies$/);
        assert.equal(text?.contentType, 'text/plain');
        assert.equal(text?.redelivered, false);
        assert.ok(Math.abs(Date.parse(text?.timestamp ?? '') - Date.now()) < 120_000);
        assert.deepEqual([bytes?.body, bytes?.bodyEncoding], ['AP/+', 'base64']);
      });

    test('what is received is gone, what is not stays; many go side by side', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { send, receive } = open(t, config(broker, { destinationName: 'many' }));
      const messages = Array.from({ length: 1200 }, (_, at) => ({ body: String(at) }));
      assert.equal((await send({ messages })).sent, 1200);
      assert.deepEqual(bodies(await receive(2)), ['0', '1']);
      const found = [];
      for (;;) {
        const batch = await receive(1000, 2000);
        if (batch.length === 0) break;
        found.push(...batch);
      }
      assert.deepEqual(bodies(found), bodies(messages.slice(2)));
    });

    test('SESSION_TRANSACTED: all or nothing, and what is received is gone', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { live, send, receive } = open(
        t,
        config(broker, { destinationName: 'transacted', sessionAcknowledgement: 'SESSION_TRANSACTED' }),
      );
      const messages = Array.from({ length: 1200 }, (_, at) => ({ body: String(at) }));
      /** Sends, and does something else in the middle of it. */
      const interrupted = async (signal: AbortSignal, interrupt: () => unknown) => {
        const sending = activeMqConnector.operations.send(live, { messages }, { signal });
        sending.catch(() => {});
        while (!activeMqConnector.figures?.(live)['unanswered'])
          await new Promise((resolve) => setImmediate(resolve));
        await interrupt();
        return sending;
      };
      await send({ messages: [{ body: 'a' }, { body: 'b' }, { body: 'c' }] });
      assert.deepEqual(bodies(await receive(2)), ['a', 'b']);
      const aborting = new AbortController();
      await assert.rejects(
        interrupted(aborting.signal, () => aborting.abort()),
        code('cancelled'),
      );
      const rest = await receive(10);
      assert.deepEqual(bodies(rest), ['c']);
      assert.equal(rest[0]?.redelivered, false);
      await assert.rejects(
        interrupted(AbortSignal.timeout(60_000), () => broker.kill()),
        code('connection_lost'),
      );
      await broker.restart();
      await send({ messages: [{ body: 'd' }, { body: 'e' }] });
      assert.deepEqual(bodies(await receive(10)), ['d', 'e']);
      assert.equal((await send({ messages })).sent, 1200);
      const found = [];
      for (let batch = await receive(500); batch.length > 0; batch = await receive(500, 1000))
        found.push(...batch);
      assert.deepEqual(bodies(found), bodies(messages));
    });

    test('a large message is split into frames', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { send, receive } = open(t, config(broker, { destinationName: 'large' }));
      const body = 'x'.repeat(2_000_000);
      await send({ body });
      assert.equal((await receive(1, 10_000))[0]?.body, body);
    });

    test('the test says what is wrong', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const good = await stagesOf(config(broker));
      assert.match(good.authenticate?.detail ?? '', /AMQP 1\.0, (ActiveMQ|apache-activemq-artemis) \d/);
      assert.match(good.operate?.detail ?? '', /may send and receive/);
      const wrong = await stagesOf(config(broker, { password: 'Canary-wr0ng' }));
      assert.equal(wrong.authenticate?.code, 'authentication_failed');
      assert.match(wrong.authenticate?.detail ?? '', /the broker offers [A-Z, -]*PLAIN/);
      const { user, password } = broker.stranger;
      const forbidden = await stagesOf(config(broker, { username: user, password }));
      assert.equal(forbidden.operate?.code, 'permission_denied');
      const stranger = open(t, config(broker, { username: user, password }));
      await assert.rejects(stranger.send({ body: 'x' }), code('permission_denied'));
      await assert.rejects(stranger.receive(1), code('permission_denied'));
      const openWire = await stagesOf(
        config(broker, { brokerURL: `amqp://${broker.host}:${broker.port}`, connectTimeout: 5000 }),
      );
      // Artemis says nothing to who speaks another protocol.
      assert.equal(openWire.authenticate?.code, product === 'Artemis' ? 'target_timeout' : 'protocol_error');
    });

    test('brokers are tried in turn, and a crash loses nothing that was answered', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const dead = await freePort();
      const { send, receive } = open(
        t,
        config(broker, {
          brokerURL: `amqp://127.0.0.1:${dead},amqps://localhost:${broker.amqpsPort}`,
          destinationName: 'durable',
        }),
      );
      const answered = Array.from({ length: 50 }, (_, at) => ({ body: String(at) }));
      assert.equal((await send({ messages: answered })).sent, 50);
      await broker.kill();
      await assert.rejects(send({ body: 'lost' }), (error) => activeMqConnector.classify(error).retryable);
      await broker.restart();
      await send({ body: 'last' });
      assert.deepEqual(bodies(await receive(60, 2000)), [...bodies(answered), 'last']);
    });
  });
