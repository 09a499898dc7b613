import { hash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CompiledQuery, Kysely, QueryResult } from 'kysely';
import pg from 'pg';
import { AppError } from '../../errors.ts';
import {
  type Database,
  isOutcomeUnknown,
  type Transaction,
  type Value,
  type WriteOptions,
} from './database.ts';
import { demandReading, queryBuilder } from './lazy-query-builder.ts';
import { establish, migrate } from './migrate.ts';
import type { Tables } from './tables.ts';
import { OpenTransaction, type Session } from './transaction.ts';

const poolSize = 10;
const connectTimeoutMs = 5_000;
/** A server that went silent costs a request this long; migrations may take any time. */
const queryTimeoutMs = 30_000;
const maxAttempts = 5;
/** Each connection keeps its named statements for good, so generated SQL must not name more. */
const maxNamedStatements = 500;

const number = { int8: 20, numeric: 1700 };
const boolean = 16;

/** Both databases answer numbers for counts, sums and times, and 0 or 1 for a condition. */
const types: pg.CustomTypesConfig = {
  getTypeParser(id: number, format?: 'text' | 'binary') {
    if (id === number.int8 || id === number.numeric) return Number;
    if (id === boolean) return (text: string) => (text === 't' ? 1 : 0);
    return pg.types.getTypeParser(id, format as 'text');
  },
};

/** Connects to a PostgreSQL by its URL and migrates it. Throws `unavailable` when it cannot be used. */
export async function openPostgresDatabase(url: string): Promise<Database> {
  const migrating = new PostgresDatabase(url, { max: 1 });
  const database = new PostgresDatabase(url, { max: poolSize, query_timeout: queryTimeoutMs });
  try {
    await migrate(migrating);
    await establish(database);
    return database;
  } catch (error) {
    await database.close();
    if (!(error instanceof AppError) || !(error.cause instanceof Error)) throw error;
    throw new AppError(error.code, `The PostgreSQL database cannot be used: ${error.cause.message}`, {
      cause: error.cause,
    });
  } finally {
    await migrating.close();
  }
}

class PostgresDatabase implements Database {
  readonly dialect = 'postgres';
  #builder: Kysely<Tables> | undefined;
  readonly #pool: pg.Pool;
  readonly #session: PostgresSession;
  readonly #onUnknown: (() => void)[] = [];

  constructor(url: string, options: pg.PoolConfig) {
    this.#pool = new pg.Pool({
      connectionString: url,
      application_name: 'plugboard',
      connectionTimeoutMillis: connectTimeoutMs,
      keepAlive: true,
      types,
      ...options,
    });
    // A connection can break while nobody waits on it; without listeners that ends the process. The
    // pool replaces it, and whoever uses it next gets the error.
    this.#pool.on('error', () => {});
    this.#pool.on('connect', (client) => client.on('error', () => {}));
    this.#session = new PostgresSession(this.#pool);
  }

  get builder(): Kysely<Tables> {
    this.#builder ??= queryBuilder('postgres', async (query) => {
      demandReading(query);
      return this.#session.execute(query);
    });
    return this.#builder;
  }

  all<Row>(sql: string, values: readonly Value[] = []): Promise<Row[]> {
    return this.#session.all<Row>(sql, values);
  }

  get<Row>(sql: string, values: readonly Value[] = []): Promise<Row | undefined> {
    return this.#session.get<Row>(sql, values);
  }

  connectionsVersion(): undefined {}

  onOutcomeUnknown(listener: () => void): void {
    this.#onUnknown.push(listener);
  }

  /** A commit becomes visible only when it is on the server's disk. */
  async durable(): Promise<void> {}

  /** After a failover the address may lead to a server that still stands by, or was made read-only. */
  async demandWritable(): Promise<void> {
    const row = await this.get<{ read_only: number }>(
      "select pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' as read_only from meta limit 1",
    );
    if (row?.read_only === 1) throw new AppError('unavailable', 'The database can only be read');
  }

  async write<T>(
    job: (tx: Transaction) => Promise<T>,
    { durable = true, onCommit }: WriteOptions = {},
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        const value = await this.#attempt(job, durable);
        onCommit?.();
        return value;
      } catch (error) {
        if (isOutcomeUnknown(error)) for (const listener of this.#onUnknown) listener();
        if (!isConflict(error)) throw error;
        if (attempt === maxAttempts)
          throw new AppError('unavailable', 'Too many changes at the same time', { cause: error });
        await sleep(Math.random() * 20 * attempt);
      }
    }
  }

  async close(): Promise<void> {
    if (!this.#pool.ended && !this.#pool.ending) await this.#pool.end();
  }

  async #attempt<T>(job: (tx: Transaction) => Promise<T>, durable: boolean): Promise<T> {
    const client = await this.#pool.connect().catch((error) => {
      throw classified(error);
    });
    const session = new PostgresSession(client);
    const tx = new OpenTransaction('postgres', session);
    try {
      // A replica that vanishes inside a transaction would hold the change counter until TCP gives up.
      await session.step(
        `begin isolation level read committed; set local idle_in_transaction_session_timeout = 10000${
          durable ? '' : '; set local synchronous_commit = off'
        }`,
      );
      const value = await job(tx);
      tx.finish();
      await session.commit();
      client.release();
      return value;
    } catch (error) {
      tx.abandon();
      const isLost = isUnavailable(error) || isOutcomeUnknown(error);
      const kept = !isLost && (await rolledBack(session));
      client.release(!kept);
      throw error;
    }
  }
}

