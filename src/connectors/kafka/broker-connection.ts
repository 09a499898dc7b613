import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import {
  type API,
  apiVersionsV3,
  type Connection,
  fetchV11,
  fetchV12,
  initProducerIdV1,
  initProducerIdV4,
  listOffsetsV5,
  listOffsetsV7,
  metadataV9,
  metadataV12,
  produceV3,
  produceV7,
  produceV9,
  produceV11,
  Reader,
  type RecordsBatch,
  type ResponseParser,
  saslAuthenticateV2,
  saslHandshakeV1,
  saslOAuthBearer,
  saslPlain,
  saslScramSha,
  Writer,
} from '@platformatic/kafka';
import { AppError } from '../../errors.ts';
import { abortError, untilAborted } from '../connector.ts';
import { BrokerError, brokerErrors, classifyKafkaError } from './kafka-errors.ts';
import { addressOf, type Broker, type KafkaSettings } from './kafka-settings.ts';
import { type BatchSequence, type KafkaRecord, recordBatch } from './record-batch.ts';

/** Versions we speak of each request, best first; Kafka 2.4 to 4 know one of each. */
const versions = {
  metadata: [metadataV12, metadataV9],
  produce: [produceV11, produceV9, produceV7, produceV3],
  fetch: [fetchV12, fetchV11],
  listOffsets: [listOffsetsV7, listOffsetsV5],
  initProducerId: [initProducerIdV4, initProducerIdV1],
} as const;

const scramCrypto = {
  h: saslScramSha.h,
  hi: saslScramSha.hi,
  hmac: saslScramSha.hmac,
  xor: saslScramSha.xor,
};

/** Larger answers than this come from no broker: a fetch asks for a tenth. */
const maxAnswerBytes = 128 * 1024 * 1024;

export interface Metadata {
  readonly brokers: readonly { readonly nodeId: number; readonly host: string; readonly port: number }[];
  readonly topics: readonly {
    readonly name?: string | null | undefined;
    readonly errorCode: number;
    /** Bits by AclOperation; the smallest 32-bit number when the broker does not say. */
    readonly topicAuthorizedOperations: number;
    readonly partitions: readonly {
      readonly errorCode: number;
      readonly partitionIndex: number;
      readonly leaderId: number;
      readonly leaderEpoch: number;
    }[];
  }[];
}

export interface ProduceRequest {
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly KafkaRecord[];
  readonly acks: -1 | 0 | 1;
  readonly timeoutMs: number;
  readonly compression: KafkaSettings['compression'];
  readonly sequence: BatchSequence | undefined;
}

export interface FetchedPartition {
  readonly errorCode: number;
  readonly highWatermark: bigint;
  readonly batches: readonly RecordsBatch[];
}

type CreateRequest = () => Writer | Promise<Writer>;

interface Candidate {
  readonly api: { readonly key: number; readonly version: number };
}

interface Pending {
  readonly parse: (body: Buffer) => unknown;
  readonly settle: (error: Error | null, answer?: unknown) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * One connection to one broker over a socket of the worker's network: framing, correlation, timeouts
 * and log-in. The encoding of requests and answers is the library's; its own connection cannot be
 * used because it dials by itself, past the egress policy.
 */
export class BrokerConnection {
  readonly broker: Broker;
  readonly #settings: KafkaSettings;
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  readonly #closed: Promise<void>;
  #chunks: Buffer[] = [];
  #buffered = 0;
  #correlationId = 0;
  #failure: AppError | undefined;
  #apiVersions = new Map<number, { min: number; max: number }>();
  #expiresAt = Number.POSITIVE_INFINITY;

