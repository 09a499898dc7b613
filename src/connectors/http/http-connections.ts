import type { Socket } from 'node:net';
import type { Client } from 'undici';
import { AppError } from '../../errors.ts';
import type { HttpDialler } from './http-dialler.ts';

export interface ConnectionLimits {
  perOrigin: number;
  /** Over all origins. */
  total: number;
}

/** One HTTP/1.1 connection, used by one request at a time. */
export interface HttpConnection {
  readonly client: Client;
  readonly socket: Socket;
}

interface Slot {
  readonly origin: string;
  state: 'dialling' | 'busy' | 'idle';
  connection?: HttpConnection;
}

interface Waiter {
  readonly origin: string;
  grant(slot: Slot): void;
  fail(error: AppError): void;
}

/**
 * Keep-alive connections with a limit for each origin and one over all of them, which undici's Agent
 * cannot hold: a redirect must not open more sockets than the connection is allowed. Each connection
 * is an undici Client on a socket that the worker's network has dialled, so that a dial can be
 * aborted and is never repeated behind the egress policy's back.
 */
export class HttpConnections {
  readonly #dialler: HttpDialler;
  readonly #limits: ConnectionLimits;
  readonly #slots = new Set<Slot>();
  readonly #waiters = new Set<Waiter>();
  #closed = false;

  constructor(dialler: HttpDialler, limits: ConnectionLimits) {
    this.#dialler = dialler;
    this.#limits = limits;
  }

  /**
   * A connection to the origin for the caller alone, until `release`. Fails with `target_timeout`
   * when none becomes free within the dialler's timeout, and with whatever the dial fails with.
   */
  async acquire(origin: URL, signal: AbortSignal): Promise<HttpConnection> {
    for (;;) {
      if (this.#closed) throw closedError();
      signal.throwIfAborted();
      const slot = this.#take(origin.origin) ?? (await this.#wait(origin.origin, signal));
      if (slot.connection) {
        if (!slot.connection.socket.destroyed) return slot.connection;
        this.#remove(slot);
        continue;
      }
      try {
        const socket = await this.#dialler.dial(origin, signal);
        if (this.#closed) {
          socket.destroy();
          throw closedError();
        }
        slot.connection = await adopt(origin, socket, () => this.#remove(slot));
        slot.state = 'busy';
        return slot.connection;
      } catch (error) {
        this.#remove(slot);
        throw error;
      }
    }
  }

  /** Gives a connection back; one that its request has left unusable is dropped. */
  release(connection: HttpConnection): void {
    for (const slot of this.#slots) {
      if (slot.connection !== connection) continue;
      if (connection.socket.destroyed) {
        this.#remove(slot);
      } else {
        // Re-inserted at the end, so that the set's order is that of last use.
        this.#slots.delete(slot);
        slot.state = 'idle';
        this.#slots.add(slot);
        this.#serve();
      }
      return;
    }
  }

  figures(): { connected: number; free: number; pending: number; running: number } {
    const slots = [...this.#slots];
    return {
      connected: slots.filter(({ connection }) => connection).length,
      free: slots.filter(({ state }) => state === 'idle').length,
      pending: this.#waiters.size,
      running: slots.filter(({ state }) => state === 'busy').length,
    };
  }

  /** Ends every connection and whatever waits for one. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiters) waiter.fail(closedError());
    const connections = [...this.#slots].flatMap(({ connection }) => connection ?? []);
    this.#slots.clear();
    await Promise.all(connections.map((connection) => end(connection, closedError())));
  }

  #take(origin: string): Slot | undefined {
    const slots = [...this.#slots];
    const idle = slots.findLast((slot) => slot.origin === origin && slot.state === 'idle');
    if (idle) {
      idle.state = 'busy';
      return idle;
    }
    if (slots.filter((slot) => slot.origin === origin).length >= this.#limits.perOrigin) return undefined;
    if (slots.length >= this.#limits.total) {
      const evicted = slots.find(({ state }) => state === 'idle');
      if (!evicted) return undefined;
      this.#drop(evicted);
    }
    const slot: Slot = { origin, state: 'dialling' };
    this.#slots.add(slot);
    return slot;
  }

  #wait(origin: string, signal: AbortSignal): Promise<Slot> {
    const waitMs = this.#dialler.timeoutMs;
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', aborted);
        this.#waiters.delete(waiter);
      };
      const waiter: Waiter = {
        origin,
        grant(slot) {
          settle();
          resolve(slot);
        },
        fail(error) {
          settle();
          reject(error);
        },
      };
      const aborted = () => {
        settle();
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        const { perOrigin, total } = this.#limits;
        waiter.fail(
          new AppError('target_timeout', `No connection became free within ${waitMs} ms`, {
            details: {
              hint: `The limits are ${perOrigin} connections a host and ${total} in total; the target is slow or they are too low.`,
            },
          }),
        );
      }, waitMs);
      signal.addEventListener('abort', aborted, { once: true });
      this.#waiters.add(waiter);
    });
  }

  #serve(): void {
    if (this.#closed) return;
    for (const waiter of this.#waiters) {
      const slot = this.#take(waiter.origin);
      if (slot) waiter.grant(slot);
    }
  }

  #remove(slot: Slot): void {
    if (!this.#slots.has(slot)) return;
    this.#drop(slot);
    this.#serve();
  }

  #drop(slot: Slot): void {
    this.#slots.delete(slot);
    if (slot.connection) void end(slot.connection, new AppError('connection_lost'));
  }
}

/** An undici client on a connected socket, which it never replaces; `gone` is called once that has closed. */
export async function adopt(origin: URL, socket: Socket, gone: () => void): Promise<HttpConnection> {
  const { Client } = await import('undici');
  let used = false;
  const client = new Client(origin.origin, {
    pipelining: 1,
    allowH2: false,
    // Timeouts are the exchange's own: undici's are only exact to half a second.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect(_options, callback) {
      // In TLS 1.3 the target's refusal of the client's certificate comes after the handshake.
      if (used || socket.destroyed) return callback(socket.errored ?? new AppError('connection_lost'), null);
      used = true;
      // Called back within the call, the client would not notice that it may go on.
      queueMicrotask(() => callback(null, socket));
    },
  });
  client.on('disconnect', gone);
  // Until undici has the socket, nobody else listens.
  socket.on('error', () => {});
  socket.once('close', gone);
  return { client, socket };
}

/** Ends a connection; a request that runs on it fails with the error. */
export async function end({ client, socket }: HttpConnection, error: AppError): Promise<void> {
  await client.destroy(error);
  // The client knows the socket only once it has sent a request.
  socket.destroy();
}

function closedError(): AppError {
  return new AppError('cancelled', 'The connection was closed');
}
