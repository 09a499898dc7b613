import assert from 'node:assert/strict';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { gunzipSync, inflateSync } from 'node:zlib';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { type Certificate, createAuthority } from '../../../test/services/certificates.ts';
import { freePort } from '../../../test/services/service.ts';
import type { AppError } from '../../errors.ts';
import type { Network } from '../connector.ts';
import type { GraylogConfig, LogInput } from './gelf-message.ts';
import { graylogConnector } from './graylog.connector.ts';

const authority = createAuthority();
const certificate = authority.issue({ commonName: 'gelf.test', names: ['localhost'], ips: ['127.0.0.1'] });
const base64 = (pem: string) => Buffer.from(pem).toString('base64');

function config(overrides: Partial<GraylogConfig>): GraylogConfig {
  return {
    type: 'graylog',
    name: 'log',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    hostname: '127.0.0.1',
    port: 12201,
    transportType: 'TCP',
    tlsEnabled: false,
    tlsCertVerificationEnabled: false,
    compressionType: 'NONE',
    gelfMessageLevel: 'INFO',
    queueSize: 512,
    reconnectDelay: 100,
    connectTimeout: 10_000,
    tcpNoDelay: true,
    tcpKeepAlive: false,
    sendBufferSize: -1,
    maxInflightSends: 512,
    threads: 0,
    appendToAttributes: true,
    appendToMessage: false,
    ...overrides,
  };
}

function open(t: TestContext, overrides: Partial<GraylogConfig>) {
  const ctx = createContext({ signal: new AbortController().signal });
  const live = graylogConnector.open(config(overrides), ctx);
  assert.ok(!(live instanceof Promise));
  t.after(() => graylogConnector.close(live));
  return {
    ctx,
    live,
    figures: () => graylogConnector.figures!(live),
    log: (input: LogInput, signal = AbortSignal.timeout(60_000)) =>
      graylogConnector.operations.log(live, input, { signal }),
  };
}

async function stagesOf(overrides: Partial<GraylogConfig>) {
  const ctx = createContext({ signal: AbortSignal.timeout(60_000) });
  const { stages } = await testConnection(graylogConnector, config(overrides), ctx);
  return Object.fromEntries(stages.map((stage) => [stage.stage, stage]));
}

const failsWith = (expected: string) => (error: unknown) => {
  const failure = graylogConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  return true;
};

type Gelf = Record<string, unknown>;

interface GelfPeer {
  readonly port: number;
  readonly messages: Gelf[];
  /** Datagrams, as they came. */
  readonly datagrams: Buffer[];
  received(count: number): Promise<Gelf[]>;
  restart(): Promise<void>;
}

async function receivedOf(messages: Gelf[], count: number): Promise<Gelf[]> {
  const deadline = Date.now() + 20_000;
  while (messages.length < count) {
    assert.ok(Date.now() < deadline, `${messages.length} of ${count} messages arrived`);
    await sleep(10);
  }
  return messages;
}

/** Checks what GELF 1.1 demands of every message. */
function parseGelf(bytes: Buffer): Gelf {
  const gelf = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as Gelf;
  assert.equal(gelf['version'], '1.1');
  assert.ok(typeof gelf['host'] === 'string' && gelf['host'] !== '');
  assert.ok(typeof gelf['short_message'] === 'string');
  assert.ok(typeof gelf['timestamp'] === 'number');
  const known = ['version', 'host', 'short_message', 'full_message', 'timestamp', 'level'];
  for (const [name, value] of Object.entries(gelf)) {
    assert.ok(known.includes(name) || /^_[\w.-]+$/.test(name), name);
    assert.notEqual(name, '_id');
    assert.ok(['string', 'number'].includes(typeof value), name);
  }
  return gelf;
}

/** A GELF TCP input: messages end with a zero byte. */
async function startTcpPeer(t: TestContext, tls?: Certificate): Promise<GelfPeer> {
  const messages: Gelf[] = [];
  const sockets = new Set<Socket>();
  const onSocket = (socket: Socket) => {
    let rest = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
        messages.push(parseGelf(rest.subarray(0, end)));
        rest = rest.subarray(end + 1);
      }
    });
  };
  let server: Server;
  let port = 0;
  const start = async () => {
    server = tls ? createTlsServer({ cert: tls.certPem, key: tls.keyPem }, onSocket) : createServer(onSocket);
    server.on('tlsClientError', () => {});
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as { port: number }).port;
  };
  const stop = async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  await start();
  t.after(stop);
  return {
    port,
    messages,
    datagrams: [],
    received: (count) => receivedOf(messages, count),
    async restart() {
      await stop();
      await start();
    },
  };
}