  /** Dials, secures, greets and logs in; each step bounded by request.timeout.ms. */
  static async open(settings: KafkaSettings, broker: Broker, signal: AbortSignal): Promise<BrokerConnection> {
    const plain = await dialBroker(settings, broker, signal);
    const socket = settings.tls ? await secureBroker(settings, broker, plain, signal) : plain;
    const connection = new BrokerConnection(settings, broker, socket);
    try {
      await connection.greet(signal);
      await connection.logIn(signal);
      return connection;
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  constructor(settings: KafkaSettings, broker: Broker, socket: Socket) {
    this.#settings = settings;
    this.broker = broker;
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('error', (error) => this.#fail(classifyKafkaError(error)));
    socket.on('end', () => this.#fail(this.#lost()));
    this.#closed = new Promise((resolve) =>
      socket.once('close', () => {
        this.#fail(this.#lost());
        resolve();
      }),
    );
  }

  get alive(): boolean {
    return this.#failure === undefined;
  }

  /** The broker's session ends soon (KIP-368): a new connection is needed. */
  get expiring(): boolean {
    return Date.now() >= this.#expiresAt;
  }

  get inFlight(): number {
    return this.#pending.size;
  }

  /** Asks which versions the broker knows: the first packet of the protocol. */
  async greet(signal: AbortSignal): Promise<void> {
    const { apiKeys } = await this.#request(apiVersionsV3.api, ['plugboard', '1'], { signal });
    this.#apiVersions = new Map(
      apiKeys.map(({ apiKey, minVersion, maxVersion }) => [apiKey, { min: minVersion, max: maxVersion }]),
    );
  }

  /** Logs in where SASL is configured; the mechanism that was used. */
  async logIn(signal: AbortSignal): Promise<string | undefined> {
    const { sasl } = this.#settings;
    if (!sasl) return undefined;
    await this.#chooseMechanism(sasl.mechanism, signal);
    const link = this.#link({ timeoutMs: this.#settings.requestTimeoutMs });
    const api = saslAuthenticateV2.api;
    const answer = new Promise<{ sessionLifetimeMs: bigint }>((resolve, reject) => {
      const done = (error: Error | null, value?: { sessionLifetimeMs: bigint }) =>
        error ? reject(error) : resolve(value!);
      if (sasl.mechanism === 'OAUTHBEARER') saslOAuthBearer.authenticate(api, link, sasl.token, {}, done);
      else if (sasl.mechanism === 'PLAIN') saslPlain.authenticate(api, link, sasl.user, sasl.password, done);
      else {
        const algorithm = sasl.mechanism === 'SCRAM-SHA-256' ? 'SHA-256' : 'SHA-512';
        saslScramSha.authenticate(api, link, algorithm, sasl.user, sasl.password, scramCrypto, done);
      }
    });
    try {
      const { sessionLifetimeMs } = await this.#orLost(untilAborted({ signal }, answer));
      if (sessionLifetimeMs > 0n) this.#expiresAt = Date.now() + Number(sessionLifetimeMs) * 0.8;
      return sasl.mechanism;
    } catch (error) {
      throw findBrokerError(error) ?? error;
    }
  }

  async #chooseMechanism(mechanism: string, signal: AbortSignal): Promise<void> {
    const answer = await this.#request(saslHandshakeV1.api, [mechanism], { signal, tolerant: true });
    if (answer.errorCode === 0) return;
    const error = classifyKafkaError(new BrokerError(answer.errorCode));
    if (answer.errorCode === brokerErrors.unsupportedSaslMechanism)
      throw new AppError('authentication_failed', `The broker does not enable ${mechanism}`, {
        details: {
          hint: `It enables ${answer.mechanisms.join(', ') || 'none'}: set sasl.mechanism to one of these.`,
        },
      });
    if (answer.errorCode === brokerErrors.illegalSaslState)
      throw new AppError(error.code, error.message, {
        details: { hint: 'Take the port of a SASL listener, or set security.protocol to PLAINTEXT or SSL.' },
      });
    throw error;
  }

  /** What the broker knows of a topic and of its fellows; errors of the topic stand in the answer. */
  metadata(
    topic: string,
    options: { allowCreate: boolean; timeoutMs?: number; signal?: AbortSignal },
  ): Promise<Metadata> {
    const { allowCreate, ...call } = options;
    const api = this.#best(versions.metadata);
    return this.#request(api.api, [[topic], allowCreate, true], { ...call, tolerant: true });
  }

  /** Sends one batch; the offset of its first message, undefined with acks 0. Throws `BrokerError`. */
  async produce(request: ProduceRequest, timeoutMs: number): Promise<bigint | undefined> {
    const api = this.#best(versions.produce);
    const answer = await this.#request(api.api, [request.acks, request.timeoutMs, []], {
      timeoutMs,
      tolerant: true,
      create: () => produceRequest(request, api.api.version >= firstFlexibleProduce),
    });
    if (typeof answer === 'boolean' || request.acks === 0) return undefined;
    const stored = answer.responses[0]?.partitionResponses[0];
    if (!stored) throw this.#fail(new AppError('protocol_error', 'The broker answered for no partition'));
    if (stored.errorCode !== 0) {
      const { errorMessage } = stored as { errorMessage?: string | null };
      throw new BrokerError(stored.errorCode, errorMessage);
    }
    return stored.baseOffset;
  }

