import type { Socket } from 'node:net';
import { AppError } from '../../errors.ts';
import { abortError, type Network } from '../connector.ts';
import { elementSize, malformed } from './ber.ts';
import type { SnmpAddress } from './snmp.definition.ts';

export interface SnmpTarget extends SnmpAddress {
  network: Network;
  /** Bounds the dial and the wait for each answer; 0: no limit. */
  timeoutMs: number;
}

const noLimitMs = 2 ** 31 - 1;
/** How long the receiver is given to close after the last message. */
const closeMs = 1000;
/** Largest answer over TCP; an answer holds no more than the notification did. */
const maxFrameBytes = 4 * 1024 * 1024;

export interface ExchangeOptions<T> {
  /** How often the message is sent again after a time-out. */
  retries: number;
  timeoutMs: number;
  /** The answer, or undefined where the message belongs to another request; a throw ends the wait. */
  read: (bytes: Buffer) => T | undefined;
  signal: AbortSignal;
}

/** Whole messages, to and from one address. */
export abstract class SnmpChannel {
  #failure: AppError | undefined;
  #onMessage: ((bytes: Buffer) => void) | undefined;
  #onFailure: ((failure: AppError) => void) | undefined;

  abstract send(bytes: Buffer): Promise<void>;
  /** Waits until what was sent has left; may be called twice. */
  abstract finish(signal: AbortSignal): Promise<void>;
  abstract close(): void;

  protected received(bytes: Buffer): void {
    this.#onMessage?.(bytes);
  }

  protected failed(failure: AppError): void {
    this.#failure ??= failure;
    this.#onFailure?.(this.#failure);
  }

  get failure(): AppError | undefined {
    return this.#failure;
  }

  /** Sends until answered; fails with `target_timeout`, or with what became of the channel. One at a time. */
  exchange<T>(bytes: Buffer, { retries, timeoutMs, read, signal }: ExchangeOptions<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let left = retries;
      let timer: NodeJS.Timeout | undefined;
      const settle = (work: () => void) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#onMessage = undefined;
        this.#onFailure = undefined;
        work();
      };
      const fail = (error: unknown) => settle(() => reject(error));
      const onAbort = () => fail(abortError(signal.reason));
      const send = () => {
        timer = setTimeout(onTimeout, timeoutMs || noLimitMs);
        this.send(bytes).catch(fail);
      };
      const onTimeout = () => {
        if (left-- > 0) return send();
        const times = retries > 0 ? `${retries + 1} messages` : 'The message';
        fail(new AppError('target_timeout', `${times}: no answer within ${timeoutMs} ms each`));
      };
      this.#onFailure = fail;
      this.#onMessage = (message) => {
        try {
          const answer = read(message);
          if (answer !== undefined) settle(() => resolve(answer));
        } catch (error) {
          fail(error);
        }
      };
      if (signal.aborted) return onAbort();
      if (this.#failure) return fail(this.#failure);
      signal.addEventListener('abort', onAbort, { once: true });
      send();
    });
  }
}

/** A channel to the receiver; UDP has no connection, so that nothing is learnt of it by opening. */
export async function openChannel(target: SnmpTarget, signal: AbortSignal): Promise<SnmpChannel> {
  const { network, transport, host, port, timeoutMs } = target;
  if (signal.aborted) throw abortError(signal.reason);
  if (transport === 'udp') return UdpChannel.open(target, signal);
  const socket = await network.connect({ host, port, timeoutMs: timeoutMs || noLimitMs, signal });
  return new TcpChannel(socket);
}

class UdpChannel extends SnmpChannel {
  #sender: Awaited<ReturnType<Network['datagram']>> | undefined;

  static async open({ network, host, port }: SnmpTarget, signal: AbortSignal): Promise<UdpChannel> {
    const channel = new UdpChannel();
    channel.#sender = await network.datagram({
      host,
      port,
      signal,
      onMessage: (bytes) => channel.received(bytes),
      onFailure: (failure) => channel.failed(failure),
    });
    return channel;
  }

  async send(bytes: Buffer): Promise<void> {
    await this.#sender?.send(bytes);
  }

  async finish(): Promise<void> {}

  close(): void {
    this.#sender?.close();
  }
}

/** Messages one after the other, told apart by the length in their BER (RFC 3430 2.1). */
class TcpChannel extends SnmpChannel {
  readonly #socket: Socket;
  #rest: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    super();
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', (error) => this.failed(new AppError('connection_lost', undefined, { cause: error })));
    socket.on('end', () => this.failed(new AppError('connection_lost')));
    socket.on('close', () => this.failed(new AppError('connection_lost')));
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    try {
      while (this.#rest.length > 0) {
        if (this.#rest[0] !== 0x30) throw malformed();
        const size = elementSize(this.#rest);
        if (!size) return;
        if (size.total > maxFrameBytes) throw malformed();
        if (this.#rest.length < size.total) return;
        const frame = this.#rest.subarray(0, size.total);
        this.#rest = this.#rest.subarray(size.total);
        this.received(frame);
      }
    } catch (error) {
      this.failed(error as AppError);
      this.#socket.destroy();
    }
  }

  async send(bytes: Buffer): Promise<void> {
    if (this.failure) throw this.failure;
    await new Promise<void>((resolve, reject) => {
      this.#socket.write(bytes, (error) => {
        if (error) reject(this.failure ?? new AppError('connection_lost', undefined, { cause: error }));
        else resolve();
      });
    });
  }

  /** Until the receiver has closed too, which says that it has the bytes; a reset fails with `connection_lost`. */
  async finish(signal: AbortSignal): Promise<void> {
    const socket = this.#socket;
    let reset: Error | undefined;
    socket.once('error', (error) => {
      reset = error;
    });
    await new Promise<void>((resolve) => {
      const settle = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', settle);
        resolve();
      };
      const timer = setTimeout(settle, closeMs);
      signal.addEventListener('abort', settle, { once: true });
      socket.once('close', settle);
      socket.end();
      if (socket.destroyed || signal.aborted) settle();
    });
    socket.destroy();
    if (signal.aborted) throw abortError(signal.reason);
    if (reset) throw new AppError('connection_lost', undefined, { cause: reset });
  }

  close(): void {
    this.#socket.destroy();
  }
}
