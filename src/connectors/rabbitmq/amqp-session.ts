import type { Socket } from 'node:net';
import type { Channel, ChannelModel, GetMessage, Message } from 'amqplib';
import { Crowd, type CrowdMember } from '../../crowd.ts';
import { AppError } from '../../errors.ts';
import { type CallContext, untilAborted } from '../connector.ts';
import type { Shareable } from '../messaging/shared-client.ts';
import { within } from '../transport/deadline.ts';
import type { OutgoingMessage } from './amqp-message.ts';
import {
  loadProtocol,
  type ProtocolChannel,
  type ProtocolConnection,
  writeTogether,
} from './amqplib-protocol.ts';
import { classifyRabbitMqError, classifyReply } from './rabbitmq-errors.ts';
import type { RabbitMqSettings } from './rabbitmq-settings.ts';

const closeTimeoutMs = 2000;
/** Bytes that one `get` gathers before it stops early. */
const maxGotBytes = 32 * 1024 * 1024;

type Outcome = AppError | undefined;

/**
 * With so many messages unconfirmed, further ones are gathered: sent one by one they would be confirmed
 * one by one, and each would cost a packet and a system call of its own on both sides.
 */
const gatherFrom = 8;
/** Longest that a message is kept for others to join it. */
const gatherMs = 1;

interface Pending extends CrowdMember {
  readonly message: OutgoingMessage;
  /** In the order of sending. */
  readonly number: number;
  returned?: AppError;
  settle(outcome: Outcome): void;
}

/** An open AMQP connection over a ready socket, with channels for what is asked of it. */
export class AmqpSession implements Shareable {
  readonly server: string;
  readonly #socket: Socket;
  readonly #connection: ProtocolConnection;
  readonly #model: ChannelModel;
  readonly #proven = new Set<string>();
  readonly #confirmed = new Set<ConfirmedChannel>();
  #publishing: Promise<ConfirmedChannel> | undefined;
  /** What `#publishing` has led to. */
  #shared: ConfirmedChannel | undefined;
  #ended: AppError | undefined;
  /** Why the server reads nothing more of this connection for now. */
  #blocked: string | undefined;
  readonly #onBlocked = new Set<() => void>();
  #isClosing = false;
  #channels = 0;

  private constructor(socket: Socket, connection: ProtocolConnection) {
    this.#socket = socket;
    this.#connection = connection;
    const { product, version } = connection.serverProperties;
    this.server = [product, version].filter((each) => each !== undefined).join(' ');
    connection.on('error', (error: unknown) => this.#end(error));
    connection.on('close', (error: unknown) => this.#end(error ?? new AppError('connection_lost')));
    connection.on('blocked', (reason: unknown) => {
      this.#blocked = String(reason);
      for (const listener of this.#onBlocked) listener();
    });
    connection.on('unblocked', () => {
      this.#blocked = undefined;
    });
    socket.once('close', () =>
      this.#end(new AppError('connection_lost', 'The server closed the connection')),
    );
    this.#model = new (loadProtocol().ChannelModel)(connection);
    // What ends the connection is kept by the listeners above; without one of its own the model would throw.
    this.#model.on('error', () => {});
  }

  /** Logs in and opens the virtual host. */
  static async start(socket: Socket, settings: RabbitMqSettings, signal: AbortSignal): Promise<AmqpSession> {
    const connection = new (loadProtocol().Connection)(socket);
    writeTogether(connection, socket);
    // An error between the log-in and the session's own listeners must not be out of band.
    connection.on('error', () => {});
    const opening = watchOpening(connection);
    const opened = new Promise<void>((resolve, reject) => {
      connection.open(
        {
          clientProperties: settings.clientProperties,
          mechanism: 'PLAIN',
          response: Buffer.from(`\0${settings.username}\0${settings.password}`),
          locale: 'en_US',
          channelMax: settings.channelMax,
          frameMax: settings.frameMax,
          heartbeat: settings.heartbeatSeconds,
          virtualHost: settings.virtualHost,
          capabilities: '',
          insist: 0,
        },
        (error) => (error ? reject(withMechanisms(opening.refusal ?? error, opening.mechanisms)) : resolve()),
      );
      socket.once('close', () => reject(new AppError('connection_lost', 'The server closed the connection')));
    });
    await within(opened, {
      timeoutMs: settings.connectTimeoutMs,
      signal,
      late: () =>
        new AppError(
          'target_timeout',
          `The server did not open the connection in ${settings.connectTimeoutMs} ms`,
        ),
    });
    return new AmqpSession(socket, connection);
  }

  get alive(): boolean {
    return this.#ended === undefined && !this.#isClosing;
  }

  get figures() {
    const confirmed = [...this.#confirmed];
    return {
      channels: this.#channels + confirmed.length,
      unconfirmed: confirmed.reduce((sum, channel) => sum + channel.unconfirmed, 0),
      blocked: this.#blocked ? 1 : 0,
    };
  }

  /** What was agreed with the server. */
  get agreed(): string {
    const { heartbeat, frameMax, channelMax } = this.#connection;
    return `heartbeat ${heartbeat} s, frames up to ${frameMax} bytes, ${channelMax} channels`;
  }

  /** Opens a channel and, when an exchange is named, asks for it. */
  async prove(exchange: string, signal: AbortSignal): Promise<void> {
    await this.#withChannel(signal, async (channel) => {
      if (exchange !== '') await channel.checkExchange(exchange);
    });
  }

  /** Fails when the queue does not exist; answers the messages that wait in it. */
  async countMessages(queue: string, signal: AbortSignal): Promise<number> {
    return this.#withChannel(signal, async (channel) => (await channel.checkQueue(queue)).messageCount);
  }

  /** Publishes within a transaction that is rolled back: the server checks all but the route, and delivers nothing. */
  async rehearse({ method, properties, content }: OutgoingMessage, signal: AbortSignal): Promise<void> {
    const { TxSelect, TxSelectOk, TxRollback, TxRollbackOk } = loadProtocol().methods;
    await this.#withChannel(signal, async (channel) => {
      const raw = channel as ProtocolChannel;
      await raw.rpc(TxSelect, {}, TxSelectOk);
      raw.sendMessage(method, properties, content);
      await raw.rpc(TxRollback, {}, TxRollbackOk);
    });
  }