  /** First or next offset of a partition. Throws `BrokerError`. */
  async offsetAt(
    topic: string,
    partition: number,
    place: 'earliest' | 'latest',
    signal: AbortSignal,
  ): Promise<bigint> {
    const api = this.#best(versions.listOffsets);
    const timestamp = place === 'earliest' ? -2n : -1n;
    const { topics } = await this.#request(
      api.api,
      [
        -1,
        0,
        [{ name: topic, partitions: [{ partitionIndex: partition, currentLeaderEpoch: -1, timestamp }] }],
      ],
      { signal, tolerant: true },
    );
    const found = topics[0]?.partitions[0];
    if (!found) throw this.#fail(new AppError('protocol_error', 'The broker answered for no partition'));
    if (found.errorCode !== 0) throw new BrokerError(found.errorCode);
    return found.offset;
  }

  /** Messages of partitions from their offsets on; waits up to `waitMs` for the first. */
  async fetch(
    topic: string,
    offsets: ReadonlyMap<number, bigint>,
    options: { waitMs: number; signal: AbortSignal },
  ): Promise<Map<number, FetchedPartition>> {
    const partitions = [...offsets].map(([partition, fetchOffset]) => ({
      partition,
      currentLeaderEpoch: -1,
      fetchOffset,
      lastFetchedEpoch: -1,
      partitionMaxBytes: 1024 * 1024,
    }));
    const api = this.#best(versions.fetch);
    const { responses } = await this.#request(
      api.api,
      [options.waitMs, 1, 10 * 1024 * 1024, 0, 0, -1, [{ topicId: topic, partitions }], [], ''],
      { signal: options.signal, timeoutMs: options.waitMs + this.#settings.requestTimeoutMs, tolerant: true },
    );
    const answered = responses.flatMap((each) => each.partitions);
    return new Map(
      answered.map(({ partitionIndex, errorCode, highWatermark, records }) => [
        partitionIndex,
        { errorCode, highWatermark, batches: records ?? [] },
      ]),
    );
  }

  /** A new identity for idempotent batches. Throws `BrokerError`. */
  async initProducerId(signal: AbortSignal): Promise<{ producerId: bigint; epoch: number }> {
    const api = this.#best(versions.initProducerId);
    const { producerId, producerEpoch } = await this.#request(api.api, [null, 0], { signal });
    return { producerId, epoch: producerEpoch };
  }

  /** Ends the connection and fails what waits for an answer. */
  destroy(reason = new AppError('cancelled', 'The connection was closed')): void {
    this.#fail(reason);
  }

  /** When the socket is gone. */
  get closed(): Promise<void> {
    return this.#closed;
  }

  #lost(): AppError {
    const { sasl, tls } = this.#settings;
    const isFirst = this.#apiVersions.size === 0;
    const hint = isFirst
      ? tls
        ? undefined
        : 'Check whether the port speaks TLS, and the log of the broker.'
      : sasl
        ? undefined
        : 'A broker that wants a log-in closes the connection: set security.protocol and sasl.mechanism.';
    return new AppError('connection_lost', `${addressOf(this.broker)} closed the connection`, {
      details: hint ? { hint } : {},
    });
  }

  /** All candidates take the arguments of the first, whose answer holds what we read of any. */
  #best<V extends Candidate>(candidates: readonly [V, ...Candidate[]]): V {
    const range = this.#apiVersions.get(candidates[0]!.api.key);
    const found = candidates.find(({ api }) => range && api.version >= range.min && api.version <= range.max);
    if (!found)
      throw new AppError('protocol_error', 'The broker knows no version of a request that we speak', {
        details: { hint: 'Kafka 2.4 or later is needed.' },
      });
    return found as V;
  }

  #request<A extends unknown[], R>(
    api: API<A, R>,
    args: A,
    options: { timeoutMs?: number; signal?: AbortSignal; tolerant?: boolean; create?: CreateRequest },
  ): Promise<R> {
    const { timeoutMs = this.#settings.requestTimeoutMs, signal, tolerant, create } = options;
    if (signal?.aborted) return Promise.reject(abortError(signal.reason));
    const answer = new Promise<R>((resolve, reject) => {
      const done = (error: Error | null, value?: R) => {
        if (!error) resolve(value!);
        else if (tolerant && 'response' in error && error.response) resolve(error.response as R);
        else reject(findBrokerError(error) ?? error);
      };
      (api as unknown as (link: Connection, ...args: unknown[]) => void)(
        this.#link({ timeoutMs, create }),
        ...args,
        done,
      );
    });
    return signal ? untilAborted({ signal }, answer) : answer;
  }

  /**
   * What the library's requests take for a connection: they use nothing but `send`. A request that is
   * given to it is sent in place of what they make of their arguments.
   */
  #link({ timeoutMs, create: given }: { timeoutMs: number; create?: CreateRequest | undefined }): Connection {
    const send = (
      apiKey: number,
      apiVersion: number,
      create: CreateRequest,
      parse: ResponseParser<unknown>,
      hasTaggedRequest: boolean,
      hasTaggedAnswer: boolean,
      settle: (error: Error | null, answer?: unknown) => void,
    ) => {
      this.#send({
        apiKey,
        apiVersion,
        create: given ?? create,
        parse,
        hasTaggedRequest,
        hasTaggedAnswer,
        settle,
        timeoutMs,
      });
    };
    return { send } as unknown as Connection;
  }

  async #send(request: {
    apiKey: number;
    apiVersion: number;
    create: CreateRequest;
    parse: ResponseParser<unknown>;
    hasTaggedRequest: boolean;
    hasTaggedAnswer: boolean;
    settle: (error: Error | null, answer?: unknown) => void;
    timeoutMs: number;
  }): Promise<void> {
    const { apiKey, apiVersion, settle, timeoutMs } = request;
    try {
      const payload = await request.create();
      if (this.#failure) throw this.#failure;
      this.#correlationId = (this.#correlationId + 1) & 0x7fffffff;
      const id = this.#correlationId;
      const writer = Writer.create()
        .appendInt16(apiKey)
        .appendInt16(apiVersion)
        .appendInt32(id)
        .appendString(this.#settings.clientId, false);
      if (request.hasTaggedRequest) writer.appendTaggedFields();
      const bytes = writer.appendFrom(payload).prependLength().buffer;
      if (payload.context['noResponse']) {
        this.#socket.write(bytes, (error) => settle(error ? classifyKafkaError(error) : null));
        return;
      }
      const parse = (body: Buffer) =>
        request.parse(id, apiKey, apiVersion, Reader.from(request.hasTaggedAnswer ? body.subarray(1) : body));
      const timer = setTimeout(
        () =>
          this.#fail(
            new AppError('target_timeout', `${addressOf(this.broker)} did not answer within ${timeoutMs} ms`),
          ),
        Math.max(1, timeoutMs),
      );
      this.#pending.set(id, { parse, settle, timer });
      this.#socket.write(bytes);
    } catch (error) {
      settle(error as Error);
    }
  }

  #onData(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    while (this.#buffered >= 4 && !this.#failure) {
      if (this.#chunks[0]!.length < 4) this.#chunks = [Buffer.concat(this.#chunks)];
      const size = this.#chunks[0]!.readInt32BE();
      if (size < 4 || size > maxAnswerBytes) return void this.#fail(this.#foreign(this.#chunks[0]!));
      if (this.#buffered < size + 4) return;
      const all = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
      const rest = all.subarray(size + 4);
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#buffered = rest.length;
      this.#onAnswer(all.subarray(4, size + 4));
    }
  }

  #onAnswer(answer: Buffer): void {
    const id = answer.readInt32BE();
    const pending = this.#pending.get(id);
    if (!pending) return void this.#fail(this.#foreign(answer));
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    let value: unknown;
    try {
      value = pending.parse(answer.subarray(4));
    } catch (error) {
      const isAnswer = (error as { code?: unknown }).code === 'PLT_KFK_RESPONSE';
      pending.settle(
        isAnswer
          ? (error as Error)
          : new AppError('protocol_error', "The broker's answer cannot be read", { cause: error }),
      );
      return;
    }
    try {
      pending.settle(null, value);
    } catch (error) {
      // The library's log-in throws at an answer that it cannot read.
      this.#fail(classifyKafkaError(error));
    }
  }

  #foreign(bytes: Buffer): AppError {
    const isTlsAlert = bytes[0] === 0x15 && bytes[1] === 0x03;
    return new AppError('protocol_error', `${addressOf(this.broker)} does not speak Kafka's protocol`, {
      details: isTlsAlert ? { hint: 'The port speaks TLS: turn on enableSecure.' } : {},
    });
  }

  #fail(reason: AppError): AppError {
    if (this.#failure) return this.#failure;
    this.#failure = reason;
    this.#socket.destroy();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    this.#chunks = [];
    for (const { timer, settle } of pending) {
      clearTimeout(timer);
      settle(reason);
    }
    return reason;
  }

  /** The work's outcome, or the connection's failure where that ends it first. */
  #orLost<T>(work: Promise<T>): Promise<T> {
    return Promise.race([
      work,
      this.#closed.then((): never => {
        throw this.#failure ?? this.#lost();
      }),
    ]);
  }
}

