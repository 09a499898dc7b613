import type { AuthMechanism, MongoClientOptions, ReadPreferenceMode, W } from 'mongodb';
import { AppError } from '../../errors.ts';
import type { ConnectorContext, Network } from '../connector.ts';
import type { DatabaseConfig, DatabaseTarget } from './database-client.ts';
import { type TlsSettings, tlsSettings } from './driver-tls.ts';
import type { RelayAddress } from './socks-relay.ts';

/** Mechanisms that need a user and password and reach nothing else, as those of clouds and Kerberos do. */
const mechanisms = ['SCRAM-SHA-1', 'SCRAM-SHA-256', 'PLAIN', 'MONGODB-X509'];
const readPreferences = ['primary', 'primaryPreferred', 'secondary', 'secondaryPreferred', 'nearest'];
/** Bounds each step where `connectionTimeout` is 0. */
const FALLBACK_TIMEOUT_MS = 30_000;

export interface MongoSettings {
  hosts: { host: string; port: number }[];
  srv: boolean;
  database: string;
  tls: TlsSettings;
  timeoutMs: number;
  network: Network;
  /** Of the driver; without its way through the relay. */
  options: MongoClientOptions;
}

/** What the driver is given: exactly this, so that neither URL nor environment has a further say. */
export function mongoSettings(
  config: DatabaseConfig,
  target: DatabaseTarget,
  ctx: ConnectorContext,
): MongoSettings {
  const { hosts, srv, parameters } = target;
  const tls = tlsSettings(config, target, ctx, { unsaid: 'none', how: 'tls=true' });
  const { minVersion: _minVersion, ...tlsOptions } = tls.options;
  const timeoutMs = config.connectionTimeout || FALLBACK_TIMEOUT_MS;
  return {
    hosts,
    srv,
    database: target.database ?? config.databaseName ?? 'test',
    tls,
    timeoutMs,
    network: ctx.network,
    options: {
      ...logIn(config, target, tls),
      ...(tls.demand === 'none' ? { tls: false } : { tls: true, ...tlsOptions }),
      ...(parameters['replicaSet'] ? { replicaSet: parameters['replicaSet'] } : {}),
      ...flagOf(parameters, 'directConnection'),
      ...flagOf(parameters, 'retryWrites'),
      ...flagOf(parameters, 'retryReads'),
      ...readPreferenceOf(parameters['readPreference']),
      ...(parameters['w'] ? { writeConcern: { w: writersOf(parameters['w']) } } : {}),
      appName: parameters['appName'] ?? 'plugboard',
      minPoolSize: config.minPoolSize,
      maxPoolSize: config.maxPoolSize,
      maxConnecting: Math.min(config.incrementCount, config.maxPoolSize),
      maxIdleTimeMS: config.maxIdleTime,
      connectTimeoutMS: timeoutMs,
      serverSelectionTimeoutMS: timeoutMs,
      waitQueueTimeoutMS: timeoutMs,
      heartbeatFrequencyMS: Math.max(config.idleConnectionTestPeriod || 10_000, 500),
      serverMonitoringMode: 'poll',
      // Else MONGODB_LOG_… of the worker's environment could have it print what it sends.
      mongodbLogComponentSeverities: { default: 'off' },
    },
  };
}

/** Names the fields that this driver has no use for, where they were set. */
export function warnOfIdleFields(config: DatabaseConfig, ctx: ConnectorContext): void {
  const idle = [
    config.initialPoolSize > 1 && 'initialPoolSize',
    config.maxConnectionAge !== 180_000 && 'maxConnectionAge',
    config.testConnectionOnCheckin && 'testConnectionOnCheckin',
    !config.testConnectionOnCheckout && 'testConnectionOnCheckout',
  ].filter((name) => name !== false);
  if (idle.length > 0)
    ctx.warn(`${idle.join(', ')}: without effect for MONGODB, whose driver keeps the pool`);
}

/** The way of the driver to every server that it knows of or learns about. */
export function throughRelay({ host, port, username, password }: RelayAddress): MongoClientOptions {
  return { proxyHost: host, proxyPort: port, proxyUsername: username, proxyPassword: password };
}

/** A connection string of nothing but the checked hosts. */
export function addressOf({ hosts, srv }: MongoSettings): string {
  if (srv) return `mongodb+srv://${hosts[0]!.host}/`;
  const list = hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`);
  return `mongodb://${list.join(',')}/`;
}

function logIn(
  config: DatabaseConfig,
  { user, password, database, parameters }: DatabaseTarget,
  tls: TlsSettings,
): MongoClientOptions {
  const mechanism = parameters['authMechanism'];
  if (mechanism !== undefined && !mechanisms.includes(mechanism))
    throw new AppError(
      'invalid_configuration',
      `jdbcUrl: authMechanism must be one of ${mechanisms.join(', ')}`,
    );
  const username = config.useCredentials ? (config.username ?? user) : user;
  const secret = config.useCredentials ? (config.password ?? password) : password;
  if (mechanism === 'MONGODB-X509') {
    if (config.keyStoreName === undefined)
      throw new AppError('invalid_configuration', 'authMechanism=MONGODB-X509 needs keyStoreName');
    return { authMechanism: mechanism, authSource: '$external' };
  }
  if (username === undefined) return {};
  if (mechanism === 'PLAIN' && tls.demand === 'none')
    throw new AppError(
      'invalid_configuration',
      'authMechanism=PLAIN sends the password in clear: set tls=true in jdbcUrl',
    );
  return {
    auth: { username, password: secret ?? '' },
    authSource: parameters['authSource'] ?? (mechanism === 'PLAIN' ? '$external' : (database ?? 'admin')),
    ...(mechanism === undefined ? {} : { authMechanism: mechanism as AuthMechanism }),
  };
}

function flagOf(
  parameters: Readonly<Record<string, string>>,
  name: 'directConnection' | 'retryWrites' | 'retryReads',
): MongoClientOptions {
  const value = parameters[name];
  if (value === undefined) return {};
  if (value !== 'true' && value !== 'false')
    throw new AppError('invalid_configuration', `jdbcUrl: ${name} must be true or false`);
  return { [name]: value === 'true' };
}

function readPreferenceOf(value: string | undefined): MongoClientOptions {
  if (value === undefined) return {};
  if (!readPreferences.includes(value))
    throw new AppError(
      'invalid_configuration',
      `jdbcUrl: readPreference must be one of ${readPreferences.join(', ')}`,
    );
  return { readPreference: value as ReadPreferenceMode };
}

function writersOf(value: string): W {
  // What is no number names a write concern of the deployment, as majority does.
  return /^\d{1,3}$/.test(value) ? Number(value) : (value as W);
}
