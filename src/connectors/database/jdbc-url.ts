import { isHost, normaliseHost } from '../../contract/host.ts';

export const dbTypes = [
  'ORACLE',
  'MYSQL',
  'POSTGRES',
  'SQL_SERVER',
  'SYBASE',
  'DB2',
  'APACHE_HIVE',
  'APACHE_IMPALA',
  'MONGODB',
  'TRINO',
] as const;
export type DbType = (typeof dbTypes)[number];

/** Port of a database server where none is named. */
export const defaultPorts: Readonly<Record<DbType, number>> = {
  ORACLE: 1521,
  MYSQL: 3306,
  POSTGRES: 5432,
  SQL_SERVER: 1433,
  SYBASE: 5000,
  DB2: 50000,
  APACHE_HIVE: 10000,
  APACHE_IMPALA: 21050,
  MONGODB: 27017,
  TRINO: 8080,
};

export interface JdbcUrl {
  dbType: DbType;
  /** In the order given; ports filled in. */
  hosts: { host: string; port: number }[];
  /** The host is a DNS name whose SRV records name the servers (`mongodb+srv`). */
  srv: boolean;
  /** Database, service, catalog and schema, or whatever the driver calls it. */
  database: string | undefined;
  /** Oracle's older way to name a database: `database` is a SID. */
  isSid: boolean;
  user: string | undefined;
  password: string | undefined;
  /** Parameters with an effect, under the driver's own spelling of their names; without log-in and TLS. */
  parameters: Readonly<Record<string, string>>;
  /** Parameters without effect, as written. */
  ignored: readonly { name: string; value: string }[];
  /** Undefined: the URL says nothing about it, so the driver's own default applies. */
  tls: 'none' | 'prefer' | 'demand' | undefined;
  /** Whether the server's certificate is verified; undefined: the URL does not say. */
  verify: boolean | undefined;
  /** Chain verified, host name not (`verify-ca`). */
  anyHostName?: true;
}

/** A JDBC URL that is not taken; the message tells people why and holds no value of a parameter. */
export class JdbcUrlError extends Error {}

interface Driver {
  dbType: DbType;
  /** Matches what comes before the hosts. */
  prefix: RegExp;
  /** Parameters that have an effect, as the driver spells them. */
  honoured: readonly string[];
  /** Parameters without effect here that cannot lead a secret anywhere; changing them moves nothing. */
  harmless: readonly string[];
  /** Parameters that reach files, classes, other hosts or other ways to log in. */
  refused: readonly string[];
  body(rest: string): Body;
}

interface Body {
  hosts: string;
  userInfo?: string | undefined;
  database?: string | undefined;
  isSid?: boolean;
  srv?: boolean;
  tls?: 'demand';
  parameters: [name: string, value: string][];
}

/** Whatever the driver: names of parameters that load classes or files, log in by other means, or lead elsewhere. */
const refusedEverywhere =
  /factory|jndi|ldap|krb|kerberos|gss|jaas|sspi|deserializ|interceptor|infile|proxy|socks|keystore|truststore|wallet|tns|trace|logg|plugin|script|callback|provider|reroute|failover|class(name)?$|file$|path$|dir(ectory)?$|location$|url$|^(host|hosts|hostname|hostaddr|server|servername|serverport|port|portnumber|pghost|pgport|service|servicename|address|instance|instancename|localsocket|pipe)$/i;

const logIn = ['user', 'username', 'userName', 'uid', 'password', 'pwd'];
const harmlessTimes = ['connectTimeout', 'socketTimeout', 'loginTimeout', 'queryTimeout'];

