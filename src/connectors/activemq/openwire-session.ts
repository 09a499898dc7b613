import type { Socket } from 'node:net';
import { AppError } from '../../errors.ts';
import { untilAborted } from '../connector.ts';
import { describeBytes } from '../messaging/message-body.ts';
import { within } from '../transport/deadline.ts';
import { classifyActiveMqError, lackOfRights } from './activemq-errors.ts';
import { type ActiveMqSettings, type BrokerTarget, uniqueClientId } from './activemq-settings.ts';
import {
  type BrokerSession,
  maxReceivedBytes,
  type OutgoingMessage,
  type ReceivedMessage,
  type SendOutcome,
} from './broker-session.ts';
import {
  type Body,
  formatMessageId,
  type IncomingMessage,
  type ObjectId,
  type TransactionId,
} from './openwire/openwire-commands.ts';
import { OpenWireConnection } from './openwire/openwire-connection.ts';
import type { Primitive } from './openwire/openwire-data.ts';

/** Messages of one call that wait for the broker's word at most. */
const window = 500;

/** The names that ActiveMQ's own AMQP side gives these, so that an AMQP consumer finds them in place. */
const contentTypeProperty = 'JMS_AMQP_ContentType';
const contentEncodingProperty = 'JMS_AMQP_ContentEncoding';
/** Where Artemis keeps the sender's connection, for subscribers that do not want their own messages. */
const artemisConnectionProperty = '__AMQ_CID';

/** A broker by OpenWire. */
export class OpenWireSession implements BrokerSession {
  readonly #connection: OpenWireConnection;
  readonly #settings: ActiveMqSettings;
  #producer: Promise<ObjectId> | undefined;
  #sequence = 0;
  #consumers = 0;

  private constructor(connection: OpenWireConnection, settings: ActiveMqSettings) {
    this.#connection = connection;
    this.#settings = settings;
  }

  static async start(
    target: BrokerTarget,
    socket: Socket,
    settings: ActiveMqSettings,
    signal: AbortSignal,
  ): Promise<OpenWireSession> {
    const clientId = uniqueClientId(settings);
    const opening = OpenWireConnection.start(socket, {
      clientId,
      connectionId: `ID:${clientId}`,
      username: target.username,
      password: target.password,
      maxInactivityMs: target.maxInactivityMs,
      maxFrameBytes: target.maxFrameBytes,
    });
    const connection = await within(opening, {
      timeoutMs: settings.connectTimeoutMs,
      signal,
      late: () => late('open the connection', settings.connectTimeoutMs),
    }).catch((error: unknown) => {
      socket.destroy();
      opening.catch(() => {});
      throw classifyActiveMqError(error);
    });
    return new OpenWireSession(connection, settings);
  }

  get alive(): boolean {
    return this.#connection.alive;
  }

  get description(): string {
    const { brokerName, maxInactivityMs } = this.#connection;
    const broker = brokerName === undefined ? '' : `broker ${brokerName}, `;
    return `OpenWire, ${broker}keep-alive ${maxInactivityMs} ms`;
  }

  get figures() {
    return { unanswered: this.#connection.unanswered, consumers: this.#consumers };
  }

  prove(signal: AbortSignal): Promise<void> {
    return this.#request(this.#connection.ping(), signal);
  }

  async rehearse(signal: AbortSignal) {
    const { destination } = this.#settings;
    return {
      send: await lackOfRights(async () => {
        const producer = await this.#request(this.#connection.addProducer(destination), signal);
        await this.#request(this.#connection.removeProducer(producer), signal);
      }),
      receive: await lackOfRights(async () => {
        // A prefetch of none: messages would come only when asked for.
        const consumer = await this.#request(
          this.#connection.consume(destination, 0, () => {}),
          signal,
        );
        await this.#request(this.#connection.removeConsumer(consumer), signal);
      }),
    };
  }

