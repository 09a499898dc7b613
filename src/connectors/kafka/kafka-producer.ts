import { AppError } from '../../errors.ts';
import { Life } from '../../life.ts';
import { type CallContext, untilAborted } from '../connector.ts';
import { bounded, pause } from './deadline.ts';
import type { KafkaCluster, TopicLayout } from './kafka-cluster.ts';
import { BrokerError, brokerErrors, classifyKafkaError, isStale, mayPass } from './kafka-errors.ts';
import { addressOf, type KafkaSettings } from './kafka-settings.ts';
import { partitionOf } from './partitioner.ts';
import type { KafkaRecord } from './record-batch.ts';

/** A message whose key and value are bytes already. */
export interface OutgoingMessage extends KafkaRecord {
  /** undefined: by the key, without one in turn. */
  readonly partition: number | undefined;
}

export type Outcome =
  | { readonly partition: number; readonly offset: bigint | undefined }
  | { readonly partition: number; readonly error: AppError };

interface Entry {
  readonly record: KafkaRecord;
  readonly call: Call;
  /** Its place among the call's messages. */
  readonly at: number;
}

/** The messages of one `produce`, and what became of them. */
interface Call {
  readonly outcomes: Outcome[];
  unsettled: number;
  isCancelled: boolean;
  finish(outcomes: Outcome[]): void;
}

interface Batch {
  entries: Entry[];
  bytes: number;
  readonly createdAt: number;
  /** Ends when nobody waits for any of its messages any more, when it is too late, and with the connection. */
  readonly life: Life;
}

/** Who sends, and the number of the next message, as brokers check them to store each message once. */
interface Sequence {
  readonly producerId: bigint;
  readonly epoch: number;
  next: number;
}

interface PartitionQueue {
  readonly topic: string;
  readonly partition: number;
  readonly batches: Batch[];
  /** On its way. */
  current: Batch | undefined;
  isRunning: boolean;
  sequence: Sequence | undefined;
}

/** Bytes that may wait for brokers before further messages are refused (Java's buffer.memory). */
const maxWaitingBytes = 32 * 1024 * 1024;
/** What a record needs beside its key, value and headers, at most. */
const recordOverheadBytes = 40;

/**
 * Sends messages in batches, one on its way to each partition at a time, so that their order holds and
 * a batch of unknown fate is repeated as it was. One that is given up on ends its producer identity:
 * the broker would take the next batch under the same number for a duplicate and drop it.
 */
export class KafkaProducer {
  readonly #settings: KafkaSettings;
  readonly #cluster: KafkaCluster;
  readonly #closing: AbortSignal;
  readonly #queues = new Map<string, PartitionQueue>();
  readonly #slots = new Map<string, Slots>();
  #identity: Promise<{ producerId: bigint; epoch: number }> | undefined;
  #waitingBytes = 0;
  #turn = 0;

