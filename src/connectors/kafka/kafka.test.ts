import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { murmur2 } from '@platformatic/kafka';
import fc from 'fast-check';
import { createContext, trustIn } from '../../../test/contract/connector-context.ts';
import { AppError } from '../../errors.ts';
import { createTrust } from '../../worker/trust.ts';
import type { Trust } from '../connector.ts';
import { parseJaas } from './jaas.ts';
import { kafkaConnector } from './kafka.connector.ts';
import { KafkaCluster } from './kafka-cluster.ts';
import { BrokerError, classifyKafkaError, mayPass } from './kafka-errors.ts';
import { serializerNamed } from './kafka-serializers.ts';
import { type KafkaConfig, readSettings } from './kafka-settings.ts';
import { partitionOf } from './partitioner.ts';

const plain = 'org.apache.kafka.common.security.plain.PlainLoginModule';
const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule';
const bearer = 'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule';

function config(properties: Record<string, string> = {}, overrides: Partial<KafkaConfig> = {}): KafkaConfig {
  return {
    type: 'kafka',
    name: 'kafka',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    topicName: 'events',
    bootstrapServers: 'localhost:9092',
    enableSecure: false,
    protocolTypes: [],
    verifyCertificate: true,
    propertiesMap: Object.fromEntries(
      Object.entries(properties).map(([name, value]) => [name, { value, valueType: 'STRING' as const }]),
    ),
    ...overrides,
  };
}

function settingsOf(subject: KafkaConfig, trust?: Trust) {
  const ctx = createContext({ signal: new AbortController().signal, ...(trust ? { trust } : {}) });
  return { settings: readSettings(subject, ctx), warnings: ctx.warnings };
}

const refused =
  (code: string, text: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof AppError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, text);
    return true;
  };

test('a JAAS configuration is read strictly', () => {
  const { className, options } = parseJaas(
    `${plain} required\n  username="al\\"ice" password='p;=\\\\w d' serviceName=kafka;`,
  );
  assert.equal(className, plain);
  assert.deepEqual(
    [...options],
    [
      ['username', 'al"ice'],
      ['password', 'p;=\\w d'],
      ['serviceName', 'kafka'],
    ],
  );
  for (const [text, said] of [
    ['', /class/],
    ['required username="a";', /class/],
    [`${plain} username="a";`, /required/],
    [`${plain} required username="a"`, /semicolon/],
    [`${plain} required username="a;`, /not closed/],
    [`${plain} required username "a";`, /form/],
    [`${plain} required username="a" username="b";`, /twice/],
    [`${plain} required username="a"; ${plain} required username="b";`, /one login module/],
  ] as const)
    assert.throws(() => parseJaas(text), said, text);
});

test('whatever is wrong with a JAAS configuration, the error does not quote it', () => {
  const secret = 'Canary5ecret';
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('"', "'", ';', '=', ' ', '\\', secret, plain, 'required', 'password')),
      (parts) => {
        try {
          parseJaas(parts.join(''));
        } catch (error) {
          assert.ok(!(error as Error).message.includes(secret), (error as Error).message);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('the partitioner is that of the Java client', () => {
  // From Kafka's UtilsTest.testMurmur2.
  const known: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ];
  const all = 0x7fffffff;
  for (const [key, hash] of known) assert.equal(partitionOf(Buffer.from(key), all), (hash & all) % all, key);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 1, max: 1000 }), (key, partitions) => {
      assert.equal(partitionOf(key, partitions), (murmur2(Buffer.from(key)) & all) % partitions);
    }),
    { numRuns: 300 },
  );
});

test('serializers refuse what they cannot say', () => {
  for (const [name, datum] of [
    ['ByteArray', 'not base64'],
    ['ByteArray', 7],
    ['Integer', 2 ** 31],
    ['Integer', 1.5],
    ['Integer', 'seven'],
    ['Long', 2 ** 53],
    ['Long', '9223372036854775808'],
    ['Long', '1.5'],
    ['Double', 'one'],
    ['Double', ''],
    ['UUID', 'no uuid'],
  ] as const)
    assert.throws(() => serializerNamed(name).encode(datum), TypeError, `${name} ${datum}`);
  for (const name of ['String', 'ByteArray', 'Integer', 'Long', 'Double', 'UUID'] as const) {
    assert.equal(serializerNamed(name).encode(null), null);
    assert.equal(serializerNamed(name).decode(null), null);
  }
  assert.throws(() => serializerNamed('Integer').decode(Buffer.alloc(5)), TypeError);
  assert.equal(serializerNamed('Double').decode(serializerNamed('Double').encode('NaN')), 'NaN');
  assert.equal(serializerNamed('Long').decode(serializerNamed('Long').encode(-5)), -5);
});

