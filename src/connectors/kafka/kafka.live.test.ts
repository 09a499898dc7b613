import assert from 'node:assert/strict';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import {
  type KafkaListener,
  type KafkaService,
  kafkaVersion,
  startKafka,
} from '../../../test/services/kafka.ts';
import { freePort, startOrSkip } from '../../../test/services/service.ts';
import type { InputOf } from '../../contract/connection-type.ts';
import type { StageName, StageResult } from '../../contract/worker-protocol.ts';
import { createNetwork } from '../../worker/egress.ts';
import { createEgressPolicy } from '../../worker/egress-policy.ts';
import type { ConnectorContext, Trust } from '../connector.ts';
import { kafkaConnector } from './kafka.connector.ts';
import type { kafka } from './kafka.definition.ts';
import type { KafkaConfig } from './kafka-settings.ts';

type Message = InputOf<typeof kafka.operations.produce>['messages'][number];

const topic = 'events';
const wrongPassword = 'Canary-wr0ng+passw0rd/3';
const serverVersion = `Apache Kafka ${kafkaVersion}`;
const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule';
const plain = 'org.apache.kafka.common.security.plain.PlainLoginModule';
const bearer = 'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule';
const serializer = (name: string) => `org.apache.kafka.common.serialization.${name}Serializer`;

/** Back-offs short enough for a test; a slow machine needs more time for an answer than the defaults give. */
const patient = {
  'max.block.ms': '20000',
  'request.timeout.ms': '20000',
  'delivery.timeout.ms': '60000',
  'retry.backoff.ms': '200',
};

function config(
  bootstrapServers: string,
  properties: Record<string, string> = {},
  overrides: Partial<KafkaConfig> = {},
): KafkaConfig {
  return {
    type: 'kafka',
    name: 'kafka',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    topicName: topic,
    bootstrapServers,
    enableSecure: false,
    protocolTypes: [],
    verifyCertificate: true,
    propertiesMap: Object.fromEntries(
      Object.entries({ ...patient, ...properties }).map(([name, value]) => [
        name,
        { value, valueType: name === 'sasl.jaas.config' ? 'SECRET' : 'STRING' },
      ]),
    ),
    ...overrides,
  };
}

function logIn(
  mechanism: string,
  { user, password }: { user: string; password: string },
  protocol = 'SASL_PLAINTEXT',
): Record<string, string> {
  const module = mechanism === 'PLAIN' ? plain : scram;
  return {
    'security.protocol': protocol,
    'sasl.mechanism': mechanism,
    'sasl.jaas.config': `${module} required username="${user}" password="${password}";`,
  };
}

const secure = { enableSecure: true, protocolTypes: ['TLS_1_3', 'TLS_1_2'] } satisfies Partial<KafkaConfig>;

function open(
  t: TestContext,
  subject: KafkaConfig,
  options: { trust?: Trust; network?: ConnectorContext['network'] } = {},
) {
  const context = createContext({
    signal: new AbortController().signal,
    ...(options.trust ? { trust: options.trust } : {}),
  });
  const live = kafkaConnector.open(subject, {
    ...context,
    ...(options.network ? { network: options.network } : {}),
  });
  assert.ok(!(live instanceof Promise));
  t.after(() => kafkaConnector.close(live));
  const signal = AbortSignal.timeout(120_000);
  return {
    live,
    produce: (messages: Message[], to?: string) =>
      kafkaConnector.operations.produce(live, { messages, ...(to ? { topic: to } : {}) }, { signal }),
    consume: (input: InputOf<typeof kafka.operations.consume>) =>
      kafkaConnector.operations.consume(live, { timeoutMs: 30_000, ...input }, { signal }),
    prove: () => kafkaConnector.prove(live, { signal }),
  };
}

async function stagesOf(subject: KafkaConfig, trust?: Trust) {
  const context = createContext({ signal: AbortSignal.timeout(120_000), ...(trust ? { trust } : {}) });
  const { stages, warnings = [] } = await testConnection(kafkaConnector, subject, context);
  const byName = Object.fromEntries(stages.map((stage) => [stage.stage, stage])) as Record<
    StageName,
    StageResult
  >;
  return { ...byName, warnings };
}

