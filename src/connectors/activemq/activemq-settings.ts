import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { ConfigOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import type { ConnectorContext, Network } from '../connector.ts';
import type { HostTarget } from '../messaging/host-failover.ts';
import type { activeMq } from './activemq.definition.ts';
import { type BrokerOption, parseBrokerUrl } from './broker-url.ts';

export type ActiveMqConfig = ConfigOf<typeof activeMq>;

export interface BrokerTarget extends HostTarget {
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** Of the OpenWire inactivity monitor, or AMQP's idle time-out. */
  readonly maxInactivityMs: number;
  readonly maxFrameBytes: number;
  /** AMQP's virtual host; undefined: the host's name. */
  readonly virtualHost: string | undefined;
}

export interface ActiveMqSettings {
  readonly network: Network;
  readonly protocol: 'TCP' | 'AMQP';
  readonly targets: readonly BrokerTarget[];
  /** Whether each connection takes the brokers in an order of its own. */
  readonly randomize: boolean;
  readonly destination: { readonly kind: 'queue' | 'topic'; readonly name: string };
  readonly acknowledgement: ActiveMqConfig['sessionAcknowledgement'];
  readonly clientId: string | undefined;
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  /** Milliseconds; 0: no limit. */
  readonly connectTimeoutMs: number;
  readonly sendTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly closeTimeoutMs: number;
}

/** ActiveMQ's own default (`wireFormat.maxInactivityDuration`). */
const defaultInactivityMs = 30_000;
const defaultFrameBytes = 100 * 1024 * 1024;
/** AMQP splits messages into frames; this is what a frame may be, and no limit of a message. */
const defaultAmqpFrameBytes = 128 * 1024;

/** Options that have an effect, by their name in lower case and without `transport.`, `nested.` or `failover.`. */
const honoured = new Set([
  'randomize',
  'wireformat.maxinactivityduration',
  'wireformat.maxframesize',
  'amqp.idletimeout',
  'amqp.maxframesize',
  'amqp.vhost',
  'connectiontimeout',
  'jms.username',
  'jms.password',
  'jms.clientid',
  'jms.sendtimeout',
  'jms.requesttimeout',
  'jms.closetimeout',
  'jms.connecttimeout',
]);

/** Options of the whole client, which are read from the list and the first broker in it. */
const ofClient = [...honoured].filter((name) =>
  /^(randomize|connectiontimeout|jms\.(?!username|password))/.test(name),
);

/** The options that have an effect in this place. */
function honouredFor(protocol: 'TCP' | 'AMQP', isFailover: boolean, isFirst: boolean): ReadonlySet<string> {
  const others = protocol === 'TCP' ? /^amqp\./ : /^wireformat\./;
  return new Set(
    [...honoured].filter(
      (name) =>
        !others.test(name) && (isFailover || name !== 'randomize') && (isFirst || !ofClient.includes(name)),
    ),
  );
}

/** Reads a configuration; fails with `invalid_configuration` or `missing_reference`. */
export function readSettings(config: ActiveMqConfig, ctx: ConnectorContext): ActiveMqSettings {
  const parsed = parseBrokerUrl(config.brokerURL);
  if ('fault' in parsed) throw invalid(`brokerURL ${parsed.fault}`);
  const protocol = config.activeMqConnectionProtocolType;
  const effective = honouredFor(protocol, parsed.failover, true);
  const shared = new Options(parsed.options, ctx, effective);
  const isSecure = parsed.brokers.some(({ scheme }) => scheme === 'ssl' || scheme === 'amqps');
  const tls = isSecure ? ctx.trust.tls(config) : undefined;
  const effectiveBeyondFirst = honouredFor(protocol, parsed.failover, false);
  const targets = parsed.brokers.map((broker, at): BrokerTarget => {
    const own = new Options(broker.options, ctx, at === 0 ? effective : effectiveBeyondFirst, shared);
    const isOpenWire = protocol === 'TCP';
    return {
      host: broker.host,
      port: broker.port,
      tls: broker.scheme === 'ssl' || broker.scheme === 'amqps' ? tls : undefined,
      username: config.username ?? broker.username ?? own.text('jms.username'),
      password: config.password ?? broker.password ?? own.text('jms.password'),
      maxInactivityMs:
        own.number(isOpenWire ? 'wireformat.maxinactivityduration' : 'amqp.idletimeout') ??
        defaultInactivityMs,
      maxFrameBytes: isOpenWire
        ? (own.number('wireformat.maxframesize') ?? defaultFrameBytes)
        : Math.max(512, own.number('amqp.maxframesize') ?? defaultAmqpFrameBytes),
      virtualHost: own.text('amqp.vhost'),
    };
  });
  const first = new Options(parsed.brokers[0]?.options ?? [], { warn() {} }, effective, shared);
  return {
    network: ctx.network,
    protocol,
    targets,
    // As ActiveMQ's own client does, which spreads clients over the brokers of a failover list.
    randomize: parsed.failover && first.text('randomize')?.toLowerCase() !== 'false',
    destination: {
      kind: config.destinationType === 'QUEUE' ? 'queue' : 'topic',
      name: config.destinationName,
    },
    acknowledgement: config.sessionAcknowledgement,
    clientId: config.clientID ?? first.text('jms.clientid'),
    contentType: config.contentType,
    contentEncoding: config.contentEncoding,
    connectTimeoutMs:
      first.number('connectiontimeout') ?? first.number('jms.connecttimeout') ?? config.connectTimeout,
    sendTimeoutMs: first.number('jms.sendtimeout') ?? config.sendTimeout,
    requestTimeoutMs: first.number('jms.requesttimeout') ?? config.requestTimeout,
    closeTimeoutMs: first.number('jms.closetimeout') ?? config.closeTimeout,
  };
}

/** A name for one connection: a broker lets in one connection a client id, so each has a name of its own. */
export function uniqueClientId(settings: ActiveMqSettings): string {
  const unique = randomBytes(6).toString('hex');
  return settings.clientId === undefined
    ? `plugboard-${hostname()}-${unique}`
    : `${settings.clientId}-${hostname()}-${unique}`;
}

/** The brokers in the order in which one opening tries them. */
export function orderedTargets({ targets, randomize }: ActiveMqSettings): readonly BrokerTarget[] {
  if (!randomize) return targets;
  return targets
    .map((target) => ({ target, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ target }) => target);
}

class Options {
  readonly #values: Map<string, string>;

  constructor(
    options: BrokerOption[],
    ctx: Pick<ConnectorContext, 'warn'>,
    effective: ReadonlySet<string>,
    shared?: Options,
  ) {
    this.#values = new Map(shared === undefined ? [] : shared.#values);
    for (const { name, value } of options) {
      const known = name.toLowerCase().replace(/^(failover\.|nested\.|transport\.)+/, '');
      if (effective.has(known)) this.#values.set(known, value);
      // The name alone: what stands behind it may be a secret.
      else ctx.warn(`brokerURL: the option ${name} has no effect.`);
    }
  }

  text(name: string): string | undefined {
    return this.#values.get(name);
  }

  number(name: string): number | undefined {
    const value = this.#values.get(name);
    if (value === undefined) return undefined;
    if (!/^[0-9]{1,10}$/.test(value) || Number(value) > 2 ** 31 - 1)
      throw invalid(`brokerURL: the option ${name} must be a whole number from 0 to 2147483647`);
    return Number(value);
  }
}

function invalid(message: string): AppError {
  return new AppError('invalid_configuration', message);
}