const drivers: readonly Driver[] = [
  {
    dbType: 'POSTGRES',
    prefix: /^jdbc:postgresql:\/\//i,
    honoured: ['sslmode', 'ssl', 'ApplicationName', 'currentSchema', 'options'],
    harmless: [
      ...harmlessTimes,
      'cancelSignalTimeout',
      'tcpKeepAlive',
      'tcpNoDelay',
      'prepareThreshold',
      'preparedStatementCacheQueries',
      'preparedStatementCacheSizeMiB',
      'defaultRowFetchSize',
      'reWriteBatchedInserts',
      'stringtype',
      'readOnly',
      'binaryTransfer',
      'assumeMinServerVersion',
      'autosave',
      'cleanupSavepoints',
      'preferQueryMode',
      'sendBufferSize',
      'receiveBufferSize',
      'escapeSyntaxCallMode',
      'unknownLength',
      'disableColumnSanitiser',
      'hideUnprivilegedObjects',
      'logUnclosedConnections',
      'logServerErrorDetail',
    ],
    refused: [
      'socketFactory',
      'socketFactoryArg',
      'sslfactory',
      'sslfactoryarg',
      'sslhostnameverifier',
      'sslpasswordcallback',
      'sslpassword',
      'sslcert',
      'sslkey',
      'sslrootcert',
      'authenticationPluginClassName',
      'xmlFactoryFactory',
      'loggerFile',
      'loggerLevel',
      'jaasApplicationName',
      'jaasLogin',
      'gsslib',
      'gssEncMode',
      'useSpnego',
      'kerberosServerName',
      'service',
      'PGHOST',
      'PGPORT',
      'PGDBNAME',
      'dbname',
    ],
    body: (rest) => slashed(rest, { separator: '&' }),
  },
  {
    dbType: 'MYSQL',
    prefix: /^jdbc:(mysql|mariadb):\/\//i,
    honoured: ['sslMode', 'useSSL', 'requireSSL', 'verifyServerCertificate', 'trustServerCertificate'],
    harmless: [
      ...harmlessTimes,
      'characterEncoding',
      'connectionCollation',
      'useUnicode',
      'serverTimezone',
      'connectionTimeZone',
      'useLegacyDatetimeCode',
      'zeroDateTimeBehavior',
      'autoReconnect',
      'failOverReadOnly',
      'maxReconnects',
      'tcpKeepAlive',
      'tcpNoDelay',
      'cachePrepStmts',
      'prepStmtCacheSize',
      'prepStmtCacheSqlLimit',
      'useServerPrepStmts',
      'rewriteBatchedStatements',
      'useCursorFetch',
      'defaultFetchSize',
      'tinyInt1isBit',
      'useCompression',
      'useInformationSchema',
      'nullCatalogMeansCurrent',
      'useAffectedRows',
    ],
    refused: [
      'allowLoadLocalInfile',
      'allowLoadLocalInfileInPath',
      'allowUrlInLocalInfile',
      'autoDeserialize',
      'queryInterceptors',
      'statementInterceptors',
      'exceptionInterceptors',
      'connectionLifecycleInterceptors',
      'authenticationPlugins',
      'defaultAuthenticationPlugin',
      'disabledAuthenticationPlugins',
      'socketFactory',
      'socksProxyHost',
      'socksProxyPort',
      'serverRSAPublicKeyFile',
      'serverSslCert',
      'allowPublicKeyRetrieval',
      'allowMultiQueries',
      'propertiesTransform',
      'clientInfoProvider',
      'useConfigs',
      'detectCustomCollations',
      'sessionVariables',
      'dnsSrv',
      'credentialType',
      'allowNanAndInf',
    ],
    body: (rest) => slashed(rest, { separator: '&', userInfo: true }),
  },
  {
    dbType: 'ORACLE',
    prefix: /^jdbc:oracle:thin:/i,
    honoured: [],
    harmless: [],
    refused: ['TNS_ADMIN', 'wallet_location', 'oracle.net.wallet_location', 'token_auth'],
    body: oracle,
  },
  {
    dbType: 'SQL_SERVER',
    prefix: /^jdbc:(sqlserver|jtds:sqlserver):\/\//i,
    honoured: [
      'databaseName',
      'database',
      'encrypt',
      'trustServerCertificate',
      'ssl',
      'applicationName',
      'appName',
    ],
    harmless: [
      ...harmlessTimes,
      'sendStringParametersAsUnicode',
      'packetSize',
      'lockTimeout',
      'responseBuffering',
      'selectMethod',
      'workstationID',
      'disableStatementPooling',
      'statementPoolingCacheSize',
      'sendTimeAsDatetime',
      'cancelQueryTimeout',
      'applicationIntent',
      'multiSubnetFailover',
    ],
    refused: [
      'socketFactoryClass',
      'socketFactoryConstructorArg',
      'trustManagerClass',
      'trustManagerConstructorArg',
      'accessTokenCallbackClass',
      'accessToken',
      'jaasConfigurationName',
      'integratedSecurity',
      'authentication',
      'authenticationScheme',
      'realm',
      'domain',
      'serverCertificate',
      'hostNameInCertificate',
      'clientCertificate',
      'clientKey',
      'clientKeyPassword',
      'enclaveAttestationUrl',
      'columnEncryptionSetting',
      'serverNameAsACE',
      'serverSpn',
    ],
    body: (rest) => slashed(rest, { separator: ';' }),
  },
  {
    dbType: 'SYBASE',
    prefix: /^jdbc:jtds:sybase:\/\//i,
    honoured: ['ssl', 'appName'],
    harmless: [
      ...harmlessTimes,
      'charset',
      'packetSize',
      'tcpNoDelay',
      'lastUpdateCount',
      'prepareSQL',
      'tds',
    ],
    refused: ['namedPipe', 'bindAddress', 'domain', 'useNTLMv2', 'bufferDir'],
    body: (rest) => slashed(rest, { separator: ';' }),
  },
  {
    dbType: 'SYBASE',
    prefix: /^jdbc:sybase:Tds:/i,
    honoured: ['APPLICATIONNAME'],
    harmless: ['CHARSET', 'LANGUAGE', 'PACKETSIZE', 'SESSION_TIMEOUT', 'DYNAMIC_PREPARE', 'HOSTNAME'],
    refused: [
      'SYBSOCKET_FACTORY',
      'SECONDARY_SERVER_HOSTPORT',
      'REQUEST_HA_SESSION',
      'REQUEST_KERBEROS_SESSION',
    ],
    body: (rest) => slashed(rest, { separator: '&' }),
  },
  {
    dbType: 'DB2',
    prefix: /^jdbc:db2:\/\//i,
    honoured: ['sslConnection', 'currentSchema', 'clientApplicationInformation'],
    harmless: [
      ...harmlessTimes,
      'fetchSize',
      'deferPrepares',
      'retrieveMessagesFromServerOnGetMessage',
      'currentLockTimeout',
    ],
    refused: [
      'clientRerouteServerListJNDIName',
      'clientRerouteAlternateServerName',
      'clientRerouteAlternatePortNumber',
      'traceFile',
      'traceDirectory',
      'pluginName',
      'securityMechanism',
      'apiKey',
      'accessToken',
      'accessTokenType',
      'sslClientHostnameValidation',
    ],
    body: db2,
  },
  {
    dbType: 'APACHE_HIVE',
    prefix: /^jdbc:hive2:\/\//i,
    honoured: ['ssl', 'auth', 'transportMode', 'httpPath'],
    harmless: ['fetchSize', 'retries', 'cookieAuth', ...harmlessTimes],
    refused: [
      'principal',
      'saslQop',
      'delegationUID',
      'serviceDiscoveryMode',
      'zooKeeperNamespace',
      'initFile',
      'jwt',
      'browserResponsePort',
      'sslTrustStore',
      'sslKeyStore',
    ],
    body: (rest) => slashed(rest, { separator: ';' }),
  },
  {
    dbType: 'APACHE_IMPALA',
    prefix: /^jdbc:impala:\/\//i,
    honoured: ['SSL', 'AuthMech', 'transportMode', 'httpPath'],
    harmless: ['RowsFetchedPerBlock', 'SocketTimeout', 'UseNativeQuery', ...harmlessTimes],
    refused: ['DelegationUID', 'AllowSelfSignedCerts', 'CAIssuedCertsMismatch'],
    body: (rest) => slashed(rest, { separator: ';' }),
  },
  {
    dbType: 'MONGODB',
    prefix: /^(jdbc:)?mongodb(\+srv)?:\/\//i,
    honoured: [
      'authSource',
      'authMechanism',
      'replicaSet',
      'directConnection',
      'tls',
      'ssl',
      'tlsInsecure',
      'tlsAllowInvalidCertificates',
      'tlsAllowInvalidHostnames',
      'readPreference',
      'retryWrites',
      'retryReads',
      'w',
      'appName',
    ],
    harmless: [
      'connectTimeoutMS',
      'socketTimeoutMS',
      'serverSelectionTimeoutMS',
      'maxPoolSize',
      'minPoolSize',
      'maxIdleTimeMS',
      'waitQueueTimeoutMS',
      'heartbeatFrequencyMS',
      'localThresholdMS',
      'readConcernLevel',
      'journal',
      'wtimeoutMS',
      'compressors',
      'zlibCompressionLevel',
    ],
    refused: [
      'authMechanismProperties',
      'tlsCertificateKeyFile',
      'tlsCertificateKeyFilePassword',
      'tlsCAFile',
      'tlsCRLFile',
      'proxyHost',
      'proxyPort',
      'proxyUsername',
      'proxyPassword',
      'srvServiceName',
      'srvMaxHosts',
      'loadBalanced',
    ],
    body: (rest) => slashed(rest, { separator: '&', userInfo: true }),
  },
  {
    dbType: 'TRINO',
    prefix: /^jdbc:trino:\/\//i,
    honoured: ['SSL', 'SSLVerification', 'source', 'clientTags', 'sessionProperties', 'timezone'],
    harmless: [
      'applicationNamePrefix',
      'clientInfo',
      'traceToken',
      'disableCompression',
      'assumeLiteralUnderscoreInMetadataCallsForNonConformingClients',
    ],
    refused: [
      'accessToken',
      'externalAuthentication',
      'extraCredentials',
      'dnsResolver',
      'dnsResolverContext',
      'hostnameInCertificate',
      'roles',
      'sessionUser',
      'SSLUseSystemTrustStore',
    ],
    body: (rest) => slashed(rest, { separator: '&', deepDatabase: true }),
  },
];