async function rolledBack(session: PostgresSession): Promise<boolean> {
  try {
    await session.step('rollback');
    return true;
  } catch {
    return false;
  }
}

class PostgresSession implements Session {
  readonly #connection: pg.Pool | pg.PoolClient;

  constructor(connection: pg.Pool | pg.PoolClient) {
    this.#connection = connection;
  }

  async all<Row>(sql: string, values: readonly Value[]): Promise<Row[]> {
    return (await this.#query(sql, values)).rows;
  }

  async get<Row>(sql: string, values: readonly Value[]): Promise<Row | undefined> {
    return (await this.#query(sql, values)).rows[0];
  }

  async run(sql: string, values: readonly Value[]): Promise<number> {
    return (await this.#query(sql, values)).rowCount ?? 0;
  }

  async execute<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    const { rows, rowCount, command } = await this.#query(query.sql, query.parameters);
    const changes = ['INSERT', 'UPDATE', 'DELETE', 'MERGE'].includes(command);
    return changes ? { rows, numAffectedRows: BigInt(rowCount ?? 0) } : { rows };
  }

  async nextSequence(): Promise<number> {
    const row = await this.get<{ value: number }>(
      'update change_counter set value = value + 1 where id = 1 returning value',
      [],
    );
    if (!row) throw new AppError('internal_error', 'The change counter has no row');
    return row.value;
  }

  /** Runs words of the transaction's own, unprepared. */
  async step(sql: string): Promise<void> {
    try {
      await this.#connection.query(sql);
    } catch (error) {
      throw classified(error);
    }
  }

  /** The server may have committed, and its answer not have come back. */
  async commit(): Promise<void> {
    try {
      await this.step('commit');
    } catch (error) {
      throw isUnavailable(error) ? new AppError('outcome_unknown', undefined, { cause: error.cause }) : error;
    }
  }

  async #query(text: string, values: readonly unknown[]): Promise<pg.QueryResult> {
    const name = statementName(text);
    try {
      return await this.#connection.query({ text, values: values as unknown[], ...(name ? { name } : {}) });
    } catch (error) {
      throw classified(error);
    }
  }
}

function isUnavailable(error: unknown): error is AppError {
  return error instanceof AppError && error.code === 'unavailable';
}

const statementNames = new Map<string, string>();

function statementName(sql: string): string | undefined {
  let name = statementNames.get(sql);
  if (!name && statementNames.size < maxNamedStatements) {
    name = hash('sha256', sql).slice(0, 24);
    statementNames.set(sql, name);
  }
  return name;
}

/** Serialization failure or deadlock: nothing happened, and the same job can succeed. */
function isConflict(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === '40001' || code === '40P01';
}

/** SQLSTATE classes and codes that speak of the server or of reaching it, not of the statement. */
const unavailableStates = /^(?:08|28|53|58|57P|XX)|^(?:3D000|25006|25P03|57014|55P03)$/;

function classified(error: unknown): unknown {
  const state = error instanceof pg.DatabaseError ? (error.code ?? '') : undefined;
  if (state === '22021') return new AppError('bad_request', 'Text must not contain U+0000', { cause: error });
  // What is not the server's own word comes from the connection to it.
  if (state === undefined || unavailableStates.test(state))
    return new AppError('unavailable', 'The database is not available', { cause: error });
  return error;
}
