import assert from 'node:assert/strict';
import { after, before, suite, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { type ActiveMqService, brokers, startActiveMq } from '../../../test/services/activemq.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { freePort, startOrSkip } from '../../../test/services/service.ts';
import type { StageName, StageResult } from '../../contract/worker-protocol.ts';
import type { Trust } from '../connector.ts';
import { activeMqConnector } from './activemq.connector.ts';
import type { ActiveMqConfig } from './activemq-settings.ts';
import type { SendInput } from './send-input.ts';

const authority = createAuthority();
const trust = trustIn(authority.caPem);
const maxFrameBytes = 1024 * 1024;

const jmsPeer = fileURLToPath(new URL('../../../test/services/activemq/JmsPeer.java', import.meta.url));

function config(broker: ActiveMqService, overrides: Partial<ActiveMqConfig> = {}): ActiveMqConfig {
  return {
    type: 'activeMq',
    name: 'broker',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    activeMqConnectionProtocolType: 'TCP',
    brokerURL: `tcp://${broker.host}:${broker.port}`,
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

function open(t: TestContext, settings: ActiveMqConfig, trusted: Trust = trust) {
  const ctx = createContext({ signal: new AbortController().signal, trust: trusted });
  const live = activeMqConnector.open(settings, ctx);
  assert.ok(!(live instanceof Promise));
  t.after(() => activeMqConnector.close(live));
  const call = () => ({ signal: AbortSignal.timeout(60_000) });
  return {
    live,
    ctx,
    send: (input: SendInput) => activeMqConnector.operations.send(live, input, call()),
    receive: async (maxMessages = 10, timeoutMs = 500) =>
      (await activeMqConnector.operations.receive(live, { maxMessages, timeoutMs }, call())).messages,
  };
}

async function stagesOf(settings: ActiveMqConfig, trusted: Trust = trust) {
  const ctx = createContext({ signal: AbortSignal.timeout(60_000), trust: trusted });
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
  suite(`${product} by OpenWire`, () => {
    let service: ActiveMqService | undefined;

    before(async () => {
      const certificate = authority.issue({
        commonName: 'activemq.test',
        names: ['localhost'],
        ips: ['127.0.0.1'],
      });
      service = await startOrSkip({ skip: () => {}, fullName: `${product} by OpenWire` }, () =>
        startActiveMq({ broker: product, certificate, maxFrameBytes }),
      );
    });
    after(() => service?.stop());

    // Artemis takes Java's UTF-8 in properties of OpenWire for the true one, so that what differs is lost,
    // between clients of Java too.
    const beyond = product === 'Artemis' ? '' : ' 🐇';

    /** The broker, or a loud skip of the test. */
    function needed(t: TestContext): ActiveMqService | undefined {
      if (!service) t.skip(`${product} was NOT exercised`);
      return service;
    }

    /** Artemis names no limit, so that ours is set. */
    const limited = ({ host, port }: ActiveMqService) =>
      product === 'Artemis'
        ? { brokerURL: `tcp://${host}:${port}?wireFormat.maxFrameSize=${maxFrameBytes}` }
        : {};

    for (const title of ['TCP', 'TLS'])
      test(`contract, OpenWire over ${title}`, async (t) => {
        const broker = needed(t);
        if (!broker) return;
        const [scheme, port] = title === 'TLS' ? ['ssl', broker.tlsPort] : ['tcp', broker.port];
        const base = { brokerURL: `${scheme}://${broker.host}:${port}`, destinationName: 'contract' };
        await connectorContract(t, `activeMq, OpenWire over ${title}`, {
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

    test("ActiveMQ's own client reads what we send", async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { send } = open(
        t,
        config(broker, {
          destinationName: 'to.java',
          contentType: 'application/json',
          contentEncoding: 'utf-8',
        }),
      );
      const properties = {
        text: `Grüße${beyond}${product === 'Artemis' ? '' : '\0'}`,
        whole: 7,
        negative: -1,
        long: 2 ** 40,
        fraction: 1.5,
        on: false,
        long_text: 'ü'.repeat(40_000),
      };
      const { results } = await send({
        messages: [
          {
            body: 'Grüße 🐇\0 an Java',
            properties,
            correlationId: 'c-1',
            replyTo: 'replies',
            type: 'order.created',
            priority: 9,
            timeToLiveMs: 60_000,
            persistent: false,
          },
          { body: 'AP/+', bodyEncoding: 'base64' },
          { body: '' },
        ],
      });
      const url = `tcp://${broker.host}:${broker.port}`;
      const { user, password } = broker.account;
      const printed = await broker.java(jmsPeer, 'receive', url, user, password, 'to.java', '3');
      const lines = printed
        .trim()
        .split('\n')
        .map((line) => line.split('|'));
      const base64 = (value: unknown) => Buffer.from(String(value)).toString('base64');
      const ids = results.map((result) => ('messageId' in result ? result.messageId : ''));
      // The broker keeps lasting messages apart from others, and so not all in one order.
      const [text, bytes, empty] = ids.map((id) => lines.find((line) => line[2] === id));
      assert.deepEqual(text?.slice(0, 9), [
        'text',
        base64('Grüße 🐇\0 an Java'),
        ids[0],
        'c-1',
        'replies',
        'order.created',
        '9',
        '1',
        '60000',
      ]);
      const expected = {
        JMS_AMQP_ContentEncoding: `String=${base64('utf-8')}`,
        JMS_AMQP_ContentType: `String=${base64('application/json')}`,
        fraction: `Double=${base64(1.5)}`,
        long: `Long=${base64(2 ** 40)}`,
        long_text: `String=${base64(properties.long_text)}`,
        negative: `Integer=${base64(-1)}`,
        on: `Boolean=${base64(false)}`,
        text: `String=${base64(properties.text)}`,
        whole: `Integer=${base64(7)}`,
      };
      const printedProperties = Object.fromEntries(
        (text?.[9] ?? '')
          .slice(1, -1)
          .split(', ')
          .map((property) => property.split(/=(.*)/s).slice(0, 2)),
      );
      assert.deepEqual(printedProperties, expected);
      assert.deepEqual(bytes?.slice(0, 4), ['bytes', 'AP/+', ids[1], 'null']);
      assert.deepEqual(bytes?.slice(6, 9), ['4', '2', '0']);
      assert.deepEqual(empty?.slice(0, 2), ['text', '']);
    });

    test("we read what ActiveMQ's own client sends", async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { user, password } = broker.account;
      const url = `tcp://${broker.host}:${broker.port}`;
      await broker.java(jmsPeer, 'send', url, user, password, 'from.java', `Grüße${beyond}`);
      const { receive } = open(t, config(broker, { destinationName: 'from.java' }));
      const messages = await receive(10, 2000);
      // The broker keeps lasting messages apart from others, and so not all in one order.
      const text = messages.find(({ type }) => type === 'order.created');
      const [bytes, map, plain, object, squeezed, squeezedBytes] = messages.filter((each) => each !== text);
      assert.equal(messages.length, 7);
      assert.deepEqual(
        { ...text, messageId: text?.messageId.startsWith('ID:'), timestamp: typeof text?.timestamp },
        {
          messageId: true,
          body: 'Grüße 🐇\0 aus Java',
          bodyEncoding: 'utf8',
          properties: {
            text: `Grüße${beyond}`,
            whole: 7,
            long: 2 ** 40,
            huge: '9223372036854775807',
            short: -3,
            byte: -4,
            fraction: 1.5,
            float: 0.25,
            on: true,
          },
          correlationId: 'c-1',
          replyTo: 'replies',
          type: 'order.created',
          priority: 8,
          timestamp: 'string',
          redelivered: false,
        },
      );
      assert.deepEqual([bytes?.body, bytes?.bodyEncoding], ['AP/+', 'base64']);
      assert.deepEqual(JSON.parse(map?.body ?? ''), { name: 'value', number: 42 });
      assert.equal(plain?.body, '');
      assert.equal(object?.bodyEncoding, 'base64');
      assert.equal(squeezed?.body, 'compressed '.repeat(100));
      assert.equal(squeezedBytes?.body, 'squeezed '.repeat(100));
    });

    for (const sessionAcknowledgement of [
      'AUTO_ACKNOWLEDGE',
      'CLIENT_ACKNOWLEDGE',
      'DUPS_OK_ACKNOWLEDGE',
      'SESSION_TRANSACTED',
    ] as const)
      test(`${sessionAcknowledgement}: what is received is gone, what is not stays untouched`, async (t) => {
        const broker = needed(t);
        if (!broker) return;
        const destinationName = `ack.${sessionAcknowledgement}`;
        const { send, receive } = open(t, config(broker, { destinationName, sessionAcknowledgement }));
        const sent = await send({ messages: ['1', '2', '3', '4', '5'].map((body) => ({ body })) });
        assert.equal(sent.sent, 5);
        assert.deepEqual(bodies(await receive(2)), ['1', '2']);
        const rest = await receive(10);
        assert.deepEqual(bodies(rest), ['3', '4', '5']);
        assert.ok(rest.every(({ redelivered }) => !redelivered));
        assert.deepEqual(await receive(10, 200), []);
      });

    test('a transaction that fails leaves nothing', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const settings = config(broker, {
        ...limited(broker),
        destinationName: 'transacted',
        sessionAcknowledgement: 'SESSION_TRANSACTED',
      });
      const { send, receive } = open(t, settings);
      await assert.rejects(
        send({ messages: [{ body: 'a' }, { body: 'x'.repeat(2 * maxFrameBytes) }, { body: 'b' }] }),
        code('message_too_large'),
      );
      await assert.rejects(
        send({ messages: [{ body: 'a' }, { body: '=', bodyEncoding: 'base64' }] }),
        code('request_rejected'),
      );
      assert.deepEqual(await receive(10, 300), []);
      await send({ messages: [{ body: 'c' }, { body: 'd' }] });
      assert.deepEqual(bodies(await receive(10)), ['c', 'd']);
    });

    test('a message that is too large fails alone without a transaction', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { send, receive } = open(t, config(broker, { ...limited(broker), destinationName: 'sizes' }));
      const body = 'x'.repeat(maxFrameBytes / 2);
      const { sent, results } = await send({
        messages: [
          { body },
          { body: body.repeat(3) },
          { body: 'small' },
          { body: '*', bodyEncoding: 'base64' },
        ],
      });
      assert.equal(sent, 2);
      assert.deepEqual(
        results.map((result) => ('error' in result ? result.error?.code : 'sent')),
        ['sent', 'message_too_large', 'sent', 'request_rejected'],
      );
      assert.deepEqual(bodies(await receive(10)), [body, 'small']);
    });

    test('an expired message is not delivered', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { send, receive } = open(t, config(broker, { destinationName: 'expiring' }));
      await send({
        messages: [
          { body: 'short', timeToLiveMs: 1 },
          { body: 'long', timeToLiveMs: 60_000 },
        ],
      });
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.deepEqual(bodies(await receive(10)), ['long']);
    });

    test('a topic gives every subscriber what arrives meanwhile', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const settings = config(broker, { destinationType: 'TOPIC', destinationName: 'news' });
      const publisher = open(t, settings);
      await publisher.send({ body: 'missed' });
      const subscribers = [open(t, settings), open(t, settings)];
      const receiving = subscribers.map(({ receive }) => receive(2, 20_000));
      // A subscription takes effect in its own time; what is sent until then is missed.
      let done = false;
      const all = Promise.all(receiving).finally(() => {
        done = true;
      });
      for (let count = 0; !done; count++) {
        await publisher.send({ body: `news ${count}` });
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      for (const messages of await all) {
        assert.equal(messages.length, 2);
        assert.ok(messages.every(({ body }) => body.startsWith('news ')));
      }
    });

    test('the test says what is wrong and what to do', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      let good = await stagesOf(config(broker));
      // A broker tells its name in its own time, as a rule before it answers the log-in.
      for (let more = 20; more > 0 && !/broker/.test(good.authenticate?.detail ?? ''); more--)
        good = await stagesOf(config(broker));
      assert.match(good.authenticate?.detail ?? '', /OpenWire, broker \S+, keep-alive 30000 ms; writer/);
      assert.match(good.operate?.detail ?? '', /may send and receive: queue 'orders'; no message/);
      const as = ({ user, password }: { user: string; password: string }, destinationName: string) =>
        stagesOf(config(broker, { username: user, password, destinationName }));
      const forbidden = await as(broker.stranger, 'orders');
      assert.equal(forbidden.operate?.code, 'permission_denied');
      assert.match(forbidden.operate?.hint ?? '', /Grant/);
      const reader = await as(broker.reader, 'shared.orders');
      assert.match(
        reader.operate?.detail ?? '',
        /may receive: .*(not authorized to write|does not have permission='SEND')/,
      );
      const withoutLogIn = config(broker, { username: undefined, password: undefined } as never);
      let nobody = await stagesOf(withoutLogIn);
      // Classic 5 cuts one in some hundreds off whose side of it is still starting there.
      for (let more = 3; more > 0 && nobody.authenticate?.code === 'connection_lost'; more--) {
        assert.match(nobody.authenticate.hint ?? '', /may have refused the log-in/);
        nobody = await stagesOf(withoutLogIn);
      }
      assert.equal(nobody.authenticate?.code, 'authentication_failed');
      const secure = await stagesOf(
        config(broker, { brokerURL: `ssl://${broker.host}:${broker.port}`, connectTimeout: 3000 }),
      );
      assert.equal(secure.tls?.status, 'failed');
      const clear = await stagesOf(
        config(broker, { brokerURL: `tcp://${broker.host}:${broker.tlsPort}`, connectTimeout: 3000 }),
      );
      assert.equal(clear.authenticate?.status, 'failed');
      assert.match(clear.authenticate?.hint ?? '', /ssl:\/\//);
      const other = trustIn(createAuthority('Another CA').caPem);
      const overTls = config(broker, { brokerURL: `ssl://localhost:${broker.tlsPort}` });
      assert.equal((await stagesOf(overTls, other)).tls?.code, 'certificate_untrusted');
      assert.match((await stagesOf(overTls)).tls?.detail ?? '', /TLSv1\.[23].*activemq\.test/);
    });

    test('options of the broker URL have their effect, or are named', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { authenticate } = await stagesOf(
        config(broker, {
          brokerURL: `tcp://${broker.host}:${broker.port}?wireFormat.maxInactivityDuration=5000&jms.useAsyncSend=true`,
        }),
      );
      assert.match(authenticate?.detail ?? '', /keep-alive 5000 ms/);
      const ctx = createContext({ signal: new AbortController().signal });
      const settings = config(broker, {
        brokerURL: 'failover:(tcp://a:1?jms.password=Canary-1n-url,tcp://b:2)?priorityBackup=true&timeout=5',
      });
      const live = await activeMqConnector.open(settings, ctx);
      await activeMqConnector.close(live);
      assert.deepEqual(ctx.warnings, [
        'brokerURL: the option priorityBackup has no effect.',
        'brokerURL: the option timeout has no effect.',
      ]);
      assert.throws(
        () => activeMqConnector.open({ ...settings, brokerURL: 'tcp://a:1?jms.sendTimeout=soon' }, ctx),
        code('invalid_configuration'),
      );
    });

    test('a client id is unique at the broker, so each connection adds to it', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const settings = config(broker, { clientID: 'plugboard', destinationName: 'clients' });
      const [one, two] = [open(t, settings), open(t, settings)];
      await one.send({ body: '1' });
      await two.send({ body: '2' });
      assert.equal((await one.receive(2)).length, 2);
    });

    test('an idle connection is kept alive', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { live, send } = open(
        t,
        config(broker, {
          brokerURL: `tcp://${broker.host}:${broker.port}?wireFormat.maxInactivityDuration=600`,
          destinationName: 'idle',
        }),
      );
      await send({ body: '1' });
      const before = live.session.current;
      await new Promise((resolve) => setTimeout(resolve, 2500));
      assert.ok(before && live.session.current === before, 'the connection is the same as before');
      await send({ body: '2' });
    });

    test('brokers are tried in turn, and a silent or dead one is left', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const dead = await freePort();
      const brokerURL = `failover:(tcp://127.0.0.1:${dead},ssl://localhost:${broker.tlsPort})?randomize=false`;
      const settings = config(broker, { brokerURL, destinationName: 'failover' });
      const { send, receive } = open(t, settings);
      await send({ body: 'found' });
      assert.deepEqual(bodies(await receive(1)), ['found']);
      const { connect, tls } = await stagesOf(settings);
      assert.match(connect?.detail ?? '', new RegExp(`before that 127\\.0\\.0\\.1:${dead}: .*refused`));
      assert.equal(tls?.status, 'passed');
    });

    test('nothing that was answered is lost when the broker crashes in the middle', async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { live, send, receive } = open(t, config(broker, { destinationName: 'durable' }));
      await send({ body: 'warm' });
      const answered = ['warm'];
      let failed = 0;
      let isDown = true;
      const crash = (async () => {
        await broker.kill();
        await broker.restart();
      })().finally(() => {
        isDown = false;
      });
      for (let round = 0; isDown || round < 5; round++) {
        const messages = Array.from({ length: 50 }, (_, at) => ({ body: `${round}-${at}` }));
        try {
          const { results } = await send({ messages });
          results.forEach((result, at) => {
            if ('messageId' in result && result.messageId) answered.push(`${round}-${at}`);
            else {
              failed++;
              assert.equal(result.error?.retryable, true, result.error?.message);
            }
          });
        } catch (error) {
          failed++;
          assert.ok(activeMqConnector.classify(error).retryable, String(error));
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      }
      await crash;
      assert.ok(failed > 0, 'the crash was noticed');
      await send({ body: 'last' });
      answered.push('last');
      assert.equal(activeMqConnector.figures?.(live)['connections'], 1);
      const found = new Set<string>();
      for (;;) {
        const messages = await receive(1000, 1000);
        for (const { body } of messages) found.add(body);
        if (messages.length === 0) break;
      }
      assert.deepEqual(
        answered.filter((body) => !found.has(body)),
        [],
      );
    });
  });
