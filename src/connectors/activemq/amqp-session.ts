import type { Socket } from 'node:net';
import rhea, {
  type Connection,
  type Delivery,
  type EventContext,
  type Message,
  type Receiver,
  type Sender,
  type Session,
} from 'rhea';
import { AppError } from '../../errors.ts';
import { abortError, untilAborted } from '../connector.ts';
import { within } from '../transport/deadline.ts';
import { classifyActiveMqError, lackOfRights } from './activemq-errors.ts';
import { type ActiveMqSettings, type BrokerTarget, uniqueClientId } from './activemq-settings.ts';
import { discardAborted } from './amqp-aborts.ts';
import { bodySize, describeMessage } from './amqp-message.ts';
import { AmqpTransaction } from './amqp-transaction.ts';
import {
  type BrokerSession,
  maxReceivedBytes,
  type OutgoingMessage,
  type ReceivedMessage,
  type SendOutcome,
} from './broker-session.ts';

/** Messages of one call that wait for the broker's word at most; rhea's session holds 2048. */
const window = 500;
/**
 * Messages that the broker may send on at a time. ActiveMQ Classic reads its queue only when credit is
 * given or something is acknowledged, 200 messages at a time: all the credit at once would get no more.
 */
const creditStep = 100;
/** Annotation by which JMS clients know the kind of message. */
const jmsMessageType = 'x-opt-jms-msg-type';
const jmsText = 5;
const jmsBytes = 3;

interface Pending {
  readonly settled: Promise<void>;
  resolve(): void;
  reject(error: AppError): void;
}

/** A broker by AMQP 1.0, spoken by rhea over a socket of the worker's network. */
export class AmqpSession implements BrokerSession {
  readonly #connection: Connection;
  readonly #socket: Socket;
  readonly #settings: ActiveMqSettings;
  readonly #clientId: string;
  readonly #closed: Promise<void>;
  readonly #pending = new Map<Delivery, Pending>();
  readonly #onEnd = new Set<(error: AppError) => void>();
  #sender: Promise<Sender> | undefined;
  #sequence = 0;
  #receivers = 0;
  #ended: AppError | undefined;
  #isClosing = false;

