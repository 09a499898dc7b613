import { isHost, normaliseHost } from '../../contract/host.ts';
import { type DbType, defaultPorts } from './db-types.ts';
import { db2 } from './jdbc-db2.ts';
import type { Driver } from './jdbc-driver.ts';
import { decode, JdbcUrlError } from './jdbc-grammar.ts';
import { hive, impala } from './jdbc-hive.ts';
import { mongodb } from './jdbc-mongodb.ts';
import { mysql } from './jdbc-mysql.ts';
import { oracle } from './jdbc-oracle.ts';
import { postgres } from './jdbc-postgres.ts';
import { type Protection, protectionOf, tlsParameter } from './jdbc-protection.ts';
import { jconnect, jtdsSybase, sqlServer } from './jdbc-tds.ts';
import { trino } from './jdbc-trino.ts';

export interface JdbcUrl extends Protection {
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
}

const drivers: readonly Driver[] = [
  postgres,
  mysql,
  oracle,
  sqlServer,
  jtdsSybase,
  jconnect,
  db2,
  hive,
  impala,
  mongodb,
  trino,
];

/** Whatever the driver: names of parameters that load classes or files, log in by other means, or lead elsewhere. */
const refusedEverywhere =
  /factory|jndi|ldap|krb|kerberos|gss|jaas|sspi|deserializ|interceptor|infile|proxy|socks|keystore|truststore|wallet|tns|trace|logg|plugin|script|callback|provider|reroute|failover|class(name)?$|file$|path$|dir(ectory)?$|location$|url$|^(host|hosts|hostname|hostaddr|server|servername|serverport|port|portnumber|pghost|pgport|service|servicename|address|instance|instancename|localsocket|pipe)$/i;

const logIn = ['user', 'username', 'userName', 'uid', 'password', 'pwd'];

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

function includesName(names: readonly string[], name: string): boolean {
  return names.some((candidate) => candidate.toLowerCase() === name.toLowerCase());
}

function shown(name: string): string {
  return name.length > 64 ? `${name.slice(0, 64)}…` : name;
}
