import type { RecordsBatch } from '@platformatic/kafka';
import { AppError } from '../../errors.ts';
import { bounded, pause } from './deadline.ts';
import type { KafkaCluster } from './kafka-cluster.ts';
import { BrokerError, brokerErrors, isStale, mayPass } from './kafka-errors.ts';
import type { Datum } from './kafka-serializers.ts';
import { addressOf, type Broker, type KafkaSettings } from './kafka-settings.ts';

export interface ConsumeRequest {
  readonly topic: string;
  readonly from: 'earliest' | 'latest';
  readonly partition: number | undefined;
  /** Where to begin; with `partition`. */
  readonly offset: bigint | undefined;
  readonly maxMessages: number;
  readonly timeoutMs: number;
}

export interface ConsumedMessage {
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  /** ms since the epoch. */
  readonly timestamp: number;
  readonly key: Datum;
  readonly value: Datum;
  readonly headers: Record<string, string>;
}

/** Bits of a batch's attributes. */
const logAppendTime = 1 << 3;
const control = 1 << 5;

/** Longest wait of one fetch, so that a leader that moves is noticed. */
const longestFetchMs = 1000;

/**
 * Reads messages of a topic without a group and without a commit. What is stored ends with the last of
 * it; what was asked for from its latest on, with the time. A time that is over is no failure.
 */
export async function consume(
  settings: KafkaSettings,
  cluster: KafkaCluster,
  request: ConsumeRequest,
  signal: AbortSignal,
): Promise<ConsumedMessage[]> {
  const { topic, maxMessages, timeoutMs } = request;
  const endsAt = Date.now() + timeoutMs;
  const found: ConsumedMessage[] = [];
  const positions = await startPositions(settings, cluster, request, signal);
  const ends =
    request.from === 'latest' ? undefined : await endPositions(settings, cluster, request, positions, signal);

  while (found.length < maxMessages && positions.size > 0) {
    const leftMs = endsAt - Date.now();
    if (leftMs <= 0) break;
    for (const [partition, position] of positions)
      if (ends && position >= ends.get(partition)!) positions.delete(partition);
    if (positions.size === 0) break;
    const waitMs = ends ? Math.min(leftMs, 100) : Math.min(leftMs, longestFetchMs);
    const byLeader = await leadersOf(cluster, topic, [...positions.keys()], signal);
    const fetches = byLeader.map(async ({ broker, partitions }) => {
      const connection = await cluster.connection(broker, signal);
      const wanted = new Map(partitions.map((partition) => [partition, positions.get(partition)!]));
      return connection.fetch(topic, wanted, { waitMs, signal });
    });
    for (const answer of await Promise.all(fetches)) {
      for (const [partition, { errorCode, batches }] of answer) {
        if (errorCode !== 0) {
          const error = new BrokerError(errorCode);
          if (!isStale(error)) throw error;
          await pause(Math.min(200, Math.max(1, endsAt - Date.now())), signal);
          await cluster.layout(topic, { signal, fresh: true });
          continue;
        }
        const next = take(settings, topic, partition, positions.get(partition)!, batches, found, maxMessages);
        positions.set(partition, next);
      }
    }
  }
  return found;
}

/** Adds the messages at and after `from`; where to go on. */
function take(
  settings: KafkaSettings,
  topic: string,
  partition: number,
  from: bigint,
  batches: readonly RecordsBatch[],
  found: ConsumedMessage[],
  maxMessages: number,
): bigint {
  let next = from;
  for (const batch of batches) {
    for (const record of batch.records) {
      const offset = batch.firstOffset + BigInt(record.offsetDelta);
      if (offset < from || (batch.attributes & control) !== 0) continue;
      if (found.length >= maxMessages) return next;
      const isStamped = (batch.attributes & logAppendTime) !== 0;
      const at = `partition ${partition}, offset ${offset}`;
      found.push({
        topic,
        partition,
        offset: String(offset),
        timestamp: Number(isStamped ? batch.maxTimestamp : batch.firstTimestamp + record.timestampDelta),
        key: decode(() => settings.keySerializer.decode(record.key), `The key at ${at}`),
        value: decode(() => settings.valueSerializer.decode(record.value), `The value at ${at}`),
        headers: Object.fromEntries(
          record.headers.map(([name, value]) => [String(name ?? ''), String(value ?? '')]),
        ),
      });
      next = offset + 1n;
    }
    const end = batch.firstOffset + BigInt(batch.lastOffsetDelta) + 1n;
    if (end > next) next = end;
  }
  return next;
}