/** A GELF UDP input: puts chunks together in whatever order they come, and unpacks. */
async function startUdpPeer(t: TestContext): Promise<GelfPeer> {
  const messages: Gelf[] = [];
  const datagrams: Buffer[] = [];
  const pending = new Map<string, Map<number, Buffer>>();
  const unpack = (bytes: Buffer) => {
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) return gunzipSync(bytes);
    if (bytes[0] === 0x78 && bytes.readUInt16BE(0) % 31 === 0) return inflateSync(bytes);
    return bytes;
  };
  const receiver: UdpSocket = createSocket({ type: 'udp4', recvBufferSize: 4_000_000 });
  receiver.on('message', (datagram) => {
    datagrams.push(datagram);
    assert.ok(datagram.length <= 8192);
    if (datagram[0] !== 0x1e || datagram[1] !== 0x0f) {
      messages.push(parseGelf(unpack(datagram)));
      return;
    }
    const id = datagram.toString('hex', 2, 10);
    const [number, count] = [datagram[10]!, datagram[11]!];
    assert.ok(count > 1 && count <= 128 && number < count);
    const chunks = pending.get(id) ?? new Map<number, Buffer>();
    pending.set(id, chunks.set(number, datagram.subarray(12)));
    if (chunks.size < count) return;
    pending.delete(id);
    messages.push(
      parseGelf(unpack(Buffer.concat(Array.from({ length: count }, (_, at) => chunks.get(at)!)))),
    );
  });
  receiver.bind(0, '127.0.0.1');
  await once(receiver, 'listening');
  t.after(() => receiver.close());
  return {
    port: receiver.address().port,
    messages,
    datagrams,
    received: (count) => receivedOf(messages, count),
    restart: () => assert.fail('has no connections'),
  };
}

for (const tls of [false, true])
  test(`graylog contract over ${tls ? 'TLS' : 'TCP'}`, async (t) => {
    const peer = await startTcpPeer(t, tls ? certificate : undefined);
    const base = {
      port: peer.port,
      ...(tls
        ? {
            tlsEnabled: true,
            tlsCertVerificationEnabled: true,
            tlsTrustCertChainFile: base64(authority.caPem),
          }
        : {}),
    };
    await connectorContract(t, `graylog over ${tls ? 'TLS' : 'TCP'}`, {
      connector: graylogConnector,
      config: () => config(base),
      configAt: ({ host, port, timeoutMs }) =>
        config({ ...base, hostname: host, port, connectTimeout: timeoutMs }),
      operate: (live, call) => graylogConnector.operations.log(live, { message: 'contract' }, call),
      restart: () => peer.restart(),
      trust: trustIn('unused'),
      silentAt: tls ? 'tls' : 'unnoticed',
      garbledAt: tls ? 'tls' : 'connect',
      secrets: [],
      tls,
    });
  });

test('every field of a message', async (t) => {
  const peer = await startTcpPeer(t);
  const { log } = open(t, { port: peer.port, gelfMessageLevel: 'NOTICE' });
  await log({
    messages: [
      {
        message: 'short\0\nü',
        fullMessage: 'line 1\nline 2',
        level: 'ALERT',
        host: 'gateway-1',
        timestampMs: 1_700_000_000_123,
        fields: { user: 'a', _order: 7, ok: true, gone: null, 'a.b-c': 1.5 },
      },
      { message: 'plain' },
    ],
  });
  const [first, second] = await peer.received(2);
  assert.deepEqual(first, {
    version: '1.1',
    host: 'gateway-1',
    short_message: 'short\0\nü',
    full_message: 'line 1\nline 2',
    timestamp: 1_700_000_000.123,
    level: 1,
    _user: 'a',
    _order: 7,
    _ok: 'true',
    '_a.b-c': 1.5,
  });
  assert.equal(second?.['level'], 5, "the connection's level");
  assert.equal('full_message' in second!, false);
});