  async send(
    messages: readonly OutgoingMessage[],
    together: boolean,
    signal: AbortSignal,
  ): Promise<SendOutcome[]> {
    const producer = await this.#request(this.#takeProducer(), signal);
    if (!together) return this.#sendEach(messages, producer, signal);
    const transaction = await this.#request(this.#connection.begin(), signal);
    try {
      const outcomes = await this.#sendEach(messages, producer, signal, transaction);
      const failed = outcomes.find((outcome) => 'error' in outcome);
      if (failed) throw failed.error;
      await this.#request(this.#connection.commit(transaction), signal);
      return outcomes;
    } catch (error) {
      // A lost connection rolls back by itself.
      if (this.alive) await this.#connection.rollback(transaction).catch(() => {});
      throw classifyActiveMqError(error);
    }
  }

  async #sendEach(
    messages: readonly OutgoingMessage[],
    producer: ObjectId,
    signal: AbortSignal,
    transaction?: TransactionId,
  ): Promise<SendOutcome[]> {
    const { sendTimeoutMs, destination } = this.#settings;
    const outcomes: Promise<SendOutcome>[] = [];
    for (const message of messages) {
      if (outcomes.length >= window) await outcomes[outcomes.length - window];
      await untilAborted({ signal }, this.#connection.drained());
      const sequence = ++this.#sequence;
      const timestamp = Date.now();
      const work = this.#connection.send(
        {
          destination,
          body: message.body,
          properties: this.#withContentProperties(message.properties),
          correlationId: message.correlationId,
          replyTo: message.replyTo === undefined ? undefined : { kind: 'queue', name: message.replyTo },
          type: message.type,
          priority: message.priority,
          persistent: message.persistent,
          timestamp,
          expiration: message.timeToLiveMs === 0 ? 0 : timestamp + message.timeToLiveMs,
        },
        { producer, sequence, transaction },
      );
      const id = { producer, producerSequence: BigInt(sequence), brokerSequence: 0n };
      outcomes.push(
        within(work, {
          timeoutMs: sendTimeoutMs,
          signal,
          late: () => late('take the message', sendTimeoutMs),
        })
          .then(() => ({ messageId: formatMessageId(id) }))
          .catch((error: unknown) => ({ error: classifyActiveMqError(error) })),
      );
    }
    return Promise.all(outcomes);
  }

  async receive(
    { maxMessages, timeoutMs }: { maxMessages: number; timeoutMs: number },
    signal: AbortSignal,
  ): Promise<ReceivedMessage[]> {
    const { destination, acknowledgement } = this.#settings;
    const connection = this.#connection;
    const taken: IncomingMessage[] = [];
    let enough = () => {};
    const full = new Promise<void>((resolve) => {
      enough = resolve;
    });
    let bytes = 0;
    // The broker gives no more than that without an acknowledgement, so little has to be given back.
    const isFull = () => taken.length >= maxMessages || bytes >= maxReceivedBytes;
    const adding = connection.consume(destination, maxMessages, (message) => {
      if (isFull()) return;
      taken.push(message);
      bytes += bodySize(message.body);
      if (isFull()) enough();
    });
    this.#consumers++;
    let messages: IncomingMessage[] = [];
    try {
      const consumer = await this.#request(adding, signal);
      let timer: NodeJS.Timeout | undefined;
      const over = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, timeoutMs);
      });
      const stopPrompting = whileQuiet(
        () => taken.length,
        () => connection.prompt(consumer, destination, maxMessages),
      );
      await untilAborted({ signal }, Promise.race([full, over])).finally(() => {
        clearTimeout(timer);
        stopPrompting();
      });
      messages = [...taken];
      if (acknowledgement === 'SESSION_TRANSACTED' && messages.length > 0) {
        const transaction = await this.#request(connection.begin(), signal);
        await this.#request(connection.acknowledge(consumer, destination, messages, transaction), signal);
        await this.#request(connection.commit(transaction), signal);
      } else {
        const acknowledged = connection.acknowledge(consumer, destination, messages);
        if (acknowledgement === 'DUPS_OK_ACKNOWLEDGE') acknowledged.catch(() => {});
        else await this.#request(acknowledged, signal);
      }
      await this.#request(connection.removeConsumer(consumer, messages.at(-1)), signal);
      return messages.map(describeMessage);
    } catch (error) {
      // What was taken and not acknowledged goes back.
      if (connection.alive)
        void adding.then((consumer) => connection.removeConsumer(consumer)).catch(() => {});
      throw classifyActiveMqError(error);
    } finally {
      this.#consumers--;
    }
  }

  async close(): Promise<void> {
    const { closeTimeoutMs } = this.#settings;
    await within(this.#connection.close(), {
      timeoutMs: closeTimeoutMs,
      signal: new AbortController().signal,
      late: () => late('close the connection', closeTimeoutMs),
    }).catch(() => {});
    this.destroy();
  }

  destroy(): void {
    this.#connection.destroy();
  }

  #takeProducer(): Promise<ObjectId> {
    this.#producer ??= this.#connection.addProducer(this.#settings.destination);
    const adding = this.#producer;
    adding.catch(() => {
      if (this.#producer === adding) this.#producer = undefined;
    });
    return adding;
  }

  async #request<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
    const { requestTimeoutMs: timeoutMs } = this.#settings;
    try {
      return await within(work, { timeoutMs, signal, late: () => late('answer', timeoutMs) });
    } catch (error) {
      throw classifyActiveMqError(error);
    }
  }

  #withContentProperties(properties: OutgoingMessage['properties']): Record<string, Primitive> {
    const { contentType, contentEncoding } = this.#settings;
    return {
      ...(contentType === undefined ? {} : { [contentTypeProperty]: contentType }),
      ...(contentEncoding === undefined ? {} : { [contentEncodingProperty]: contentEncoding }),
      ...properties,
    };
  }
}

