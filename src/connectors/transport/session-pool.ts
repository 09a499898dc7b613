import { AppError } from '../../errors.ts';
import { abortError } from '../connector.ts';

/** A session with a server that one caller uses at a time. */
export interface PooledSession {
  readonly alive: boolean;
  /** Has served as often as the server lets one session: it is ended instead of kept. */
  readonly spent?: boolean;
  /** Called before the session waits for its next caller. */
  rest?(): void;
  /** Calls `listener` when the session ends by itself; answers how to stop listening. */
  onEnd(listener: () => void): () => void;
  /** Says goodbye and closes, by force after a second; never rejects. */
  quit(): Promise<void>;
  /** Closes at once. */
  destroy(): void;
}

interface Waiter<S> {
  /** Gets an idle session, or undefined and with it the place to open one. */
  take(session: S | undefined): void;
  fail(error: AppError): void;
}

/** Sessions of one account: opened when needed, one caller each, closed after `idleMs` without work. */
export class SessionPool<S extends PooledSession> {
  readonly #open: (signal: AbortSignal) => Promise<S>;
  readonly #maxSessions: number;
  readonly #idleMs: number;
  readonly #idle: { session: S; timer: NodeJS.Timeout; forget: () => void }[] = [];
  readonly #busy = new Set<S>();
  readonly #waiters: Waiter<S>[] = [];
  /** Sessions that are idle, busy or being opened. */
  #places = 0;
  #closed = false;

  constructor(
    open: (signal: AbortSignal) => Promise<S>,
    { maxSessions, idleMs }: { maxSessions: number; idleMs: number },
  ) {
    this.#open = open;
    this.#maxSessions = maxSessions;
    this.#idleMs = idleMs;
  }

  get figures() {
    return { sessions: this.#places, idle: this.#idle.length, waiting: this.#waiters.length };
  }

  /**
   * Runs `work` with a session, logged in, of its own; waits for one when all are busy. `isReused` tells
   * whether the session has served before.
   */
  async use<T>(signal: AbortSignal, work: (session: S, isReused: boolean) => Promise<T>): Promise<T> {
    const { session, isReused } = await this.#acquire(signal);
    try {
      return await work(session, isReused);
    } finally {
      this.#release(session);
    }
  }

  /** Ends every session, busy ones by force; whoever waits fails. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiters.splice(0)) waiter.fail(closedError());
    for (const session of this.#busy) session.destroy();
    const idle = this.#idle.splice(0);
    await Promise.all(
      idle.map(async ({ session, timer, forget }) => {
        clearTimeout(timer);
        forget();
        await session.quit();
        this.#places--;
      }),
    );
  }

  async #acquire(signal: AbortSignal): Promise<{ session: S; isReused: boolean }> {
    if (this.#closed) throw closedError();
    if (signal.aborted) throw abortError(signal.reason);
    const reused = this.#takeIdle() ?? (await this.#place(signal));
    if (reused) {
      this.#busy.add(reused);
      return { session: reused, isReused: true };
    }
    try {
      const session = await this.#open(signal);
      if (this.#closed) {
        session.destroy();
        throw closedError();
      }
      this.#busy.add(session);
      return { session, isReused: false };
    } catch (error) {
      this.#vacate();
      throw error;
    }
  }

  #release(session: S): void {
    this.#busy.delete(session);
    if (!session.alive || this.#closed) {
      session.destroy();
      this.#vacate();
      return;
    }
    if (session.spent) {
      void session.quit();
      this.#vacate();
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter) {
      waiter.take(session);
      return;
    }
    session.rest?.();
    const timer = setTimeout(() => this.#dropIdle(session), this.#idleMs).unref();
    // A server may end an idle session whenever it likes.
    const forget = session.onEnd(() => this.#dropIdle(session));
    this.#idle.push({ session, timer, forget });
  }

  #takeIdle(): S | undefined {
    for (let entry = this.#idle.pop(); entry; entry = this.#idle.pop()) {
      clearTimeout(entry.timer);
      entry.forget();
      if (entry.session.alive) return entry.session;
      entry.session.destroy();
      this.#places--;
    }
    return undefined;
  }

  #dropIdle(session: S): void {
    const at = this.#idle.findIndex((entry) => entry.session === session);
    if (at < 0) return;
    const [entry] = this.#idle.splice(at, 1);
    clearTimeout(entry!.timer);
    entry!.forget();
    void session.quit();
    this.#vacate();
  }

  async #place(signal: AbortSignal): Promise<S | undefined> {
    if (this.#places < this.#maxSessions) {
      this.#places++;
      return undefined;
    }
    return new Promise((resolve, reject) => {
      const settle = () => signal.removeEventListener('abort', onAbort);
      const waiter: Waiter<S> = {
        take: (session) => {
          settle();
          resolve(session);
        },
        fail: (error) => {
          settle();
          reject(error);
        },
      };
      const onAbort = () => {
        const at = this.#waiters.indexOf(waiter);
        if (at >= 0) this.#waiters.splice(at, 1);
        reject(abortError(signal.reason));
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiters.push(waiter);
    });
  }

  #vacate(): void {
    // The place passes on, so the number of places stays.
    const waiter = this.#waiters.shift();
    if (waiter) waiter.take(undefined);
    else this.#places--;
  }
}

function closedError(): AppError {
  return new AppError('cancelled', 'The connection was closed');
}
