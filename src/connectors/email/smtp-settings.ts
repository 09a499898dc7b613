import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { ConfigOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import type { ConnectorContext, Network } from '../connector.ts';
import type { email } from './email.definition.ts';
import { type Charset, findCharset } from './mail-charset.ts';

export type EmailConfig = ConfigOf<typeof email>;

export const mechanisms = ['PLAIN', 'LOGIN', 'CRAM-MD5'] as const;
export type Mechanism = (typeof mechanisms)[number];

/** What a session needs to know, all values checked. */
export interface SmtpSettings {
  readonly host: string;
  readonly port: number;
  readonly transport: 'plain' | 'starttls' | 'implicit';
  readonly tls: ConnectionOptions;
  readonly network: Network;
  /** Name for EHLO; undefined: our address. */
  readonly clientName: string | undefined;
  readonly connectTimeoutMs: number;
  /** Longest silence of the server. */
  readonly readTimeoutMs: number;
  /** Longest stall of what we write. */
  readonly writeTimeoutMs: number;
  /** Longest silence after the last byte of a mail, while servers search it for viruses. */
  readonly deliveryTimeoutMs: number;
  readonly credentials: { user: string; password: string; mechanisms: readonly Mechanism[] } | undefined;
  readonly charset: Charset;
}

const defaultTimeoutMs = 10_000;
const defaultDeliveryTimeoutMs = 60_000;
/** Longest delay of a timer; JavaMail's 0 stands for no timeout. */
const noTimeoutMs = 2 ** 31 - 1;

/** Reads a configuration, JavaMail properties included; fails with `invalid_configuration` or `missing_reference`. */
export function readSettings(config: EmailConfig, ctx: ConnectorContext): SmtpSettings {
  const properties = new Map(config.additionalProperties.map(({ name, value }) => [name, value.trim()]));
  const transport =
    config.useSsl || config.port === 465 ? 'implicit' : config.enableStartTls ? 'starttls' : 'plain';
  const readTimeoutMs = milliseconds(properties, 'mail.smtp.timeout');

  if (transport === 'plain' && config.auth)
    ctx.warn('The password is sent without TLS: turn on enableStartTls, or useSsl on port 465.');

  return {
    host: config.host,
    port: config.port,
    transport,
    tls: transport === 'plain' ? {} : tlsOptions(config, properties, ctx),
    network: ctx.network,
    clientName: properties.get('mail.smtp.localhost') || undefined,
    connectTimeoutMs: milliseconds(properties, 'mail.smtp.connectiontimeout') ?? defaultTimeoutMs,
    readTimeoutMs: readTimeoutMs ?? defaultTimeoutMs,
    writeTimeoutMs: milliseconds(properties, 'mail.smtp.writetimeout') ?? readTimeoutMs ?? defaultTimeoutMs,
    deliveryTimeoutMs: readTimeoutMs ?? defaultDeliveryTimeoutMs,
    credentials: config.auth
      ? {
          user: config.username ?? '',
          password: config.password ?? '',
          mechanisms: chosenMechanisms(properties, transport !== 'plain', ctx),
        }
      : undefined,
    charset: findCharset(config.defaultEncoding),
  };
}

function tlsOptions(
  config: EmailConfig,
  properties: Map<string, string>,
  ctx: ConnectorContext,
): ConnectionOptions {
  const options = {
    ...ctx.trust.tls(config),
    ...(isIP(config.host) ? {} : { servername: config.host }),
    ...protocolRange(properties, ctx),
  };
  const trusted = (properties.get('mail.smtp.ssl.trust') ?? '').split(/[\s,]+/).filter(Boolean);
  if (trusted.includes('*') || trusted.some((host) => host.toLowerCase() === config.host.toLowerCase())) {
    ctx.warn('mail.smtp.ssl.trust accepts any certificate of this host: whoever is on the way can read all.');
    options.rejectUnauthorized = false;
  } else {
    if (trusted.length > 0)
      ctx.warn('mail.smtp.ssl.trust has no effect, because it does not name the host of the connection.');
    if (options.rejectUnauthorized === false)
      ctx.warn('verifyCertificate is off: whoever is on the way can read all.');
  }
  return options;
}

const versions = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const;

function protocolRange(properties: Map<string, string>, ctx: ConnectorContext): ConnectionOptions {
  const listed = (properties.get('mail.smtp.ssl.protocols') ?? '').split(/[\s,]+/).filter(Boolean);
  if (listed.length === 0) return {};
  const known = versions.filter((version) => listed.includes(version));
  const unknown = listed.filter((version) => !(versions as readonly string[]).includes(version));
  if (unknown.length > 0) ctx.warn(`mail.smtp.ssl.protocols: ${unknown.join(', ')} cannot be used.`);
  const [minVersion, maxVersion] = [known[0], known.at(-1)];
  if (!minVersion || !maxVersion)
    throw invalid(`mail.smtp.ssl.protocols must name one of ${versions.join(', ')}`);
  if (minVersion < 'TLSv1.2')
    ctx.warn(`mail.smtp.ssl.protocols: ${minVersion} is broken; use TLSv1.2 or later.`);
  return { minVersion, maxVersion };
}

function chosenMechanisms(
  properties: Map<string, string>,
  secure: boolean,
  ctx: ConnectorContext,
): Mechanism[] {
  const listed = (properties.get('mail.smtp.auth.mechanisms') ?? '')
    .toUpperCase()
    .split(/[\s,]+/)
    .filter(Boolean);
  // Without TLS a challenge at least keeps the password itself off the wire.
  if (listed.length === 0) return secure ? [...mechanisms] : ['CRAM-MD5', 'PLAIN', 'LOGIN'];
  const known = listed.filter((name): name is Mechanism => (mechanisms as readonly string[]).includes(name));
  const unknown = listed.filter((name) => !(mechanisms as readonly string[]).includes(name));
  if (known.length === 0)
    throw invalid(`mail.smtp.auth.mechanisms must name one of ${mechanisms.join(', ')}`);
  if (unknown.length > 0) ctx.warn(`mail.smtp.auth.mechanisms: ${unknown.join(', ')} is not supported.`);
  return known;
}

function milliseconds(properties: Map<string, string>, name: string): number | undefined {
  const value = properties.get(name);
  if (value === undefined || value === '') return undefined;
  if (!/^-?\d{1,15}$/.test(value)) throw invalid(`${name} must be a whole number of milliseconds`);
  const number = Number(value);
  return number <= 0 ? noTimeoutMs : Math.min(number, noTimeoutMs);
}

function invalid(message: string): AppError {
  return new AppError('invalid_configuration', `additionalProperties: ${message}`);
}
