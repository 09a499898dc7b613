import { Type } from 'typebox';
import {
  choice,
  credentialUrl,
  defineConnectionType,
  defineOperation,
  flag,
  hostName,
  integer,
  map,
  optional,
  portNumber,
  secret,
  text,
  tlsFields,
} from '../../contract/connection-type.ts';
import { normaliseHost } from '../../contract/host.ts';
import { hasVariable } from '../../contract/reference-syntax.ts';
import { type DbType, dbTypes, defaultPorts } from './db-types.ts';
import { JdbcUrlError } from './jdbc-grammar.ts';
import { dbTypeOfUrl, destinationsOfUrl, type JdbcUrl, parseJdbcUrl } from './jdbc-url.ts';

const driverClasses: readonly (readonly [RegExp, DbType])[] = [
  [/^org\.postgresql\./, 'POSTGRES'],
  [/^(com\.mysql|org\.mariadb)\./, 'MYSQL'],
  [/^oracle\.jdbc\./, 'ORACLE'],
  [/^com\.microsoft\.sqlserver\./, 'SQL_SERVER'],
  [/^(com\.sybase\.|net\.sourceforge\.jtds\.)/, 'SYBASE'],
  [/^com\.ibm\.db2\./, 'DB2'],
  [/^org\.apache\.(hive|hadoop\.hive)\./, 'APACHE_HIVE'],
  [/^com\.cloudera\.(hive\.)?impala\./, 'APACHE_IMPALA'],
  [/mongo/i, 'MONGODB'],
  [/^(io\.trino|io\.prestosql)\./, 'TRINO'],
];

const cachesStatements: ReadonlySet<string> = new Set<DbType>(['POSTGRES', 'MYSQL', 'ORACLE']);

const logKeys = '^(ApiProxyTraffic|PolicyCapture|AuditEvent|Application|UnsentMessage|TokenTraffic)$';

const scalar = Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()]);
const sessionRule =
  'Every call is a transaction of its own, and finds a session as it was opened: where a statement does anything else than read or change rows or run a procedure (SET, USE, CREATE TEMPORARY TABLE, LOCK …), its session is closed behind it instead of serving the next call. It is judged by its text: what a function, a procedure or a block sets or locks inside stays with the session for as long as the pool keeps it.';
const statement = {
  sql: Type.String({ minLength: 1, maxLength: 1_048_576, description: 'One statement.' }),
  parameters: Type.Optional(
    Type.Array(scalar, {
      maxItems: 65_535,
      description: 'Bound in the order of the placeholders, in the notation of the database ($1, ?, :1).',
    }),
  ),
};
const timeoutMs = Type.Optional(
  Type.Integer({
    minimum: 1,
    maximum: 3_600_000,
    description: 'Milliseconds after which the statement is ended.',
  }),
);
const maxRows = Type.Optional(
  Type.Integer({ minimum: 1, maximum: 100_000, description: 'Most rows that are answered; default 1000.' }),
);
const document = Type.Record(Type.String(), Type.Unknown());
const collection = Type.String({ minLength: 1, maxLength: 255 });
const documents = Type.Object({
  documents: Type.Array(document),
  truncated: Type.Boolean({ description: 'Whether there were more.' }),
});