function decode(work: () => Datum, what: string): Datum {
  try {
    return work();
  } catch (error) {
    throw new AppError('request_rejected', `${what} ${(error as Error).message}`, {
      details: { hint: 'Set key.serializer and value.serializer to those of the messages.' },
    });
  }
}

async function startPositions(
  settings: KafkaSettings,
  cluster: KafkaCluster,
  { topic, partition, offset, from }: ConsumeRequest,
  signal: AbortSignal,
): Promise<Map<number, bigint>> {
  const { leaders } = await cluster.layout(topic, { signal, forMs: settings.maxBlockMs });
  if (partition !== undefined && partition >= leaders.length)
    throw new AppError('bad_request', `partition: the topic has ${leaders.length} partitions`, {
      details: {
        validationErrors: [
          {
            field: 'partition',
            message: `must be below ${leaders.length}, the topic's number of partitions`,
          },
        ],
      },
    });
  const partitions = partition === undefined ? [...leaders.keys()] : [partition];
  if (offset !== undefined) return new Map(partitions.map((each) => [each, offset]));
  return offsetsAt(settings, cluster, topic, partitions, from, signal);
}

async function endPositions(
  settings: KafkaSettings,
  cluster: KafkaCluster,
  { topic, offset }: ConsumeRequest,
  positions: ReadonlyMap<number, bigint>,
  signal: AbortSignal,
): Promise<Map<number, bigint>> {
  const ends = await offsetsAt(settings, cluster, topic, [...positions.keys()], 'latest', signal);
  for (const [partition, end] of ends)
    if (offset !== undefined && offset > end)
      throw new AppError('request_rejected', `The partition ${partition} ends at offset ${end}`, {
        cause: new BrokerError(brokerErrors.offsetOutOfRange),
      });
  return ends;
}

async function offsetsAt(
  settings: KafkaSettings,
  cluster: KafkaCluster,
  topic: string,
  partitions: readonly number[],
  place: 'earliest' | 'latest',
  signal: AbortSignal,
): Promise<Map<number, bigint>> {
  const one = async (partition: number, inner: AbortSignal): Promise<[number, bigint]> => {
    for (let fresh = false; ; fresh = true) {
      try {
        const broker = await cluster.leader(topic, partition, { signal: inner, fresh });
        const connection = await cluster.connection(broker, inner);
        return [partition, await connection.offsetAt(topic, partition, place, inner)];
      } catch (error) {
        if (inner.aborted || fresh || !mayPass(error)) throw error;
        await pause(Math.min(settings.retryBackoffMs, 200), inner);
      }
    }
  };
  return bounded(
    [signal],
    async (inner) => new Map(await Promise.all(partitions.map((each) => one(each, inner)))),
  );
}

async function leadersOf(
  cluster: KafkaCluster,
  topic: string,
  partitions: readonly number[],
  signal: AbortSignal,
): Promise<{ broker: Broker; partitions: number[] }[]> {
  const byAddress = new Map<string, { broker: Broker; partitions: number[] }>();
  for (const partition of partitions) {
    const broker = await cluster.leader(topic, partition, { signal });
    const known = byAddress.get(addressOf(broker));
    if (known) known.partitions.push(partition);
    else byAddress.set(addressOf(broker), { broker, partitions: [partition] });
  }
  return [...byAddress.values()];
}