test('the defaults of the specification apply', () => {
  const { settings, warnings } = settingsOf(config());
  assert.deepEqual(
    [
      settings.maxBlockMs,
      settings.requestTimeoutMs,
      settings.deliveryTimeoutMs,
      settings.reconnectBackoffMaxMs,
      settings.retryBackoffMs,
    ],
    [3000, 5000, 15_000, 3000, 3000],
  );
  assert.deepEqual(
    [settings.acks, settings.isIdempotent, settings.compression, settings.tls],
    [-1, true, 'none', undefined],
  );
  assert.deepEqual(warnings, []);
});

test('dials that fail are repeated after reconnect.backoff.ms, doubled up to reconnect.backoff.max.ms', () => {
  const { settings } = settingsOf(
    config({ 'reconnect.backoff.ms': '100', 'reconnect.backoff.max.ms': '1000' }),
  );
  const cluster = new KafkaCluster(settings);
  for (const [failures, expected] of [
    [1, 100],
    [2, 200],
    [4, 800],
    [5, 1000],
    [50, 1000],
  ] as const) {
    const delay = cluster.reconnectDelayMs(failures);
    // A fifth more or less by chance, as in the Java client.
    assert.ok(delay >= 0.8 * expected && delay <= 1.2 * expected, `${delay} after ${failures}`);
  }
});

test('bootstrap servers are taken from either place, an IPv6 address in brackets', () => {
  const { settings } = settingsOf(
    config({ 'bootstrap.servers': 'a:1, [::1]:2,a:1' }, { bootstrapServers: undefined as unknown as string }),
  );
  assert.deepEqual(settings.brokers, [
    { host: 'a', port: 1 },
    { host: '::1', port: 2 },
  ]);
});

test('idempotence is on unless it contradicts', () => {
  const of = (properties: Record<string, string>) => settingsOf(config(properties)).settings.isIdempotent;
  assert.equal(of({ 'enable.idempotence': 'false' }), false);
  assert.equal(of({ acks: '1' }), false);
  assert.equal(of({ retries: '0' }), false);
  assert.equal(of({ 'max.in.flight.requests.per.connection': '6' }), false);
  const contradictions: Record<string, string>[] = [
    { acks: '0' },
    { retries: '0' },
    { 'max.in.flight.requests.per.connection': '6' },
  ];
  for (const contradiction of contradictions)
    assert.throws(
      () => of({ 'enable.idempotence': 'true', ...contradiction }),
      refused('invalid_configuration', /enable\.idempotence/),
    );
});

test('TLS: old versions are refused, names of trust material reach the trust', () => {
  const secure = { enableSecure: true, protocolTypes: ['TLS_1_3'] } satisfies Partial<KafkaConfig>;
  assert.deepEqual(settingsOf(config({}, secure), trustIn('PEM')).settings.tls, {
    ca: 'PEM',
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
  });
  for (const old of ['SSL_3_0', 'TLS_1_0', 'TLS_1_1'] as const)
    assert.throws(
      () => settingsOf(config({}, { ...secure, protocolTypes: ['TLS_1_2', old] })),
      refused('invalid_configuration', new RegExp(old)),
    );
  for (const name of ['keyStoreName', 'trustStoreName'] as const) {
    assert.throws(
      () => settingsOf(config({}, { ...secure, [name]: 'gone' }), createTrust()),
      refused('missing_reference', /gone/),
    );
    assert.equal(settingsOf(config({}, { [name]: 'not needed' }), createTrust()).settings.tls, undefined);
  }
  const { warnings } = settingsOf(config({}, { ...secure, verifyCertificate: false }));
  assert.match(warnings.join(), /verifyCertificate/);
  assert.ok(
    settingsOf(config({ 'security.protocol': 'SSL' })).settings.tls,
    'security.protocol alone asks for TLS',
  );
});