for (const [appendToAttributes, appendToMessage] of [
  [true, true],
  [false, true],
  [false, false],
] as const)
  test(`fields: attributes ${appendToAttributes}, message ${appendToMessage}`, async (t) => {
    const peer = await startTcpPeer(t);
    const { log } = open(t, { port: peer.port, appendToAttributes, appendToMessage });
    const fields = { user: 'a', _n: 1 };
    await log({
      messages: [{ message: 'm', fields }, { message: 'm', fullMessage: 'f', fields }, { message: 'm' }],
    });
    const [first, second, third] = await peer.received(3);
    assert.equal(first?.['_user'], appendToAttributes ? 'a' : undefined);
    assert.equal(first?.['full_message'], appendToMessage ? 'm\n{"user":"a","n":1}' : undefined);
    assert.equal(second?.['full_message'], appendToMessage ? 'f\n{"user":"a","n":1}' : 'f');
    assert.equal(third?.['full_message'], undefined);
  });

test('a field that is reserved or no name is refused, the others of the batch are sent', async (t) => {
  const peer = await startTcpPeer(t);
  const { log } = open(t, { port: peer.port });
  for (const name of ['id', '_id', 'a b', '', 'ü'])
    await assert.rejects(log({ message: 'x', fields: { [name]: 1 } }), failsWith('bad_request'));
  const { accepted, results } = await log({
    messages: [
      { message: 'a', fields: { id: 1 } },
      { message: 'b', fields: { ids: 1 } },
    ],
  });
  assert.equal(accepted, 1);
  assert.deepEqual(
    results.map(({ error }) => error?.code),
    ['bad_request', undefined],
  );
  assert.equal((await peer.received(1))[0]?.['short_message'], 'b');
});

for (const compressionType of ['NONE', 'GZIP', 'ZLIB'] as const)
  test(`UDP, ${compressionType}: datagrams, chunks, and what is too large`, async (t) => {
    const peer = await startUdpPeer(t);
    const { log } = open(t, { port: peer.port, transportType: 'UDP', compressionType });
    // Hex of chance, which no compression makes much smaller than a half.
    const noise = (length: number) =>
      Array.from({ length: length / 8 }, () =>
        Math.floor(Math.random() * 2 ** 32)
          .toString(16)
          .padStart(8, '0'),
      ).join('');
    const large = noise(200_000);
    await log({ message: 'small' });
    await log({ message: 'large', fullMessage: large });
    const [small, whole] = await peer.received(2);
    assert.equal(small?.['short_message'], 'small');
    assert.equal(whole?.['full_message'], large);
    assert.ok(peer.datagrams.length > 10);
    const magic = peer.datagrams[0]!.toString('latin1', 0, 1);
    assert.equal(magic, { NONE: '{', GZIP: '\x1f', ZLIB: 'x' }[compressionType]);
    await assert.rejects(
      log({ message: 'x', fullMessage: noise(4_000_000) }),
      failsWith('message_too_large'),
    );
  });

test('UDP: the most chunks there may be, and one byte more', async (t) => {
  const peer = await startUdpPeer(t);
  const { log } = open(t, { port: peer.port, transportType: 'UDP', sendBufferSize: 2_000_000 });
  const at = { message: 'm', host: 'h', timestampMs: 1000 };
  const envelope = JSON.stringify({
    version: '1.1',
    host: 'h',
    short_message: 'm',
    full_message: '',
    timestamp: 1,
    level: 6,
  }).length;
  const most = 128 * (8192 - 12) - envelope;
  await log({ ...at, fullMessage: 'x'.repeat(most) });
  const [whole] = await peer.received(1);
  assert.equal(String(whole?.['full_message']).length, most);
  assert.equal(peer.datagrams.length, 128);
  await assert.rejects(log({ ...at, fullMessage: 'x'.repeat(most + 1) }), failsWith('message_too_large'));
  await log({ ...at, fullMessage: 'x'.repeat(8192 - envelope) });
  await peer.received(2);
  assert.equal(peer.datagrams.length, 129, '8192 bytes are one datagram');
});