/**
 * Calls `prompt` while messages have come and no more do, less and less often. ActiveMQ Classic reads its
 * queue 200 messages at a time, and again only when something is acknowledged, or it is asked to.
 */
function whileQuiet(count: () => number, prompt: () => void): () => void {
  let timer: NodeJS.Timeout;
  let before = 0;
  let delayMs = firstPromptMs;
  const look = () => {
    const now = count();
    const isQuiet = now === before;
    before = now;
    if (isQuiet && now >= leastToPrompt) prompt();
    delayMs = isQuiet ? Math.min(delayMs * 2, lastPromptMs) : firstPromptMs;
    timer = setTimeout(look, delayMs);
  };
  timer = setTimeout(look, delayMs);
  return () => clearTimeout(timer);
}

const firstPromptMs = 25;
const lastPromptMs = 1000;
/** With fewer than that the broker has not stopped for want of an acknowledgement. */
const leastToPrompt = 100;

function bodySize(body: Body): number {
  switch (body.kind) {
    case 'text':
      return body.text.length;
    case 'bytes':
    case 'other':
      return body.bytes.length;
    default:
      return 64;
  }
}

function late(what: string, timeoutMs: number): AppError {
  return new AppError('target_timeout', `The broker did not ${what} in ${timeoutMs} ms`);
}

function describeMessage(message: IncomingMessage): ReceivedMessage {
  const { correlationId, replyTo, type } = message;
  const { [artemisConnectionProperty]: _connection, ...properties } = message.properties;
  const contentType = properties[contentTypeProperty];
  return {
    messageId: formatMessageId(message.id),
    ...describeBody(message.body),
    properties: plain(properties) as Record<string, unknown>,
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(replyTo === undefined ? {} : { replyTo: replyTo.name }),
    ...(type === undefined ? {} : { type }),
    ...(typeof contentType === 'string' ? { contentType } : {}),
    priority: message.priority,
    ...(message.timestamp > 0 ? { timestamp: new Date(message.timestamp).toISOString() } : {}),
    redelivered: message.redeliveryCounter > 0,
  };
}

function describeBody(body: Body): { body: string; bodyEncoding: 'utf8' | 'base64' } {
  switch (body.kind) {
    case 'none':
      return { body: '', bodyEncoding: 'utf8' };
    case 'text':
      return { body: body.text, bodyEncoding: 'utf8' };
    case 'map':
      return { body: JSON.stringify(plain(body.map)), bodyEncoding: 'utf8' };
    case 'bytes':
      return describeBytes(body.bytes);
    case 'other':
      return { body: body.bytes.toString('base64'), bodyEncoding: 'base64' };
  }
}

/** A property as JSON has it. */
function plain(value: Primitive): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (Buffer.isBuffer(value)) return value.toString('base64');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
}