  constructor(settings: KafkaSettings, cluster: KafkaCluster, closing: AbortSignal) {
    this.#settings = settings;
    this.#cluster = cluster;
    this.#closing = closing;
    closing.addEventListener('abort', () => {
      for (const queue of this.#queues.values())
        for (const { life } of this.#running(queue)) life.end(closing.reason);
    });
  }

  get figures(): Record<string, number> {
    return { waitingBytes: this.#waitingBytes };
  }

  /** Sends the messages; the outcome of each. Rejects where none could be sent at all. */
  async produce(topic: string, messages: readonly OutgoingMessage[], asker: CallContext): Promise<Outcome[]> {
    if (this.#waitingBytes > maxWaitingBytes) throw new AppError('buffer_full');
    const { leaders } = this.#cluster.knownLayout(topic) ?? (await this.#layout(topic, asker));
    if (this.#closing.aborted) throw this.#closing.reason;
    const partitions = this.#assign(
      messages,
      leaders.length,
      leaders.flatMap((leader, at) => (leader ? [at] : [])),
    );
    if (messages.length === 0) return [];
    const { promise: finished, resolve: finish } = Promise.withResolvers<Outcome[]>();
    const call: Call = {
      outcomes: new Array<Outcome>(messages.length),
      unsettled: messages.length,
      isCancelled: false,
      finish,
    };
    for (const [at, message] of messages.entries()) this.#enqueue(topic, partitions[at]!, message, call, at);
    try {
      return await untilAborted(asker, finished);
    } catch (error) {
      call.isCancelled = true;
      this.#cancel(topic, new Set(partitions));
      throw error;
    }
  }

  #layout(topic: string, { signal }: CallContext): Promise<TopicLayout> {
    const { maxBlockMs } = this.#settings;
    return bounded([this.#closing, signal], (inner) =>
      this.#cluster.layout(topic, { signal: inner, allowCreate: true, forMs: maxBlockMs }),
    );
  }

  #assign(messages: readonly OutgoingMessage[], count: number, withLeader: number[]): number[] {
    const candidates = withLeader.length > 0 ? withLeader : Array.from({ length: count }, (_, at) => at);
    let bytes = 0;
    this.#turn++;
    return messages.map((message, at) => {
      const { partition, key } = message;
      if (partition !== undefined) {
        if (partition < count) return partition;
        throw new AppError('bad_request', `messages[${at}].partition: the topic has ${count} partitions`, {
          details: {
            validationErrors: [
              {
                field: `messages[${at}].partition`,
                message: `must be below ${count}, the topic's number of partitions`,
              },
            ],
          },
        });
      }
      if (key !== null) return partitionOf(key, count);
      bytes += sizeOf(message);
      // As the Java client: a partition's worth of a batch, then the next one's.
      if (bytes > this.#settings.batchSizeBytes) {
        this.#turn++;
        bytes = sizeOf(message);
      }
      return candidates[this.#turn % candidates.length]!;
    });
  }

  #enqueue(topic: string, partition: number, message: OutgoingMessage, call: Call, at: number): void {
    const key = `${topic}:${partition}`;
    let queue = this.#queues.get(key);
    if (!queue) {
      queue = {
        topic,
        partition,
        batches: [],
        current: undefined,
        isRunning: false,
        sequence: undefined,
      };
      this.#queues.set(key, queue);
    }
    const size = sizeOf(message);
    const entry: Entry = { record: message, call, at };
    const last = queue.batches.at(-1);
    if (last && last.bytes + size <= this.#settings.batchSizeBytes) {
      last.entries.push(entry);
      last.bytes += size;
    } else {
      queue.batches.push({
        entries: [entry],
        bytes: size,
        createdAt: Date.now(),
        life: new Life(),
      });
    }
    this.#waitingBytes += size;
    if (!queue.isRunning) {
      queue.isRunning = true;
      const mine = queue;
      // After this turn, so that messages of one call share their batches.
      queueMicrotask(() => void this.#drain(mine));
    }
  }

  /** Takes back what has not been sent; what may have been is left to its fate. */
  #cancel(topic: string, partitions: ReadonlySet<number>): void {
    for (const partition of partitions)
      for (const { entries, life } of this.#running(this.#queues.get(`${topic}:${partition}`)!))
        if (entries.every(({ call }) => call.isCancelled)) life.end(new AppError('cancelled'));
  }

  #running({ current, batches }: PartitionQueue): Batch[] {
    return current ? [current, ...batches] : batches;
  }

  async #drain(queue: PartitionQueue): Promise<void> {
    while (queue.batches.length > 0) {
      await this.#linger(queue);
      const batch = queue.batches.shift()!;
      queue.current = batch;
      await this.#deliver(queue, batch);
      queue.current = undefined;
      this.#waitingBytes -= batch.bytes;
    }
    queue.isRunning = false;
  }

  async #linger(queue: PartitionQueue): Promise<void> {
    const [first] = queue.batches;
    const waitMs = first!.createdAt + this.#settings.lingerMs - Date.now();
    if (waitMs > 0 && queue.batches.length === 1) await pause(waitMs, first!.life.signal).catch(() => {});
  }

  async #deliver(queue: PartitionQueue, batch: Batch): Promise<void> {
    const { partition } = queue;
    const { life } = batch;
    const { deliveryTimeoutMs, acks } = this.#settings;
    const fate: Fate = { isUncertain: false, sequence: undefined, last: undefined };
    const late = () => {
      const said = fate.last === undefined ? undefined : classifyKafkaError(fate.last);
      if (said && !fate.isUncertain) return said;
      return new AppError(
        'target_timeout',
        `The brokers did not acknowledge within delivery.timeout.ms (${deliveryTimeoutMs} ms)${said ? `: ${said.message}` : ''}`,
      );
    };
    const timer = setTimeout(
      () => life.end(late()),
      Math.max(0, batch.createdAt + deliveryTimeoutMs - Date.now()),
    );
    try {
      life.throwIfEnded();
      const offset = await untilAborted(life, this.#attempt(queue, batch, fate));
      const isKnown = acks !== 0 && offset !== undefined && offset >= 0n;
      for (const [at, entry] of batch.entries.entries())
        settle(entry, { partition, offset: isKnown ? offset + BigInt(at) : undefined });
      if (fate.sequence) fate.sequence.next = (fate.sequence.next + batch.entries.length) & 0x7fffffff;
    } catch (error) {
      if (fate.isUncertain) this.#forget(queue);
      const isTooLarge =
        error instanceof BrokerError &&
        (error.code === brokerErrors.messageTooLarge || error.code === brokerErrors.recordListTooLarge);
      if (isTooLarge && batch.entries.length > 1) {
        const middle = batch.entries.length >> 1;
        for (const entries of [batch.entries.slice(0, middle), batch.entries.slice(middle)])
          await this.#deliver(queue, { ...batch, entries });
        return;
      }
      const failure = classifyKafkaError(error);
      for (const entry of batch.entries) settle(entry, { partition, error: failure });
    } finally {
      clearTimeout(timer);
    }
  }

  async #attempt(queue: PartitionQueue, batch: Batch, fate: Fate): Promise<bigint | undefined> {
    const { life } = batch;
    const { retries, retryBackoffMs } = this.#settings;
    let fresh = false;
    let failedDials = 0;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#send(queue, batch, fate, fresh);
      } catch (error) {
        if (life.isAborted) throw error;
        fate.last = error;
        if (error instanceof BrokerError && error.code === brokerErrors.duplicateSequenceNumber)
          return undefined;
        const isIdentityLost = error instanceof BrokerError && lostIdentity.has(error.code);
        if (isIdentityLost) {
          this.#forget(queue);
          fate.sequence = undefined;
        } else if (!mayPass(error)) throw error;
        if (attempt > retries) throw error;
        fresh = isStale(error);
        const isDialled = !(error instanceof AppError);
        failedDials = isDialled ? 0 : failedDials + 1;
        // A lost connection is dialled again soon, and then ever later; an answer asks for its back-off.
        if (!isIdentityLost)
          await pause(isDialled ? retryBackoffMs : this.#cluster.reconnectDelayMs(failedDials), life.signal);
      }
    }
  }

  async #send(queue: PartitionQueue, batch: Batch, fate: Fate, fresh: boolean): Promise<bigint | undefined> {
    const { life } = batch;
    const { topic, partition } = queue;
    const { acks, compression, requestTimeoutMs, isIdempotent, maxInFlight } = this.#settings;
    const leader =
      (fresh ? undefined : this.#cluster.knownLayout(topic)?.leaders[partition]) ??
      (await this.#cluster.leader(topic, partition, { signal: life.signal, fresh }));
    const connection =
      this.#cluster.openConnection(leader) ?? (await this.#cluster.connection(leader, life.signal));
    if (isIdempotent && !fate.sequence) {
      queue.sequence ??= { ...(await this.#identify(life)), next: 0 };
      fate.sequence = queue.sequence;
    }
    const slots = this.#slotsOf(addressOf(leader), maxInFlight);
    await slots.take(life);
    try {
      life.throwIfEnded();
      // What was sent once must be repeated as it was.
      if (!fate.isUncertain) batch.entries = batch.entries.filter(({ call }) => !call.isCancelled);
      const { sequence } = fate;
      const sent = connection.produce(
        {
          topic,
          partition,
          records: batch.entries.map(({ record }) => record),
          acks,
          timeoutMs: requestTimeoutMs,
          compression,
          sequence: sequence && {
            producerId: sequence.producerId,
            epoch: sequence.epoch,
            first: sequence.next,
          },
        },
        requestTimeoutMs,
      );
      const wasUncertain = fate.isUncertain;
      fate.isUncertain = true;
      try {
        return await sent;
      } catch (error) {
        // A refusal says that this attempt stored nothing; nothing says so of one before it.
        if (error instanceof BrokerError && !mayBeStored.has(error.code)) fate.isUncertain = wasUncertain;
        throw error;
      }
    } finally {
      slots.give();
    }
  }

  async #identify(asker: CallContext): Promise<{ producerId: bigint; epoch: number }> {
    // Shared by partitions, so that no caller's end may be that of the others.
    this.#identity ??= bounded(
      [this.#closing],
      async (own) => (await this.#cluster.anyConnection(own)).initProducerId(own),
      {
        ms: this.#settings.requestTimeoutMs,
        error: () => new AppError('target_timeout', 'No broker gave a producer identity in time'),
      },
    );
    const asked = this.#identity;
    try {
      return await untilAborted(asker, asked);
    } catch (error) {
      if (this.#identity === asked) this.#identity = undefined;
      throw error;
    }
  }

  #forget(queue: PartitionQueue): void {
    queue.sequence = undefined;
    this.#identity = undefined;
  }

  #slotsOf(address: string, size: number): Slots {
    let slots = this.#slots.get(address);
    if (!slots) {
      slots = new Slots(size);
      this.#slots.set(address, slots);
    }
    return slots;
  }
}

/** What is known of a batch on its way. */
interface Fate {
  /** It was sent, and no answer says that it was not stored. */
  isUncertain: boolean;
  sequence: Sequence | undefined;
  last: unknown;
}

/** The broker does not know the identity or its numbers any more; a new one starts anew. */
const lostIdentity = new Set<number>([
  brokerErrors.outOfOrderSequenceNumber,
  brokerErrors.invalidProducerEpoch,
  brokerErrors.invalidProducerIdMapping,
  brokerErrors.unknownProducerId,
]);

/** Refusals after which the messages may be stored nevertheless: not replicated in time, or lost on the way. */
const mayBeStored = new Set<number>([7, 13, 20, 56]);

function settle({ call, at }: Entry, outcome: Outcome): void {
  call.outcomes[at] = outcome;
  if (--call.unsettled === 0) call.finish(call.outcomes);
}

function sizeOf({ key, value, headers }: OutgoingMessage): number {
  let bytes = recordOverheadBytes + (key?.length ?? 0) + (value?.length ?? 0);
  for (const [name, content] of headers) bytes += name.length + content.length + 10;
  return bytes;
}

/** Requests that may be on their way on one connection (max.in.flight.requests.per.connection). */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(size: number) {
    this.#free = size;
  }

  async take(asker: Life): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (asker.isAborted) {
      this.give();
      asker.throwIfEnded();
    }
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }
}