  /** Whether messages like this one may be published side by side. */
  isProven(message: OutgoingMessage): boolean {
    return this.#proven.has(kindOf(message));
  }

  /**
   * Publishes one message and answers with the server's word: nothing or, never rejecting, why it was not
   * taken. The first message of an exchange travels on a channel of its own: a refusal closes the channel,
   * and must not take others with it. The signal ends the wait for a channel, and for that first word.
   */
  publish(message: OutgoingMessage, call: CallContext): Outcome | Promise<Outcome> {
    if (this.#ended) return this.#ended;
    if (this.#blocked !== undefined) return blockedBy(this.#blocked);
    const shared = this.#shared;
    if (shared && !shared.error && this.isProven(message)) return shared.publish(message);
    return this.#publishCarefully(message, call.signal).catch(classifyRabbitMqError);
  }

  async #publishCarefully(message: OutgoingMessage, signal: AbortSignal): Promise<Outcome> {
    if (this.isProven(message)) {
      const channel = await this.#sharedChannel(signal);
      if (!channel.error) return untilAborted({ signal }, channel.publish(message));
      // The exchange may be gone or forbidden since; each is proven anew.
      this.#publishing = undefined;
      this.#shared = undefined;
      this.#proven.clear();
    }
    const opening = this.#openConfirmed();
    try {
      const channel = await untilAborted({ signal }, opening);
      const outcome = await untilAborted({ signal }, channel.publish(message));
      if (!outcome || outcome.code === 'unroutable') this.#proven.add(kindOf(message));
      return outcome;
    } finally {
      opening.then(
        (channel) => channel.close(),
        () => {},
      );
    }
  }

  /** Takes waiting messages; they are removed when `acknowledge` is set, else put back. */
  async get(
    { queue, maxMessages, acknowledge }: { queue: string; maxMessages: number; acknowledge: boolean },
    signal: AbortSignal,
  ): Promise<{ messages: GetMessage[]; remaining: number }> {
    return this.#withChannel(signal, async (channel) => {
      const messages: GetMessage[] = [];
      let remaining = 0;
      let bytes = 0;
      while (messages.length < maxMessages && bytes < maxGotBytes) {
        const message = await untilAborted({ signal }, channel.get(queue, { noAck: false }));
        if (message === false) {
          remaining = 0;
          break;
        }
        messages.push(message);
        bytes += message.content.length;
        remaining = message.fields.messageCount;
      }
      // The orderly close behind this is answered after the acknowledgement has been carried out.
      if (messages.length > 0) {
        if (acknowledge) channel.ack(messages.at(-1)!, true);
        else channel.nack(messages.at(-1)!, true, true);
      }
      return { messages, remaining };
    });
  }

  async close(): Promise<void> {
    if (!this.alive) return this.destroy();
    this.#isClosing = true;
    this.#shared?.flush();
    const closed = this.#model.close().catch(() => {});
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      closed,
      new Promise((resolve) => {
        timer = setTimeout(resolve, closeTimeoutMs);
      }),
    ]);
    clearTimeout(timer);
    this.destroy();
  }

  destroy(): void {
    // amqplib ends its heartbeat when the socket fails, not when it is closed on this side.
    if (!this.#socket.destroyed)
      this.#socket.destroy(new AppError('connection_lost', 'The connection was closed'));
    this.#end(new AppError('connection_lost', 'The connection was closed'));
  }

  #end(error: unknown): void {
    this.#ended ??= classifyRabbitMqError(error);
    if (!this.#socket.destroyed) this.#socket.destroy(this.#ended);
  }

  /** Runs `work` on a channel of its own, and closes it in good order. */
  /** The work's outcome, or a failure as soon as the server says that it reads no more for now. */
  async #unlessBlocked<T>(work: Promise<T>): Promise<T> {
    let onBlocked = () => {};
    const blocked = new Promise<never>((_, reject) => {
      onBlocked = () => reject(blockedBy(this.#blocked ?? ''));
    });
    this.#onBlocked.add(onBlocked);
    work.catch(() => {});
    try {
      return await Promise.race([work, blocked]);
    } finally {
      this.#onBlocked.delete(onBlocked);
    }
  }

  async #withChannel<T>(signal: AbortSignal, work: (channel: Channel) => Promise<T>): Promise<T> {
    if (this.#blocked !== undefined) throw blockedBy(this.#blocked);
    const opening = this.#model.createChannel();
    const channel = await this.#unlessBlocked(untilAborted({ signal }, opening)).catch((error) => {
      opening.then(closeQuietly, () => {});
      throw this.#ended ?? error;
    });
    let closed: Error | undefined;
    channel.on('error', (error: Error) => {
      closed = error;
    });
    this.#channels++;
    try {
      return await this.#unlessBlocked(
        untilAborted(
          { signal },
          (async () => {
            const result = await work(channel);
            await channel.close();
            return result;
          })(),
        ),
      );
    } catch (error) {
      if (!closed && this.alive) void closeQuietly(channel);
      throw closed ?? this.#ended ?? error;
    } finally {
      this.#channels--;
    }
  }

  async #sharedChannel(signal: AbortSignal): Promise<ConfirmedChannel> {
    this.#publishing ??= this.#openConfirmed();
    const opening = this.#publishing;
    opening.then(
      (channel) => {
        if (this.#publishing === opening) this.#shared = channel;
      },
      () => {
        if (this.#publishing === opening) this.#publishing = undefined;
      },
    );
    return untilAborted({ signal }, opening);
  }

  async #openConfirmed(): Promise<ConfirmedChannel> {
    const channel = new ConfirmedChannel((await this.#model.createConfirmChannel()) as ProtocolChannel);
    this.#confirmed.add(channel);
    channel.closed.then(() => this.#confirmed.delete(channel));
    return channel;
  }
}

/** A channel in confirm mode: each message has the server's word, or what became of it. */
class ConfirmedChannel {
  /** Why it can no longer be used. */
  error: AppError | undefined;
  readonly closed: Promise<void>;
  readonly #channel: ProtocolChannel;
  readonly #pending = new Crowd<Pending>();
  /** How many messages there were. */
  #count = 0;
  /** Pending and not sent yet, in order. */
  #gathered: Pending[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(channel: ProtocolChannel) {
    this.#channel = channel;
    channel.on('error', (error: Error) => this.#fail(classifyRabbitMqError(error)));
    channel.on('return', (message: Message) => this.#onReturn(message));
    this.closed = new Promise((resolve) => {
      channel.on('close', () => {
        this.#fail(
          new AppError(
            'connection_lost',
            'The connection was lost before the server confirmed the message, which it may have all the same',
          ),
        );
        resolve();
      });
    });
  }

  /** Messages that wait for the server's word. */
  get unconfirmed(): number {
    return this.#pending.size;
  }

  /** What became of the message; never rejects. */
  publish(message: OutgoingMessage): Promise<Outcome> {
    if (this.error) return Promise.resolve(this.error);
    return new Promise((resolve) => {
      const unconfirmed = this.#pending.size - this.#gathered.length;
      const pending: Pending = {
        message,
        number: this.#count++,
        place: 0,
        settle: (outcome) => {
          this.#pending.delete(pending);
          resolve(outcome);
        },
      };
      this.#pending.add(pending);
      if (unconfirmed < gatherFrom && this.#gathered.length === 0) {
        this.#send(pending);
        return;
      }
      this.#gathered.push(pending);
      this.#timer ??= setTimeout(() => this.flush(), gatherMs);
      this.#flushWhenHalf();
    });
  }

  /** Sends what has been gathered. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const gathered = this.#gathered;
    this.#gathered = [];
    for (const pending of gathered) if (this.#pending.has(pending)) this.#send(pending);
  }

  /** Half of what is under way is enough to keep the server busy while the other half gathers. */
  #flushWhenHalf(): void {
    const gathered = this.#gathered.length;
    if (gathered > 0 && gathered * 2 >= this.#pending.size) this.flush();
  }

  #send(pending: Pending): void {
    const { method, properties, content } = pending.message;
    try {
      this.#channel.sendMessage(method, properties, content);
    } catch (error) {
      pending.settle(this.error ?? classifyRabbitMqError(error));
      return;
    }
    this.#channel.pushConfirmCallback((error) => {
      // When the channel ends, each has been told why already.
      if (!this.#pending.has(pending)) return;
      pending.settle(error ? classifyRabbitMqError(error) : pending.returned);
      this.#flushWhenHalf();
    });
  }

  async close(): Promise<void> {
    if (!this.error) await closeQuietly(this.#channel);
  }

  #inOrder(): Pending[] {
    return [...this.#pending].sort((a, b) => a.number - b.number);
  }

  #fail(error: AppError): void {
    if (this.error) return;
    this.error = error;
    clearTimeout(this.#timer);
    this.#gathered = [];
    const all = this.#inOrder();
    // A refusal names no message, but for its size; only when there is a single one it is meant for sure.
    const isMeant = ({ message: { content } }: Pending) =>
      error.code === 'message_too_large' && error.message.includes(` ${content.length} `);
    const outcome =
      all.length <= 1 || error.code === 'connection_lost'
        ? error
        : new AppError(
            'connection_lost',
            `The server closed the channel because of one of ${all.length} messages (${error.message}); whether it has the others is not known`,
            { cause: error },
          );
    for (const pending of all) pending.settle(isMeant(pending) ? error : outcome);
  }

  /** A return says no number, but comes in order: it is for the first such message that has not had one. */
  #onReturn({ fields, content }: Message): void {
    const { exchange, routingKey, replyText } = fields as unknown as Record<string, string>;
    for (const pending of this.#inOrder()) {
      const { method, content: sent } = pending.message;
      if (pending.returned || !method.mandatory) continue;
      if (method.exchange !== exchange || method.routingKey !== routingKey || !sent.equals(content)) continue;
      pending.returned = new AppError(
        'unroutable',
        `The exchange '${exchange}' has no queue for the routing key '${routingKey}' (${replyText})`,
        {
          details: {
            hint:
              exchange === ''
                ? 'With the default exchange the routing key is the name of a queue, which must exist.'
                : 'Bind a queue to the exchange for this routing key, or publish with mandatory: false.',
          },
        },
      );
      return;
    }
  }
}

