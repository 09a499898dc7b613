import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { buildWorkerApi } from '../../src/worker/worker-api.ts';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { startActiveMq } from '../services/activemq.ts';
import { createAuthority } from '../services/certificates.ts';
import { startKafka } from '../services/kafka.ts';
import { startRabbitMq } from '../services/rabbitmq.ts';
import { startRsyslog } from '../services/rsyslog.ts';
import { startSearchNode } from '../services/search-node.ts';
import { startOrSkip } from '../services/service.ts';

interface Line {
  type: string;
  line?: number;
  success?: boolean;
  accepted?: number;
  failed?: number;
  error?: string;
  error_description?: string;
  // biome-ignore lint/suspicious/noExplicitAny: each operation has results of its own
  result?: any;
}

const headers = { 'content-type': 'application/x-ndjson', accept: 'application/x-ndjson' };
const silent = { debug() {}, info() {}, warn() {}, error() {} };

describe('streams of items reach their targets by both ports', { timeout: 900_000 }, () => {
  let plugboard: Plugboard;
  let workerApi: ReturnType<typeof buildWorkerApi>;
  let usageToken: string;
  let logs: string;
  /** Base URL and token of each port. */
  let ports: Record<'control plane' | 'worker', { url: string; token: string }>;

  before(async () => {
    logs = await mkdtemp(join(tmpdir(), 'plugboard-streams-'));
    plugboard = await startPlugboard({ withWorker: false, deployTimeoutMs: 30_000 });
    const worker = await plugboard.addWorker('production', 'one', { logRoots: [logs] });
    while (!worker.isConnected) await new Promise((resolve) => setTimeout(resolve, 5));
    const made = await plugboard.call('POST', '/apiops/tokens/', {
      name: 'app',
      expiresAt: null,
      grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:USE'] }],
    });
    usageToken = made.body.token;
    while (worker.tokens.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    workerApi = buildWorkerApi(worker, silent);
    ports = {
      'control plane': { url: plugboard.url, token: plugboard.token },
      worker: { url: await workerApi.listen({ host: '127.0.0.1', port: 0 }), token: usageToken },
    };
  });
  after(async () => {
    await workerApi.close();
    await plugboard.stop();
    await rm(logs, { recursive: true });
  });

  async function create(name: string, body: object): Promise<void> {
    const path = `/apiops/projects/MyProject/connections/${name}/`;
    const { status, body: answer, text } = await plugboard.call('POST', path, { ...body, name });
    assert.equal(status, 200, text);
    assert.equal(answer.deploymentResult.success, true, text);
  }

  async function stream(
    port: keyof typeof ports,
    what: string,
    body: string | ReadableStream<Uint8Array>,
    query = '',
  ): Promise<{ status: number; lines: Line[] }> {
    const { url, token } = ports[port];
    const response = await fetch(`${url}/apiops/projects/MyProject/connections/${what}/${query}`, {
      method: 'POST',
      headers: { ...headers, authorization: `Bearer ${token}` },
      body,
      duplex: 'half',
    } as RequestInit);
    const text = await response.text();
    return {
      status: response.status,
      lines: text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Line),
    };
  }

  const ndjson = (items: object[]) => items.map((item) => `${JSON.stringify(item)}\n`).join('');
  const numbered = <T>(count: number, make: (n: number) => T) =>
    Array.from({ length: count }, (_, n) => make(n));

  test('Apache Kafka: produce', async (t) => {
    const kafka = await startOrSkip(t, () => startKafka());
    if (!kafka) return;
    t.after(() => kafka.stop());
    await kafka.createTopic('numbers', { partitions: 1 });
    await kafka.createTopic('others', { partitions: 1 });
    await create('kafka', {
      type: 'kafka',
      topicName: 'numbers',
      bootstrapServers: `${kafka.host}:${kafka.port}`,
      propertiesMap: {
        'max.block.ms': { value: '20000', valueType: 'STRING' },
        'request.timeout.ms': { value: '20000', valueType: 'STRING' },
        'delivery.timeout.ms': { value: '60000', valueType: 'STRING' },
      },
    });
    let sent = 0;
    for (const port of ['control plane', 'worker'] as const) {
      const items = numbered(5000, (n) => ({ key: String(n), value: `${port} ${n}` }));
      const { lines } = await stream(port, 'kafka/operations/produce', ndjson(items));
      assert.deepEqual(lines.at(-1), { type: 'finished', success: true, accepted: 5000, failed: 0 });
      // The broker has given each line its own place, in the order of the lines.
      assert.deepEqual(
        lines.slice(0, -1).map(({ line, result }) => [line, result.offset]),
        numbered(5000, (n) => [n + 1, String(sent + n)]),
      );
      sent += 5000;

      const elsewhere = await stream(
        port,
        'kafka/operations/produce',
        ndjson([{ value: 'here' }]),
        `?input=${encodeURIComponent('{"topic":"others"}')}`,
      );
      assert.equal(elsewhere.lines[0]!.result.topic, 'others');

      const faulty = ndjson([{ value: 'a' }, { value: 'b' }, { valeu: 'c' }, { value: 'd' }] as object[]);
      const stopped = await stream(port, 'kafka/operations/produce', faulty);
      assert.deepEqual(
        stopped.lines.map(({ type, line }) => [type, line]),
        [
          ['item', 1],
          ['item', 2],
          ['error', 3],
          ['finished', undefined],
        ],
      );
      assert.match(stopped.lines[2]!.error_description!, /^Line 3: .*value is required/);
      assert.equal(stopped.lines[1]!.result.offset, String(sent + 1), 'what stands before it is stored');
      sent += 2;
    }
    const consumed = await plugboard.call(
      'POST',
      '/apiops/projects/MyProject/connections/kafka/operations/consume/',
      { partition: 0, offset: '4999', maxMessages: 4, timeoutMs: 20_000 },
    );
    assert.deepEqual(
      consumed.body.result.messages.map(({ value }: { value: string }) => value),
      ['control plane 4999', 'a', 'b', 'worker 0'],
    );
  });

  const certificateOf = () => {
    const authority = createAuthority();
    const certificate = authority.issue({
      commonName: 'localhost',
      names: ['localhost'],
      ips: ['127.0.0.1'],
    });
    return { certificate, caPem: authority.caPem };
  };

  test('RabbitMQ: publish', async (t) => {
    const server = await startOrSkip(t, () => startRabbitMq(certificateOf()));
    if (!server) return;
    t.after(() => server.stop());
    await server.control(
      'eval',
      'rabbit_amqqueue:declare({resource, <<"/">>, queue, <<"numbers">>}, true, false, [], none, <<"test">>).',
    );
    await create('rabbit', {
      type: 'rabbitMq',
      hostPortList: [{ host: server.host, port: server.port }],
      authenticationEnabled: true,
      connectionFactoryUsername: server.user,
      connectionFactoryPassword: server.password,
      channelRoutingKey: 'numbers',
    });
    const taken = async (count: number) => {
      const bodies: string[] = [];
      while (bodies.length < count) {
        const { body, text } = await plugboard.call(
          'POST',
          '/apiops/projects/MyProject/connections/rabbit/operations/get/',
          { queue: 'numbers', maxMessages: 1000, acknowledge: true },
        );
        const messages: { body: string }[] = body.result?.messages ?? [];
        assert.ok(messages.length > 0, `${bodies.length} came, then ${text}`);
        bodies.push(...messages.map((message) => message.body));
      }
      return bodies;
    };
    for (const port of ['control plane', 'worker'] as const) {
      const items = numbered(3000, (n) => ({ body: `${port} ${n}` }));
      const { lines } = await stream(port, 'rabbit/operations/publish', ndjson(items));
      assert.deepEqual(lines.at(-1), { type: 'finished', success: true, accepted: 3000, failed: 0 });
      assert.ok(lines.slice(0, -1).every(({ line, result }, n) => line === n + 1 && result.confirmed));
      assert.deepEqual(
        await taken(3000),
        items.map(({ body }) => body),
        'each once, in the order of the lines',
      );

      const mixed = [{ body: 'first' }, { body: 'lost', routingKey: 'no-such-queue' }, { body: 'last' }];
      const partly = await stream(port, 'rabbit/operations/publish', ndjson(mixed));
      assert.deepEqual(
        partly.lines.slice(0, -1).map(({ success, result }) => [success, result.error?.code]),
        [
          [true, undefined],
          [false, 'unroutable'],
          [true, undefined],
        ],
      );
      assert.deepEqual(partly.lines.at(-1), { type: 'finished', success: false, accepted: 2, failed: 1 });
      assert.deepEqual(await taken(2), ['first', 'last']);
    }
  });

  test('ActiveMQ Classic: send, over OpenWire and AMQP, each alone and in transactions', async (t) => {
    const server = await startOrSkip(t, () => startActiveMq({ ...certificateOf(), amqp: true }));
    if (!server) return;
    t.after(() => server.stop());
    const ways = {
      openwire: { activeMqConnectionProtocolType: 'TCP', brokerURL: `tcp://${server.host}:${server.port}` },
      amqp: { activeMqConnectionProtocolType: 'AMQP', brokerURL: `amqp://${server.host}:${server.amqpPort}` },
    };
    for (const [way, address] of Object.entries(ways))
      for (const sessionAcknowledgement of ['AUTO_ACKNOWLEDGE', 'SESSION_TRANSACTED']) {
        const name = `${way}-${sessionAcknowledgement}`;
        const broker = {
          type: 'activeMq',
          ...address,
          username: server.account.user,
          password: server.account.password,
          destinationType: 'QUEUE',
          destinationName: name,
        };
        await create(name, { ...broker, sessionAcknowledgement });
        const path = `/apiops/projects/MyProject/connections/${name}/operations/receive/`;
        for (const port of ['control plane', 'worker'] as const) {
          // Several batches of a stream, each a transaction where they are asked for.
          const filler = 'x'.repeat(8192);
          const items = numbered(300, (n) => ({ body: `${port} ${n} ${filler}` }));
          const { lines } = await stream(port, `${name}/operations/send`, ndjson(items));
          assert.deepEqual(lines.at(-1), { type: 'finished', success: true, accepted: 300, failed: 0 }, name);
          assert.ok(lines.slice(0, -1).every(({ line, success }, n) => line === n + 1 && success));
          const received: string[] = [];
          const deadline = Date.now() + 60_000;
          while (received.length < items.length) {
            const { body, text } = await plugboard.call('POST', path, {
              maxMessages: items.length - received.length,
              timeoutMs: 5000,
            });
            const messages: { body: string }[] = body.result?.messages ?? [];
            assert.ok(Date.now() < deadline, `${name}: ${received.length} came, then ${text.slice(0, 200)}`);
            received.push(...messages.map((message) => message.body));
          }
          assert.deepEqual(
            received,
            items.map(({ body }) => body),
            `${name}: each once, in the order of the lines`,
          );
        }
      }
  });

  test('OpenSearch: bulk', async (t) => {
    const node = await startOrSkip(t, () => startSearchNode('opensearch'));
    if (!node) return;
    t.after(() => node.stop());
    await create('search', {
      type: 'elasticsearch',
      elasticHostList: [{ scheme: 'http', host: node.host, port: node.port }],
      indexName: 'streamed',
      elasticsearchType: 'READ_WRITE',
      bulkFlushIntervalMs: 20,
      // Less than what a batch of the stream holds.
      bulkBufferCapacity: 300,
      bulkMaxBatchSize: 300,
      connectionTimeoutInMs: 20_000,
    });
    for (const [at, port] of (['control plane', 'worker'] as const).entries()) {
      const items = numbered(2000, (n) => ({ id: `${at}-${n}`, document: { n, port } }));
      const { lines } = await stream(port, 'search/operations/bulk', ndjson(items));
      assert.deepEqual(lines.at(-1), { type: 'finished', success: true, accepted: 2000, failed: 0 });
      assert.ok(lines.slice(0, -1).every(({ line, result }) => result.id === `${at}-${line! - 1}`));

      const mixed = [
        { id: `new-${at}`, action: 'create', document: { n: 1 } },
        { id: `new-${at}`, action: 'create', document: { n: 2 } },
        { id: `${at}-0`, action: 'update', document: { n: -1 } },
      ];
      const partly = await stream(port, 'search/operations/bulk', ndjson(mixed));
      assert.deepEqual(
        partly.lines.slice(0, -1).map(({ success, result }) => [success, result.status]),
        [
          [true, 201],
          [false, 409],
          [true, 200],
        ],
      );
      assert.deepEqual(partly.lines.at(-1), { type: 'finished', success: false, accepted: 2, failed: 1 });
    }
    await node.ask('POST', '/streamed/_refresh');
    const { count } = await node.ask('GET', '/streamed/_count');
    assert.equal(count, 4002);
  });

  test('rsyslog: log', async (t) => {
    const authority = createAuthority();
    const certificate = authority.issue({ commonName: 'log.test', names: ['localhost'], ips: ['127.0.0.1'] });
    const server = await startOrSkip(t, () => startRsyslog(certificate, authority.caPem));
    if (!server) return;
    t.after(() => server.stop());
    await create('syslog', {
      type: 'syslog',
      syslogServerHostname: '127.0.0.1',
      syslogPort: server.tcpPort,
      syslogProtocolType: 'TCP',
      syslogMessageFormat: 'RFC_5424',
      syslogTimeout: 10_000,
      // Less than what a batch of the stream holds: it waits for room.
      queueSize: 100,
      enqueueTimeoutMs: 0,
    });
    for (const port of ['control plane', 'worker'] as const) {
      const name = port.replace(' ', '-');
      const items = numbered(3000, (n) => ({ message: `${name} ${n}` }));
      const { lines } = await stream(port, 'syslog/operations/log', ndjson(items));
      assert.deepEqual(lines.at(-1), { type: 'finished', success: true, accepted: 3000, failed: 0 });
      const records = await server.received(({ msg }) => msg.includes(`${name} `), 3000);
      // What a full queue refused is sent after others, so the order is not asserted.
      assert.deepEqual(
        records.map(({ msg }) => msg.trim()).sort(),
        items.map(({ message }) => message).sort(),
        'each once',
      );
    }
  });

  test('graylog: log, to a receiver of its own', async (t) => {
    let received = '';
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (chunk) => {
        received += chunk.toString();
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    await create('graylog', {
      type: 'graylog',
      hostname: '127.0.0.1',
      port: (server.address() as { port: number }).port,
      transportType: 'TCP',
      queueSize: 64,
    });
    for (const port of ['control plane', 'worker'] as const) {
      received = '';
      const items = numbered(1000, (n) => ({ message: `${port} ${n}` }));
      const { lines } = await stream(port, 'graylog/operations/log', ndjson(items));
      assert.deepEqual(lines.at(-1), { type: 'finished', success: true, accepted: 1000, failed: 0 });
      while (received.split('\0').length <= 1000) await new Promise((resolve) => setTimeout(resolve, 20));
      assert.deepEqual(
        received
          .split('\0')
          .slice(0, -1)
          .map((text) => JSON.parse(text).short_message)
          .sort(),
        items.map(({ message }) => message).sort(),
      );
    }
  });

  test('logback: log, 80 MiB in one body', async () => {
    for (const port of ['control plane', 'worker'] as const) {
      const directory = join(logs, port.replace(' ', '-'));
      const name = `logback-${port.replace(' ', '-')}`;
      await create(name, {
        type: 'logback',
        logPath: `${directory}/`,
        logPattern: '%m%n',
        maxFileSize: 1000,
        totalSizeCap: 0,
      });
      const filler = 'x'.repeat(1000);
      const count = 80 * 1024;
      let made = 0;
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          const some = numbered(Math.min(1024, count - made), (n) => ({ message: `${made + n} ${filler}` }));
          made += some.length;
          controller.enqueue(new TextEncoder().encode(ndjson(some)));
          if (made >= count) controller.close();
        },
      });
      const { lines } = await stream(port, `${name}/operations/log`, body);
      assert.deepEqual(lines.at(-1), { type: 'finished', success: true, accepted: count, failed: 0 });
      const files = await readdir(directory);
      assert.equal(files.length, 1, files.join());
      let at = 0;
      for await (const line of createInterface({ input: createReadStream(join(directory, files[0]!)) }))
        assert.ok(line.startsWith(`${at++} x`), line.slice(0, 20));
      assert.equal(at, count);
    }
  });

  test('who may not, or asks an operation that takes none, is told so without a stream', async () => {
    const { url } = ports.worker;
    for (const [base, token] of [
      [url, 'wrong'],
      [plugboard.url, 'wrong'],
    ] as const) {
      const response = await fetch(`${base}/apiops/projects/MyProject/connections/x/operations/log/`, {
        method: 'POST',
        headers: { ...headers, authorization: `Bearer ${token}` },
        body: '{}\n',
      });
      assert.equal(response.status, 401);
    }
    await create('hook', { type: 'webhook', fullUrl: 'http://127.0.0.1:1/', httpMethod: 'POST' });
    for (const port of ['control plane', 'worker'] as const) {
      const { status, lines } = await stream(port, 'hook/operations/call', '{}\n');
      assert.deepEqual([status, lines[0]!.error], [415, 'unsupported_media_type'], port);
      assert.equal((await stream(port, 'hook/operations/nothing', '{}\n')).status, 404, port);
    }
    const elsewhere = await plugboard.call(
      'POST',
      '/apiops/projects/MyProject/connections/hook/validate/',
      '{}\n',
      {
        headers,
      },
    );
    assert.equal(elsewhere.status, 415, 'no other route takes a stream');
  });
});
