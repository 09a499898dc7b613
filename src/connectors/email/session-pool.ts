import { AppError } from '../../errors.ts';
import { abortError } from './smtp-reply.ts';
import type { SmtpSession } from './smtp-session.ts';

const maxSessions = 5;
/** Servers limit the mails of one session; Postfix and Exchange allow at least this many. */
const maxMailsPerSession = 100;
/** Shorter than the five minutes that servers wait at least (RFC 5321 4.5.3.2.7). */
const idleMs = 60_000;

interface Waiter {
  /** Gets an idle session, or undefined and with it the place to open one. */
  take(session: SmtpSession | undefined): void;
  fail(error: AppError): void;
}

/** Up to five sessions, opened when needed and kept for a minute. */
export class SessionPool {
  readonly #open: (signal: AbortSignal) => Promise<SmtpSession>;
  readonly #idle: { session: SmtpSession; timer: NodeJS.Timeout; forget: () => void }[] = [];
  readonly #busy = new Set<SmtpSession>();
  readonly #waiters: Waiter[] = [];
  /** Sessions that are idle, busy or being opened. */
  #places = 0;
  #closed = false;

  constructor(open: (signal: AbortSignal) => Promise<SmtpSession>) {
    this.#open = open;
  }

  get figures() {
    return { sessions: this.#places, idle: this.#idle.length, waiting: this.#waiters.length };
  }

  /** A session, logged in, of the caller's own until released; waits for one when all are busy. */
  async acquire(signal: AbortSignal): Promise<SmtpSession> {
    if (this.#closed) throw closedError();
    if (signal.aborted) throw abortError(signal);
    const session = this.#takeIdle() ?? (await this.#place(signal));
    if (session) {
      this.#busy.add(session);
      return session;
    }
    try {
      const opened = await this.#open(signal);
      if (this.#closed) {
        opened.destroy();
        throw closedError();
      }
      this.#busy.add(opened);
      return opened;
    } catch (error) {
      this.#vacate();
      throw error;
    }
  }

  /** Gives a session back. One that is dead, or has sent its share, makes room for another. */
  release(session: SmtpSession): void {
    this.#busy.delete(session);
    if (!session.alive || this.#closed) {
      session.destroy();
      this.#vacate();
      return;
    }
    if (session.mails >= maxMailsPerSession) {
      void session.quit();
      this.#vacate();
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter) {
      waiter.take(session);
      return;
    }
    session.rest();
    const timer = setTimeout(() => this.#dropIdle(session), idleMs).unref();
    // A server may end an idle session whenever it likes.
    const forget = session.onEnd(() => this.#dropIdle(session));
    this.#idle.push({ session, timer, forget });
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

  #takeIdle(): SmtpSession | undefined {
    for (let entry = this.#idle.pop(); entry; entry = this.#idle.pop()) {
      clearTimeout(entry.timer);
      entry.forget();
      if (entry.session.alive) return entry.session;
      entry.session.destroy();
      this.#places--;
    }
    return undefined;
  }

  #dropIdle(session: SmtpSession): void {
    const at = this.#idle.findIndex((entry) => entry.session === session);
    if (at < 0) return;
    const [entry] = this.#idle.splice(at, 1);
    clearTimeout(entry!.timer);
    entry!.forget();
    void session.quit();
    this.#vacate();
  }

  async #place(signal: AbortSignal): Promise<SmtpSession | undefined> {
    if (this.#places < maxSessions) {
      this.#places++;
      return undefined;
    }
    return new Promise((resolve, reject) => {
      const settle = () => signal.removeEventListener('abort', onAbort);
      const waiter: Waiter = {
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
        reject(abortError(signal));
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
