import type { Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { AppError } from '../../errors.ts';
import { abortError, type Network } from '../connector.ts';
import { classifyTlsError } from '../transport/tls-errors.ts';
import type { Channel, Frame } from './outbox.ts';
import { giveSpareBack, maxSpareLength, takeSpare } from './spare-buffers.ts';

export interface StreamTarget {
  network: Network;
  host: string;
  port: number;
  /** Bounds TCP and TLS together; 0: no limit. */
  timeoutMs: number;
  /** Longest time for the system to take one slice of what is written; 0: no limit. */
  stallMs: number;
  /** TLS from the first byte; undefined: plain TCP. */
  tls: ConnectionOptions | undefined;
  /** Most bytes that are handed to the socket at a time. */
  sliceBytes: number;
  noDelay: boolean;
  keepAlive: boolean;
}

/**
 * How long a new connection is watched before it is trusted: a balancer without a server, and a TLS 1.3
 * server that wants another client certificate, hang up only after the connection stands.
 */
const settleMs = 50;
const closeMs = 500;
const noLimitMs = 2 ** 31 - 1;

/** A TCP connection to the target, TLS not yet begun. */
export async function connectStream(target: StreamTarget, signal: AbortSignal): Promise<Socket> {
  const { network, host, port, timeoutMs } = target;
  if (signal.aborted) throw abortError(signal.reason);
  const socket = await network.connect({ host, port, timeoutMs: timeoutMs || noLimitMs, signal });
  return socket.setNoDelay(target.noDelay).setKeepAlive(target.keepAlive);
}

/** TLS over the connection, which is destroyed on failure. */
export async function secureStream(
  { network, host, tls, timeoutMs }: StreamTarget,
  socket: Socket,
  signal: AbortSignal,
  withinMs = timeoutMs || noLimitMs,
): Promise<TLSSocket> {
  try {
    return await network.secure(socket, { ...tls, host, timeoutMs: withinMs, signal });
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** A channel over a connection that is up; rejects when it does not last. */
export async function settleStream(
  target: StreamTarget,
  socket: Socket,
  signal: AbortSignal,
): Promise<StreamChannel> {
  const channel = new StreamChannel(socket, target);
  await channel.settle(signal);
  return channel;
}

/** Connects, secures and watches. */
export async function openStream(target: StreamTarget, signal: AbortSignal): Promise<StreamChannel> {
  const startedAt = performance.now();
  const socket = await connectStream(target, signal);
  if (!target.tls) return settleStream(target, socket, signal);
  const restMs = (target.timeoutMs || noLimitMs) - (performance.now() - startedAt);
  const secured = await secureStream(target, socket, signal, Math.max(1, Math.ceil(restMs)));
  return settleStream(target, secured, signal);
}

/** Frames over one connection to a server that never answers. */
export class StreamChannel implements Channel {
  readonly #socket: Socket;
  readonly #target: Pick<StreamTarget, 'stallMs' | 'sliceBytes'>;
  #failure: AppError | undefined;
  #closing = false;
  /** Of the write that is waited for. */
  #settleWrite: (() => void) | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(socket: Socket, target: Pick<StreamTarget, 'stallMs' | 'sliceBytes'>) {
    this.#socket = socket;
    this.#target = target;
    // Reading is the only way to learn that the peer has closed.
    socket.on('data', () =>
      this.#fail(
        new AppError('protocol_error', 'The target answers, which servers of this protocol never do', {
          details: { hint: 'Check that host and port belong to a log receiver, and whether it speaks TLS.' },
        }),
      ),
    );
    socket.on('end', () => this.#fail(lost()));
    socket.on('close', () => this.#fail(lost()));
    socket.on('error', (error) => this.#fail(classifyChannelError(error)));
    if (socket.destroyed) this.#fail(lost());
  }

  get failure(): AppError | undefined {
    return this.#failure;
  }

  onFailure(listener: () => void): void {
    if (this.#failure) listener();
    else this.#listeners.add(listener);
  }

  /** Watches for a moment whether the connection lasts; destroys it when it does not or on abort. */
  async settle(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const settle = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', settle);
        this.#listeners.delete(settle);
        resolve();
      };
      // After a stalled event loop, what has arrived meanwhile is read before the immediates.
      const timer = setTimeout(() => setImmediate(() => setImmediate(settle)), settleMs);
      this.onFailure(settle);
      signal.addEventListener('abort', settle, { once: true });
      if (signal.aborted) settle();
    });
    if (signal.aborted) {
      this.destroy();
      throw abortError(signal.reason);
    }
    if (this.#failure) throw this.#failure;
  }

  async write(frames: readonly Frame[]): Promise<void> {
    const text = textOf(frames);
    if (text === undefined || text.length > maxSpareLength) return this.#writeBytes(bytesOf(frames));
    const spare = takeSpare();
    await this.#writeBytes(spare.subarray(0, spare.write(text)));
    // Of a write that has failed it cannot be told who still reads from it.
    giveSpareBack(spare);
  }

  async #writeBytes(bytes: Buffer): Promise<void> {
    const { sliceBytes } = this.#target;
    for (let at = 0; at < bytes.length; at += sliceBytes) {
      if (this.#failure) throw this.#failure;
      const socket = this.#socket;
      const isWhole = bytes.length <= sliceBytes;
      socket.write(isWhole ? bytes : bytes.subarray(at, at + sliceBytes), this.#onWritten);
      // Mostly the system takes it at once, and there is nothing to wait for.
      if (socket.writableLength > 0 || socket.destroyed) await this.#written();
    }
  }

  readonly #onWritten = (error?: Error | null): void => {
    if (error) this.#fail(classifyChannelError(error));
    else if (this.#socket.writableLength === 0) this.#settleWrite?.();
  };

  /** Resolves when the system has taken what was written last. */
  #written(): Promise<void> {
    return new Promise((resolve, reject) => {
      const { stallMs } = this.#target;
      const settle = () => {
        clearTimeout(timer);
        this.#listeners.delete(settle);
        this.#settleWrite = undefined;
        if (this.#failure) reject(this.#failure);
        else resolve();
      };
      const stalled = () =>
        this.#fail(
          new AppError('target_timeout', `The target has taken nothing for ${stallMs} ms`, {
            details: { hint: 'The receiver is connected but does not read: check its load and its log.' },
          }),
        );
      const timer = stallMs > 0 ? setTimeout(stalled, stallMs) : undefined;
      this.#settleWrite = settle;
      this.onFailure(settle);
    });
  }

  async close(): Promise<void> {
    this.#closing = true;
    const socket = this.#socket;
    if (!socket.destroyed) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => socket.destroy(), closeMs);
        socket.once('close', () => {
          clearTimeout(timer);
          resolve();
        });
        socket.end();
      });
    }
    this.#fail(lost());
  }

  destroy(): void {
    this.#closing = false;
    this.#fail(lost());
  }

  #fail(error: AppError): void {
    // The peer's own end is what an orderly close waits for.
    if (this.#closing && !this.#socket.destroyed) return;
    this.#socket.destroy();
    if (this.#failure) return;
    this.#failure = error;
    for (const listener of [...this.#listeners]) listener();
    this.#listeners.clear();
  }
}

/** The frames one after the other; undefined where one is none of text. */
function textOf(frames: readonly Frame[]): string | undefined {
  let text = '';
  for (const frame of frames) {
    if (typeof frame !== 'string') return undefined;
    text += frame;
  }
  return text;
}

/** The frames one after the other; texts are joined as such, because each made into bytes by itself costs more. */
function bytesOf(frames: readonly Frame[]): Buffer {
  const parts: Buffer[] = [];
  let text = '';
  for (const frame of frames)
    if (typeof frame === 'string') text += frame;
    else {
      if (text !== '') parts.push(Buffer.from(text));
      text = '';
      parts.push(...frame);
    }
  if (text !== '') parts.push(Buffer.from(text));
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

function lost(cause?: unknown): AppError {
  return new AppError('connection_lost', 'The target closed the connection', { cause });
}

/** An error of a connection that stood, as one of ours. */
export function classifyChannelError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const tls = classifyTlsError(error);
  if (tls) return tls;
  const { code = '' } = (error ?? {}) as { code?: unknown };
  if (String(code).startsWith('E')) return lost(error);
  return new AppError('internal_error', undefined, { cause: error });
}