/** The database that a URL's prefix names, however the rest of it looks. */
export function dbTypeOfUrl(url: string): DbType | undefined {
  return driverOf(url)?.dbType;
}

/** Reads a JDBC URL by a strict grammar; throws `JdbcUrlError` on whatever is not plainly of it. */
export function parseJdbcUrl(url: string): JdbcUrl {
  const driver = driverOf(url);
  if (!driver)
    throw new JdbcUrlError(
      'must be a JDBC URL of a supported database, such as jdbc:postgresql://host:5432/database',
    );
  if (/[\p{Cc}\u2028\u2029]/u.test(url)) throw new JdbcUrlError('must not contain control characters');
  const prefix = driver.prefix.exec(url)![0];
  const body = driver.body(url.slice(prefix.length));
  const sorted = sortParameters(driver, body.parameters);
  const userInfo = readUserInfo(body.userInfo);
  if (userInfo.user !== undefined && sorted.user !== undefined)
    throw new JdbcUrlError('names its user twice');
  const srv = /\+srv:\/\/$/i.test(prefix);
  const protection = protectionOf(driver.dbType, sorted.settings, body.tls ?? (srv ? 'demand' : undefined));
  const hosts = readHosts(driver.dbType, body.hosts, protection.tls);
  if (srv && (hosts.length !== 1 || /:\d+$/.test(body.hosts)))
    throw new JdbcUrlError('mongodb+srv takes exactly one host and no port');
  const { databaseName, database, ...parameters } = sorted.honoured;
  const named = databaseName ?? database;
  if (named !== undefined && body.database !== undefined && named !== body.database)
    throw new JdbcUrlError('names its database twice');
  return {
    dbType: driver.dbType,
    hosts,
    srv,
    database: body.database ?? named,
    isSid: body.isSid ?? false,
    user: userInfo.user ?? sorted.user,
    password: userInfo.password ?? sorted.password,
    parameters,
    ignored: sorted.ignored,
    ...protection,
  };
}

