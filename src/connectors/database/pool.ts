import { AppError } from '../../errors.ts';

/** Sizes and periods as c3p0 names them; a period of 0 never elapses. */
export interface PoolSettings {
  /** Opened by the first use; outside of min and max the nearest of the two counts. */
  initialPoolSize: number;
  minPoolSize: number;
  maxPoolSize: number;
  /** How many are opened at once when all are busy. */
  incrementCount: number;
  /** Longest wait for a connection, and longest time to open or to test one. */
  connectionTimeoutMs: number;
  idleConnectionTestPeriodMs: number;
  maxConnectionAgeMs: number;
  /** After which a connection beyond the minimum is closed. */
  maxIdleTimeMs: number;
  testConnectionOnCheckout: boolean;
  testConnectionOnCheckin: boolean;
}

/** What a pool needs to know of a driver. */
export interface PooledDriver<R> {
  /** Opens a connection; `lost` is to be called when it ends by itself. */
  create(signal: AbortSignal, lost: () => void): Promise<R>;
  /** Rejects when the connection is of no use any more, also when it is destroyed meanwhile. */
  validate(resource: R): Promise<void>;
  /** Closes it, without a farewell when `force` is set; must not throw. */
  destroy(resource: R, force: boolean): void;
}

/** A connection on loan; exactly one of the two ends the loan, later calls do nothing. */
export interface Lease<R> {
  readonly resource: R;
  /** `isSpent`: it shall serve nobody else, and ends with a farewell. */
  release(isSpent?: boolean): void;
  /** Ends the connection instead of returning it. */
  discard(): void;
}

export interface PoolFigures {
  size: number;
  idle: number;
  busy: number;
  waiting: number;
}

interface Member<R> {
  resource: R;
  state: 'idle' | 'testing' | 'busy' | 'gone';
  /** Ended by itself while it was on loan. */
  lost: boolean;
  createdAt: number;
  usedAt: number;
  testedAt: number;
}

interface Waiter<R> {
  /** Its place in the order of arrival. */
  readonly turn: number;
  settled: boolean;
  deliver(member: Member<R>): void;
  fail(error: unknown): void;
}

const FIRST_BACK_OFF_MS = 100;
const LONGEST_BACK_OFF_MS = 5_000;
/** After an answer that no retry changes (a refused log-in locks accounts). */
const REFUSED_BACK_OFF_MS = 10_000;
/** Stands in where `connectionTimeoutMs` is 0, so that nothing hangs for ever. */
const FALLBACK_TIMEOUT_MS = 30_000;
/** The longest delay of a Node timer. */
const LONGEST_TIMER_MS = 2_147_483_647;

/** The pool of every driver: lazy, bounded, first come first served; dials nothing before the first `acquire`. */
export class ConnectionPool<R> {
  readonly #settings: PoolSettings;
  readonly #driver: PooledDriver<R>;
  readonly #now: () => number;
  readonly #members = new Set<Member<R>>();
  /** Most recently used last, and taken first, so that a surplus becomes idle. */
  readonly #idle: Member<R>[] = [];
  readonly #waiters: Waiter<R>[] = [];
  readonly #ending = new AbortController();
  /** Aborted when what is being opened is wanted by nobody any more. */
  #opening = new AbortController();
  readonly #emptied = Promise.withResolvers<void>();
  #creating = 0;
  #turn = 0;
  #started = false;
  /** Whether the initial size was asked for: it is a start, not a floor. */
  #grown = false;
  #failure: { error: unknown; refused: boolean; backOffMs: number; retryAt: number } | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #upkeepTimer: NodeJS.Timeout | undefined;
  /** When it fires. */
  #upkeepAt = Number.POSITIVE_INFINITY;

  /** `now` is a clock in ms that never goes back. */
  constructor(settings: PoolSettings, driver: PooledDriver<R>, now: () => number = () => performance.now()) {
    this.#settings = settings;
    this.#driver = driver;
    this.#now = now;
  }

