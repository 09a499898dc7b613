import type { ConnectionOptions } from 'node:tls';
import type { ConfigOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import type { ConnectorContext, Network } from '../connector.ts';
import { parseJaas } from './jaas.ts';
import { defaultProperties, type kafka } from './kafka.definition.ts';
import { type Serializer, type SerializerName, serializerNamed } from './kafka-serializers.ts';

export type KafkaConfig = ConfigOf<typeof kafka>;

export interface Broker {
  readonly host: string;
  readonly port: number;
}

const mechanisms = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512', 'OAUTHBEARER'] as const;
export type Mechanism = (typeof mechanisms)[number];

export type Sasl =
  | {
      readonly mechanism: Exclude<Mechanism, 'OAUTHBEARER'>;
      readonly user: string;
      readonly password: string;
    }
  | { readonly mechanism: 'OAUTHBEARER'; readonly user: string; readonly token: () => string };

/** What the client needs to know, all values checked; durations in ms. */
export interface KafkaSettings {
  readonly brokers: readonly Broker[];
  readonly topic: string;
  readonly clientId: string;
  /** undefined: in clear. */
  readonly tls: ConnectionOptions | undefined;
  readonly sasl: Sasl | undefined;
  readonly network: Network;
  readonly maxBlockMs: number;
  readonly requestTimeoutMs: number;
  readonly deliveryTimeoutMs: number;
  readonly retryBackoffMs: number;
  readonly reconnectBackoffMs: number;
  readonly reconnectBackoffMaxMs: number;
  readonly acks: -1 | 0 | 1;
  readonly retries: number;
  readonly lingerMs: number;
  readonly batchSizeBytes: number;
  readonly compression: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd';
  readonly isIdempotent: boolean;
  readonly maxInFlight: number;
  readonly keySerializer: Serializer;
  readonly valueSerializer: Serializer;
}

/** More than Java's 16 KiB: one batch is on its way at a time, and a call's messages should share it. */
const defaultBatchBytes = 256 * 1024;

/** Longest delay of a timer. */
const longestMs = 2 ** 31 - 1;

/** Reads a configuration; fails with `invalid_configuration` or `missing_reference`. */
export function readSettings(config: KafkaConfig, ctx: ConnectorContext): KafkaSettings {
  const properties = new Properties(config.propertiesMap);
  const protocol = properties.text('security.protocol');
  const isSecure = config.enableSecure || protocol === 'SSL' || protocol === 'SASL_SSL';
  const hasSasl = protocol?.startsWith('SASL_') ?? false;
  const sasl = hasSasl ? readSasl(properties, isSecure, ctx) : undefined;
  const acks = { all: -1, '-1': -1, 1: 1, 0: 0 }[properties.text('acks') ?? 'all'] as -1 | 0 | 1 | undefined;
  if (acks === undefined) throw invalid('acks must be all, -1, 0 or 1');
  const retries = properties.whole('retries') ?? longestMs;
  const maxInFlight = properties.whole('max.in.flight.requests.per.connection', 1) ?? 5;

  return {
    brokers: readBrokers(config.bootstrapServers ?? properties.text('bootstrap.servers') ?? ''),
    topic: config.topicName,
    clientId: properties.text('client.id') || 'plugboard',
    tls: isSecure ? tlsOptions(config, ctx) : undefined,
    sasl,
    network: ctx.network,
    maxBlockMs: duration(properties, 'max.block.ms'),
    requestTimeoutMs: duration(properties, 'request.timeout.ms'),
    deliveryTimeoutMs: duration(properties, 'delivery.timeout.ms'),
    retryBackoffMs: duration(properties, 'retry.backoff.ms'),
    reconnectBackoffMs: properties.whole('reconnect.backoff.ms') ?? 50,
    reconnectBackoffMaxMs: duration(properties, 'reconnect.backoff.max.ms'),
    acks,
    retries,
    lingerMs: Math.min(properties.whole('linger.ms') ?? 0, longestMs),
    batchSizeBytes: properties.whole('batch.size') ?? defaultBatchBytes,
    compression: (properties.text('compression.type') ?? 'none') as KafkaSettings['compression'],
    isIdempotent: readIdempotence(properties, { acks, retries, maxInFlight }),
    maxInFlight,
    keySerializer: serializer(properties, 'key.serializer'),
    valueSerializer: serializer(properties, 'value.serializer'),
  };
}

/** As the Java client: on unless something else was asked for; asked for with a contradiction, refused. */
function readIdempotence(
  properties: Properties,
  { acks, retries, maxInFlight }: { acks: number; retries: number; maxInFlight: number },
): boolean {
  const contradiction =
    acks !== -1
      ? 'acks other than all'
      : retries === 0
        ? 'retries 0'
        : maxInFlight > 5
          ? 'max.in.flight.requests.per.connection above 5'
          : undefined;
  const asked = properties.flag('enable.idempotence');
  if (asked === true && contradiction)
    throw invalid(`enable.idempotence cannot be true with ${contradiction}`);
  return asked ?? contradiction === undefined;
}

function tlsOptions(config: KafkaConfig, ctx: ConnectorContext): ConnectionOptions {
  const versions = config.protocolTypes;
  const old = versions.filter((version) => version !== 'TLS_1_3' && version !== 'TLS_1_2');
  if (old.length > 0)
    throw new AppError(
      'invalid_configuration',
      `protocolTypes: ${old.join(', ')} cannot be spoken by this worker; choose TLS_1_2 and TLS_1_3`,
    );
  if (!config.verifyCertificate) ctx.warn('verifyCertificate is off: whoever is on the way can read all.');
  return {
    ...ctx.trust.tls(config),
    minVersion: versions.length > 0 && !versions.includes('TLS_1_2') ? 'TLSv1.3' : 'TLSv1.2',
    maxVersion: versions.length > 0 && !versions.includes('TLS_1_3') ? 'TLSv1.2' : 'TLSv1.3',
  };
}

const loginModules: Readonly<Record<string, readonly Mechanism[]>> = {
  'org.apache.kafka.common.security.plain.PlainLoginModule': ['PLAIN'],
  'org.apache.kafka.common.security.scram.ScramLoginModule': ['SCRAM-SHA-256', 'SCRAM-SHA-512'],
  'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule': ['OAUTHBEARER'],
};

function readSasl(properties: Properties, isSecure: boolean, ctx: ConnectorContext): Sasl {
  const named = properties.text('sasl.mechanism');
  if (named === undefined)
    throw invalid(
      `sasl.mechanism must be one of ${mechanisms.join(', ')}: GSSAPI, Java's default, is not supported`,
    );
  const mechanism = mechanisms.find((each) => each === named);
  if (!mechanism) throw invalid(`sasl.mechanism must be one of ${mechanisms.join(', ')}`);
  const jaas = properties.text('sasl.jaas.config');
  if (jaas === undefined) throw invalid(`sasl.jaas.config is required with ${mechanism}`);
  const { className, options } = readJaas(jaas);
  const expected = loginModules[className];
  if (!expected)
    throw invalid(
      `sasl.jaas.config: the login module must be one of ${Object.keys(loginModules).join(', ')}`,
    );
  if (!expected.includes(mechanism))
    throw invalid(
      `sasl.jaas.config: the login module is for ${expected.join(' and ')}, not for ${mechanism}`,
    );

  if (mechanism === 'OAUTHBEARER') return readBearer(options);
  const user = options.get('username');
  const password = options.get('password');
  if (!user || password === undefined) throw invalid('sasl.jaas.config must hold username and password');
  if (/\0/.test(user + password))
    throw invalid('sasl.jaas.config: NUL cannot be part of username or password');
  const unused = [...options.keys()].filter((name) => name !== 'username' && name !== 'password');
  if (unused.length > 0) ctx.warn(`sasl.jaas.config: ${unused.join(', ')} is not used.`);
  if (!isSecure && mechanism === 'PLAIN')
    ctx.warn('The password is sent without TLS: use security.protocol SASL_SSL.');
  return { mechanism, user, password };
}

function readJaas(text: string) {
  try {
    return parseJaas(text);
  } catch (error) {
    throw invalid(`sasl.jaas.config: ${(error as Error).message}`);
  }
}

const claimOption = /^unsecuredLoginStringClaim_(.+)$/;

/** Java's built-in, unsecured token (RFC 7519, alg none); a token of an issuer is not supported yet. */
function readBearer(options: ReadonlyMap<string, string>): Sasl {
  const claims: Record<string, string> = {};
  for (const [name, value] of options) {
    const claim = claimOption.exec(name)?.[1];
    if (!claim)
      throw invalid(
        `sasl.jaas.config: of OAUTHBEARER only unsecuredLoginStringClaim_… is supported, not ${name}`,
      );
    claims[claim] = value;
  }
  const user = claims['sub'];
  if (!user) throw invalid('sasl.jaas.config must hold unsecuredLoginStringClaim_sub');
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const token = () => {
    const issuedAt = Date.now() / 1000;
    return `${encode({ alg: 'none' })}.${encode({ ...claims, iat: issuedAt, exp: issuedAt + 3600 })}.`;
  };
  return { mechanism: 'OAUTHBEARER', user, token };
}

function readBrokers(servers: string): Broker[] {
  const brokers = servers.split(',').map((item) => {
    const form = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(item.trim());
    const host = form?.[1] ?? form?.[2];
    const port = Number(form?.[3]);
    if (host === undefined || port < 1 || port > 65_535)
      throw new AppError(
        'invalid_configuration',
        'bootstrap.servers must be host:port, several separated by commas',
      );
    return { host, port };
  });
  return [...new Map(brokers.map((broker) => [addressOf(broker), broker])).values()];
}

/** `host:port`, an IPv6 address in brackets. */
export function addressOf({ host, port }: Broker): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function serializer(properties: Properties, name: 'key.serializer' | 'value.serializer'): Serializer {
  const className = properties.text(name) ?? 'org.apache.kafka.common.serialization.StringSerializer';
  const short = /^org\.apache\.kafka\.common\.serialization\.(\w+)Serializer$/.exec(className)?.[1];
  const known = ['String', 'ByteArray', 'Integer', 'Long', 'Double', 'UUID'];
  if (!short || !known.includes(short)) throw invalid(`${name} must be one of ${known.join(', ')}`);
  return serializerNamed(short as SerializerName);
}

function duration(properties: Properties, name: keyof typeof defaultProperties): number {
  return Math.min(properties.whole(name) ?? defaultProperties[name], longestMs);
}

class Properties {
  readonly #map: KafkaConfig['propertiesMap'];

  constructor(map: KafkaConfig['propertiesMap']) {
    this.#map = map;
  }

  text(name: string): string | undefined {
    return Object.hasOwn(this.#map, name) ? this.#map[name]!.value.trim() : undefined;
  }

  whole(name: string, least = 0): number | undefined {
    const value = this.text(name);
    if (value === undefined || value === '') return undefined;
    const number = /^\d{1,19}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= least)) throw invalid(`${name} must be a whole number, at least ${least}`);
    return number;
  }

  flag(name: string): boolean | undefined {
    const value = this.text(name);
    if (value === undefined || value === '') return undefined;
    if (value !== 'true' && value !== 'false') throw invalid(`${name} must be true or false`);
    return value === 'true';
  }
}

function invalid(message: string): AppError {
  return new AppError('invalid_configuration', `propertiesMap: ${message}`);
}
