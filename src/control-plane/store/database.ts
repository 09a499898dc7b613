import type { Kysely } from 'kysely';
import type { Tables } from './tables.ts';

export type Value = string | number | null;

/** Runs SQL whose parameters are `$1`, `$2`, …; each text is prepared once and cached. */
export interface Queries {
  all<Row>(sql: string, values?: readonly Value[]): Promise<Row[]>;
  get<Row>(sql: string, values?: readonly Value[]): Promise<Row | undefined>;
  /** Answers the number of rows changed. */
  run(sql: string, values?: readonly Value[]): Promise<number>;
  /** Kysely's builder over the same connection, for what is not hot. */
  readonly builder: Kysely<Tables>;
}

/** One transaction; what it throws rolls back that job alone. */
export interface Transaction extends Queries {
  /** The next change sequence number; call it last, so that numbers become visible in order. */
  nextSequence(): Promise<number>;
}

/** SQLite or PostgreSQL behind one face. Failures of the database itself are `unavailable`. */
export interface Database extends Omit<Queries, 'run'> {
  readonly dialect: 'sqlite' | 'postgres';
  /** Random id of this database's life: a restored or new one has another. */
  readonly epoch: string;
  /**
   * Runs a job in a durable transaction and resolves after its commit. On SQLite the jobs of one
   * turn of the event loop share a commit, with a savepoint each. The job must await nothing but
   * the transaction.
   */
  write<T>(job: (tx: Transaction) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}
