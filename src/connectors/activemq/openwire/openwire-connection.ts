import type { Socket } from 'node:net';
import {
  type BrokerException,
  type Command,
  type Destination,
  decodeCommand,
  encodeAck,
  encodeConnectionInfo,
  encodeConsumerControl,
  encodeConsumerInfo,
  encodeKeepAlive,
  encodeMessage,
  encodeProducerInfo,
  encodeRemove,
  encodeSessionInfo,
  encodeShutdown,
  encodeTransactionInfo,
  encodeWireFormatInfo,
  type IncomingMessage,
  type ObjectId,
  type OutgoingMessage,
  type TransactionId,
  type TransactionStep,
  wireVersion,
} from './openwire-commands.ts';
import { OpenWireFormatError } from './openwire-data.ts';

export interface OpenWireOptions {
  /** Unique among the connections of a broker. */
  readonly clientId: string;
  readonly connectionId: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** After which a silent connection is dead; the lower of both sides is taken; 0: never. */
  readonly maxInactivityMs: number;
  /** Largest command; the lower of both sides is taken. */
  readonly maxFrameBytes: number;
}

/** The broker refused a command, or ended the connection, with these words. */
export class OpenWireBrokerError extends Error {
  readonly className: string;

  constructor({ className, message }: BrokerException) {
    super(message || className);
    this.name = 'OpenWireBrokerError';
    this.className = className;
  }
}

/** The connection ended; its cause says why when that is known. */
export class OpenWireConnectionLost extends Error {
  constructor(message = 'The broker closed the connection', options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = 'OpenWireConnectionLost';
  }
}

/**
 * The connection ended in place of an answer to the log-in. ActiveMQ Classic does so when it refuses one
 * while its own side of the connection is still starting.
 */
export class OpenWireLogInCutOff extends OpenWireConnectionLost {
  constructor(cause: Error | undefined) {
    super('The broker ended the connection in place of an answer to the log-in', { cause });
    this.name = 'OpenWireLogInCutOff';
  }
}

/** The command is larger than the broker takes. */
export class OpenWireFrameTooLarge extends Error {
  constructor(bytes: number, maxBytes: number) {
    super(`A command of ${bytes} bytes is larger than the ${maxBytes} that the broker takes`);
    this.name = 'OpenWireFrameTooLarge';
  }
}

interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

/** Commands before the first greeting are read up to this size: who speaks something else has "sizes" beyond it. */
const maxGreetingBytes = 1024 * 1024;

/**
 * An OpenWire connection with one session over a ready socket, plain or TLS. It knows nothing of
 * dialling, deadlines or retries; every request settles when the broker answers or the connection ends.
 */
export class OpenWireConnection {
  /** Calls of `consume` by the consumer's number. */
  readonly #consumers = new Map<bigint, (message: IncomingMessage) => void>();
  readonly #waiting = new Map<number, Waiter>();
  readonly #socket: Socket;
  readonly #options: OpenWireOptions;
  readonly #session: ObjectId;
  readonly #onData = (chunk: Buffer) => this.#receive(chunk);
  #greeted: Waiter | undefined;
  #isLoggingIn = false;
  #unread: Buffer[] = [];
  #unreadBytes = 0;
  #commandId = 0;
  #nextId = 1;
  #maxFrameBytes: number;
  #ended: Error | undefined;
  #timer: NodeJS.Timeout | undefined;
  #hasRead = false;
  #hasWritten = false;
  #silentFor = 0;
  /** Told by the broker in its own time, which may be after the log-in. */
  brokerName: string | undefined;
  /** Milliseconds, as agreed; 0: no monitoring. */
  maxInactivityMs = 0;

