import { AppError, type ErrorCode } from '../../errors.ts';
import { untilAborted } from '../connector.ts';
import type { BrokerConnection, Metadata } from './broker-connection.ts';
import { bounded, pause } from './deadline.ts';
import { BrokerError, brokerErrors, classifyKafkaError, mayPass } from './kafka-errors.ts';
import { addressOf, type Broker, type KafkaSettings } from './kafka-settings.ts';

export interface TopicLayout {
  readonly topic: string;
  /** Leader of each partition; undefined: none at present. */
  readonly leaders: readonly (Broker | undefined)[];
  /** Bits by AclOperation; undefined when the broker does not say. */
  readonly operations: number | undefined;
}

interface Dial {
  readonly opening: Promise<BrokerConnection>;
  readonly abort: AbortController;
  waiters: number;
  connection?: BrokerConnection;
}

/** Metadata is read again after this time (Java's metadata.max.age.ms). */
const metadataAgeMs = 5 * 60_000;
const smallestInt32 = -(2 ** 31);

/** Connections to the brokers of one cluster, one each, and what they say of topics. */
export class KafkaCluster {
  readonly #settings: KafkaSettings;
  readonly #dials = new Map<string, Dial>();
  readonly #layouts = new Map<string, { layout: TopicLayout; readAt: number }>();
  /** Connections that are still open, of whom some are not used any more. */
  readonly #open = new Set<BrokerConnection>();
  #known: readonly Broker[] = [];
  #isClosed = false;

  constructor(settings: KafkaSettings) {
    this.#settings = settings;
  }