export const database = defineConnectionType({
  type: 'database',
  title: 'Database',
  summary: 'Runs statements on a database, with bound parameters, over a pool of connections.',
  fields: {
    dbType: optional(
      choice(dbTypes, {
        title: 'Database',
        description:
          'Kind of database. Left out, it is told from the JDBC URL, else the driver class, else a well-known port.',
        group: 'target',
        destination: 'address',
      }),
    ),
    jdbcUrl: optional(
      credentialUrl({
        title: 'JDBC URL',
        description:
          'For example jdbc:postgresql://host:5432/database. Of its parameters those with a counterpart have effect, dangerous ones are refused, others are kept and reported. Required unless a host is given.',
        examples: [
          'jdbc:postgresql://db.example.com:5432/orders',
          'jdbc:mysql://db.example.com:3306/orders',
          'jdbc:oracle:thin:@db.example.com:1521/orders',
          'jdbc:sqlserver://db.example.com:1433;databaseName=orders',
        ],
      }),
    ),
    host: optional(
      hostName({
        title: 'Host',
        description: 'Used when there is no JDBC URL; given with one, they must agree.',
        examples: ['db.example.com'],
      }),
    ),
    port: optional(portNumber({ title: 'Port', description: "Default: the database's well-known port." })),
    databaseName: optional(
      text({
        title: 'Database name',
        description: 'Database, service or catalog. Given with a JDBC URL that names one, they must agree.',
        group: 'target',
        maxLength: 255,
        destination: 'address',
      }),
    ),
    driverClassName: optional(
      text({
        title: 'Driver class',
        description: 'Kept; only used to tell the kind of database.',
        group: 'target',
        maxLength: 255,
        destination: 'address',
        examples: ['org.postgresql.Driver'],
      }),
    ),
    useCredentials: flag({
      title: 'Use credentials',
      description: 'Whether to log in with user name and password.',
      group: 'authentication',
      default: true,
    }),
    username: optional(
      text({
        title: 'User name',
        description: 'Required when credentials are used.',
        group: 'authentication',
        maxLength: 255,
        visibleWhen: { useCredentials: true },
      }),
    ),
    password: optional(
      secret({
        title: 'Password',
        description: 'Required when credentials are used.',
        visibleWhen: { useCredentials: true },
      }),
    ),
    initialPoolSize: integer({
      title: 'Initial pool size',
      description: 'Connections that are opened first.',
      group: 'pool',
      default: 1,
      minimum: 1,
    }),
    minPoolSize: integer({
      title: 'Smallest pool size',
      description: 'Connections that are kept open. At most the largest pool size.',
      group: 'pool',
      default: 1,
      minimum: 1,
    }),
    maxPoolSize: integer({
      title: 'Largest pool size',
      description: 'Most connections at a time; further statements wait.',
      group: 'pool',
      default: 5,
      minimum: 1,
    }),
    incrementCount: integer({
      title: 'Increment',
      description: 'Connections that are opened together when none is free.',
      group: 'pool',
      default: 1,
      minimum: 1,
    }),
    maxStatements: integer({
      title: 'Prepared statements',
      description: 'Prepared statements cached per connection; 0: none.',
      group: 'pool',
      default: 100,
      minimum: 0,
    }),
    idleConnectionTestPeriod: integer({
      title: 'Idle test period',
      description: 'How often idle connections are tested; 0: never.',
      group: 'pool',
      unit: 'ms',
      default: 30_000,
      minimum: 0,
    }),
    connectionTimeout: integer({
      title: 'Connection timeout',
      description: 'How long to wait for a connection, new or of the pool; 0: without limit.',
      group: 'limits',
      unit: 'ms',
      default: 30_000,
      minimum: 0,
    }),
    maxConnectionAge: integer({
      title: 'Greatest age',
      description: 'A connection older than this is replaced when it is free; 0: never.',
      group: 'pool',
      unit: 'ms',
      default: 180_000,
      minimum: 0,
    }),
    maxIdleTime: integer({
      title: 'Greatest idle time',
      description: 'A connection beyond the smallest pool size that is idle longer is closed; 0: never.',
      group: 'pool',
      unit: 'ms',
      default: 120_000,
      minimum: 0,
    }),
    testConnectionOnCheckout: flag({
      title: 'Test before use',
      description: 'Whether a connection is tested before a statement gets it.',
      group: 'pool',
      default: true,
    }),
    testConnectionOnCheckin: flag({
      title: 'Test after use',
      description: 'Whether a connection is tested when a statement gives it back.',
      group: 'pool',
      default: false,
    }),
    selectedEnvironmentId: optional(
      text({
        title: 'Environment',
        description: 'Name of the one environment to deploy to; unset: as `environments` says.',
        group: 'advanced',
        maxLength: 255,
      }),
    ),
    defaultLogSchema: optional(
      text({
        title: 'Log schema',
        description: 'Schema of the log tables; kept and returned, without effect here.',
        group: 'advanced',
        maxLength: 255,
      }),
    ),
    logTableSchemaOverrides: map(
      text({ title: 'Schema', description: 'Schema of this log table.', maxLength: 255 }),
      {
        title: 'Log table schemas',
        description:
          'Schema by kind of log: ApiProxyTraffic, PolicyCapture, AuditEvent, Application, UnsentMessage, TokenTraffic. Kept and returned, without effect here.',
        group: 'advanced',
        default: {},
        namePattern: logKeys,
      },
    ),
    logTableNameOverrides: map(
      text({ title: 'Table', description: 'Name of this log table.', maxLength: 255 }),
      {
        title: 'Log table names',
        description:
          'Table by kind of log: ApiProxyTraffic, PolicyCapture, AuditEvent, Application, UnsentMessage, TokenTraffic. Kept and returned, without effect here.',
        group: 'advanced',
        default: {},
        namePattern: logKeys,
      },
    ),
    ...tlsFields,
  },
  rules: [
    {
      when: {},
      require: [['jdbcUrl', 'host']],
      message: 'is required unless host is given',
    },
    { when: { useCredentials: true }, require: ['username', 'password'] },
    {
      when: {},
      require: ['dbType'],
      message: 'cannot be told from jdbcUrl, driverClassName or port: give it',
      afterNormalise: true,
    },
  ],
  normalise(body) {
    if (body['dbType'] !== undefined) return;
    const { jdbcUrl, driverClassName, port } = body;
    const told =
      (typeof jdbcUrl === 'string' ? dbTypeOfUrl(jdbcUrl) : undefined) ??
      (typeof driverClassName === 'string' ? dbTypeOfDriverClass(driverClassName) : undefined) ??
      (typeof port === 'number' ? dbTypeOfPort(port) : undefined);
    if (told !== undefined) body['dbType'] = told;
  },
  refine(config, fault, form) {
    if (config.minPoolSize > config.maxPoolSize) fault('minPoolSize', 'must be at most maxPoolSize');
    // A URL with variables is judged when they are resolved.
    if (config.jdbcUrl === undefined || (form === 'stored' && hasVariable(config.jdbcUrl))) return;
    let url: JdbcUrl;
    try {
      url = parseJdbcUrl(config.jdbcUrl);
    } catch (error) {
      if (!(error instanceof JdbcUrlError)) throw error;
      return fault('jdbcUrl', error.message);
    }
    const { dbType, host, port, databaseName, username, password } = config;
    const differs = (value: unknown) => value !== undefined && !hasVariable(value);
    if (differs(dbType) && dbType !== url.dbType)
      fault('dbType', `must agree with jdbcUrl, which is of ${url.dbType}`);
    const [only] = url.hosts;
    const isOne = url.hosts.length === 1;
    if (differs(host) && !(isOne && normaliseHost(host!) === normaliseHost(only!.host)))
      fault('host', 'must agree with jdbcUrl');
    if (differs(port) && !(isOne && port === only!.port)) fault('port', 'must agree with jdbcUrl');
    if (differs(databaseName) && url.database !== undefined && databaseName !== url.database)
      fault('databaseName', 'must agree with jdbcUrl');
    if (!config.useCredentials) return;
    if (differs(username) && url.user !== undefined && username !== url.user)
      fault('username', 'must agree with jdbcUrl');
    if (url.password !== undefined && differs(password) && password !== url.password)
      fault('password', 'must agree with the one in jdbcUrl');
  },
  remarks(config, idle) {
    const remarks: string[] = [];
    if (config.jdbcUrl !== undefined && !hasVariable(config.jdbcUrl)) {
      const { ignored } = parseJdbcUrl(config.jdbcUrl);
      for (const { name } of ignored)
        remarks.push(`jdbcUrl: the parameter ${name} is kept but has no effect`);
    }
    if (config.initialPoolSize > config.maxPoolSize)
      remarks.push('initialPoolSize: more than maxPoolSize, which is opened instead');
    if (!config.useCredentials) remarks.push(...idle(['username', 'password'], 'useCredentials is off'));
    const { dbType, driverClassName } = config;
    if (driverClassName !== undefined && dbTypeOfDriverClass(driverClassName) !== dbType)
      remarks.push(`driverClassName: is kept but not used, as the database is ${dbType}`);
    if (dbType !== undefined && !cachesStatements.has(dbType))
      remarks.push(...idle(['maxStatements'], `statements of ${dbType} are not cached`));
    remarks.push(
      ...idle(
        ['defaultLogSchema', 'logTableSchemaOverrides', 'logTableNameOverrides'],
        'no log tables are written; it is kept for the programs that read it',
      ),
    );
    return remarks;
  },
  destinations: {
    jdbcUrl: (value) => destinationsOfUrl(String(value)),
  },
  notes: [
    `Well-known ports: ${Object.entries(defaultPorts)
      .map(([type, port]) => `${type} ${port}`)
      .join(', ')}.`,
    'The class named as the driver is never loaded.',
    "Proven live in this version: PostgreSQL 15, MariaDB 10.11, Trino 435 (parameters need 418 or later), HiveServer2 4.0.1; MONGODB against mongo-java-server 1.47, which has no log-in and no replica sets, so that SCRAM and `mongodb+srv` are the driver's and unproven here.",
    "SQL_SERVER: by Microsoft's driver for Node, proven against a peer of our own that speaks TDS, not a real server. Decimals beyond 15 digits are rounded by that driver, and its times end at milliseconds.",
    'ORACLE: by oracledb in thin mode (12.1 or later, no Oracle client), proven against peers of our own as far as the listener, not a real database. Placeholders are :1, :2; booleans are bound as 1 and 0; DATE and TIMESTAMP come out as the database holds them, to milliseconds. TLS is tcps:// in jdbcUrl; the encryption of Oracle Net is not spoken.',
    'APACHE_HIVE and APACHE_IMPALA: by the binary protocol of HiveServer2, without SASL (auth=noSasl, AuthMech=0) or with SASL PLAIN; Kerberos and transportMode=http are refused. The protocol binds nothing: each ? becomes an escaped literal, and comments are left out of a statement with parameters. Impala is not proven against a real server (the protocol is that of Hive).',
    'SYBASE and DB2: by the package `odbc` and an ODBC driver, which are not part of this: the test says what to install (FreeTDS, registered as FreeTDS; that of IBM, as IBM DB2 ODBC DRIVER). Proven against a stand-in for the package only. The driver reaches its server through a socket of the worker, which also does TLS; what a server tells the driver to dial besides is not covered by the egress policy.',
    'maxStatements has an effect for POSTGRES, MYSQL and ORACLE alone.',
    'MONGODB: documents go in and come out as Extended JSON v2 (`{"$oid": …}`), integers beyond 53 bits as `{"$numberLong": …}`.',
  ],
  operations: {
    query: defineOperation({
      title: 'Query',
      description: `Runs one statement with bound parameters and answers its rows. ${sessionRule}`,
      input: Type.Object({ ...statement, maxRows, timeoutMs }, { additionalProperties: false }),
      output: Type.Object({
        columns: Type.Array(
          Type.Object({ name: Type.String(), type: Type.String({ description: "the database's own name" }) }),
        ),
        rows: Type.Array(Type.Array(Type.Unknown()), {
          description: 'Values in the order of the columns; what JSON cannot hold exactly is text.',
        }),
        truncated: Type.Boolean({ description: 'Whether there were more rows.' }),
      }),
    }),
    execute: defineOperation({
      title: 'Execute',
      description: `Runs one statement with bound parameters whose rows nobody wants. ${sessionRule}`,
      input: Type.Object({ ...statement, timeoutMs }, { additionalProperties: false }),
      output: Type.Object({
        affectedRows: Type.Number(),
        insertId: Type.Optional(
          Type.String({ description: 'The generated key, where the database tells one.' }),
        ),
      }),
    }),
    find: defineOperation({
      title: 'Find documents',
      description: 'MONGODB: answers the documents that match a filter.',
      input: Type.Object(
        {
          collection,
          filter: Type.Optional(document),
          projection: Type.Optional(document),
          sort: Type.Optional(document),
          skip: Type.Optional(Type.Integer({ minimum: 0 })),
          maxRows,
          timeoutMs,
        },
        { additionalProperties: false },
      ),
      output: documents,
    }),
    insert: defineOperation({
      title: 'Insert documents',
      description: 'MONGODB: inserts documents.',
      input: Type.Object(
        { collection, documents: Type.Array(document, { minItems: 1, maxItems: 100_000 }), timeoutMs },
        { additionalProperties: false },
      ),
      output: Type.Object({ insertedCount: Type.Integer(), insertedIds: Type.Array(Type.Unknown()) }),
    }),
    update: defineOperation({
      title: 'Update documents',
      description: 'MONGODB: changes the documents that match a filter, or the first of them.',
      input: Type.Object(
        {
          collection,
          filter: document,
          update: Type.Union([document, Type.Array(document)]),
          many: Type.Optional(Type.Boolean({ description: 'All that match, not only the first.' })),
          upsert: Type.Optional(Type.Boolean({ description: 'Insert when none matches.' })),
          timeoutMs,
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        matchedCount: Type.Integer(),
        modifiedCount: Type.Integer(),
        upsertedId: Type.Optional(Type.Unknown()),
      }),
    }),
    delete: defineOperation({
      title: 'Delete documents',
      description: 'MONGODB: deletes the documents that match a filter, or the first of them.',
      input: Type.Object(
        {
          collection,
          filter: document,
          many: Type.Optional(Type.Boolean({ description: 'All that match, not only the first.' })),
          timeoutMs,
        },
        { additionalProperties: false },
      ),
      output: Type.Object({ deletedCount: Type.Integer() }),
    }),
    aggregate: defineOperation({
      title: 'Aggregate documents',
      description: 'MONGODB: runs an aggregation pipeline and answers its documents.',
      input: Type.Object(
        { collection, pipeline: Type.Array(document, { maxItems: 1000 }), maxRows, timeoutMs },
        { additionalProperties: false },
      ),
      output: documents,
    }),
  },
});

function dbTypeOfDriverClass(name: string): DbType | undefined {
  return driverClasses.find(([pattern]) => pattern.test(name))?.[1];
}

function dbTypeOfPort(port: number): DbType | undefined {
  // 8080 is the port of too many things to tell Trino by it.
  return dbTypes.find((type) => type !== 'TRINO' && defaultPorts[type] === port);
}