  private constructor(socket: Socket, options: OpenWireOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#maxFrameBytes = options.maxFrameBytes;
    this.#session = { connection: options.connectionId, session: 1, value: 0 };
    socket.on('data', this.#onData);
    socket.on('error', (error) => this.#lost(error));
    socket.once('end', () => this.#lost());
    socket.once('close', () => this.#lost());
  }

  /**
   * Agrees on the format, logs in and opens a session. Fails with `OpenWireFormatError` when the other
   * side speaks something else, `OpenWireBrokerError` when it refuses, and `OpenWireLogInCutOff` when it
   * ends the connection instead.
   */
  static async start(socket: Socket, options: OpenWireOptions): Promise<OpenWireConnection> {
    const connection = new OpenWireConnection(socket, options);
    const greeted = new Promise<void>((resolve, reject) => {
      connection.#greeted = { resolve, reject };
    });
    connection.#write(encodeWireFormatInfo(options));
    await greeted;
    const { connectionId, clientId, username, password } = options;
    connection.#isLoggingIn = true;
    await connection.#request((answerable) =>
      encodeConnectionInfo(answerable, { connection: connectionId, clientId, username, password }),
    );
    connection.#isLoggingIn = false;
    await connection.#request((answerable) => encodeSessionInfo(answerable, connection.#session));
    return connection;
  }

  get alive(): boolean {
    return this.#ended === undefined;
  }

  /** Requests that the broker has not answered. */
  get unanswered(): number {
    return this.#waiting.size;
  }

  /** Opens and ends a session: a harmless round trip. */
  async ping(): Promise<void> {
    const session = { ...this.#session, session: ++this.#nextId };
    await this.#request((answerable) => encodeSessionInfo(answerable, session));
    await this.#request((answerable) => encodeRemove(answerable, 'session', session));
  }

  async addProducer(destination: Destination): Promise<ObjectId> {
    const producer = { ...this.#session, value: ++this.#nextId };
    await this.#request((answerable) => encodeProducerInfo(answerable, producer, destination));
    return producer;
  }

  async removeProducer(producer: ObjectId): Promise<void> {
    await this.#request((answerable) => encodeRemove(answerable, 'producer', producer));
  }

  /** Sends one message; settles when the broker has it, for good if it is persistent. */
  send(
    message: OutgoingMessage,
    ids: { producer: ObjectId; sequence: number; transaction?: TransactionId | undefined },
  ): Promise<void> {
    return this.#request((answerable) => encodeMessage(answerable, message, ids));
  }

  /** Resolves when what was written has left, so that a long batch does not pile up. */
  async drained(): Promise<void> {
    if (!this.#socket.writableNeedDrain || this.#ended) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#socket.off('drain', done);
        this.#socket.off('close', done);
        resolve();
      };
      this.#socket.once('drain', done);
      this.#socket.once('close', done);
    });
  }

  async begin(): Promise<TransactionId> {
    const transaction = { connection: this.#session.connection, value: ++this.#nextId };
    await this.#step(transaction, 'begin');
    return transaction;
  }

  /** Settles when all that was sent and acknowledged within it has happened. */
  commit(transaction: TransactionId): Promise<void> {
    return this.#step(transaction, 'commit');
  }

  rollback(transaction: TransactionId): Promise<void> {
    return this.#step(transaction, 'rollback');
  }

  /** Adds a consumer that is given at most `prefetch` messages without acknowledgement. */
  async consume(
    destination: Destination,
    prefetch: number,
    onMessage: (message: IncomingMessage) => void,
  ): Promise<ObjectId> {
    const consumer = { ...this.#session, value: ++this.#nextId };
    this.#consumers.set(BigInt(consumer.value), onMessage);
    try {
      await this.#request((answerable) =>
        encodeConsumerInfo(answerable, { consumer, destination, prefetch }),
      );
    } catch (error) {
      this.#consumers.delete(BigInt(consumer.value));
      throw error;
    }
    return consumer;
  }

  /** Makes the broker look at the queue again for a consumer; not answered. */
  prompt(consumer: ObjectId, destination: Destination, prefetch: number): void {
    if (this.#ended) return;
    const answerable = { commandId: ++this.#commandId, responseRequired: false };
    this.#write(encodeConsumerControl(answerable, { consumer, destination, prefetch }));
  }

  /** Acknowledges messages in the order in which they came. */
  acknowledge(
    consumer: ObjectId,
    destination: Destination,
    messages: readonly IncomingMessage[],
    transaction?: TransactionId,
  ): Promise<void> {
    const [first, last] = [messages[0], messages.at(-1)];
    if (!first || !last) return Promise.resolve();
    return this.#request((answerable) =>
      encodeAck(answerable, {
        destination,
        transaction,
        consumer,
        first: first.id,
        last: last.id,
        count: messages.length,
      }),
    );
  }

  /** Removes a consumer; what it has not acknowledged goes back, and counts as delivered up to `last`. */
  async removeConsumer(consumer: ObjectId, last?: IncomingMessage): Promise<void> {
    this.#consumers.delete(BigInt(consumer.value));
    await this.#request((answerable) =>
      encodeRemove(answerable, 'consumer', consumer, last?.id.brokerSequence ?? 0n),
    );
  }

  /** Tells the broker that the connection ends, and waits for its answer. */
  async close(): Promise<void> {
    if (this.#ended) return;
    try {
      await this.#request((answerable) => encodeRemove(answerable, 'connection', this.#session));
      this.#write(encodeShutdown(++this.#commandId));
    } finally {
      this.destroy();
    }
  }

  destroy(): void {
    this.#end(new OpenWireConnectionLost('The connection was closed'));
  }

  #step(transaction: TransactionId, step: TransactionStep): Promise<void> {
    return this.#request((answerable) => encodeTransactionInfo(answerable, transaction, step));
  }

  /** Writes a command and settles with the broker's answer. */
  #request(encode: (answerable: { commandId: number; responseRequired: true }) => Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      const commandId = ++this.#commandId;
      const frame = encode({ commandId, responseRequired: true });
      if (frame.length - 4 > this.#maxFrameBytes)
        return reject(new OpenWireFrameTooLarge(frame.length, this.#maxFrameBytes));
      this.#waiting.set(commandId, { resolve, reject });
      this.#write(frame);
    });
  }

  #write(frame: Buffer): void {
    if (this.#ended) return;
    this.#hasWritten = true;
    this.#socket.write(frame);
  }

  #receive(chunk: Buffer): void {
    this.#hasRead = true;
    this.#unread.push(chunk);
    this.#unreadBytes += chunk.length;
    try {
      for (;;) {
        const frame = this.#nextFrame();
        if (!frame) return;
        this.#handle(decodeCommand(frame));
      }
    } catch (error) {
      this.#end(error instanceof Error ? error : new OpenWireFormatError(String(error)));
    }
  }

  #nextFrame(): Buffer | undefined {
    if (this.#ended || this.#unreadBytes < 4) return undefined;
    if (this.#unread[0]!.length < 4) this.#join();
    const length = this.#unread[0]!.readInt32BE(0);
    const limit = this.#greeted ? maxGreetingBytes : this.#options.maxFrameBytes;
    if (length < 1 || length > limit) throw new OpenWireFormatError(`a command of ${length} bytes`);
    // What is not a greeting is found out before its "size" has arrived.
    if (this.#greeted && this.#unreadBytes >= 5) {
      this.#join();
      if (this.#unread[0]![4] !== 1) throw new OpenWireFormatError('no greeting of OpenWire');
    }
    if (this.#unreadBytes < 4 + length) return undefined;
    this.#join();
    const all = this.#unread[0]!;
    this.#unread = [all.subarray(4 + length)];
    this.#unreadBytes -= 4 + length;
    return all.subarray(4, 4 + length);
  }

  #join(): void {
    if (this.#unread.length > 1) this.#unread = [Buffer.concat(this.#unread)];
  }

  #handle(command: Command): void {
    switch (command.type) {
      case 'wireFormatInfo':
        this.#agree(command.version, command.properties);
        break;
      case 'brokerInfo':
        this.brokerName = command.brokerName;
        break;
      case 'keepAlive':
        if (command.responseRequired)
          this.#write(encodeKeepAlive({ commandId: command.commandId, responseRequired: false }));
        break;
      case 'dispatch':
        if (command.message) this.#consumers.get(command.consumer)?.(command.message);
        break;
      case 'response': {
        const waiter = this.#waiting.get(command.correlationId);
        this.#waiting.delete(command.correlationId);
        if (command.exception) waiter?.reject(new OpenWireBrokerError(command.exception));
        else waiter?.resolve();
        break;
      }
      case 'connectionError':
        this.#end(new OpenWireBrokerError(command.exception));
        break;
      case 'shutdown':
        this.#end(new OpenWireConnectionLost('The broker shuts down'));
        break;
    }
  }

  #agree(version: number, properties: Record<string, unknown>): void {
    if (version < wireVersion)
      throw new OpenWireFormatError(`version ${version} of OpenWire; ${wireVersion} is the least`);
    const offered = (name: string, missing: number) => {
      const value = properties[name];
      return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : missing;
    };
    this.#maxFrameBytes = Math.min(this.#options.maxFrameBytes, offered('MaxFrameSize', Infinity));
    this.maxInactivityMs = Math.min(
      this.#options.maxInactivityMs,
      offered('MaxInactivityDuration', this.#options.maxInactivityMs),
    );
    if (this.maxInactivityMs > 0) this.#monitor(this.maxInactivityMs);
    this.#greeted?.resolve();
    this.#greeted = undefined;
  }

  /** Speaks often enough for the broker, and listens whether it still speaks. */
  #monitor(maxInactivityMs: number): void {
    const everyMs = Math.max(50, Math.floor(maxInactivityMs / 3));
    this.#timer = setInterval(() => {
      this.#silentFor = this.#hasRead ? 0 : this.#silentFor + everyMs;
      this.#hasRead = false;
      if (this.#silentFor > maxInactivityMs) {
        this.#end(new OpenWireConnectionLost(`The broker was silent for more than ${maxInactivityMs} ms`));
        return;
      }
      if (!this.#hasWritten)
        this.#write(encodeKeepAlive({ commandId: ++this.#commandId, responseRequired: false }));
      this.#hasWritten = false;
    }, everyMs);
  }

  /** The other side has ended the connection. */
  #lost(cause?: Error): void {
    this.#end(
      this.#isLoggingIn
        ? new OpenWireLogInCutOff(cause)
        : new OpenWireConnectionLost(cause?.message, { cause }),
    );
  }

  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    clearInterval(this.#timer);
    this.#socket.off('data', this.#onData);
    this.#unread = [];
    this.#unreadBytes = 0;
    this.#greeted?.reject(error);
    this.#greeted = undefined;
    for (const waiter of this.#waiting.values()) waiter.reject(error);
    this.#waiting.clear();
    this.#consumers.clear();
    // What was written last, such as the goodbye, still leaves; then nothing stays open.
    if (this.#socket.writable && error instanceof OpenWireConnectionLost) this.#socket.end();
    this.#socket.destroySoon();
  }
}