  get figures(): Record<string, number> {
    const alive = [...this.#open].filter((connection) => connection.alive);
    return {
      connections: alive.length,
      requestsInFlight: alive.reduce((sum, connection) => sum + connection.inFlight, 0),
    };
  }

  /** The connection to one broker, if it is open and lasts. */
  openConnection(broker: Broker): BrokerConnection | undefined {
    const connection = this.#dials.get(addressOf(broker))?.connection;
    return connection?.alive && !connection.expiring ? connection : undefined;
  }

  /** The connection to one broker; callers share it, and the dial ends when none waits for it any more. */
  async connection(broker: Broker, signal: AbortSignal): Promise<BrokerConnection> {
    if (this.#isClosed) throw new AppError('cancelled', 'The connection was closed');
    const open = this.openConnection(broker);
    if (open) return open;
    const key = addressOf(broker);
    let dial = this.#dials.get(key);
    if (dial?.connection) {
      this.#retire(dial.connection);
      this.#dials.delete(key);
      dial = undefined;
    }
    const mine = dial ?? this.#dial(broker);
    mine.waiters++;
    try {
      return await untilAborted({ signal }, mine.opening);
    } finally {
      mine.waiters--;
      if (mine.waiters === 0 && !mine.connection) {
        if (this.#dials.get(key) === mine) this.#dials.delete(key);
        mine.abort.abort(new AppError('cancelled'));
      }
    }
  }

  #dial(broker: Broker): Dial {
    const key = addressOf(broker);
    const abort = new AbortController();
    const open = async () => {
      // The library is heavy and needed here first: a connection that is not used does without.
      const { BrokerConnection } = await import('./broker-connection.ts');
      const connection = await BrokerConnection.open(this.#settings, broker, abort.signal);
      this.#open.add(connection);
      void connection.closed.then(() => this.#open.delete(connection));
      if (abort.signal.aborted) connection.destroy();
      else dial.connection = connection;
      return connection;
    };
    const dial: Dial = { opening: open(), abort, waiters: 0 };
    dial.opening.catch(() => {
      if (this.#dials.get(key) === dial) this.#dials.delete(key);
    });
    this.#dials.set(key, dial);
    return dial;
  }

  #retire(connection: BrokerConnection): void {
    const check = () => {
      if (connection.inFlight === 0) connection.destroy();
      else setTimeout(check, 50).unref();
    };
    check();
  }

  /**
   * A connection to whichever broker answers: one that is open, else the bootstrap servers in their
   * order and whoever is known beside them. One that is slow keeps the next waiting for a moment only.
   */
  async anyConnection(signal: AbortSignal): Promise<BrokerConnection> {
    for (const { connection } of this.#dials.values())
      if (connection?.alive && !connection.expiring) return connection;
    const { brokers, requestTimeoutMs, maxBlockMs } = this.#settings;
    const all = [...new Map([...brokers, ...this.#known].map((each) => [addressOf(each), each])).values()];
    const headStartMs = Math.min(requestTimeoutMs, maxBlockMs, 5000) / (all.length + 1);
    const failures: { broker: Broker; error: AppError }[] = [];
    const race = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const compete = () =>
      new Promise<BrokerConnection>((resolve, reject) => {
        let next = 0;
        const begin = () => {
          clearTimeout(timer);
          const broker = all[next++]!;
          this.connection(broker, race.signal).then(resolve, (error: unknown) => {
            failures.push({ broker, error: classifyKafkaError(error) });
            if (race.signal.aborted) return;
            if (next < all.length) begin();
            else if (failures.length === all.length) reject(summary(failures));
          });
          if (next < all.length) timer = setTimeout(begin, headStartMs);
        };
        begin();
      });
    try {
      return await bounded([signal], compete);
    } finally {
      clearTimeout(timer);
      // Ends the dials that nobody else waits for.
      race.abort(new AppError('cancelled'));
    }
  }

  /** Where the partitions of a topic are, as far as that is known and fresh. */
  knownLayout(topic: string): TopicLayout | undefined {
    const known = this.#layouts.get(topic);
    return known && Date.now() - known.readAt < metadataAgeMs ? known.layout : undefined;
  }

  /**
   * Where the partitions of a topic are, from memory while that is fresh. With `forMs` a failure that
   * may pass is tried again for that long, with the back-off of the settings.
   */
  async layout(
    topic: string,
    options: { signal: AbortSignal; allowCreate?: boolean; fresh?: boolean; forMs?: number },
  ): Promise<TopicLayout> {
    const { signal, allowCreate = false, fresh = false, forMs } = options;
    const known = fresh ? undefined : this.knownLayout(topic);
    if (known) return known;
    let last: unknown;
    const late = () => {
      const reason = last === undefined ? undefined : classifyKafkaError(last);
      return (
        reason ??
        new AppError('target_timeout', `No broker told of ${topic} within max.block.ms (${forMs} ms)`)
      );
    };
    const attempts = async (inner: AbortSignal): Promise<TopicLayout> => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await this.#readLayout(topic, allowCreate, inner);
        } catch (error) {
          if (inner.aborted || forMs === undefined || !mayPass(error)) throw error;
          last = error;
          const isAnswer = error instanceof BrokerError;
          // An answer's back-off is capped so that a topic made by this very request is found in time.
          const waitMs = isAnswer
            ? Math.min(this.#settings.retryBackoffMs, forMs / 10)
            : this.reconnectDelayMs(attempt);
          await pause(waitMs, inner);
        }
      }
    };
    return forMs === undefined ? attempts(signal) : bounded([signal], attempts, { ms: forMs, error: late });
  }

  /** How long to stay away after that many failed dials in a row. */
  reconnectDelayMs(failures: number): number {
    const { reconnectBackoffMs, reconnectBackoffMaxMs } = this.#settings;
    const delay = Math.min(reconnectBackoffMs * 2 ** Math.min(failures - 1, 20), reconnectBackoffMaxMs);
    return Math.max(1, delay * (0.8 + 0.4 * Math.random()));
  }

  async #readLayout(topic: string, allowCreate: boolean, signal: AbortSignal): Promise<TopicLayout> {
    const connection = await this.anyConnection(signal);
    const metadata = await connection.metadata(topic, { allowCreate, signal });
    this.#known = metadata.brokers.map(({ host, port }) => ({ host, port }));
    const layout = toLayout(topic, metadata);
    this.#layouts.set(topic, { layout, readAt: Date.now() });
    return layout;
  }

  /** Leader of a partition. Throws `BrokerError` where it has none. */
  async leader(
    topic: string,
    partition: number,
    options: { signal: AbortSignal; fresh?: boolean },
  ): Promise<Broker> {
    const { leaders } = await this.layout(topic, options);
    const leader = leaders[partition];
    if (leader) return leader;
    throw new BrokerError(
      partition < leaders.length ? brokerErrors.leaderNotAvailable : brokerErrors.unknownTopicOrPartition,
    );
  }

  /** Ends every socket and dial. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { abort } of this.#dials.values())
      abort.abort(new AppError('cancelled', 'The connection was closed'));
    this.#dials.clear();
    const open = [...this.#open];
    for (const connection of open) connection.destroy();
    await Promise.all(open.map((connection) => connection.closed));
  }
}

/** The answer of one broker for one topic. Throws `BrokerError` for an error of the topic. */
export function toLayout(topic: string, { brokers, topics }: Metadata): TopicLayout {
  const found = topics.find(({ name }) => name === topic);
  if (!found) throw new AppError('protocol_error', 'The broker answered for another topic');
  if (found.errorCode !== 0) throw topicError(found.errorCode, topic);
  const byId = new Map(brokers.map(({ nodeId, host, port }) => [nodeId, { host, port }]));
  const leaders: (Broker | undefined)[] = [];
  for (const { partitionIndex, leaderId } of found.partitions) leaders[partitionIndex] = byId.get(leaderId);
  const operations = found.topicAuthorizedOperations;
  return {
    topic,
    leaders: Array.from(leaders),
    operations: operations === smallestInt32 ? undefined : operations,
  };
}

function topicError(code: number, topic: string): Error {
  return code === brokerErrors.unknownTopicOrPartition || code === brokerErrors.topicAuthorizationFailed
    ? new BrokerError(code, topic)
    : new BrokerError(code);
}

/** Which of several failures says most. */
const telling: readonly ErrorCode[] = [
  'authentication_failed',
  'permission_denied',
  'egress_denied',
  'certificate_expired',
  'certificate_wrong_host',
  'certificate_untrusted',
  'tls_not_offered',
  'tls_failed',
  'protocol_error',
  'connection_lost',
  'target_timeout',
  'connect_timeout',
  'connection_refused',
  'host_unreachable',
  'name_not_resolved',
];

/** One error for the failures of several brokers, which says each of them. */
export function summary(failures: readonly { broker: Broker; error: AppError }[]): AppError {
  const [first, ...others] = failures.toSorted(
    (a, b) => telling.indexOf(a.error.code) - telling.indexOf(b.error.code),
  );
  if (!first) return new AppError('invalid_configuration', 'bootstrap.servers names no broker');
  if (others.length === 0) return first.error;
  const said = failures.map(({ broker, error }) => `${addressOf(broker)}: ${error.message}`).join('; ');
  return new AppError(first.error.code, `No broker could be used. ${said}`, {
    cause: first.error,
    details: first.error.details,
  });
}
