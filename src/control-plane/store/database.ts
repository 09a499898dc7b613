import type { Kysely } from 'kysely';
import { AppError } from '../../errors.ts';
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

/** One transaction; what the job throws, or a statement of it, rolls back that job alone. */
export interface Transaction extends Queries {
  /** No other transaction is under way: what has to come last may as well come first. */
  readonly isSerial: boolean;
  /** Inserts rows, several by one statement; `into` is `insert into TABLE (COLUMNS)`, and each row as long. */
  insertRows(into: string, rows: readonly (readonly Value[])[]): Promise<void>;
  /** The next change sequence number; call it last, so that numbers become visible in order. */
  nextSequence(): Promise<number>;
}

export interface WriteOptions {
  /**
   * Default true. Without it the commit is atomic and visible, but a failure of the machine (not of
   * the process) may undo it until a durable one has followed; for what is learnt again.
   */
  durable?: boolean;
  /**
   * Called when the job is committed and seen by every reader, which on SQLite may be before it is
   * durable: for what perishes with the machine's failure as the change does.
   */
  onCommit?: () => void;
}

/**
 * SQLite or PostgreSQL behind one face. Failures of the database itself are `unavailable`, or
 * `outcome_unknown` where a write may have been committed all the same.
 */
export interface Database extends Omit<Queries, 'run'> {
  readonly dialect: 'sqlite' | 'postgres';
  /**
   * Runs a job in a transaction and resolves after its commit. On SQLite the jobs that come together
   * share one. The job must await nothing but the transaction, and may run again: PostgreSQL can ask
   * for a retry, and on SQLite the failure of another job undoes it first.
   */
  write<T>(job: (tx: Transaction) => Promise<T>, options?: WriteOptions): Promise<T>;
  /**
   * Another number after each commit that may have changed connections, before anybody hears of it:
   * what was read under one stands for as long as it does. Undefined on PostgreSQL, where other
   * processes write as well. Throws `unavailable` once a sync of the disk has failed.
   */
  connectionsVersion(): number | undefined;
  /** Calls `listener` after each write that ended as `outcome_unknown`, which on SQLite none does. */
  onOutcomeUnknown(listener: () => void): void;
  /** Resolves when every durable change that can be read now is on the disk. */
  durable(): Promise<void>;
  /** Throws `unavailable` when nothing can be stored now: the database is away, or lets itself be read alone. */
  demandWritable(): Promise<void>;
  close(): Promise<void>;
}

/** Every unique index that a request can violate, with the columns by which SQLite names it. */
export const uniqueIndexes = {
  certificates_name: 'certificates.project_id, certificates.name',
  connections_name: 'connections.project_id, connections.name_key',
  enrollment_tokens_hash: 'enrollment_tokens.hash',
  environments_name: 'environments.name',
  keystores_name: 'keystores.project_id, keystores.name',
  projects_name: 'projects.name',
  tokens_hash: 'tokens.hash',
  users_username: 'users.username_key',
  variables_name: 'variables.project_id, variables.name',
} as const;

/** Whether an error says that a unique index or primary key refused a row: any, or the one named. */
export function isUniqueViolation(error: unknown, index?: keyof typeof uniqueIndexes): boolean {
  if (!(error instanceof Error)) return false;
  const { code, errcode, constraint } = error as Error & {
    code?: string;
    errcode?: number;
    constraint?: string;
  };
  if (code === '23505') return !index || constraint === index;
  // SQLITE_CONSTRAINT_PRIMARYKEY and _UNIQUE; the message names columns, never the index.
  if (code !== 'ERR_SQLITE_ERROR' || (errcode !== 1555 && errcode !== 2067)) return false;
  return !index || error.message === `UNIQUE constraint failed: ${uniqueIndexes[index]}`;
}

/** Whether an error leaves open that what was written is stored. */
export function isOutcomeUnknown(error: unknown): boolean {
  return error instanceof AppError && error.code === 'outcome_unknown';
}