const failsWith = (code: string, text?: RegExp) => (error: unknown) => {
  const failure = kafkaConnector.classify(error);
  assert.equal(failure.code, code, failure.message);
  if (text) assert.match(`${failure.message} ${failure.details.hint ?? ''}`, text);
  return true;
};

/** A relay to the broker, so that a test can stop what passes. */
async function relay(t: TestContext, port: number) {
  const sockets = new Set<Socket>();
  let isOpen = true;
  const server = createServer((from) => {
    const to = connect({ host: '127.0.0.1', port });
    for (const [socket, other] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(socket);
      socket.on('data', (chunk) => isOpen && other.write(chunk));
      socket.on('error', () => {});
      socket.on('close', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    port: (server.address() as AddressInfo).port,
    /** What arrives from now on is swallowed. */
    swallow() {
      isOpen = false;
    },
    pass() {
      isOpen = true;
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

describe(`kafka against ${serverVersion}`, () => {
  let service: KafkaService | undefined;
  let advertisedPort = 0;

  before(async (t) => {
    advertisedPort = await freePort();
    service = await startOrSkip(t, () =>
      startKafka({
        advertised: { host: '127.0.0.1', port: advertisedPort },
        settings: { 'listener.name.oauth.connections.max.reauth.ms': '1500' },
      }),
    );
    await service?.createTopic(topic, { partitions: 3 });
  });
  after(() => service?.stop());

  /** A case that needs the broker. */
  const live = (name: string, body: (t: TestContext, kafka: KafkaService) => Promise<void>) =>
    test(name, { timeout: 600_000 }, async (t) => {
      if (service) await body(t, service);
      else t.skip('Kafka was NOT exercised');
    });
  const at = (kafkaService: KafkaService, listener: KafkaListener) =>
    `${listener.endsWith('SSL') ? 'localhost' : '127.0.0.1'}:${kafkaService.ports[listener]}`;
  let topics = 0;
  const newTopic = async (
    kafkaService: KafkaService,
    partitions = 1,
    settings: Record<string, string> = {},
  ) => {
    topics++;
    const name = `topic-${topics}`;
    await kafkaService.createTopic(name, { partitions, settings });
    return name;
  };

  for (const { listener, silentAt, properties, overrides } of [
    { listener: 'PLAINTEXT', silentAt: 'connect', properties: () => ({}), overrides: {} },
    {
      listener: 'SASL_SSL',
      silentAt: 'tls',
      properties: (kafkaService: KafkaService) => logIn('SCRAM-SHA-512', kafkaService.account, 'SASL_SSL'),
      overrides: secure,
    },
  ] as const)
    live(`contract, ${listener}`, async (t, kafkaService) => {
      const tls = listener === 'SASL_SSL';
      await connectorContract(t, `kafka, ${listener}`, {
        connector: kafkaConnector,
        config: () => config(at(kafkaService, listener), properties(kafkaService), overrides),
        configAt: ({ host, port, timeoutMs }) =>
          config(
            `${host}:${port}`,
            {
              ...properties(kafkaService),
              ...Object.fromEntries(
                ['max.block.ms', 'request.timeout.ms', 'delivery.timeout.ms'].map((name) => [
                  name,
                  `${timeoutMs}`,
                ]),
              ),
            },
            overrides,
          ),
        badCredentials: tls
          ? () =>
              config(
                at(kafkaService, listener),
                logIn('SCRAM-SHA-512', { ...kafkaService.account, password: wrongPassword }, 'SASL_SSL'),
                overrides,
              )
          : undefined,
        operate: (client, call) =>
          kafkaConnector.operations.produce(client, { messages: [{ key: 'k', value: 'v' }] }, call),
        restart: () => kafkaService.restart(),
        trust: trustIn(kafkaService.authority.caPem),
        silentAt,
        garbledAt: silentAt,
        secrets: [kafkaService.account.password, wrongPassword],
        tls,
      });
    });

  live('a message comes back with its key, headers, partition and timestamp', async (t, kafkaService) => {
    const name = await newTopic(kafkaService, 3);
    const { produce, consume } = open(t, config(at(kafkaService, 'PLAINTEXT')));
    const sent = await produce(
      [
        {
          key: 'a',
          value: 'first',
          partition: 2,
          timestamp: 1_700_000_000_123,
          headers: { 'x-id': '1', ü: 'ö' },
        },
        { key: null, value: 'second', partition: 2, timestamp: 1_800_000_000_457 },
        { key: 'gone', value: null, partition: 0 },
      ],
      name,
    );
    assert.deepEqual(sent.messages, [
      { topic: name, partition: 2, offset: '0' },
      { topic: name, partition: 2, offset: '1' },
      { topic: name, partition: 0, offset: '0' },
    ]);
    const { messages } = await consume({ topic: name, partition: 2 });
    assert.equal(messages.length, 2);
    assert.deepEqual(messages[0], {
      topic: name,
      partition: 2,
      offset: '0',
      timestamp: 1_700_000_000_123,
      key: 'a',
      value: 'first',
      headers: { 'x-id': '1', ü: 'ö' },
    });
    assert.equal(messages[1]?.key, null);
    // In one batch with a message of years before.
    assert.equal(messages[1]?.timestamp, 1_800_000_000_457);
    const { messages: tombstones } = await consume({ topic: name, partition: 0 });
    assert.deepEqual([tombstones[0]?.key, tombstones[0]?.value], ['gone', null]);
    const { messages: rest } = await consume({ topic: name, partition: 2, offset: '1' });
    assert.deepEqual(
      rest.map(({ value }) => value),
      ['second'],
    );
  });

  live('messages are bounded by count, latest waits for what arrives', async (t, kafkaService) => {
    const name = await newTopic(kafkaService);
    const { produce, consume } = open(t, config(at(kafkaService, 'PLAINTEXT')));
    await produce(
      Array.from({ length: 30 }, (_, n) => ({ value: `${n}` })),
      name,
    );
    const { messages } = await consume({ topic: name, maxMessages: 7 });
    assert.deepEqual(
      messages.map(({ value }) => value),
      ['0', '1', '2', '3', '4', '5', '6'],
    );
    const arriving = consume({ topic: name, from: 'latest', maxMessages: 1 });
    await sleep(1500);
    await produce([{ value: 'new' }], name);
    assert.deepEqual(
      (await arriving).messages.map(({ value }) => value),
      ['new'],
    );
    assert.deepEqual(await consume({ topic: name, from: 'latest', timeoutMs: 300 }), { messages: [] });
  });

  live('a large batch keeps its order in each partition', async (t, kafkaService) => {
    const name = await newTopic(kafkaService, 3);
    const { produce, consume } = open(
      t,
      config(at(kafkaService, 'PLAINTEXT'), { 'batch.size': '2048', 'linger.ms': '5' }),
    );
    const messages = Array.from({ length: 3000 }, (_, n) => ({ key: `key-${n % 17}`, value: `${n}` }));
    const sent = await produce(messages, name);
    const seen = await consume({ topic: name, maxMessages: 5000 });
    assert.equal(seen.messages.length, 3000);
    for (const { partition, offset, value, key } of seen.messages) {
      const place = sent.messages[Number(value)];
      assert.deepEqual(place, { topic: name, partition, offset }, `${key}`);
    }
    const last = new Map<unknown, number>();
    for (const { key, value } of seen.messages) {
      assert.ok(Number(value) > (last.get(key) ?? -1), `${key} is out of order`);
      last.set(key, Number(value));
    }
  });

  for (const [name, key, value, onWire] of [
    ['String', 'schlüssel', 'wört', Buffer.from('wört')],
    ['ByteArray', 'AAE=', '/wD+', Buffer.from([0xff, 0x00, 0xfe])],
    ['Integer', -7, 2_147_483_647, Buffer.from([0x7f, 0xff, 0xff, 0xff])],
    ['Long', 42, '9223372036854775807', Buffer.from('7fffffffffffffff', 'hex')],
    ['Double', 1.5, -0.25, Buffer.from('bfd0000000000000', 'hex')],
    [
      'UUID',
      '123e4567-e89b-12d3-a456-426614174000',
      '00000000-0000-0000-0000-000000000001',
      Buffer.from('00000000-0000-0000-0000-000000000001'),
    ],
  ] as const)
    live(`serializer ${name}`, async (t, kafkaService) => {
      const target = await newTopic(kafkaService);
      const address = at(kafkaService, 'PLAINTEXT');
      const typed = { 'key.serializer': serializer(name), 'value.serializer': serializer(name) };
      const { produce, consume } = open(t, config(address, typed));
      await produce([{ key, value }], target);
      const { messages } = await consume({ topic: target });
      assert.deepEqual([messages[0]?.key, messages[0]?.value], [key, value]);
      const bytes = {
        'key.serializer': serializer('ByteArray'),
        'value.serializer': serializer('ByteArray'),
      };
      const raw = await open(t, config(address, bytes)).consume({ topic: target });
      assert.equal(raw.messages[0]?.value, onWire.toString('base64'));
    });

  for (const compression of ['gzip', 'snappy', 'lz4', 'zstd'])
    live(`compression ${compression}`, async (t, kafkaService) => {
      // The broker recompresses what it cannot read as its own kind, so that it must understand ours.
      const recompressed = compression === 'gzip' ? 'lz4' : 'gzip';
      for (const settings of [{}, { 'compression.type': recompressed }] as Record<string, string>[]) {
        const name = await newTopic(kafkaService, 1, settings);
        const { produce, consume } = open(
          t,
          config(at(kafkaService, 'PLAINTEXT'), { 'compression.type': compression, 'batch.size': '65536' }),
        );
        const values = Array.from({ length: 100 }, (_, n) => `${n} ${'x'.repeat(200)}`);
        await produce(
          values.map((value) => ({ value })),
          name,
        );
        const { messages } = await consume({ topic: name, maxMessages: 100 });
        assert.deepEqual(
          messages.map(({ value }) => value),
          values,
        );
      }
    });

  for (const acks of ['all', '1', '0'])
    live(`acks ${acks}`, async (t, kafkaService) => {
      const name = await newTopic(kafkaService);
      const { produce, consume } = open(t, config(at(kafkaService, 'PLAINTEXT'), { acks }));
      const { messages } = await produce([{ value: 'one' }, { value: 'two' }], name);
      assert.deepEqual(
        messages.map(({ offset }) => offset),
        acks === '0' ? [undefined, undefined] : ['0', '1'],
      );
      const deadline = Date.now() + 30_000;
      let stored: unknown[] = [];
      while (stored.length < 2 && Date.now() < deadline)
        stored = (await consume({ topic: name })).messages.map(({ value }) => value);
      assert.deepEqual(stored, ['one', 'two']);
    });

  live('an answer that gets lost stores nothing twice', async (t, kafkaService) => {
    const name = await newTopic(kafkaService);
    const gate = await relay(t, kafkaService.ports.ADVERTISED);
    // The broker sends clients of this listener to `advertisedPort`: a second relay stands there.
    const middle = createServer((socket) => {
      const to = connect({ host: '127.0.0.1', port: gate.port });
      socket.pipe(to).pipe(socket);
      socket.on('error', () => to.destroy());
      to.on('error', () => socket.destroy());
      to.on('close', () => socket.destroy());
      socket.on('close', () => to.destroy());
    });
    await new Promise<void>((resolve) => middle.listen(advertisedPort, '127.0.0.1', resolve));
    t.after(() => new Promise((resolve) => middle.close(resolve)));
    const { produce } = open(t, config(`127.0.0.1:${advertisedPort}`));
    await produce([{ value: 'before' }], name);
    const sending = Array.from({ length: 40 }, async (_, n) => {
      await sleep(n * 20);
      return produce([{ value: `${n}` }], name);
    });
    for (let cut = 0; cut < 3; cut++) {
      await sleep(200);
      gate.cut();
    }
    const offsets = (await Promise.all(sending)).map(({ messages }) => messages[0]?.offset);
    assert.equal(new Set(offsets).size, 40, 'each has an offset of its own');
    const reader = open(t, config(at(kafkaService, 'PLAINTEXT')));
    const { messages } = await reader.consume({ topic: name, maxMessages: 1000 });
    assert.deepEqual(
      messages.map(({ value }) => value).toSorted(),
      ['before', ...Array.from({ length: 40 }, (_, n) => `${n}`)].toSorted(),
    );
  });

  live('a batch that was given up on does not swallow the next', async (t, kafkaService) => {
    const name = await newTopic(kafkaService);
    const gate = await relay(t, kafkaService.ports.ADVERTISED);
    const middle = createServer((socket) => {
      const to = connect({ host: '127.0.0.1', port: gate.port });
      socket.pipe(to).pipe(socket);
      for (const each of [socket, to]) each.on('error', () => {});
      to.on('close', () => socket.destroy());
      socket.on('close', () => to.destroy());
    });
    await new Promise<void>((resolve) => middle.listen(advertisedPort, '127.0.0.1', resolve));
    t.after(() => new Promise((resolve) => middle.close(resolve)));
    const { produce } = open(
      t,
      config(`127.0.0.1:${advertisedPort}`, { 'request.timeout.ms': '1000', 'delivery.timeout.ms': '1500' }),
    );
    await produce([{ value: 'before' }], name);
    gate.swallow();
    await assert.rejects(
      produce([{ value: 'lost' }], name),
      failsWith('target_timeout', /delivery\.timeout\.ms/),
    );
    gate.pass();
    gate.cut();
    const deadline = Date.now() + 30_000;
    for (;;) {
      try {
        await produce([{ value: 'after' }], name);
        break;
      } catch (error) {
        assert.ok(kafkaConnector.classify(error).retryable && Date.now() < deadline, String(error));
      }
    }
    const { messages } = await open(t, config(at(kafkaService, 'PLAINTEXT'))).consume({ topic: name });
    assert.ok(messages.some(({ value }) => value === 'after'));
  });

  live('a broker that crashes in the middle loses nothing that it acknowledged', async (t, kafkaService) => {
    const name = await newTopic(kafkaService, 3);
    const { produce, consume } = open(
      t,
      config(at(kafkaService, 'PLAINTEXT'), { 'delivery.timeout.ms': '120000' }),
    );
    const acknowledged = new Set<string>();
    let isOver = false;
    const senders = Array.from({ length: 4 }, async (_, sender) => {
      for (let n = 0; !isOver; n++) {
        const value = `${sender}-${n}`;
        await produce([{ key: value, value }], name);
        acknowledged.add(value);
        await sleep(5);
      }
    });
    await sleep(500);
    await kafkaService.restart();
    const before = acknowledged.size;
    const deadline = Date.now() + 60_000;
    while (acknowledged.size < before + 20 && Date.now() < deadline) await sleep(50);
    isOver = true;
    await Promise.all(senders);
    assert.ok(acknowledged.size >= before + 20, 'it goes on after the restart');
    const { messages } = await consume({ topic: name, maxMessages: 10_000 });
    const stored = messages.map(({ value }) => String(value));
    assert.deepEqual(
      [...acknowledged].filter((value) => !stored.includes(value)),
      [],
    );
    assert.equal(new Set(stored).size, stored.length, 'nothing is stored twice');
  });

  for (const mechanism of ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'])
    for (const listener of ['SASL_PLAINTEXT', 'SASL_SSL'] as const)
      live(`logs in by ${mechanism} over ${listener}`, async (t, kafkaService) => {
        const trust = trustIn(kafkaService.authority.caPem);
        const overrides = listener === 'SASL_SSL' ? secure : {};
        const good = config(
          at(kafkaService, listener),
          logIn(mechanism, kafkaService.account, listener),
          overrides,
        );
        await open(t, good, { trust }).produce([{ value: mechanism }]);
        const passed = await stagesOf(good, trust);
        assert.equal(passed.authenticate?.detail, `${mechanism} as ${kafkaService.account.user}`);
        assert.equal(passed.operate?.status, 'passed', passed.operate?.detail);
        assert.equal(
          passed.warnings.some((warning) => warning.includes('without TLS')),
          mechanism === 'PLAIN' && listener === 'SASL_PLAINTEXT',
        );
        const bad = { ...kafkaService.account, password: wrongPassword };
        const refused = await stagesOf(
          config(at(kafkaService, listener), logIn(mechanism, bad, listener), overrides),
          trust,
        );
        assert.equal(refused.authenticate?.code, 'authentication_failed', refused.authenticate?.detail);
      });

  live('logs in by OAUTHBEARER with an unsecured token', async (t, kafkaService) => {
    const properties = {
      'security.protocol': 'SASL_PLAINTEXT',
      'sasl.mechanism': 'OAUTHBEARER',
      'sasl.jaas.config': `${bearer} required unsecuredLoginStringClaim_sub="robot";`,
    };
    const subject = config(at(kafkaService, 'OAUTH'), properties);
    await open(t, subject).produce([{ value: 'bearer' }]);
    const { authenticate } = await stagesOf(subject);
    assert.equal(authenticate?.detail, 'OAUTHBEARER as robot');
  });

  live('logs in anew before the broker ends the session', async (t, kafkaService) => {
    const subject = config(at(kafkaService, 'OAUTH'), {
      'security.protocol': 'SASL_PLAINTEXT',
      'sasl.mechanism': 'OAUTHBEARER',
      'sasl.jaas.config': `${bearer} required unsecuredLoginStringClaim_sub="robot";`,
      retries: '0',
      'enable.idempotence': 'false',
    });
    const { produce } = open(t, subject);
    // Without a retry each send that meets an ended session would fail.
    for (let round = 0; round < 20; round++) {
      await produce([{ value: `${round}` }]);
      await sleep(200);
    }
  });

  live('names the mechanisms that the broker enables', async (_t, kafkaService) => {
    const { authenticate } = await stagesOf(
      config(at(kafkaService, 'OAUTH'), logIn('PLAIN', kafkaService.account)),
    );
    assert.equal(authenticate?.code, 'authentication_failed');
    assert.match(authenticate?.hint ?? '', /OAUTHBEARER/);
  });

  live('tells a listener of another kind', async (_t, kafkaService) => {
    const trust = trustIn(kafkaService.authority.caPem);
    const inClear = await stagesOf(config(at(kafkaService, 'SSL')));
    assert.equal(inClear.connect?.status, 'failed');
    assert.match(inClear.connect?.hint ?? '', /TLS/);
    const secured = await stagesOf(
      config(at(kafkaService, 'PLAINTEXT'), {}, { ...secure, keyStoreName: 'k' }),
      trust,
    );
    // The broker hangs up without a word, as one that starts would.
    assert.equal(secured.tls?.code, 'connection_lost', secured.tls?.detail);
    assert.match(secured.tls?.hint ?? '', /no TLS at this port/);
    const withoutLogIn = await stagesOf(config(at(kafkaService, 'SASL_PLAINTEXT')));
    assert.equal(withoutLogIn.operate?.status, 'failed');
    assert.match(withoutLogIn.operate?.hint ?? '', /sasl\.mechanism/);
    const needlessLogIn = await stagesOf(
      config(at(kafkaService, 'PLAINTEXT'), logIn('PLAIN', kafkaService.account)),
    );
    assert.equal(needlessLogIn.authenticate?.status, 'failed');
    assert.match(needlessLogIn.authenticate?.hint ?? '', /SASL listener/);
  });

  live(
    'verifies the chain and the name of the certificate, and shows both versions of TLS',
    async (t, kafkaService) => {
      const trust = trustIn(kafkaService.authority.caPem);
      const sasl = logIn('PLAIN', kafkaService.account, 'SASL_SSL');
      const unknown = await stagesOf(
        config(at(kafkaService, 'SASL_SSL'), sasl, secure),
        trustIn(createAuthority().caPem),
      );
      assert.equal(unknown.tls?.code, 'certificate_untrusted', unknown.tls?.detail);
      const systemRoots = await stagesOf(config(at(kafkaService, 'SASL_SSL'), sasl, secure));
      assert.equal(systemRoots.tls?.code, 'certificate_untrusted');
      // localhost and 127.0.0.1 are in the certificate, 127.0.0.2 is not.
      const forward = createServer((socket) => {
        const to = connect({ host: '127.0.0.1', port: kafkaService.ports.SASL_SSL });
        socket.pipe(to).pipe(socket);
        for (const each of [socket, to]) each.on('error', () => {});
      });
      await new Promise<void>((resolve) => forward.listen(0, '127.0.0.2', resolve));
      t.after(() => new Promise((resolve) => forward.close(resolve)));
      const wrongName = `127.0.0.2:${(forward.address() as AddressInfo).port}`;
      const wrong = await stagesOf(config(wrongName, sasl, secure), trust);
      assert.equal(wrong.tls?.code, 'certificate_wrong_host', wrong.tls?.detail);
      for (const [version, spoken] of [
        ['TLS_1_2', 'TLSv1.2'],
        ['TLS_1_3', 'TLSv1.3'],
      ] as const) {
        const { tls, operate } = await stagesOf(
          config(at(kafkaService, 'SASL_SSL'), sasl, { enableSecure: true, protocolTypes: [version] }),
          trust,
        );
        assert.match(
          tls?.detail ?? '',
          new RegExp(`^${spoken}, .*subject kafka.test, issuer .*valid until `),
        );
        assert.equal(operate?.status, 'passed');
      }
    },
  );

  live('shows a client certificate', async (t, kafkaService) => {
    const { certPem, keyPem } = kafkaService.authority.issue({ commonName: 'client', client: true });
    const trust: Trust = { tls: () => ({ ca: kafkaService.authority.caPem, cert: certPem, key: keyPem }) };
    const subject = config(
      at(kafkaService, 'SSL'),
      { 'security.protocol': 'SSL' },
      { ...secure, keyStoreName: 'client' },
    );
    const name = await newTopic(kafkaService);
    await open(t, subject, { trust }).produce([{ value: 'by certificate' }], name);
    assert.equal((await stagesOf(subject, trust)).operate?.status, 'passed');
    // That the broker knows the client by its certificate is seen when that name is shut out.
    await kafkaService.deny(name, 'WRITE', 'User:CN=client');
    await assert.rejects(
      open(t, subject, { trust }).produce([{ value: 'refused' }], name),
      failsWith('permission_denied'),
    );
    const nameless = trustIn(kafkaService.authority.caPem);
    await open(t, subject, { trust: nameless }).produce([{ value: 'without' }], name);
  });

  live('a topic that does not exist', async (t, kafkaService) => {
    const subject = config(
      at(kafkaService, 'PLAINTEXT'),
      { 'max.block.ms': '1000' },
      { topicName: 'nowhere' },
    );
    const { operate } = await stagesOf(subject);
    assert.equal(operate?.code, 'request_rejected');
    assert.match(operate?.hint ?? '', /Create the topic nowhere/);
    const { produce, prove, consume } = open(t, subject);
    await assert.rejects(prove(), failsWith('request_rejected', /does not exist/));
    await assert.rejects(produce([{ value: 'x' }]), failsWith('request_rejected', /does not exist/));
    await assert.rejects(consume({}), failsWith('request_rejected', /does not exist/));
  });

  live('a permission that is missing', async (t, kafkaService) => {
    const name = await newTopic(kafkaService);
    const subject = config(at(kafkaService, 'SASL_PLAINTEXT'), logIn('PLAIN', kafkaService.reader), {
      topicName: name,
    });
    await open(t, subject).produce([{ value: 'still allowed' }]);
    await kafkaService.deny(name, 'READ');
    const mayNotRead = await stagesOf(subject);
    assert.equal(mayNotRead.operate?.status, 'passed');
    assert.match(mayNotRead.operate?.detail ?? '', /may not read/);
    await assert.rejects(open(t, subject).consume({}), failsWith('permission_denied'));
    await kafkaService.deny(name, 'WRITE');
    const mayNotWrite = await stagesOf(subject);
    assert.equal(mayNotWrite.operate?.code, 'permission_denied');
    assert.match(mayNotWrite.operate?.hint ?? '', /WRITE/);
    await assert.rejects(open(t, subject).produce([{ value: 'x' }]), failsWith('permission_denied'));
  });

  live('a message that is too large fails alone', async (t, kafkaService) => {
    const name = await newTopic(kafkaService, 1, { 'max.message.bytes': '2000' });
    const { produce, consume } = open(t, config(at(kafkaService, 'PLAINTEXT'), { 'batch.size': '100000' }));
    await assert.rejects(produce([{ value: 'x'.repeat(5000) }], name), failsWith('message_too_large'));
    const { messages } = await produce(
      [
        { value: 'a' },
        { value: 'x'.repeat(5000) },
        { value: 'b' },
        { value: 'c'.repeat(1500) },
        { value: 'd'.repeat(1500) },
      ],
      name,
    );
    assert.deepEqual(
      messages.map(({ offset, error }) => error?.code ?? offset),
      ['0', 'message_too_large', '1', '2', '3'],
    );
    assert.equal(messages[1]?.error?.retryable, false);
    assert.equal((await consume({ topic: name })).messages.length, 4);
  });

  live('what cannot be serialised or placed is the caller’s fault', async (t, kafkaService) => {
    const { produce, consume } = open(
      t,
      config(at(kafkaService, 'PLAINTEXT'), { 'value.serializer': serializer('Integer') }),
    );
    await assert.rejects(
      produce([{ value: 1 }, { value: 'x' }]),
      failsWith('bad_request', /messages\[1\]\.value/),
    );
    await assert.rejects(produce([{ value: 1, partition: 9 }]), failsWith('bad_request', /3 partitions/));
    await assert.rejects(consume({ partition: 9 }), failsWith('bad_request'));
    await assert.rejects(consume({ offset: '1' }), failsWith('bad_request'));
    await assert.rejects(
      consume({ partition: 0, offset: '99999999' }),
      failsWith('request_rejected', /ends at offset/),
    );
  });

  live('goes on with the second bootstrap server when the first is dead', async (t, kafkaService) => {
    const dead = `127.0.0.1:${await freePort()}`;
    const subject = config(`${dead},nowhere.invalid:9092,${at(kafkaService, 'PLAINTEXT')}`);
    await open(t, subject).produce([{ value: 'x' }]);
    const { resolve, connect: connected, operate } = await stagesOf(subject);
    assert.match(resolve?.detail ?? '', /nowhere\.invalid:9092 FAILED/);
    assert.match(connected?.detail ?? '', new RegExp(`${dead} FAILED: .*refused`));
    assert.match(connected?.hint ?? '', new RegExp(dead));
    assert.equal(operate?.status, 'passed');
  });

  live('does not wait for a first bootstrap server that is hung', async (t, kafkaService) => {
    const gate = await relay(t, kafkaService.ports.PLAINTEXT);
    gate.swallow();
    const bounds = { 'max.block.ms': '6000', 'request.timeout.ms': '30000' };
    const subject = config(`127.0.0.1:${gate.port},${at(kafkaService, 'PLAINTEXT')}`, bounds);
    const { produce, prove } = open(t, subject);
    await produce([{ value: 'x' }]);
    await prove();
  });

  live('names the advertised address that cannot be reached', async (t, kafkaService) => {
    const subject = config(at(kafkaService, 'ADVERTISED'), { 'delivery.timeout.ms': '2000' });
    const { operate, connect: connected } = await stagesOf(subject);
    assert.equal(connected?.status, 'passed');
    assert.equal(operate?.code, 'connection_refused');
    assert.match(
      operate?.hint ?? '',
      new RegExp(`127\\.0\\.0\\.1:${advertisedPort}.*advertised\\.listeners`),
    );
    await assert.rejects(
      open(t, subject).produce([{ value: 'x' }]),
      failsWith('connection_refused', new RegExp(`${advertisedPort}`)),
    );
  });

  live('the egress policy covers the advertised address too', async (t, kafkaService) => {
    const network = createNetwork({
      policy: createEgressPolicy({ deny: [`127.0.0.1:${advertisedPort}`] }),
    });
    const reached: string[] = [];
    const trap = createServer((socket) => {
      reached.push('dialled');
      socket.destroy();
    });
    await new Promise<void>((resolve) => trap.listen(advertisedPort, '127.0.0.1', resolve));
    t.after(() => new Promise((resolve) => trap.close(resolve)));
    const client = open(t, config(at(kafkaService, 'ADVERTISED')), { network });
    await client.prove();
    await assert.rejects(client.produce([{ value: 'x' }]), failsWith('egress_denied'));
    await assert.rejects(client.consume({}), failsWith('egress_denied'));
    assert.deepEqual(reached, []);
  });

  live('a broker that falls silent is given up on in time', async (t, kafkaService) => {
    const gate = await relay(t, kafkaService.ports.PLAINTEXT);
    const bounds = { 'max.block.ms': '700', 'request.timeout.ms': '600', 'delivery.timeout.ms': '900' };
    gate.swallow();
    const { produce, consume, prove, live: client } = open(t, config(`127.0.0.1:${gate.port}`, bounds));
    for (const attempt of [prove(), produce([{ value: 'x' }]), consume({})])
      await assert.rejects(attempt, failsWith('target_timeout'));
    assert.equal(kafkaConnector.figures?.(client)['waitingBytes'], 0);
  });

  live('property without a counterpart is named by the test', async (_t, kafkaService) => {
    const { warnings, operate } = await stagesOf(
      config(at(kafkaService, 'PLAINTEXT'), { 'interceptor.classes': 'x.Y' }),
    );
    assert.ok(
      warnings.some((warning) => warning.includes('interceptor.classes')),
      warnings.join(),
    );
    assert.equal(operate?.status, 'passed');
  });
});
