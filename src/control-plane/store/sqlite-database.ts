import { AsyncLocalStorage } from 'node:async_hooks';
import { join } from 'node:path';
import type { Kysely } from 'kysely';
import { AppError } from '../../errors.ts';
import type { Database, Transaction, Value, WriteOptions } from './database.ts';
import { demandReading, queryBuilder } from './lazy-query-builder.ts';
import { LogSync } from './log-sync.ts';
import { establish } from './migrate.ts';
import { openSession, type SqliteSession } from './sqlite-session.ts';
import type { Tables } from './tables.ts';
import { OpenTransaction } from './transaction.ts';

/** Jobs of one commit at most: reads wait until a group has ended. */
const maxGroupSize = 512;

/**
 * How long jobs wait for company at most, ms: a request takes a tenth of one to become a job, and each
 * commit parts those who would have come together from then on.
 */
const maxGatheringMs = 10;

/** Turns of the event loop without another job after which nobody is waited for; some 50 µs. */
const maxIdleTurns = 10;

/**
 * Opens or makes `plugboard.db` in a directory for this process alone. Throws `unavailable` when
 * another process has it, or when it cannot be used.
 */
export async function openSqliteDatabase(dataDirectory: string): Promise<Database> {
  const session = await openSession(dataDirectory);
  const database = new SqliteDatabase(session);
  try {
    await establish(database);
    await database.syncApart(join(dataDirectory, 'plugboard.db-wal'));
  } catch (error) {
    await database.close();
    throw error;
  }
  return database;
}

interface Job {
  run(tx: Transaction): Promise<unknown>;
  durable: boolean;
  onCommit: (() => void) | undefined;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** What became of a job within a commit that succeeded. */
interface Outcome {
  job: Job;
  value?: unknown;
  failure?: { error: unknown };
}

function answer({ job, value, failure }: Outcome): void {
  if (failure) job.reject(failure.error);
  else job.resolve(value);
}

function notSynced(cause?: unknown): AppError {
  return new AppError(
    'unavailable',
    'The disk failed to store the write-ahead log; the server must be started again',
    { cause },
  );
}

class SqliteDatabase implements Database {
  readonly dialect = 'sqlite';
  #builder: Kysely<Tables> | undefined;
  readonly #session: SqliteSession;
  readonly #current = new AsyncLocalStorage<OpenTransaction>();
  #queue: Job[] = [];
  /** Durable jobs of the last commit that had any. */
  #expected = 1;
  /** Set while a group's transaction is open: the connection would show its rows to readers. */
  #groupEnd: Promise<void> | undefined;
  /** Until it is there, a commit waits for the disk by itself. */
  #log: LogSync | undefined;
  /** Settles when the last durable commit, and with it every one before, is on the disk. */
  #synced: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(session: SqliteSession) {
    this.#session = session;
  }

