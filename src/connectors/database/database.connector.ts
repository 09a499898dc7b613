import type { InputOf, OutputOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import { type CallContext, type ConnectorContext, defineConnector } from '../connector.ts';
import { classifySocketError } from '../transport/socket-errors.ts';
import { database } from './database.definition.ts';
import type {
  DatabaseClient,
  DatabaseConfig,
  DatabaseDriver,
  DatabaseOperations,
  DatabaseTarget,
} from './database-client.ts';
import { type DbType, defaultPorts } from './db-types.ts';
import { JdbcUrlError } from './jdbc-grammar.ts';
import { type JdbcUrl, parseJdbcUrl } from './jdbc-url.ts';

/** Kind of database → its driver, imported when a connection first needs it. */
const drivers: Record<DbType, () => Promise<DatabaseDriver>> = {
  async POSTGRES() {
    const [{ sqlDriver }, { postgresDialect }] = await Promise.all([
      import('./sql-client.ts'),
      import('./postgres.dialect.ts'),
    ]);
    return sqlDriver(postgresDialect, { unsaid: 'prefer', how: 'sslmode=verify-full' });
  },
  async MYSQL() {
    const [{ sqlDriver }, { mysqlDialect }] = await Promise.all([
      import('./sql-client.ts'),
      import('./mysql.dialect.ts'),
    ]);
    return sqlDriver(mysqlDialect, { unsaid: 'prefer', how: 'sslMode=VERIFY_IDENTITY' });
  },
  async SQL_SERVER() {
    const [{ sqlDriver }, { sqlServerDialect }] = await Promise.all([
      import('./sql-client.ts'),
      import('./sql-server.dialect.ts'),
    ]);
    // As Microsoft's own driver does since its version 10.2.
    return sqlDriver(sqlServerDialect, { unsaid: 'demand', how: 'encrypt=true' });
  },
  async TRINO() {
    const [{ sqlDriver }, { trinoDialect }] = await Promise.all([
      import('./sql-client.ts'),
      import('./trino.dialect.ts'),
    ]);
    return sqlDriver(trinoDialect, { unsaid: 'none', how: 'SSL=true' });
  },
  async ORACLE() {
    const [{ sqlDriver }, { oracleDialect }] = await Promise.all([
      import('./sql-client.ts'),
      import('./oracle.dialect.ts'),
    ]);
    return sqlDriver(oracleDialect, { unsaid: 'none', how: 'tcps://' });
  },
  async SYBASE() {
    const [{ sqlDriver }, { loadOdbc, odbcDialect, sybase }] = await Promise.all([
      import('./sql-client.ts'),
      import('./odbc.dialect.ts'),
    ]);
    const odbc = loadOdbc(sybase);
    const tls = { unsaid: 'none', how: 'ssl=authenticate' } as const;
    return sqlDriver((settings) => odbcDialect(settings, sybase, odbc), tls);
  },
  async DB2() {
    const [{ sqlDriver }, { db2, loadOdbc, odbcDialect }] = await Promise.all([
      import('./sql-client.ts'),
      import('./odbc.dialect.ts'),
    ]);
    const odbc = loadOdbc(db2);
    const tls = { unsaid: 'none', how: 'sslConnection=true' } as const;
    return sqlDriver((settings) => odbcDialect(settings, db2, odbc), tls);
  },
  async APACHE_HIVE() {
    const [{ sqlDriver }, { hiveDialect }] = await Promise.all([
      import('./sql-client.ts'),
      import('./hive.dialect.ts'),
    ]);
    return sqlDriver(hiveDialect, { unsaid: 'none', how: 'ssl=true' });
  },
  async APACHE_IMPALA() {
    const [{ sqlDriver }, { impalaDialect }] = await Promise.all([
      import('./sql-client.ts'),
      import('./hive.dialect.ts'),
    ]);
    return sqlDriver(impalaDialect, { unsaid: 'none', how: 'SSL=1' });
  },
  async MONGODB() {
    return (await import('./mongodb.driver.ts')).mongodbDriver;
  },
};

interface LiveDatabase {
  dbType: DbType;
  client: DatabaseClient;
}

/** Runs statements on databases over a pool of connections. */
export const databaseConnector = defineConnector<typeof database, LiveDatabase>(database, {
  async open(config, ctx) {
    const { dbType, target } = readTarget(config, ctx);
    const driver = await drivers[dbType]();
    return { dbType, client: driver.open(config, target, ctx) };
  },
  prove: ({ client }, call) => client.prove(call),
  async test(config, stages, ctx) {
    const { dbType, target } = readTarget(config, ctx);
    const driver = await drivers[dbType]();
    await driver.test(config, target, stages, ctx);
  },
  operations: {
    query: (live, input, call) => operate(live, 'query', input, call),
    execute: (live, input, call) => operate(live, 'execute', input, call),
    find: (live, input, call) => operate(live, 'find', input, call),
    insert: (live, input, call) => operate(live, 'insert', input, call),
    update: (live, input, call) => operate(live, 'update', input, call),
    delete: (live, input, call) => operate(live, 'delete', input, call),
    aggregate: (live, input, call) => operate(live, 'aggregate', input, call),
  },
  figures: ({ client }) => ({ ...client.figures() }),
  close: ({ client }) => client.close(),
  classify: (error) =>
    classifySocketError(error) ?? new AppError('internal_error', undefined, { cause: error }),
});

function readTarget(
  config: DatabaseConfig,
  ctx: ConnectorContext,
): { dbType: DbType; target: DatabaseTarget } {
  if (config.jdbcUrl === undefined) {
    const { dbType, host, port, databaseName } = config;
    if (dbType === undefined) throw new AppError('invalid_configuration', 'dbType is not set');
    if (host === undefined) throw new AppError('invalid_configuration', 'neither jdbcUrl nor host is set');
    return {
      dbType,
      target: {
        hosts: [{ host, port: port ?? defaultPorts[dbType] }],
        srv: false,
        database: databaseName,
        isSid: false,
        user: undefined,
        password: undefined,
        parameters: {},
        tls: undefined,
        verify: undefined,
      },
    };
  }
  const url = parse(config.jdbcUrl);
  if (config.dbType !== undefined && config.dbType !== url.dbType)
    throw new AppError('invalid_configuration', `dbType must agree with jdbcUrl, which is of ${url.dbType}`);
  for (const { name } of url.ignored) ctx.warn(`jdbcUrl: the parameter ${name} is kept but has no effect`);
  return { dbType: url.dbType, target: { ...url, database: url.database ?? config.databaseName } };
}

function parse(jdbcUrl: string): JdbcUrl {
  try {
    return parseJdbcUrl(jdbcUrl);
  } catch (error) {
    if (!(error instanceof JdbcUrlError)) throw error;
    throw new AppError('invalid_configuration', `jdbcUrl ${error.message}`, { cause: error });
  }
}

async function operate<K extends keyof DatabaseOperations>(
  { dbType, client }: LiveDatabase,
  name: K,
  input: InputOf<DatabaseOperations[K]>,
  call: CallContext,
): Promise<OutputOf<DatabaseOperations[K]>> {
  const operation = client.operations[name];
  if (!operation)
    throw new AppError(
      'request_rejected',
      `${dbType} has no operation ${name}, but ${Object.keys(client.operations).join(' and ')}`,
    );
  return operation(input, call);
}
