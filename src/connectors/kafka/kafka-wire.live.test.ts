import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext } from '../../../test/contract/connector-context.ts';
import { type KafkaService, kafkaVersion, startKafka } from '../../../test/services/kafka.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { parseConnection } from '../../contract/validation.ts';
import type { AppError } from '../../errors.ts';
import type { Network } from '../connector.ts';
import { kafkaConnector } from './kafka.connector.ts';
import { kafka } from './kafka.definition.ts';
import type { KafkaConfig } from './kafka-settings.ts';

const PRODUCE = 0;

interface RecordBatch {
  bytes: number;
  codec: number;
  producerId: bigint;
  records: number;
}

/** What was asked of a broker in one frame, as far as the tests look at it. */
interface Request {
  apiKey: number;
  clientId: string;
  acks: number;
  timeoutMs: number;
  batches: RecordBatch[];
}

/** Reads the frames of one direction of a connection: a length, and as many bytes. */
function frameReader(onFrame: (frame: Buffer) => void): (bytes: Buffer) => void {
  let rest = Buffer.alloc(0);
  return (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const end = 4 + rest.readInt32BE(0);
      onFrame(rest.subarray(4, end));
      rest = rest.subarray(end);
    }
  };
}

function readRequest(frame: Buffer): Request {
  const [apiKey, version] = [frame.readInt16BE(0), frame.readInt16BE(2)];
  const nameEnd = 10 + Math.max(0, frame.readInt16BE(8));
  const request: Request = {
    apiKey,
    clientId: frame.toString('utf8', 10, nameEnd),
    acks: 0,
    timeoutMs: 0,
    batches: [],
  };
  if (apiKey !== PRODUCE) return request;
  // From version 9 on tags follow the header, and texts are compact; no transactional id in either form.
  const acksAt = nameEnd + 2;
  assert.deepEqual(frame.subarray(nameEnd, acksAt), version >= 9 ? Buffer.of(0, 0) : Buffer.of(0xff, 0xff));
  request.acks = frame.readInt16BE(acksAt);
  request.timeoutMs = frame.readInt32BE(acksAt + 2);
  // A batch begins with its first offset, 0, and has the magic number 2 behind its length and epoch.
  for (let at = acksAt + 6; at + 61 <= frame.length; at++) {
    const length = frame.readInt32BE(at + 8);
    if (frame.readBigInt64BE(at) !== 0n || length < 49 || at + 12 + length > frame.length) continue;
    if (frame[at + 16] !== 2) continue;
    request.batches.push({
      bytes: 12 + length,
      codec: frame.readInt16BE(at + 21) & 7,
      producerId: frame.readBigInt64BE(at + 43),
      records: frame.readInt32BE(at + 57),
    });
    at += 11 + length;
  }
  return request;
}

/** The network, and what goes over it to brokers; answers to produce requests may be withheld. */
function watched(network: Network, withholds: boolean) {
  const requests: Request[] = [];
  let unanswered = 0;
  let mostUnanswered = 0;
  const connect: Network['connect'] = async (target) => {
    const socket = await network.connect(target);
    const produces = new Set<number>();
    const onRequest = frameReader((frame) => {
      const request = readRequest(frame);
      requests.push(request);
      if (request.apiKey !== PRODUCE) return;
      produces.add(frame.readInt32BE(4));
      mostUnanswered = Math.max(mostUnanswered, ++unanswered);
    });
    let passing: Buffer[] = [];
    const onAnswer = frameReader((frame) => {
      const isProduce = produces.delete(frame.readInt32BE(0));
      if (isProduce) unanswered--;
      if (isProduce && withholds) return;
      const length = Buffer.alloc(4);
      length.writeInt32BE(frame.length);
      passing.push(length, frame);
    });
    const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
    socket.write = ((...args: unknown[]) => {
      onRequest(Buffer.from(args[0] as Buffer));
      return write(...args);
    }) as typeof socket.write;
    const emit = socket.emit.bind(socket) as (...args: unknown[]) => boolean;
    socket.emit = ((event: string, ...args: unknown[]) => {
      if (event !== 'data') return emit(event, ...args);
      onAnswer(args[0] as Buffer);
      const bytes = Buffer.concat(passing);
      passing = [];
      return bytes.length === 0 || emit('data', bytes);
    }) as typeof socket.emit;
    return socket;
  };
  return {
    network: { ...network, connect },
    requests,
    produces: () => requests.filter(({ apiKey }) => apiKey === PRODUCE),
    mostUnanswered: () => mostUnanswered,
  };
}

