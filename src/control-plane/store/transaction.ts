import type { CompiledQuery, Kysely, QueryResult } from 'kysely';
import { AppError } from '../../errors.ts';
import type { Database, Transaction, Value } from './database.ts';
import { queryBuilder } from './lazy-query-builder.ts';
import type { Tables } from './tables.ts';

/** Rows of one statement: the second makes half of what can be gained by it, more than these nothing. */
const maxRowsAtOnce = 8;

const insertions = new Map<string, string[]>();

/** The statement for so many rows. Its text is made once: the statements that are prepared are found by it. */
function insertion(into: string, rows: number, columns: number): string {
  const known = insertions.get(into) ?? [];
  insertions.set(into, known);
  known[rows] ??= `${into} values ${Array.from(
    { length: rows },
    (_, row) => `(${Array.from({ length: columns }, (_, column) => `$${row * columns + column + 1}`)})`,
  )}`;
  return known[rows];
}

/** One database connection, or the pool of them; what fails is already classified. */
export interface Session {
  all<Row>(sql: string, values: readonly Value[]): Row[] | Promise<Row[]>;
  get<Row>(sql: string, values: readonly Value[]): Row | undefined | Promise<Row | undefined>;
  run(sql: string, values: readonly Value[]): number | Promise<number>;
  execute<Row>(query: CompiledQuery): QueryResult<Row> | Promise<QueryResult<Row>>;
  nextSequence(): number | Promise<number>;
}

/**
 * A job's transaction over a session. A statement that failed fails the job even where the job
 * catches the error: PostgreSQL would turn its commit into a silent rollback.
 */
export class OpenTransaction implements Transaction {
  readonly #dialect: Database['dialect'];
  readonly #session: Session;
  #builder: Kysely<Tables> | undefined;
  #open = true;
  #failure: { error: unknown } | undefined;

  constructor(dialect: Database['dialect'], session: Session) {
    this.#dialect = dialect;
    this.#session = session;
  }

  get isSerial(): boolean {
    return this.#dialect === 'sqlite';
  }

  get open(): boolean {
    return this.#open;
  }

  get builder(): Kysely<Tables> {
    this.#builder ??= queryBuilder(this.#dialect, (query) => this.#execute(query));
    return this.#builder;
  }

  all<Row>(sql: string, values: readonly Value[] = []): Promise<Row[]> {
    return this.#ask(() => this.#session.all<Row>(sql, values));
  }

  get<Row>(sql: string, values: readonly Value[] = []): Promise<Row | undefined> {
    return this.#ask(() => this.#session.get<Row>(sql, values));
  }

  run(sql: string, values: readonly Value[] = []): Promise<number> {
    return this.#ask(() => this.#session.run(sql, values));
  }

  async insertRows(into: string, rows: readonly (readonly Value[])[]): Promise<void> {
    this.#demandOpen();
    try {
      for (let at = 0; at < rows.length; at += maxRowsAtOnce) {
        const some = rows.slice(at, at + maxRowsAtOnce);
        const changed = this.#session.run(insertion(into, some.length, some[0]!.length), some.flat());
        if (typeof changed !== 'number') await changed;
      }
    } catch (error) {
      throw this.#failed(error);
    }
  }

  nextSequence(): Promise<number> {
    return this.#ask(() => this.#session.nextSequence());
  }

  /** Ends the job's use of it; throws what a statement of the job failed with. */
  finish(): void {
    this.#open = false;
    if (this.#failure) throw this.#failure.error;
  }

  abandon(): void {
    this.#open = false;
  }

  #execute<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    return this.#ask(() => this.#session.execute<Row>(query));
  }

  /** Not `async`: SQLite has answered already, and each turn less counts with some ten statements a change. */
  #ask<Answer>(statement: () => Answer | Promise<Answer>): Promise<Answer> {
    try {
      this.#demandOpen();
      const answer = statement();
      if (!(answer instanceof Promise)) return Promise.resolve(answer);
      return answer.catch((error) => {
        throw this.#failed(error);
      });
    } catch (error) {
      return Promise.reject(this.#failed(error));
    }
  }

  #failed(error: unknown): unknown {
    this.#failure ??= { error };
    return error;
  }

  #demandOpen(): void {
    if (!this.#open) throw new AppError('internal_error', 'The transaction has ended already');
  }
}