  figures(): PoolFigures {
    const busy = [...this.#members].filter(({ state }) => state === 'busy').length;
    return {
      size: this.#members.size,
      idle: this.#members.size - busy,
      busy,
      waiting: this.#waiters.length,
    };
  }

  /**
   * A connection to use alone. Fails with what opening one failed with, `unavailable` when none came
   * free in time, `cancelled` on abort, and `not_active` once the pool is closed.
   */
  acquire(signal?: AbortSignal): Promise<Lease<R>> {
    if (this.#ending.signal.aborted) return Promise.reject(closed());
    if (signal?.aborted) return Promise.reject(aborted(signal));
    const failure = this.#failure;
    if (failure?.refused && this.#members.size === 0 && this.#now() < failure.retryAt)
      return Promise.reject(failure.error);
    this.#started = true;
    const atHand = this.#takeIdle();
    if (atHand) return Promise.resolve(this.#lease(atHand));
    const { promise, resolve, reject } = Promise.withResolvers<Lease<R>>();
    const { connectionTimeoutMs } = this.#settings;
    const timer =
      connectionTimeoutMs > 0
        ? setTimeout(() => this.#drop(waiter, this.#tooLate()), timerDelay(connectionTimeoutMs))
        : undefined;
    const onAbort = () => this.#drop(waiter, aborted(signal!));
    signal?.addEventListener('abort', onAbort, { once: true });
    const settle = () => {
      waiter.settled = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const waiter: Waiter<R> = {
      turn: this.#turn++,
      settled: false,
      deliver: (member) => {
        settle();
        resolve(this.#lease(member));
      },
      fail: (error) => {
        settle();
        reject(error);
      },
    };
    this.#waiters.push(waiter);
    this.#dispatch();
    return promise;
  }

  /**
   * Turns waiters away and ends what is idle at once; what is busy ends when it is returned, or now
   * with `force`. Resolves when every connection is gone; may be called again, to force.
   */
  close(force = false): Promise<void> {
    if (!this.#ending.signal.aborted) {
      this.#ending.abort(closed());
      clearTimeout(this.#retryTimer);
      clearTimeout(this.#upkeepTimer);
      for (const waiter of this.#waiters.splice(0)) waiter.fail(closed());
    }
    for (const member of [...this.#members])
      if (force || member.state !== 'busy') this.#remove(member, force);
    this.#settleEmptied();
    return this.#emptied.promise;
  }

  /** A connection that nobody has to wait for, where nothing else is to be done first. */
  #takeIdle(): Member<R> | undefined {
    if (this.#waiters.length > 0 || this.#settings.testConnectionOnCheckout || !this.#grown) return undefined;
    const member = this.#idle.at(-1);
    if (!member || this.#isOverAge(member)) return undefined;
    this.#idle.pop();
    return member;
  }

  #lease(member: Member<R>): Lease<R> {
    member.state = 'busy';
    let ended = false;
    const isOurs = () => {
      if (ended) return false;
      ended = true;
      return member.state === 'busy';
    };
    return {
      resource: member.resource,
      release: (isSpent = false) => {
        if (isOurs()) this.#giveBack(member, isSpent);
      },
      discard: () => {
        if (!isOurs()) return;
        this.#remove(member, true);
        this.#dispatch();
      },
    };
  }

  #giveBack(member: Member<R>, isSpent: boolean): void {
    member.usedAt = this.#now();
    if (isSpent || this.#ending.signal.aborted || member.lost || this.#isOverAge(member)) {
      this.#remove(member, false);
      this.#dispatch();
    } else if (this.#settings.testConnectionOnCheckin) {
      void this.#test(member).then((sound) => {
        if (sound) this.#park(member);
        this.#dispatch();
      });
    } else {
      this.#park(member);
      this.#dispatch();
    }
  }

  #park(member: Member<R>): void {
    member.state = 'idle';
    this.#idle.push(member);
  }

  /** Gives idle connections to waiters in their order, then opens what is missing. */
  #dispatch(): void {
    if (this.#ending.signal.aborted) return;
    while (this.#waiters.length > 0 && this.#idle.length > 0) {
      const member = this.#idle.pop()!;
      if (this.#isOverAge(member)) {
        this.#remove(member, false);
        continue;
      }
      const waiter = this.#waiters.shift()!;
      if (this.#settings.testConnectionOnCheckout) void this.#deliverTested(waiter, member);
      else waiter.deliver(member);
    }
    this.#grow();
    this.#scheduleUpkeep();
  }

  async #deliverTested(waiter: Waiter<R>, member: Member<R>): Promise<void> {
    const sound = await this.#test(member);
    if (sound && !waiter.settled) return waiter.deliver(member);
    if (sound) this.#park(member);
    if (!waiter.settled) {
      if (this.#ending.signal.aborted) return waiter.fail(closed());
      const behind = this.#waiters.findIndex(({ turn }) => turn > waiter.turn);
      this.#waiters.splice(behind < 0 ? this.#waiters.length : behind, 0, waiter);
    }
    this.#dispatch();
  }

  /** Whether the connection is of use; one that is not is gone afterwards. */
  async #test(member: Member<R>): Promise<boolean> {
    member.state = 'testing';
    try {
      await this.#bounded(() => this.#driver.validate(member.resource), 'the connection test', [
        this.#ending.signal,
      ]);
      if ((member.state as Member<R>['state']) === 'gone') return false;
      member.testedAt = this.#now();
      return true;
    } catch {
      this.#remove(member, true);
      return false;
    }
  }

  #target(): number {
    const { initialPoolSize, minPoolSize, maxPoolSize } = this.#settings;
    if (!this.#started) return 0;
    const floor = this.#grown ? minPoolSize : Math.max(initialPoolSize, minPoolSize);
    return Math.min(floor, maxPoolSize);
  }

  #grow(): void {
    const { maxPoolSize, incrementCount } = this.#settings;
    const room = maxPoolSize - this.#members.size - this.#creating;
    const forTarget = Math.max(this.#target() - this.#members.size - this.#creating, 0);
    const unserved = Math.max(this.#waiters.length - this.#creating - forTarget, 0);
    const forWaiters = Math.ceil(unserved / incrementCount) * incrementCount;
    let missing = Math.min(room, forTarget + forWaiters);
    const failure = this.#failure;
    if (failure && missing > 0) {
      // Nobody waits and the log-in was refused: trying on would only lock the account.
      if (failure.refused && this.#waiters.length === 0) return;
      const waitMs = failure.retryAt - this.#now();
      if (waitMs > 0) {
        this.#retryLater(waitMs);
        return;
      }
      missing = this.#creating > 0 ? 0 : 1;
    }
    for (let opened = 0; opened < missing; opened++) void this.#open();
    if (this.#target() <= this.#members.size + this.#creating) this.#grown = this.#started;
  }

  #retryLater(waitMs: number): void {
    if (this.#retryTimer) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      this.#dispatch();
    }, timerDelay(waitMs));
    // Somebody who waits has a timer of their own that keeps the process alive.
    this.#retryTimer.unref();
  }

  async #open(): Promise<void> {
    this.#creating++;
    let member: Member<R> | undefined;
    let lost = false;
    const { signal: unwanted } = this.#opening;
    const onLost = () => {
      lost = true;
      if (!member || member.state === 'gone') return;
      // Whoever holds a busy one learns of it by the driver's error and gives it back.
      member.lost = true;
      if (member.state === 'busy') return;
      this.#remove(member, true);
      this.#dispatch();
    };
    try {
      const resource = await this.#bounded(
        (signal) => this.#driver.create(signal, onLost),
        'opening a connection',
        [this.#ending.signal, unwanted],
        (late) => this.#driver.destroy(late, true),
      );
      this.#creating--;
      if (this.#ending.signal.aborted || lost) {
        this.#driver.destroy(resource, true);
        if (lost && !this.#ending.signal.aborted)
          this.#failed(new AppError('connection_lost', 'the connection ended right after it was opened'));
      } else {
        const now = this.#now();
        member = { resource, state: 'idle', lost, createdAt: now, usedAt: now, testedAt: now };
        this.#members.add(member);
        this.#failure = undefined;
        clearTimeout(this.#retryTimer);
        this.#retryTimer = undefined;
        const waiter = this.#waiters.shift();
        if (waiter) waiter.deliver(member);
        else this.#park(member);
      }
    } catch (error) {
      this.#creating--;
      if (!this.#ending.signal.aborted && !unwanted.aborted) this.#failed(error);
    }
    this.#settleEmptied();
    this.#dispatch();
  }

  #failed(error: unknown): void {
    const now = this.#now();
    const refused = error instanceof AppError && !error.retryable;
    const before = this.#failure;
    // Several that were opened together fail together: that is one failure.
    const backOffMs = refused
      ? REFUSED_BACK_OFF_MS
      : before && now >= before.retryAt
        ? Math.min(before.backOffMs * 2, LONGEST_BACK_OFF_MS)
        : (before?.backOffMs ?? FIRST_BACK_OFF_MS);
    this.#failure = { error, refused, backOffMs, retryAt: now + backOffMs };
    // With connections out on loan one may still come back; without any, waiting serves nobody.
    if (this.#members.size === 0 && this.#creating === 0)
      for (const waiter of this.#waiters.splice(0)) waiter.fail(error);
  }

  #remove(member: Member<R>, force: boolean): void {
    if (member.state === 'gone') return;
    member.state = 'gone';
    this.#members.delete(member);
    const at = this.#idle.indexOf(member);
    if (at >= 0) this.#idle.splice(at, 1);
    this.#driver.destroy(member.resource, force);
    this.#settleEmptied();
  }

  #drop(waiter: Waiter<R>, error: unknown): void {
    const at = this.#waiters.indexOf(waiter);
    if (at >= 0) this.#waiters.splice(at, 1);
    waiter.fail(error);
    if (this.#waiters.length > 0 || this.#members.size > 0 || this.#creating === 0) return;
    // Nothing works yet and nobody waits: the pool is as lazy again as it was before the first use.
    this.#started = false;
    this.#grown = false;
    this.#opening.abort();
    this.#opening = new AbortController();
  }

  #tooLate(): unknown {
    const { busy, size } = this.figures();
    const { connectionTimeoutMs, maxPoolSize } = this.#settings;
    if (this.#failure) return this.#failure.error;
    if (size === 0)
      return new AppError('connect_timeout', `no connection was opened within ${connectionTimeoutMs} ms`);
    return new AppError(
      'unavailable',
      `no connection of the pool came free within ${connectionTimeoutMs} ms (${busy} of ${size} busy, at most ${maxPoolSize})`,
      {
        details: {
          hint: 'raise maxPoolSize or connectionTimeout, or look for statements that take too long',
        },
      },
    );
  }

  #isOverAge(member: Member<R>): boolean {
    const { maxConnectionAgeMs } = this.#settings;
    return maxConnectionAgeMs > 0 && this.#now() - member.createdAt >= maxConnectionAgeMs;
  }

  #isSurplus(member: Member<R>): boolean {
    const { maxIdleTimeMs, minPoolSize } = this.#settings;
    return (
      maxIdleTimeMs > 0 && this.#members.size > minPoolSize && this.#now() - member.usedAt >= maxIdleTimeMs
    );
  }

  /** When something is next to be done about an idle connection. */
  #dueAt(member: Member<R>): number {
    const { maxConnectionAgeMs, maxIdleTimeMs, idleConnectionTestPeriodMs, minPoolSize } = this.#settings;
    return Math.min(
      maxConnectionAgeMs > 0 ? member.createdAt + maxConnectionAgeMs : Number.POSITIVE_INFINITY,
      maxIdleTimeMs > 0 && this.#members.size > minPoolSize
        ? member.usedAt + maxIdleTimeMs
        : Number.POSITIVE_INFINITY,
      idleConnectionTestPeriodMs > 0
        ? Math.max(member.testedAt, member.usedAt) + idleConnectionTestPeriodMs
        : Number.POSITIVE_INFINITY,
    );
  }

  /** A timer that is too early is left as it is: most often all that changed is that something was used. */
  #scheduleUpkeep(): void {
    let dueAt = Number.POSITIVE_INFINITY;
    for (const member of this.#idle) dueAt = Math.min(dueAt, this.#dueAt(member));
    if (dueAt >= this.#upkeepAt || this.#ending.signal.aborted) return;
    clearTimeout(this.#upkeepTimer);
    this.#upkeepAt = dueAt;
    this.#upkeepTimer = setTimeout(() => this.#upkeep(), timerDelay(dueAt - this.#now()));
    this.#upkeepTimer.unref();
  }

  #upkeep(): void {
    this.#upkeepAt = Number.POSITIVE_INFINITY;
    const now = this.#now();
    for (const member of this.#idle.filter((each) => this.#dueAt(each) <= now)) {
      if (this.#isOverAge(member) || this.#isSurplus(member)) {
        this.#remove(member, false);
        continue;
      }
      if (this.#dueAt(member) > now) continue;
      this.#idle.splice(this.#idle.indexOf(member), 1);
      void this.#test(member).then((sound) => {
        // At the front: a test is no use, and must not make it the preferred one.
        if (sound) {
          member.state = 'idle';
          this.#idle.unshift(member);
        }
        this.#dispatch();
      });
    }
    this.#dispatch();
  }

  /** Ends the wait by the deadline or one of `ends`; a result that comes later goes to `late`. */
  #bounded<T>(
    work: (signal: AbortSignal) => Promise<T>,
    what: string,
    ends: readonly AbortSignal[],
    late?: (result: T) => void,
  ): Promise<T> {
    const timeoutMs = this.#settings.connectionTimeoutMs || FALLBACK_TIMEOUT_MS;
    const deadline = new AbortController();
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    let over = false;
    const end = (error: unknown) => {
      if (over) return;
      over = true;
      reject(error);
      deadline.abort(error);
    };
    const timer = setTimeout(
      () => end(new AppError('connect_timeout', `${what} took longer than ${timeoutMs} ms`)),
      timerDelay(timeoutMs),
    );
    const onEnd = () => end(closed());
    for (const signal of ends) signal.addEventListener('abort', onEnd, { once: true });
    work(deadline.signal)
      .then(
        (result) => {
          if (over) late?.(result);
          else resolve(result);
          over = true;
        },
        (error) => end(error),
      )
      .finally(() => {
        clearTimeout(timer);
        for (const signal of ends) signal.removeEventListener('abort', onEnd);
      });
    return promise;
  }

  #settleEmptied(): void {
    if (this.#ending.signal.aborted && this.#members.size === 0 && this.#creating === 0)
      this.#emptied.resolve();
  }
}

function timerDelay(ms: number): number {
  return Math.min(Math.max(Math.ceil(ms), 0), LONGEST_TIMER_MS);
}

function closed(): AppError {
  return new AppError('not_active', 'the connection is closed');
}

function aborted(signal: AbortSignal): AppError {
  return signal.reason instanceof AppError
    ? signal.reason
    : new AppError('cancelled', undefined, { cause: signal.reason });
}