/**
 * The places that a JDBC URL leads to, for the binding of secrets: hosts, database, every
 * parameter that is not listed as harmless, and each way in which the transport is not protected.
 */
export function destinationsOfUrl(url: string): string[] {
  let parsed: JdbcUrl;
  try {
    parsed = parseJdbcUrl(url);
  } catch (error) {
    if (!(error instanceof JdbcUrlError)) throw error;
    return [`unreadable ${url}`];
  }
  const { harmless } = driverOf(url)!;
  const isHarmless = ({ name }: { name: string }) => includesName(harmless, name);
  return [
    `type ${parsed.dbType}${parsed.srv ? ' srv' : ''}`,
    ...parsed.hosts.map(({ host, port }) => `host ${normaliseHost(host)}:${port}`),
    `database ${parsed.isSid ? 'SID ' : ''}${parsed.database ?? ''}`,
    ...Object.entries(parsed.parameters).map(([name, value]) => `parameter ${name}=${value}`),
    ...parsed.ignored
      .filter((parameter) => !isHarmless(parameter))
      .map(({ name, value }) => `parameter ${name.toLowerCase()}=${value}`),
    ...(parsed.verify === true ? [] : ['not verified']),
    ...(parsed.verify === true && !parsed.anyHostName ? [] : ['host name not verified']),
    ...(parsed.tls === 'demand' ? [] : ['maybe in clear']),
    ...(parsed.tls === 'none' ? ['in clear'] : []),
  ];
}

