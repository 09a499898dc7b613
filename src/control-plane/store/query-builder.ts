import {
  type CompiledQuery,
  type DatabaseConnection,
  type Driver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import { AppError } from '../../errors.ts';
import type { Database } from './database.ts';
import type { Tables } from './tables.ts';

type Dialect = Database['dialect'];

const languages = {
  sqlite: {
    createAdapter: () => new SqliteAdapter(),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createIntrospector: (kysely: Kysely<Tables>) => new SqliteIntrospector(kysely),
  },
  postgres: {
    createAdapter: () => new PostgresAdapter(),
    createQueryCompiler: () => new PostgresQueryCompiler(),
    createIntrospector: (kysely: Kysely<Tables>) => new PostgresIntrospector(kysely),
  },
};

/** Kysely over `execute`, without transactions of its own: those are the store's `write`. */
export function queryBuilder(
  dialect: Dialect,
  execute: <Row>(query: CompiledQuery) => Promise<QueryResult<Row>>,
): Kysely<Tables> {
  return new Kysely<Tables>({
    dialect: { ...languages[dialect], createDriver: () => new ForwardingDriver(execute) },
  });
}

class ForwardingDriver implements Driver {
  readonly #connection: DatabaseConnection;

  constructor(executeQuery: DatabaseConnection['executeQuery']) {
    this.#connection = {
      executeQuery,
      streamQuery() {
        throw new AppError('internal_error', 'The store does not stream rows');
      },
    };
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    return this.#connection;
  }

  async beginTransaction(): Promise<void> {
    throw new AppError('internal_error', 'Only write() makes transactions');
  }

  async commitTransaction(): Promise<void> {}

  async rollbackTransaction(): Promise<void> {}

  async releaseConnection(): Promise<void> {}

  async destroy(): Promise<void> {}
}