/** From this version on lengths are compact, and fields may be added (KIP-482). */
const firstFlexibleProduce = 9;

/** A request to store one batch. */
async function produceRequest(request: ProduceRequest, isFlexible: boolean): Promise<Writer> {
  const { topic, partition, records, acks, timeoutMs, compression, sequence } = request;
  const batch = await recordBatch(records, compression, sequence);
  const writePartition = (writer: Writer) => {
    writer.appendInt32(partition);
    if (isFlexible) writer.appendUnsignedVarInt(batch.length + 1);
    else writer.appendInt32(batch.length);
    writer.append(batch);
  };
  const writeTopic = (writer: Writer) => {
    writer.appendString(topic, isFlexible).appendArray([undefined], writePartition, isFlexible, isFlexible);
  };
  const writer = Writer.create()
    .appendString(null, isFlexible)
    .appendInt16(acks)
    .appendInt32(timeoutMs)
    .appendArray([undefined], writeTopic, isFlexible, isFlexible);
  if (isFlexible) writer.appendTaggedFields();
  if (acks === 0) writer.context['noResponse'] = true;
  return writer;
}

/** A TCP connection to the broker. */
export function dialBroker(settings: KafkaSettings, broker: Broker, signal: AbortSignal): Promise<Socket> {
  return settings.network.connect({ ...broker, timeoutMs: Math.max(1, settings.requestTimeoutMs), signal });
}

/** TLS over it, for the broker's own name. */
export function secureBroker(
  settings: KafkaSettings,
  { host }: Broker,
  socket: Socket,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const timeoutMs = Math.max(1, settings.requestTimeoutMs);
  return settings.network.secure(socket, { ...settings.tls, host, timeoutMs, signal });
}

/** The first error of the protocol in an error of the library. */
function findBrokerError(error: unknown): BrokerError | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { apiCode, serverErrorMessage, errors } = at as {
      apiCode?: unknown;
      serverErrorMessage?: unknown;
      errors?: unknown[];
    };
    if (typeof apiCode === 'number') return new BrokerError(apiCode, serverErrorMessage as string | null);
    const inner = errors?.map(findBrokerError).find(Boolean);
    if (inner) return inner;
  }
  return undefined;
}