function driverOf(url: string): Driver | undefined {
  return drivers.find(({ prefix }) => prefix.test(url));
}

// ---- the grammars ----

interface Slashed {
  separator: '&' | ';';
  userInfo?: boolean;
  /** The database may hold one slash: catalog/schema. */
  deepDatabase?: boolean;
}

/** `hosts[/database]` and then `?a=b&c=d` or `;a=b;c=d`. */
function slashed(rest: string, { separator, userInfo, deepDatabase }: Slashed): Body {
  const mark = separator === '&' ? '?' : ';';
  const start = rest.indexOf(mark);
  const place = start < 0 ? rest : rest.slice(0, start);
  const tail = start < 0 ? '' : rest.slice(start + 1);
  refuseTricks(place, userInfo ?? false);
  const slash = place.indexOf('/');
  const authority = slash < 0 ? place : place.slice(0, slash);
  const path = slash < 0 ? '' : place.slice(slash + 1);
  if (path.includes('/') && !(deepDatabase && path.split('/').length === 2))
    throw new JdbcUrlError('has a path of more parts than a database name');
  const at = authority.lastIndexOf('@');
  return {
    hosts: at < 0 ? authority : authority.slice(at + 1),
    userInfo: at < 0 ? undefined : authority.slice(0, at),
    database: path === '' ? undefined : decode(path),
    parameters: separator === '&' ? ampersandList(tail) : semicolonList(tail),
  };
}

/** `[user/password]@[//|tcps://]host[:port](:SID|/service)`. */
function oracle(rest: string): Body {
  const at = rest.lastIndexOf('@');
  if (at < 0) throw new JdbcUrlError('must have the form jdbc:oracle:thin:@host:1521/service');
  const target = rest.slice(at + 1);
  const form =
    /^(tcps:\/\/|tcp:\/\/|\/\/)?(\[[^\]]*\]|[^:/?#[\]()=,]+)(?::(\d+))?(?:([:/])([^:/?#()=,\s]+))?$/i.exec(
      target,
    );
  if (!form)
    throw new JdbcUrlError(
      'must have the form jdbc:oracle:thin:@host:1521:SID or jdbc:oracle:thin:@host:1521/service; descriptors and parameters are not taken',
    );
  const [, scheme, host, port, mark, database] = form;
  if (mark === ':' && port === undefined) throw new JdbcUrlError('must name the port before the SID');
  return {
    hosts: port === undefined ? host! : `${host}:${port}`,
    userInfo: at === 0 ? undefined : oracleUserInfo(rest.slice(0, at)),
    database,
    isSid: mark === ':',
    ...(scheme?.toLowerCase() === 'tcps://' ? { tls: 'demand' as const } : {}),
    parameters: [],
  };
}

/** `user/password`, either in quotes, as user-info. */
function oracleUserInfo(text: string): string {
  const form = /^(?:"([^"]+)"|([^"/@:]+))(?:\/(?:"([^"]*)"|([^"@]*)))?$/.exec(text);
  if (!form) throw new JdbcUrlError('has a log-in that is not user/password');
  const user = form[1] ?? form[2] ?? '';
  const password = form[3] ?? form[4];
  return encodeURIComponent(user) + (password === undefined ? '' : `:${encodeURIComponent(password)}`);
}