  private constructor(connection: Connection, socket: Socket, settings: ActiveMqSettings, clientId: string) {
    this.#connection = connection;
    this.#socket = socket;
    this.#settings = settings;
    this.#clientId = clientId;
    const end = (error: unknown) => this.#end(error);
    // The connection's own word comes before the socket's.
    connection.on('connection_error', ({ error }: EventContext) => end(error));
    connection.on('protocol_error', end);
    connection.on('error', (error: unknown) => end(error instanceof RangeError ? unreadable(error) : error));
    connection.on('session_error', ({ session }: EventContext) => end(session?.error));
    connection.on('connection_close', () => end(lost()));
    connection.on('disconnected', ({ error }: EventContext) => end(error ?? lost()));
    this.#closed = new Promise((resolve) => {
      socket.once('close', () => {
        end(lost());
        resolve();
      });
    });
  }

  static async start(
    target: BrokerTarget,
    socket: Socket,
    settings: ActiveMqSettings,
    signal: AbortSignal,
  ): Promise<AmqpSession> {
    const clientId = uniqueClientId(settings);
    const connection = rhea.create_container({ id: clientId }).create_connection({
      host: target.host,
      hostname: target.virtualHost ?? target.host,
      port: target.port,
      container_id: clientId,
      // Without a user name a broker is asked for its anonymous log-in, which rhea does by a name alone.
      username: target.username ?? 'anonymous',
      ...(target.password === undefined ? {} : { password: target.password }),
      reconnect: false,
      idle_time_out: target.maxInactivityMs,
      max_frame_size: target.maxFrameBytes,
      // Dialled before, through the worker's network: rhea is told that it is connected already.
      connection_details: (() => ({
        connect: (_port: number, _host: string, _options: unknown, connected: () => void) => {
          process.nextTick(connected);
          return socket;
        },
      })) as never,
    });
    const session = new AmqpSession(connection, socket, settings, clientId);
    const opened = new Promise<void>((resolve, reject) => {
      connection.once('connection_open', () => resolve());
      session.#onEnd.add(reject);
    });
    opened.catch(() => {});
    connection.connect();
    const mechanisms = offeredMechanisms(connection);
    try {
      await within(opened, {
        timeoutMs: settings.connectTimeoutMs,
        signal,
        late: () => late('open the connection', settings.connectTimeoutMs),
      });
    } catch (error) {
      session.destroy();
      throw loginError(error, mechanisms);
    }
    return session;
  }

  get alive(): boolean {
    return this.#ended === undefined && !this.#isClosing;
  }

  get description(): string {
    const properties = (this.#connection.properties ?? {}) as Record<string, unknown>;
    const product = [properties['product'], properties['version']].filter((each) => each !== undefined);
    return `AMQP 1.0, ${product.join(' ') || `broker ${this.#connection.container_id}`}`;
  }

  get figures() {
    return { unanswered: this.#pending.size, consumers: this.#receivers };
  }

  async prove(signal: AbortSignal): Promise<void> {
    if (this.#ended) throw this.#ended;
    const session = this.#connection.create_session();
    await this.#request(
      this.#settled<void>((resolve) => {
        session.once('session_open', () => session.close());
        session.once('session_close', () => resolve());
        session.begin();
      }),
      signal,
    ).finally(() => session.remove());
  }

  async rehearse(signal: AbortSignal) {
    return {
      send: await lackOfRights(async () => {
        const sender = await this.#request(this.#openSender(), signal);
        await this.#request(this.#closeLink(sender), signal);
      }),
      receive: await lackOfRights(async () => {
        const receiver = await this.#request(
          this.#openReceiver(() => {}),
          signal,
        );
        await this.#request(this.#closeLink(receiver), signal);
      }),
    };
  }

  async send(
    messages: readonly OutgoingMessage[],
    together: boolean,
    signal: AbortSignal,
  ): Promise<SendOutcome[]> {
    if (!together) return this.#sendEach(messages, await this.#request(this.#takeSender(), signal), signal);
    return this.#within(signal, async (transaction) => {
      const sender = await this.#request(this.#openSender(transaction.session), signal);
      await this.#request(transaction.declare(), signal);
      const outcomes = await this.#sendEach(messages, sender, signal);
      const failed = outcomes.find((outcome) => 'error' in outcome);
      if (failed) throw failed.error;
      await this.#request(transaction.commit(), signal);
      return outcomes;
    });
  }

  async #sendEach(
    messages: readonly OutgoingMessage[],
    sender: Sender,
    signal: AbortSignal,
  ): Promise<SendOutcome[]> {
    const { sendTimeoutMs } = this.#settings;
    const outcomes: Promise<SendOutcome>[] = [];
    for (const message of messages) {
      if (outcomes.length >= window) await outcomes[outcomes.length - window];
      const messageId = `ID:${this.#clientId}:${++this.#sequence}`;
      let hasLeft = false;
      const outcome = this.#transfer(sender, this.#encode(message, messageId), signal, () => {
        hasLeft = true;
      });
      outcomes.push(
        within(outcome, {
          timeoutMs: sendTimeoutMs,
          signal,
          late: () => (hasLeft ? late('take the message', sendTimeoutMs) : noCredit(sendTimeoutMs)),
        })
          .then(() => ({ messageId }))
          .catch((error: unknown) => ({ error: classifyActiveMqError(error) })),
      );
    }
    return Promise.all(outcomes);
  }

  async receive(
    limits: { maxMessages: number; timeoutMs: number },
    signal: AbortSignal,
  ): Promise<ReceivedMessage[]> {
    this.#receivers++;
    try {
      if (this.#settings.acknowledgement === 'SESSION_TRANSACTED')
        return await this.#within(signal, (transaction) =>
          this.#take(limits, signal, transaction.session, transaction),
        );
      // Its own, since those that receive side by side would share what one takes in without an acknowledgement.
      const session = this.#connection.create_session();
      session.begin();
      try {
        return await this.#take(limits, signal, session);
      } finally {
        session.once('session_close', () => session.remove());
        if (this.alive) session.close();
      }
    } finally {
      this.#receivers--;
    }
  }

  async #take(
    { maxMessages, timeoutMs }: { maxMessages: number; timeoutMs: number },
    signal: AbortSignal,
    session: Session,
    transaction?: AmqpTransaction,
  ): Promise<ReceivedMessage[]> {
    discardAborted(session);
    const taken: { message: Message; delivery: Delivery }[] = [];
    let bytes = 0;
    let granted = 0;
    let isFull = false;
    let enough = () => {};
    const full = new Promise<void>((resolve) => {
      enough = () => {
        isFull = true;
        resolve();
      };
    });
    const grant = (to: Receiver) => {
      const more = Math.min(creditStep, maxMessages - granted);
      if (more <= 0 || granted - taken.length > creditStep) return;
      granted += more;
      to.add_credit(more);
    };
    let timer: NodeJS.Timeout | undefined;
    let forget = () => {};
    let receiver: Receiver | undefined;
    try {
      const onMessage = ({ message, delivery, receiver: from }: EventContext) => {
        if (!message || !delivery) return;
        if (isFull) return void delivery.release();
        bytes += bodySize(message);
        taken.push({ message, delivery });
        if (taken.length >= maxMessages || bytes >= maxReceivedBytes) enough();
        else grant(from!);
      };
      receiver = await this.#request(this.#openReceiver(onMessage, session), signal);
      grant(receiver);
      const over = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, timeoutMs);
      });
      const ended = this.#settled<void>((resolve) => {
        forget = resolve;
      });
      await untilAborted({ signal }, Promise.race([full, over, ended]));
      isFull = true;
      const messages = taken.map(({ message }) => describeMessage(message));
      if (transaction && taken.length > 0) await this.#request(transaction.declare(), signal);
      for (const { delivery } of taken)
        if (transaction) transaction.accept(delivery);
        else delivery.accept();
      if (transaction) await this.#request(transaction.commit(), signal);
      // The orderly end of the link is answered after the dispositions before it.
      await this.#request(this.#closeLink(receiver), signal);
      return messages;
    } catch (error) {
      receiver?.close();
      throw classifyActiveMqError(error);
    } finally {
      clearTimeout(timer);
      forget();
    }
  }

  /** Works with a transaction, which is rolled back when the work fails. */
  async #within<T>(signal: AbortSignal, work: (transaction: AmqpTransaction) => Promise<T>): Promise<T> {
    if (this.#ended) throw this.#ended;
    signal.throwIfAborted();
    const transaction = new AmqpTransaction(this.#connection, (begin) => this.#settled(begin));
    try {
      return await work(transaction);
    } catch (error) {
      // A lost connection rolls back by itself. The caller may be gone, so that its signal does not count.
      if (this.alive)
        await this.#request(
          this.#settledWithin(transaction.session).then(() => transaction.rollback()),
          new AbortController().signal,
        ).catch(() => this.destroy());
      throw classifyActiveMqError(error);
    } finally {
      if (this.alive) transaction.end();
    }
  }

  async close(): Promise<void> {
    if (!this.alive) return this.destroy();
    this.#isClosing = true;
    const { closeTimeoutMs } = this.#settings;
    this.#connection.close();
    await within(this.#closed, {
      timeoutMs: closeTimeoutMs,
      signal: new AbortController().signal,
      late: () => late('close the connection', closeTimeoutMs),
    }).catch(() => {});
    this.destroy();
  }

  destroy(): void {
    this.#end(lost());
  }

  #end(cause: unknown): void {
    if (!this.#ended) {
      this.#ended = classifyActiveMqError(cause);
      for (const pending of this.#pending.values()) pending.reject(this.#ended);
      this.#pending.clear();
      for (const listener of this.#onEnd) listener(this.#ended);
      this.#onEnd.clear();
    }
    if (!this.#socket.destroyed) this.#socket.destroy();
    // rhea ends its timers when the socket reports its end, which a destroyed one does not.
    (this.#connection as unknown as { _disconnected(error?: Error): void })._disconnected();
  }

  /** Settles as `begin` says, or fails when the connection ends. */
  #settled<T>(begin: (resolve: (value: T) => void, reject: (error: unknown) => void) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      const onEnd = (error: AppError) => reject(error);
      this.#onEnd.add(onEnd);
      const done =
        <A>(settle: (value: A) => void) =>
        (value: A) => {
          this.#onEnd.delete(onEnd);
          settle(value);
        };
      begin(done(resolve), done(reject));
    });
  }

  #openSender(over: Connection | Session = this.#connection): Promise<Sender> {
    return this.#settled((resolve, reject) => {
      const { kind } = this.#settings.destination;
      const sender = over.open_sender({
        target: { address: this.#address(), capabilities: [kind] as never },
        source: { address: this.#clientId },
        autosettle: true,
      });
      // Each message of a batch may wait for credit.
      sender.setMaxListeners(0);
      sender.on('sender_open', () => {
        // A refused link is opened without a target and closed at once (2.6.3); wait for the reason.
        if (sender.target?.address) resolve(sender);
      });
      sender.on('sender_error', () => reject(sender.error));
      sender.on('sender_close', () => {
        reject(sender.error ?? lost());
        for (const [delivery, pending] of this.#pending) {
          if ((delivery as unknown as { link: unknown }).link !== sender) continue;
          pending.reject(classifyActiveMqError(sender.error ?? lost()));
          this.#pending.delete(delivery);
        }
      });
      const settle =
        (outcome: (context: EventContext) => AppError | undefined) => (context: EventContext) => {
          const pending = this.#pending.get(context.delivery!);
          if (!pending) return;
          this.#pending.delete(context.delivery!);
          const error = outcome(context);
          if (error) pending.reject(error);
          else pending.resolve();
        };
      sender.on(
        'accepted',
        settle(() => undefined),
      );
      sender.on(
        'rejected',
        settle(({ delivery }) => {
          const { error } = (delivery?.remote_state ?? {}) as { error?: unknown };
          return error
            ? classifyActiveMqError(error)
            : new AppError('request_rejected', 'The broker rejected the message');
        }),
      );
      for (const outcome of ['released', 'modified'])
        sender.on(
          outcome,
          settle(() => new AppError('unroutable', `The broker did not take the message (${outcome})`)),
        );
    });
  }

  #takeSender(): Promise<Sender> {
    this.#sender ??= this.#openSender();
    const opening = this.#sender;
    const forget = () => {
      if (this.#sender === opening) this.#sender = undefined;
    };
    opening.then((sender) => sender.once('sender_close', forget), forget);
    return opening;
  }

  #openReceiver(
    onMessage: (context: EventContext) => void,
    over: Connection | Session = this.#connection,
  ): Promise<Receiver> {
    return this.#settled((resolve, reject) => {
      const { kind } = this.#settings.destination;
      const receiver = over.open_receiver({
        source: { address: this.#address(), capabilities: [kind] as never },
        target: { address: this.#clientId },
        credit_window: 0,
        autoaccept: false,
      });
      receiver.on('message', onMessage);
      receiver.on('receiver_open', () => {
        if (receiver.source?.address) resolve(receiver);
      });
      receiver.on('receiver_error', () => reject(receiver.error));
      receiver.on('receiver_close', () => reject(receiver.error ?? lost()));
    });
  }

  #closeLink(link: Sender | Receiver): Promise<void> {
    return this.#settled((resolve) => {
      if (!link.is_remote_open()) return resolve();
      link.once(link.is_receiver() ? 'receiver_close' : 'sender_close', () => resolve());
      link.close();
    });
  }

  async #transfer(sender: Sender, message: Message, signal: AbortSignal, onLeave: () => void): Promise<void> {
    while (!sender.sendable()) {
      if (this.#ended) throw this.#ended;
      if (sender.is_closed()) throw classifyActiveMqError(sender.error ?? lost());
      // Without credit the broker takes nothing for now.
      const signs = ['sendable', 'settled', 'sender_close'];
      let awake = () => {};
      const sign = this.#settled<void>((resolve) => {
        awake = () => resolve();
        for (const each of signs) sender.on(each, awake);
      });
      await untilAborted({ signal }, sign).finally(() => {
        for (const each of signs) sender.off(each, awake);
      });
    }
    if (this.#ended) throw this.#ended;
    if (signal.aborted) throw abortError(signal.reason);
    const { promise: settled, resolve, reject } = Promise.withResolvers<void>();
    this.#pending.set(sender.send(message), { settled, resolve, reject });
    onLeave();
    await settled;
  }

  /** What has left must arrive before the transaction ends, or it would be no part of it. */
  async #settledWithin(session: Session): Promise<void> {
    const underWay = [...this.#pending].filter(
      ([delivery]) => (delivery as unknown as { link: Sender }).link.session === session,
    );
    await Promise.allSettled(underWay.map(([, { settled }]) => settled));
  }

  /** As Qpid's JMS client does: the broker says by a property of its own what stands before a plain name. */
  #address(): string {
    const { kind, name } = this.#settings.destination;
    const prefix = (this.#connection.properties as Record<string, unknown> | undefined)?.[`${kind}-prefix`];
    return typeof prefix === 'string' ? `${prefix}${name}` : name;
  }

  #encode(message: OutgoingMessage, messageId: string): Message {
    const { contentType, contentEncoding } = this.#settings;
    const { body } = message;
    return {
      durable: message.persistent,
      priority: message.priority,
      ...(message.timeToLiveMs > 0
        ? {
            ttl: message.timeToLiveMs,
            absolute_expiry_time: new Date(Date.now() + message.timeToLiveMs),
          }
        : {}),
      message_id: messageId,
      to: this.#address(),
      creation_time: new Date(),
      ...(message.type === undefined ? {} : { subject: message.type }),
      ...(message.correlationId === undefined ? {} : { correlation_id: message.correlationId }),
      ...(message.replyTo === undefined ? {} : { reply_to: message.replyTo }),
      ...(contentType === undefined ? {} : { content_type: contentType }),
      ...(contentEncoding === undefined ? {} : { content_encoding: contentEncoding }),
      message_annotations: {
        [jmsMessageType]: rhea.types.wrap_byte(body.kind === 'text' ? jmsText : jmsBytes),
      },
      application_properties: Object.fromEntries(
        Object.entries(message.properties).map(([name, value]) => [name, encodeProperty(value)]),
      ),
      body: body.kind === 'text' ? body.text : rhea.message.data_section(body.bytes),
    };
  }

  async #request<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
    const { requestTimeoutMs: timeoutMs } = this.#settings;
    try {
      return await within(work, { timeoutMs, signal, late: () => late('answer', timeoutMs) });
    } catch (error) {
      throw classifyActiveMqError(error);
    }
  }
}

