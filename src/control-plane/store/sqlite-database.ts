import { AsyncLocalStorage } from 'node:async_hooks';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { CompiledQuery, Kysely, QueryResult } from 'kysely';
import { AppError } from '../../errors.ts';
import type { Database, Transaction, Value, WriteOptions } from './database.ts';
import { demandReading, queryBuilder } from './lazy-query-builder.ts';
import { LogSync } from './log-sync.ts';
import { establish } from './migrate.ts';
import type { Tables } from './tables.ts';
import { OpenTransaction, type Session } from './transaction.ts';

/** Jobs of one commit at most: reads wait until a group has ended. */
const maxGroupSize = 512;

/** How long jobs wait for company at most, ms. */
const maxGatheringMs = 2;

/** Turns of the event loop without another job after which nobody is waited for; some 50 µs. */
const maxIdleTurns = 10;

/**
 * Pages of the write-ahead log after which SQLite brings them into the database: the main thread waits
 * for that, and pages that change often are written once. As many as one table of the log's index
 * holds, so that no reader looks into a second; 16 MiB.
 */
const checkpointPages = 4_000;

/** Statements kept prepared at most, so that generated SQL cannot fill the memory. */
const maxStatements = 500;

/** Primary result codes that speak of the database, its file or its disk, not of the statement. */
const unavailableCodes = new Set([
  3, // PERM
  5, // BUSY
  6, // LOCKED
  7, // NOMEM
  8, // READONLY
  10, // IOERR
  11, // CORRUPT
  13, // FULL
  14, // CANTOPEN
  15, // PROTOCOL
  26, // NOTADB
]);

/**
 * Opens or makes `plugboard.db` in a directory for this process alone. Throws `unavailable` when
 * another process has it, or when it cannot be used.
 */
export async function openSqliteDatabase(dataDirectory: string): Promise<Database> {
  const session = await openSession(dataDirectory);
  const database = new SqliteDatabase(session);
  try {
    database.epoch = await establish(database);
    await database.syncApart(join(dataDirectory, 'plugboard.db-wal'));
  } catch (error) {
    await database.close();
    throw error;
  }
  return database;
}