test('UDP: the stages of a test, and a closed port', async (t) => {
  const peer = await startUdpPeer(t);
  const stages = await stagesOf({ port: peer.port, transportType: 'UDP', compressionType: 'ZLIB' });
  for (const stage of ['connect', 'tls', 'authenticate'])
    assert.ok(stages[stage]?.status === 'skipped' && stages[stage].detail, stage);
  assert.equal(stages['operate']?.status, 'passed');
  assert.equal((await peer.received(1))[0]?.['level'], 7);
  const { live } = open(t, { port: peer.port, transportType: 'UDP' });
  await graylogConnector.prove(live, { signal: AbortSignal.timeout(20_000) });
  await sleep(100);
  assert.equal(peer.messages.length, 1, 'the proof sends nothing');
  const closed = { port: await freePort(), transportType: 'UDP' } as const;
  assert.equal((await stagesOf(closed))['operate']?.code, 'connection_refused');
});

test('TLS: chain and name are verified when asked for', async (t) => {
  const other = await startTcpPeer(t, authority.issue({ commonName: 'other.test', names: ['other.test'] }));
  const peer = await startTcpPeer(t, certificate);
  const foreign = base64(createAuthority('Somebody else').caPem);
  const verified = { tlsEnabled: true, tlsCertVerificationEnabled: true };
  const own = base64(authority.caPem);

  const trusted = await stagesOf({ ...verified, port: peer.port, tlsTrustCertChainFile: own });
  assert.equal(trusted['operate']?.status, 'passed');
  assert.match(trusted['tls']?.detail ?? '', /subject gelf\.test, issuer Plugboard Test CA/);
  const untrusted = await stagesOf({ ...verified, port: peer.port, tlsTrustCertChainFile: foreign });
  assert.equal(untrusted['tls']?.code, 'certificate_untrusted');
  const misnamed = await stagesOf({ ...verified, port: other.port, tlsTrustCertChainFile: own });
  assert.equal(misnamed['tls']?.code, 'certificate_wrong_host');
  const careless = await stagesOf({ tlsEnabled: true, port: other.port });
  assert.equal(careless['operate']?.status, 'passed');
  assert.match(careless['tls']?.hint ?? '', /tlsCertVerificationEnabled is off/);
  const broken = [
    base64('no PEM'),
    base64('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'),
    'not base64 !',
  ];
  for (const file of broken)
    assert.throws(
      () => open(t, { ...verified, port: peer.port, tlsTrustCertChainFile: file }),
      failsWith('invalid_configuration'),
    );
  assert.throws(() => open(t, { tlsEnabled: true, keyStoreName: 'absent' }), failsWith('missing_reference'));
});

test('a batch that is longer than the queue passes through it, in order', async (t) => {
  const peer = await startTcpPeer(t);
  const { log, figures } = open(t, {
    port: peer.port,
    queueSize: 10,
    maxInflightSends: 3,
    sendBufferSize: 100,
    tcpNoDelay: false,
    tcpKeepAlive: true,
  });
  const { accepted } = await log({
    messages: Array.from({ length: 500 }, (_, at) => ({ message: `n${at}` })),
  });
  assert.equal(accepted, 500);
  const texts = (await peer.received(500)).map(({ short_message }) => short_message);
  assert.deepEqual(
    texts,
    Array.from({ length: 500 }, (_, at) => `n${at}`),
  );
  assert.deepEqual(figures(), { queued: 0, bytes: 0, connected: 1 });
});

test('a peer that accepts and never reads: the queue stays bounded and refuses', async (t) => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.pause());
    socket.on('error', () => {});
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { log, figures } = open(t, { port: (server.address() as { port: number }).port, queueSize: 4 });
  const abort = new AbortController();
  const message = 'x'.repeat(1_000_000);
  const calls = Array.from({ length: 30 }, () =>
    log({ message }, abort.signal).then(
      () => 'sent',
      (error: AppError) => error.code,
    ),
  );
  // What the systems' socket buffers take is sent; of the rest, what finds no room is refused.
  await Promise.any(calls.map(async (call) => assert.equal(await call, 'buffer_full')));
  assert.ok(figures()['queued']! <= 4, JSON.stringify(figures()));
  assert.ok(figures()['bytes']! < 7_000_000, JSON.stringify(figures()));
  abort.abort();
  const codes = new Set(await Promise.all(calls));
  assert.ok(codes.has('cancelled'), [...codes].join());
  assert.deepEqual(
    [...codes].filter((code) => !['sent', 'cancelled', 'buffer_full'].includes(code)),
    [],
  );
});

