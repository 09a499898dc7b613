import type { ConfigOf, InputOf, OutputOf } from '../../contract/connection-type.ts';
import type { CallContext, ConnectorContext, Stages } from '../connector.ts';
import type { database } from './database.definition.ts';
import type { JdbcUrl } from './jdbc-url.ts';
import type { PoolFigures } from './pool.ts';

export type DatabaseConfig = ConfigOf<typeof database>;
export type DatabaseOperations = (typeof database)['operations'];

/** Where a connection leads: from the JDBC URL, else from the fields. */
export type DatabaseTarget = Pick<
  JdbcUrl,
  'hosts' | 'srv' | 'database' | 'isSid' | 'user' | 'password' | 'parameters' | 'tls' | 'verify'
>;

/** One kind of database; its module is imported when a connection first needs it. */
export interface DatabaseDriver {
  /** Builds a client without network; refuses with `invalid_configuration` or `missing_reference`. */
  open(config: DatabaseConfig, target: DatabaseTarget, ctx: ConnectorContext): DatabaseClient;
  test(config: DatabaseConfig, target: DatabaseTarget, stages: Stages, ctx: ConnectorContext): Promise<void>;
}

/** A live client; rejects with `AppError`s only. */
export interface DatabaseClient {
  prove(call: CallContext): Promise<void>;
  figures(): PoolFigures;
  /** Lets running statements end, unless the signal of `open` has aborted; may be called twice. */
  close(): Promise<void>;
  /** The operations that this kind of database has. */
  readonly operations: {
    readonly [K in keyof DatabaseOperations]?: (
      input: InputOf<DatabaseOperations[K]>,
      call: CallContext,
    ) => Promise<OutputOf<DatabaseOperations[K]>>;
  };
}