test('SASL: the login module must be of the mechanism', () => {
  const sasl = (mechanism: string | undefined, jaas: string | undefined) => () =>
    settingsOf(
      config({
        'security.protocol': 'SASL_SSL',
        ...(mechanism ? { 'sasl.mechanism': mechanism } : {}),
        ...(jaas ? { 'sasl.jaas.config': jaas } : {}),
      }),
    ).settings.sasl;
  assert.deepEqual(sasl('SCRAM-SHA-256', `${scram} required username="u" password="";`)(), {
    mechanism: 'SCRAM-SHA-256',
    user: 'u',
    password: '',
  });
  for (const [work, said] of [
    [sasl(undefined, `${plain} required username="u" password="p";`), /GSSAPI/],
    [sasl('GSSAPI', `${plain} required username="u" password="p";`), /must be one of/],
    [sasl('PLAIN', undefined), /is required/],
    [sasl('PLAIN', `${scram} required username="u" password="p";`), /not for PLAIN/],
    [sasl('PLAIN', 'com.evil.LoginModule required username="u" password="p";'), /login module must be/],
    [sasl('PLAIN', `${plain} required username="u";`), /username and password/],
    [sasl('OAUTHBEARER', `${bearer} required clientId="c" clientSecret="Canary5";`), /not clientId/],
    [sasl('OAUTHBEARER', `${bearer} required;`), /_sub/],
  ] as const)
    assert.throws(work, refused('invalid_configuration', said));
});

test('numbers must be numbers', () => {
  for (const [name, value] of [
    ['linger.ms', 'soon'],
    ['retries', '-1'],
    ['max.in.flight.requests.per.connection', '0'],
    ['delivery.timeout.ms', '1.5'],
    ['enable.idempotence', 'yes'],
    ['acks', '2'],
  ] as const)
    assert.throws(
      () => settingsOf(config({ [name]: value })),
      refused('invalid_configuration', new RegExp(name)),
    );
});

test('errors of the protocol are ours, and say whether a retry can help', () => {
  for (const [code, ours, passes] of [
    [3, 'request_rejected', true],
    [6, 'target_busy', true],
    [10, 'message_too_large', false],
    [29, 'permission_denied', false],
    [58, 'authentication_failed', false],
    [89, 'quota_exceeded', false],
    [12345, 'request_rejected', false],
  ] as const) {
    const error = new BrokerError(code);
    assert.equal(classifyKafkaError(error).code, ours);
    assert.equal(mayPass(error), passes, `${code}`);
  }
  assert.equal(
    classifyKafkaError(Object.assign(new Error(), { code: 'ECONNRESET' })).code,
    'connection_lost',
  );
  assert.equal(classifyKafkaError(new Error('a fault of ours')).code, 'internal_error');
});

test('a deployed connection that is not used opens no socket', async () => {
  const context = createContext({ signal: new AbortController().signal });
  const live = await kafkaConnector.open(config(), context);
  assert.deepEqual(kafkaConnector.figures?.(live), { connections: 0, requestsInFlight: 0, waitingBytes: 0 });
  await kafkaConnector.close(live);
});

test('a broker that answers what nobody asked for is left', async (t) => {
  const answers: ((socket: Socket, request: Buffer) => void)[] = [
    // Another correlation id.
    (socket) => socket.write(Buffer.from('0000000800000063deadbeef', 'hex')),
    // The right id, and then nothing that can be read.
    (socket, request) =>
      socket.write(
        Buffer.concat([Buffer.from('00000006', 'hex'), request.subarray(8, 12), Buffer.from('0000', 'hex')]),
      ),
    // An error code that no version of the protocol has.
    (socket, request) =>
      socket.write(
        Buffer.concat([Buffer.from('00000006', 'hex'), request.subarray(8, 12), Buffer.from('7fff', 'hex')]),
      ),
    // Larger than any answer.
    (socket) => socket.write(Buffer.from('7fffffff00000001', 'hex')),
  ];
  for (const answer of answers) {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (request) => answer(socket, request));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const context = createContext({ signal: new AbortController().signal });
    const live = await kafkaConnector.open(config({}, { bootstrapServers: `127.0.0.1:${port}` }), context);
    t.after(() => kafkaConnector.close(live));
    await assert.rejects(
      kafkaConnector.prove(live, { signal: AbortSignal.timeout(30_000) }),
      (error: unknown) => {
        assert.equal(kafkaConnector.classify(error).code, 'protocol_error');
        return true;
      },
    );
    await kafkaConnector.close(live);
    // Waits for the connector's sockets to be gone.
    await new Promise((resolve) => server.close(resolve));
  }
});