/** Whole numbers as Java's int or long: AMQP would write them as small as they fit. */
function encodeProperty(value: OutgoingMessage['properties'][string]): unknown {
  if (typeof value !== 'number') return value;
  if (!Number.isSafeInteger(value)) return rhea.types.wrap_double(value);
  return value === (value | 0) ? rhea.types.wrap_int(value) : rhea.types.wrap_long(value);
}

function lost(): AppError {
  return new AppError('connection_lost', 'The broker closed the connection');
}

/** What rhea throws where bytes are missing or too many. */
function unreadable(cause: RangeError): AppError {
  return new AppError('protocol_error', `The broker sent what cannot be read: ${cause.message}`, { cause });
}

function late(what: string, timeoutMs: number): AppError {
  return new AppError('target_timeout', `The broker did not ${what} in ${timeoutMs} ms`);
}

/** Artemis lets nobody begin to send to an address that is full. */
function noCredit(timeoutMs: number): AppError {
  return new AppError('quota_exceeded', `The broker let nothing be sent for ${timeoutMs} ms`, {
    details: { hint: 'The destination may be full, or the broker short of memory or disk.' },
  });
}

/** While logging in, a lack of rights means the credentials: there is nothing else yet to have a right to. */
function loginError(error: unknown, mechanisms: readonly string[]): AppError {
  const { code, message, details } = classifyActiveMqError(error);
  if (code !== 'permission_denied' && code !== 'authentication_failed') return classifyActiveMqError(error);
  const offered = mechanisms.length > 0 ? ` (the broker offers ${mechanisms.join(', ')})` : '';
  return new AppError('authentication_failed', `${message}${offered}`, {
    cause: error,
    details: code === 'permission_denied' ? {} : details,
  });
}

interface SaslFrame {
  performative: { sasl_server_mechanisms?: string | string[] };
}

/** How the broker lets log in, once it has said so, which rhea keeps to itself. */
function offeredMechanisms(connection: Connection): readonly string[] {
  const offered: string[] = [];
  const { sasl_transport: sasl } = connection as unknown as {
    sasl_transport?: { on_sasl_mechanisms(frame: SaslFrame): void };
  };
  if (sasl) {
    const take = sasl.on_sasl_mechanisms.bind(sasl);
    sasl.on_sasl_mechanisms = (frame) => {
      offered.push(...[frame.performative.sasl_server_mechanisms ?? []].flat());
      take(frame);
    };
  }
  return offered;
}