  get builder(): Kysely<Tables> {
    this.#builder ??= queryBuilder('sqlite', async (query) => {
      demandReading(query);
      while (this.#groupEnd) await this.#afterGroup();
      this.#demandSynced();
      return this.#session.execute(query);
    });
    return this.#builder;
  }

  /** From here on commits are synced by a thread of their own; every one before was by SQLite. */
  async syncApart(logPath: string): Promise<void> {
    this.#log = await LogSync.open(logPath);
    this.#session.leaveSyncing();
  }

  async all<Row>(sql: string, values: readonly Value[] = []): Promise<Row[]> {
    while (this.#groupEnd) await this.#afterGroup();
    this.#demandSynced();
    return this.#session.all<Row>(sql, values);
  }

  async get<Row>(sql: string, values: readonly Value[] = []): Promise<Row | undefined> {
    while (this.#groupEnd) await this.#afterGroup();
    this.#demandSynced();
    return this.#session.get<Row>(sql, values);
  }

  connectionsVersion(): number {
    this.#demandSynced();
    return this.#session.connectionsVersion;
  }

  onOutcomeUnknown(): void {}

  durable(): Promise<void> {
    return this.#synced;
  }

  async demandWritable(): Promise<void> {
    await this.get('select key from meta limit 1');
  }

  write<T>(
    job: (tx: Transaction) => Promise<T>,
    { durable = true, onCommit }: WriteOptions = {},
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#closed) throw new AppError('unavailable', 'The database is closed');
      this.#demandSynced();
      this.#demandOutside();
      this.#queue.push({ run: job, durable, onCommit, resolve: resolve as Job['resolve'], reject });
      if (this.#queue.length === 1 && !this.#groupEnd) this.#gather();
    });
  }

  /**
   * Commits after this turn of the event loop, or waits for as many durable jobs as the commit before had
   * while they keep coming: else the first of many clients to ask again would have the disk for itself,
   * and all others would wait for it.
   */
  #gather(): void {
    const since = performance.now();
    let seen = 0;
    let idleTurns = 0;
    const look = () => {
      const { length } = this.#queue;
      const durable = this.#queue.reduce((count, job) => (job.durable ? count + 1 : count), 0);
      idleTurns = length > seen ? 0 : idleTurns + 1;
      seen = length;
      const isWorthWaiting =
        durable > 0 &&
        durable < this.#expected &&
        length < maxGroupSize &&
        idleTurns < maxIdleTurns &&
        performance.now() - since < maxGatheringMs;
      if (isWorthWaiting) {
        setImmediate(look);
        return;
      }
      if (durable > 0) this.#expected = durable;
      void this.#commitGroup();
    };
    setImmediate(look);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    while (this.#queue.length > 0 || this.#groupEnd)
      await (this.#groupEnd ?? new Promise((resolve) => setImmediate(resolve)));
    await this.#synced.catch(() => {});
    await this.#log?.close();
    this.#session.close();
  }

  #afterGroup(): Promise<void> | undefined {
    this.#demandOutside();
    return this.#groupEnd;
  }

  /** A job that asks the database instead of its transaction would wait for itself for ever. */
  #demandOutside(): void {
    if (this.#current.getStore()?.open)
      throw new AppError('internal_error', 'Inside write() only its transaction may be used');
  }

  /** After a sync that failed nobody knows what a failure of the machine would leave: nothing more is answered. */
  #demandSynced(): void {
    if (this.#log?.hasFailed) throw notSynced();
  }

  readonly #commitGroup = async (): Promise<void> => {
    const jobs = this.#queue.splice(0, maxGroupSize);
    const groupEnd = Promise.withResolvers<void>();
    this.#groupEnd = groupEnd.promise;
    let outcomes: Outcome[] | undefined;
    let failure: AppError | undefined;
    try {
      this.#demandSynced();
      outcomes = (await this.#runTogether(jobs)) ?? (await this.#runApart(jobs));
    } catch (error) {
      this.#session.rollBack();
      failure = new AppError('unavailable', 'The database could not store the change', { cause: error });
    }
    this.#groupEnd = undefined;
    groupEnd.resolve();
    if (outcomes) this.#settle(outcomes);
    else for (const job of jobs) job.reject(failure);
    // Not at once: readers that waited go first, and what they lead to joins the next group.
    if (this.#queue.length > 0) this.#gather();
  };

  /** Answers the jobs of a group that is committed; those that asked for it, once the disk has it. */
  #settle(outcomes: readonly Outcome[]): void {
    const waiting: Outcome[] = [];
    for (const outcome of outcomes) {
      if (!outcome.failure) outcome.job.onCommit?.();
      if (this.#log && outcome.job.durable) waiting.push(outcome);
      else answer(outcome);
    }
    if (waiting.length === 0) return;
    this.#synced = this.#log!.flush().catch((error) => {
      throw notSynced(error);
    });
    this.#synced.then(
      () => waiting.forEach(answer),
      (error) => {
        for (const { job } of waiting) job.reject(error);
      },
    );
  }

  /**
   * Answers what became of the jobs of a commit, undefined when one of several failed and nothing is
   * stored. Savepoints would cost every group what only the rare failure needs.
   */
  async #runTogether(jobs: readonly Job[]): Promise<Outcome[] | undefined> {
    const outcomes: Outcome[] = [];
    this.#session.begin();
    for (const job of jobs) {
      try {
        outcomes.push({ job, value: await this.#run(job) });
      } catch (error) {
        this.#demandTransaction(error);
        this.#session.rollBack();
        return jobs.length === 1 ? [{ job, failure: { error } }] : undefined;
      }
    }
    this.#session.commit();
    return outcomes;
  }

  /** As `runTogether`, but a job that fails is undone alone. */
  async #runApart(jobs: readonly Job[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    this.#session.begin();
    for (const job of jobs) {
      this.#session.savepoint();
      try {
        outcomes.push({ job, value: await this.#run(job) });
      } catch (error) {
        this.#demandTransaction(error);
        this.#session.rollBackToSavepoint();
        outcomes.push({ job, failure: { error } });
      }
      this.#session.step('release job');
    }
    this.#session.commit();
    return outcomes;
  }

  async #run(job: Job): Promise<unknown> {
    const tx = new OpenTransaction('sqlite', this.#session);
    try {
      const value = await this.#current.run(tx, job.run, tx);
      tx.finish();
      return value;
    } finally {
      tx.abandon();
    }
  }

  /** A full disk or an I/O error can make SQLite roll back the transaction by itself: the group is lost. */
  #demandTransaction(error: unknown): void {
    if (!this.#session.inTransaction) throw error;
  }
}