describe(`what Apache Kafka ${kafkaVersion} is sent`, () => {
  let service: KafkaService | undefined;

  before(async (t) => {
    service = await startOrSkip(t, () => startKafka());
    await service?.createTopic('single', { partitions: 1 });
    await service?.createTopic('several', { partitions: 6 });
  });
  after(() => service?.stop());

  /** A client with such properties, its network watched. */
  function open(
    t: TestContext,
    kafkaService: KafkaService,
    properties: Record<string, string>,
    { topicName = 'single', withholds = false } = {},
  ) {
    const patient = { 'max.block.ms': '20000', 'delivery.timeout.ms': '60000', 'retry.backoff.ms': '50' };
    const parsed = parseConnection(kafka, {
      type: 'kafka',
      name: 'kafka',
      topicName,
      bootstrapServers: `127.0.0.1:${kafkaService.ports.PLAINTEXT}`,
      propertiesMap: Object.fromEntries(
        Object.entries({ ...patient, ...properties }).map(([name, value]) => [name, { value }]),
      ),
    });
    assert.ok(parsed.ok, JSON.stringify(parsed));
    const ctx = createContext({ signal: new AbortController().signal });
    const seen = watched(ctx.network, withholds);
    const live = kafkaConnector.open(parsed.config as unknown as KafkaConfig, {
      ...ctx,
      network: seen.network,
    });
    assert.ok(!(live instanceof Promise));
    t.after(() => kafkaConnector.close(live));
    const produce = (values: string[], partition?: number) =>
      kafkaConnector.operations.produce(
        live,
        { messages: values.map((value) => ({ value, ...(partition === undefined ? {} : { partition }) })) },
        { signal: AbortSignal.timeout(120_000) },
      );
    return { ...seen, produce };
  }

  const live = (name: string, body: (t: TestContext, kafkaService: KafkaService) => Promise<void>) =>
    test(name, { timeout: 300_000 }, async (t) => {
      if (service) await body(t, service);
      else t.skip('Kafka was NOT exercised');
    });

  live('client.id, acks and request.timeout.ms stand in the requests', async (t, kafkaService) => {
    for (const [acks, code] of [
      ['all', -1],
      ['1', 1],
      ['0', 0],
    ] as const) {
      const { produce, produces, requests } = open(t, kafkaService, {
        'client.id': 'orders-gateway',
        'request.timeout.ms': '12345',
        acks,
      });
      await produce(['x']);
      assert.deepEqual([...new Set(requests.map(({ clientId }) => clientId))], ['orders-gateway']);
      const { acks: asked, timeoutMs } = produces()[0]!;
      assert.deepEqual([asked, timeoutMs], [code, 12_345]);
    }
  });

  live('compression.type and enable.idempotence stand in the batches', async (t, kafkaService) => {
    for (const [codec, type] of ['none', 'gzip', 'snappy', 'lz4', 'zstd'].entries()) {
      const idempotent = codec % 2 === 0;
      const { produce, produces } = open(t, kafkaService, {
        'compression.type': type,
        'enable.idempotence': String(idempotent),
      });
      await produce(['x'.repeat(20_000)]);
      const [batch] = produces()[0]!.batches;
      assert.equal(batch?.codec, codec, type);
      assert.equal(batch!.bytes < 10_000, type !== 'none', `${batch!.bytes} bytes by ${type}`);
      assert.equal(batch!.producerId >= 0n, idempotent);
    }
  });

  live('batch.size bounds a batch, linger.ms gathers one', async (t, kafkaService) => {
    const values = Array.from({ length: 100 }, () => 'x'.repeat(100));
    const whole = open(t, kafkaService, {});
    await whole.produce(values);
    assert.deepEqual(
      whole.produces().map(({ batches }) => batches[0]?.records),
      [100],
    );
    const cut = open(t, kafkaService, { 'batch.size': '1000' });
    await cut.produce(values);
    const records = cut.produces().flatMap(({ batches }) => batches.map((batch) => batch.records));
    assert.equal(
      records.reduce((sum, count) => sum + count, 0),
      100,
    );
    assert.ok(Math.max(...records) < 10, records.join());

    for (const [lingerMs, requests] of [
      ['0', 2],
      ['1500', 1],
    ] as const) {
      const { produce, produces } = open(t, kafkaService, { 'linger.ms': lingerMs });
      const first = produce(['one']);
      // Once the first is answered, unless it still waits for company.
      await Promise.race([first, sleep(500)]);
      await Promise.all([first, produce(['two'])]);
      assert.equal(produces().length, requests, `linger.ms ${lingerMs}`);
    }
  });

  live('retries is how often a batch is sent again', async (t, kafkaService) => {
    for (const retries of [0, 2]) {
      const { produce, produces } = open(
        t,
        kafkaService,
        { retries: String(retries), 'request.timeout.ms': '700', 'enable.idempotence': 'false' },
        { withholds: true },
      );
      await assert.rejects(produce(['x']), (error: AppError) => kafkaConnector.classify(error).retryable);
      assert.equal(produces().length, 1 + retries);
    }
  });

  live('max.in.flight.requests.per.connection bounds what is not answered yet', async (t, kafkaService) => {
    for (const most of [1, 3]) {
      const { produce, mostUnanswered } = open(
        t,
        kafkaService,
        { 'max.in.flight.requests.per.connection': String(most) },
        { topicName: 'several' },
      );
      await produce(['warm'], 0);
      await Promise.all(
        Array.from({ length: 6 }, (_, partition) => produce(['x'.repeat(50_000)], partition)),
      );
      assert.equal(mostUnanswered(), most);
    }
  });
});