async function openSession(dataDirectory: string): Promise<SqliteSession> {
  const path = join(dataDirectory, 'plugboard.db');
  let connection: DatabaseSync | undefined;
  try {
    await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
    await makePrivateFile(path);
    connection = new DatabaseSync(path, { enableForeignKeyConstraints: true });
    // The exclusive mode comes first: a write-ahead log opened under it needs no shared memory.
    connection.exec('pragma locking_mode = exclusive');
    connection.exec('pragma journal_mode = wal');
    connection.exec('pragma synchronous = full');
    connection.exec('pragma cache_size = -32768');
    connection.exec(`pragma wal_autocheckpoint = ${checkpointPages}`);
    connection.exec('begin immediate; commit');
    return new SqliteSession(connection);
  } catch (error) {
    connection?.close();
    const busy = (error as { errcode?: number }).errcode === 5;
    throw new AppError(
      'unavailable',
      busy
        ? `The data directory ${dataDirectory} is in use by another Plugboard process`
        : `The database in the data directory ${dataDirectory} cannot be opened: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/**
 * SQLite would make it readable for everybody; its journal takes over the mode of the file. One that
 * exists is not even opened: closing any descriptor of it gives up all this process's locks on it.
 */
async function makePrivateFile(path: string): Promise<void> {
  try {
    await (await open(path, 'wx', 0o600)).close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
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
  epoch = '';
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

  durable(): Promise<void> {
    return this.#synced;
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
    this.#session.step('begin immediate');
    for (const job of jobs) {
      try {
        outcomes.push({ job, value: await this.#run(job) });
      } catch (error) {
        this.#demandTransaction(error);
        this.#session.step('rollback');
        return jobs.length === 1 ? [{ job, failure: { error } }] : undefined;
      }
    }
    this.#session.commit();
    return outcomes;
  }

  /** As `runTogether`, but a job that fails is undone alone. */
  async #runApart(jobs: readonly Job[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    this.#session.step('begin immediate');
    for (const job of jobs) {
      this.#session.step('savepoint job');
      try {
        outcomes.push({ job, value: await this.#run(job) });
      } catch (error) {
        this.#demandTransaction(error);
        this.#session.step('rollback to job');
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

interface Prepared {
  /** Answers arrays: the objects that Node makes cost half of reading a row. */
  readonly statement: StatementSync;
  readonly columns: readonly string[];
  readonly mayChangeConnections: boolean;
}

class SqliteSession implements Session {
  readonly #connection: DatabaseSync;
  readonly #prepared = new Map<string, Prepared>();
  connectionsVersion = 1;
  /** Since the last commit. */
  #mayHaveChangedConnections = false;

  constructor(connection: DatabaseSync) {
    this.#connection = connection;
  }

  get inTransaction(): boolean {
    return this.#connection.isTransaction;
  }

  all<Row>(sql: string, values: readonly Value[]): Row[] {
    try {
      return rowsOf<Row>(this.#prepare(sql), values);
    } catch (error) {
      throw classified(error);
    }
  }

  get<Row>(sql: string, values: readonly Value[]): Row | undefined {
    try {
      const { statement, columns } = this.#prepare(sql);
      const found = statement.get(...values) as unknown as Value[] | undefined;
      return found && rowOf<Row>(columns, found);
    } catch (error) {
      throw classified(error);
    }
  }

  run(sql: string, values: readonly Value[]): number {
    try {
      return Number(this.#prepare(sql).statement.run(...values).changes);
    } catch (error) {
      throw classified(error);
    }
  }

  execute<Row>(query: CompiledQuery): QueryResult<Row> {
    const values = query.parameters as readonly Value[];
    try {
      const prepared = this.#prepare(query.sql);
      if (prepared.columns.length > 0) return { rows: rowsOf<Row>(prepared, values) };
      return { rows: [], numAffectedRows: BigInt(prepared.statement.run(...values).changes) };
    } catch (error) {
      throw classified(error);
    }
  }

  /** Commits do not wait for the disk from now on. SQLite still syncs around its checkpoints. */
  leaveSyncing(): void {
    this.#connection.exec('pragma synchronous = normal');
  }

  /** Runs a word of the transaction's own. */
  step(sql: string): void {
    this.run(sql, []);
  }

  commit(): void {
    try {
      this.step('commit');
    } finally {
      // What a commit that failed left behind is nothing to build on either.
      if (this.#mayHaveChangedConnections) this.connectionsVersion += 1;
      this.#mayHaveChangedConnections = false;
    }
  }

  rollBack(): void {
    try {
      if (this.inTransaction) this.step('rollback');
    } catch {
      // What failed before is reported; an open transaction makes the next `begin` fail, and with
      // it that group, which comes here again.
    }
  }

  close(): void {
    this.#prepared.clear();
    this.#connection.close();
  }

  #prepare(sql: string): Prepared {
    const prepared = this.#prepared.get(sql) ?? this.#prepareFirst(sql);
    if (prepared.mayChangeConnections) this.#mayHaveChangedConnections = true;
    return prepared;
  }

  #prepareFirst(sql: string): Prepared {
    const statement = this.#connection.prepare(numberedParameters(sql));
    statement.setReturnArrays(true);
    const prepared = {
      statement,
      columns: statement.columns().map(({ name }) => name),
      // No trigger and no cascade reaches them: a statement that changes them names them.
      mayChangeConnections: /\bconnections\b/i.test(sql) && !/^\s*select\b/i.test(sql),
    };
    // The columns of a `select *` change with the schema.
    if (this.#prepared.size >= maxStatements || /^\s*(create|alter|drop)\b/i.test(sql))
      this.#prepared.clear();
    this.#prepared.set(sql, prepared);
    return prepared;
  }
}

function rowsOf<Row>({ statement, columns }: Prepared, values: readonly Value[]): Row[] {
  return (statement.all(...values) as unknown as Value[][]).map((found) => rowOf<Row>(columns, found));
}

function rowOf<Row>(columns: readonly string[], values: readonly Value[]): Row {
  const row: Record<string, Value> = {};
  for (let index = 0; index < columns.length; index++) row[columns[index]!] = values[index]!;
  return row as Row;
}

/** `$1` is a name in SQLite, numbered by its first appearance; `?1` is the number itself. */
function numberedParameters(sql: string): string {
  return sql.replace(/'[^']*'|"[^"]*"|\$(\d+)/g, (text, number) => (number ? `?${number}` : text));
}

function classified(error: unknown): unknown {
  const { code, errcode } = error as { code?: string; errcode?: number };
  if (code === 'ERR_INVALID_STATE' || (errcode !== undefined && unavailableCodes.has(errcode & 0xff)))
    return new AppError('unavailable', 'The database is not available', { cause: error });
  return error;
}
