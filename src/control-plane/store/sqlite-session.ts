import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { CompiledQuery, QueryResult } from 'kysely';
import { AppError } from '../../errors.ts';
import type { Value } from './database.ts';
import type { Session } from './transaction.ts';

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

/** Opens or makes `plugboard.db` for this process alone. Throws `unavailable` when another has it, or it cannot be used. */
export async function openSession(dataDirectory: string): Promise<SqliteSession> {
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

interface Prepared {
  /** Answers arrays: the objects that Node makes cost half of reading a row. */
  readonly statement: StatementSync;
  readonly columns: readonly string[];
  readonly mayChangeConnections: boolean;
}

/** The one connection to the file, its statements, and what it knows of the change counter. */
export class SqliteSession implements Session {
  readonly #connection: DatabaseSync;
  readonly #prepared = new Map<string, Prepared>();
  /** The change counter as it is within the transaction, and as it is stored; undefined: not read yet. */
  #sequence: number | undefined;
  #storedSequence: number | undefined;
  #savedSequence: number | undefined;
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

  /** Counted here, and stored once a commit: a statement a change would be a tenth of what a change costs. */
  nextSequence(): number {
    if (this.#sequence === undefined) {
      const row = this.get<{ value: number }>('select value from change_counter where id = 1', []);
      if (!row) throw new AppError('internal_error', 'The change counter has no row');
      this.#sequence = this.#storedSequence = row.value;
    }
    this.#sequence += 1;
    return this.#sequence;
  }

  begin(): void {
    this.step('begin immediate');
  }

  commit(): void {
    if (this.#sequence !== undefined && this.#sequence !== this.#storedSequence)
      this.run('update change_counter set value = $1 where id = 1', [this.#sequence]);
    try {
      this.step('commit');
    } finally {
      // What a commit that failed left behind is nothing to build on either.
      if (this.#mayHaveChangedConnections) this.connectionsVersion += 1;
      this.#mayHaveChangedConnections = false;
    }
    this.#storedSequence = this.#sequence;
  }

  savepoint(): void {
    this.step('savepoint job');
    this.#savedSequence = this.#sequence;
  }

  rollBackToSavepoint(): void {
    this.step('rollback to job');
    this.#sequence = this.#savedSequence;
  }

  /** Runs a word of the transaction's own. */
  step(sql: string): void {
    this.run(sql, []);
  }

  rollBack(): void {
    this.#sequence = this.#storedSequence;
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