function blockedBy(reason: string): AppError {
  return new AppError('target_busy', `The server takes no messages for now: ${reason}`, {
    details: { hint: 'An alarm of the server (memory or disk) blocks all publishers; ask its operator.' },
  });
}

async function closeQuietly(channel: Channel): Promise<void> {
  await channel.close().catch(() => {});
}

function kindOf({ method, properties }: OutgoingMessage): string {
  return `${method.exchange}\0${properties['userId'] ?? ''}`;
}

/** What the server said while it was opened, of which amqplib tells no more than that it closed. */
interface Opening {
  /** Its reason for refusing. */
  refusal: AppError | undefined;
  /** How it lets log in. */
  mechanisms: string[];
}

function watchOpening(connection: ProtocolConnection): Opening {
  const { ConnectionStart, ConnectionClose } = loadProtocol().methods;
  const step = connection.step.bind(connection);
  const opening: Opening = { refusal: undefined, mechanisms: [] };
  connection.step = (done) =>
    step((error, frame) => {
      if (frame?.id === ConnectionStart)
        opening.mechanisms = String(frame.fields.mechanisms ?? '')
          .split(' ')
          .filter(Boolean);
      if (frame?.id === ConnectionClose)
        opening.refusal = classifyReply(frame.fields.replyCode ?? 0, frame.fields.replyText ?? '', error);
      done(error, frame);
    });
  return opening;
}

/** A refused log-in with what the server offers instead. */
function withMechanisms(error: unknown, mechanisms: readonly string[]): AppError {
  const { code, message, details } = classifyRabbitMqError(error);
  if (code !== 'authentication_failed' || mechanisms.length === 0) return classifyRabbitMqError(error);
  return new AppError(code, `${message} (PLAIN; the server offers ${mechanisms.join(', ')})`, {
    cause: error,
    details: mechanisms.includes('PLAIN')
      ? details
      : { ...details, hint: 'Let the server offer PLAIN: auth_mechanisms in rabbitmq.conf.' },
  });
}
