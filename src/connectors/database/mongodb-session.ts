import { MongoClient, type TopologyDescriptionChangedEvent } from 'mongodb';
import { AppError } from '../../errors.ts';
import { abortError } from '../connector.ts';
import type { Shareable } from '../messaging/shared-client.ts';
import { within } from '../transport/deadline.ts';

import { classifyMongoError, failureOfAll } from './mongodb-errors.ts';
import { addressOf, type MongoSettings, throughRelay } from './mongodb-settings.ts';
import type { PoolFigures } from './pool.ts';
import { SocksRelay } from './socks-relay.ts';

/** How long a farewell to the servers may take. */
const FAREWELL_TIMEOUT_MS = 2_000;

const LONGEST_MESSAGE_BYTES = 48_000_000;
/** OP_REPLY, OP_COMPRESSED and OP_MSG. */
const OP_CODES = [1, 2012, 2013];

/** One client of the driver with its pool, and the relay by which alone it reaches the servers. */
export class MongoSession implements Shareable {
  readonly client: MongoClient;
  readonly #relay: SocksRelay;
  #alive = true;
  #size = 0;
  #busy = 0;
  #waiting = 0;

  private constructor(client: MongoClient, relay: SocksRelay) {
    this.client = client;
    this.#relay = relay;
    client.on('connectionCreated', () => this.#size++);
    client.on('connectionClosed', () => this.#size--);
    client.on('connectionCheckOutStarted', () => this.#waiting++);
    client.on('connectionCheckOutFailed', () => this.#waiting--);
    client.on('connectionCheckedOut', () => {
      this.#waiting--;
      this.#busy++;
    });
    client.on('connectionCheckedIn', () => this.#busy--);
  }

  /** Connects and logs in; fails as soon as no server is left to try, with an `AppError`. */
  static async open(settings: MongoSettings, signal: AbortSignal): Promise<MongoSession> {
    const isAnswer = settings.tls.demand === 'none' ? isMongoAnswer : () => true;
    const relay = new SocksRelay(settings.network, settings.timeoutMs, isAnswer);
    let session: MongoSession | undefined;
    try {
      const client = new MongoClient(addressOf(settings), {
        ...settings.options,
        ...throughRelay(await relay.listen()),
      });
      session = new MongoSession(client, relay);
      await session.#connect(settings.timeoutMs, signal);
      return session;
    } catch (error) {
      session?.destroy();
      relay.close();
      throw classifyMongoError(error, (address) => relay.failureAt(address));
    }
  }

  get alive(): boolean {
    return this.#alive;
  }

  figures(): PoolFigures {
    return {
      size: this.#size,
      idle: Math.max(this.#size - this.#busy, 0),
      busy: this.#busy,
      waiting: this.#waiting,
    };
  }

  classify(error: unknown): AppError {
    return classifyMongoError(error, (address) => this.#relay.failureAt(address));
  }

  async close(): Promise<void> {
    this.#alive = false;
    const late = () => new AppError('target_timeout');
    const never = new AbortController().signal;
    await within(this.client.close(), { timeoutMs: FAREWELL_TIMEOUT_MS, signal: never, late }).catch(
      () => {},
    );
    this.#relay.close();
  }

  destroy(): void {
    this.#alive = false;
    this.#relay.close();
    this.client.close(true).catch(() => {});
  }

  async #connect(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw abortError(signal.reason);
    const hopeless = Promise.withResolvers<never>();
    hopeless.promise.catch(() => {});
    // The driver itself would ask again until the time is over, whatever the servers say.
    const onChange = ({ newDescription }: TopologyDescriptionChangedEvent) => {
      const failure = failureOfAll(newDescription, (address) => this.#relay.failureAt(address));
      if (failure) hopeless.reject(failure);
    };
    this.client.on('topologyDescriptionChanged', onChange);
    const late = () => new AppError('target_timeout', `no server let us in within ${timeoutMs} ms`);
    try {
      await within(Promise.race([this.client.connect(), hopeless.promise]), {
        // The driver's own, more telling time-outs come first.
        timeoutMs: timeoutMs + 1_000,
        signal,
        late,
      });
    } finally {
      this.client.off('topologyDescriptionChanged', onChange);
    }
  }
}

/** Whether bytes begin a message of the protocol: the driver would wait for as many as the first four say. */
function isMongoAnswer(head: Buffer): boolean {
  if (head.length < 16) return false;
  const length = head.readInt32LE(0);
  return length >= 16 && length <= LONGEST_MESSAGE_BYTES && OP_CODES.includes(head.readInt32LE(12));
}