/** `hosts/database[:a=b;c=d;]`. */
function db2(rest: string): Body {
  const form = /^([^/]*)\/([^:/?#;]+)(?::(.*))?$/s.exec(rest);
  if (!form) throw new JdbcUrlError('must have the form jdbc:db2://host:50000/database');
  refuseTricks(form[1]!, false);
  return { hosts: form[1]!, database: decode(form[2]!), parameters: semicolonList(form[3] ?? '') };
}

function refuseTricks(place: string, mayHaveUser: boolean): void {
  if (place.includes('\\'))
    throw new JdbcUrlError('must not contain a backslash; give the port instead of a named instance');
  if (/[#\s()]/.test(place))
    throw new JdbcUrlError('must not contain #, parentheses or spaces before its parameters');
  const ats = place.split('@').length - 1;
  if (ats > (mayHaveUser ? 1 : 0))
    throw new JdbcUrlError(
      mayHaveUser
        ? 'must not contain more than one @'
        : 'must not contain @; give username and password as fields',
    );
  const at = place.indexOf('@');
  if (at >= 0 && place.slice(0, at).includes('/'))
    throw new JdbcUrlError('must not contain @ after the host');
}

function ampersandList(tail: string): [string, string][] {
  if (tail.includes('#')) throw new JdbcUrlError('must not contain #');
  return tail
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const equals = part.indexOf('=');
      if (equals < 1) throw new JdbcUrlError('has a parameter that is not name=value');
      return [decode(part.slice(0, equals)), decode(part.slice(equals + 1))];
    });
}

/** `a=b;c={d;e}`; within braces `}}` is a brace. */
function semicolonList(tail: string): [string, string][] {
  const parameters: [string, string][] = [];
  const pair = /\s*([^=;{}?#&\s]+)\s*=(?:\{((?:[^}]|\}\})*)\}|([^;{}]*))(?:;|$)/y;
  let at = 0;
  while (at < tail.length) {
    if (tail[at] === ';') {
      at++;
      continue;
    }
    pair.lastIndex = at;
    const match = pair.exec(tail);
    if (!match) throw new JdbcUrlError('has a parameter that is not name=value');
    parameters.push([match[1]!, match[2]?.replaceAll('}}', '}') ?? match[3]!]);
    at = pair.lastIndex;
  }
  return parameters;
}

// ---- the parts ----

function sortParameters(driver: Driver, parameters: readonly [string, string][]) {
  const seen = new Set<string>();
  const honoured: Record<string, string> = {};
  const settings: Record<string, string> = {};
  const ignored: { name: string; value: string }[] = [];
  let user: string | undefined;
  let password: string | undefined;
  for (const [name, value] of parameters) {
    const folded = name.toLowerCase();
    if (seen.has(folded)) throw new JdbcUrlError(`names the parameter ${shown(name)} twice`);
    seen.add(folded);
    if (includesName(logIn, name)) {
      if (folded === 'password' || folded === 'pwd') password = once(password, value);
      else user = once(user, value);
      continue;
    }
    const known = driver.honoured.find((candidate) => candidate.toLowerCase() === folded);
    if (known !== undefined) {
      if (tlsParameter.test(known)) settings[folded] = value;
      else honoured[known] = value;
      continue;
    }
    if (
      !includesName(driver.harmless, name) &&
      (includesName(driver.refused, name) || refusedEverywhere.test(name))
    )
      throw new JdbcUrlError(`has the parameter ${shown(name)}, which is not allowed`);
    ignored.push({ name, value });
  }
  return { honoured, settings, ignored, user, password };
}

function once(before: string | undefined, value: string): string {
  if (before !== undefined) throw new JdbcUrlError('names its user or password twice');
  return value;
}

const tlsParameter =
  /^(sslmode|ssl|usessl|requiressl|verifyservercertificate|trustservercertificate|encrypt|sslconnection|tls|tlsinsecure|tlsallowinvalid.*|sslverification)$/i;

/** What the parameters about TLS ask for, in one vocabulary; a value that none of them knows is refused. */
function protectionOf(
  dbType: DbType,
  settings: Readonly<Record<string, string>>,
  implied: 'demand' | undefined,
): Pick<JdbcUrl, 'tls' | 'verify' | 'anyHostName'> {
  const flag = (name: string): boolean | undefined => {
    const value = settings[name]?.toLowerCase();
    if (value === undefined) return undefined;
    if (value === '' || value === 'true' || value === '1' || value === 'yes') return true;
    if (value === 'false' || value === '0' || value === 'no') return false;
    throw new JdbcUrlError(`has the parameter ${name}, which must be true or false`);
  };
  const mode = settings['sslmode']?.toLowerCase().replaceAll('-', '_');
  if (mode !== undefined) {
    const known = sslModes[mode];
    if (!known) throw new JdbcUrlError('has the parameter sslmode with a value that is not known');
    return known;
  }
  if (dbType === 'SQL_SERVER' && settings['encrypt'] !== undefined) {
    const value = settings['encrypt'].toLowerCase();
    const demand = ['true', 'mandatory', 'strict', '1', 'yes'].includes(value);
    if (!demand && !['false', 'optional', 'no', '0', 'no_tls'].includes(value))
      throw new JdbcUrlError('has the parameter encrypt with a value that is not known');
    return {
      tls: demand ? 'demand' : 'none',
      verify: demand ? flag('trustservercertificate') !== true : undefined,
    };
  }
  if (dbType === 'SQL_SERVER' || dbType === 'SYBASE') {
    const value = settings['ssl']?.toLowerCase();
    const jtds: Record<string, Pick<JdbcUrl, 'tls' | 'verify' | 'anyHostName'>> = {
      off: { tls: 'none', verify: undefined },
      request: { tls: 'prefer', verify: false },
      require: { tls: 'demand', verify: false },
      authenticate: { tls: 'demand', verify: true },
    };
    if (value !== undefined && !jtds[value])
      throw new JdbcUrlError('has the parameter ssl with a value that is not known');
    return value === undefined
      ? { tls: implied, verify: flag('trustservercertificate') === true ? false : undefined }
      : jtds[value]!;
  }
  const verification = settings['sslverification']?.toLowerCase();
  if (verification !== undefined && !['full', 'ca', 'none'].includes(verification))
    throw new JdbcUrlError('has the parameter SSLVerification with a value that is not known');
  const unverified =
    flag('tlsinsecure') === true ||
    flag('tlsallowinvalidcertificates') === true ||
    flag('tlsallowinvalidhostnames') === true ||
    flag('trustservercertificate') === true ||
    flag('verifyservercertificate') === false ||
    verification === 'none' ||
    verification === 'ca';
  const on = flag('ssl') ?? flag('tls') ?? flag('usessl') ?? flag('sslconnection');
  const demanded = implied === 'demand' || on === true || flag('requiressl') === true;
  return {
    tls: demanded ? 'demand' : on === false ? 'none' : undefined,
    verify: unverified ? false : flag('verifyservercertificate'),
  };
}

const sslModes: Readonly<Record<string, Pick<JdbcUrl, 'tls' | 'verify' | 'anyHostName'>>> = {
  disable: { tls: 'none', verify: undefined },
  disabled: { tls: 'none', verify: undefined },
  allow: { tls: 'prefer', verify: false },
  prefer: { tls: 'prefer', verify: false },
  preferred: { tls: 'prefer', verify: false },
  require: { tls: 'demand', verify: false },
  required: { tls: 'demand', verify: false },
  trust: { tls: 'demand', verify: false },
  verify_ca: { tls: 'demand', verify: true, anyHostName: true },
  verify_full: { tls: 'demand', verify: true },
  verify_identity: { tls: 'demand', verify: true },
};

function readHosts(dbType: DbType, text: string, tls: JdbcUrl['tls']): JdbcUrl['hosts'] {
  const defaultPort = dbType === 'TRINO' && tls === 'demand' ? 443 : defaultPorts[dbType];
  return text.split(',').map((item) => {
    const form = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]@%]+))(?::(\d{1,5}))?$/.exec(item);
    const host = form?.[1] ?? form?.[2];
    if (!form || host === undefined || !isHost(host))
      throw new JdbcUrlError('must name its hosts as host or host:port');
    const port = form[3] === undefined ? defaultPort : Number(form[3]);
    if (port < 1 || port > 65535) throw new JdbcUrlError('must name ports from 1 to 65535');
    return { host, port };
  });
}

function readUserInfo(text: string | undefined): { user?: string; password?: string } {
  if (text === undefined) return {};
  const colon = text.indexOf(':');
  if (text === '' || (colon >= 0 && text.includes(':', colon + 1)))
    throw new JdbcUrlError('has a log-in that is not user:password, percent-encoded');
  if (colon < 0) return { user: decode(text) };
  return { user: decode(text.slice(0, colon)), password: decode(text.slice(colon + 1)) };
}

function decode(text: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(text);
  } catch {
    throw new JdbcUrlError('has a % that does not begin a percent-encoded character');
  }
  if (/\p{Cc}/u.test(decoded)) throw new JdbcUrlError('must not contain control characters, encoded or not');
  return decoded;
}

function includesName(names: readonly string[], name: string): boolean {
  return names.some((candidate) => candidate.toLowerCase() === name.toLowerCase());
}

function shown(name: string): string {
  return name.length > 64 ? `${name.slice(0, 64)}…` : name;
}