const watchedMethods = ['setNoDelay', 'setKeepAlive', 'write'] as const;

/** The context with a network whose sockets are watched: the first argument of every call of a method. */
function watchedContext(t: TestContext) {
  const ctx = createContext({ signal: new AbortController().signal });
  const { network } = ctx;
  const given = { setNoDelay: [] as unknown[], setKeepAlive: [] as unknown[], write: [] as Buffer[] };
  const connect: Network['connect'] = async (target) => {
    const socket = await network.connect(target);
    for (const method of watchedMethods) {
      const original = socket[method] as (...args: unknown[]) => unknown;
      t.mock.method(socket, method, function (this: Socket, ...args: unknown[]) {
        // A copy: what was written may be written over afterwards.
        given[method].push((method === 'write' ? Buffer.from(args[0] as Buffer) : args[0]) as never);
        return original.apply(this, args);
      } as never);
    }
    return socket;
  };
  const datagram = t.mock.fn(network.datagram);
  return { ctx: { ...ctx, network: { ...network, connect, datagram } }, given, datagram };
}

test('tcpNoDelay, tcpKeepAlive, sendBufferSize and maxInflightSends reach the socket', async (t) => {
  const peer = await startTcpPeer(t);
  const messages = Array.from({ length: 100 }, (_, at) => ({ message: `n${at}` }));
  for (const on of [true, false]) {
    const { ctx, given } = watchedContext(t);
    const settings = { port: peer.port, tcpNoDelay: on, tcpKeepAlive: on };
    const limits = on ? { maxInflightSends: 3 } : { sendBufferSize: 50 };
    const live = await graylogConnector.open(config({ ...settings, ...limits }), ctx);
    await graylogConnector.operations.log(live, { messages }, { signal: AbortSignal.timeout(60_000) });
    await graylogConnector.close(live);
    assert.deepEqual([given.setNoDelay, given.setKeepAlive], [[on], [on]]);
    const writes = given.write;
    if (on) {
      const counts = writes.map((bytes) => bytes.toString().split('\0').length - 1);
      assert.ok(Math.max(...counts) <= 3, counts.join());
    } else assert.ok(Math.max(...writes.map(({ length }) => length)) <= 50);
  }
  await peer.received(200);
  const udp = await startUdpPeer(t);
  const { ctx, datagram } = watchedContext(t);
  const settings = config({ port: udp.port, transportType: 'UDP', sendBufferSize: 123_456 });
  const live = await graylogConnector.open(settings, ctx);
  await graylogConnector.operations.log(live, { message: 'm' }, { signal: AbortSignal.timeout(60_000) });
  await graylogConnector.close(live);
  assert.deepEqual(
    datagram.mock.calls.map((call) => call.arguments[0].sendBufferBytes),
    [123_456],
  );
});

test('a lost connection is made again after reconnectDelay, not before', async (t) => {
  const peer = await startTcpPeer(t);
  const { log, figures, live } = open(t, { port: peer.port, reconnectDelay: 3_600_000 });
  await log({ message: 'before' });
  await peer.received(1);
  await peer.restart();
  while (figures()['connected'] !== 0) await sleep(5);
  const waiting = log({ message: 'after an hour' }).catch((error: AppError) => error.code);
  await sleep(500);
  assert.deepEqual([figures()['queued'], figures()['connected'], peer.messages.length], [1, 0, 1]);
  await graylogConnector.close(live);
  await waiting;
});

test('messages that wait for the reconnect arrive after it', async (t) => {
  const peer = await startTcpPeer(t);
  const { log, figures } = open(t, { port: peer.port, reconnectDelay: 800 });
  await log({ message: 'before' });
  await peer.received(1);
  await peer.restart();
  while (figures()['connected'] !== 0) await sleep(5);
  const { accepted } = await log({ messages: [{ message: 'a' }, { message: 'b' }] });
  assert.equal(accepted, 2);
  const texts = (await peer.received(3)).map(({ short_message }) => short_message);
  assert.deepEqual(texts, ['before', 'a', 'b']);
});
