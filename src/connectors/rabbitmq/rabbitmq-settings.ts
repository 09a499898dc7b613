import type { ConnectionOptions } from 'node:tls';
import type { ConfigOf } from '../../contract/connection-type.ts';
import type { ConnectorContext, Network } from '../connector.ts';
import type { HostTarget } from '../messaging/host-failover.ts';
import type { rabbitMq } from './rabbitmq.definition.ts';

export type RabbitMqConfig = ConfigOf<typeof rabbitMq>;

export interface RabbitMqSettings {
  readonly network: Network;
  readonly targets: readonly HostTarget[];
  readonly virtualHost: string;
  readonly username: string;
  readonly password: string;
  /** For TCP, TLS and the opening of the connection, each; 0: no limit. */
  readonly connectTimeoutMs: number;
  readonly clientProperties: Record<string, unknown>;
  readonly channelMax: number;
  readonly frameMax: number;
  readonly heartbeatSeconds: number;
}

/** Reads a configuration; fails with `missing_reference` when trust material is not there. */
export function readSettings(config: RabbitMqConfig, ctx: ConnectorContext): RabbitMqSettings {
  const tls = config.connectionFactoryUseSslProtocol ? tlsOptions(config, ctx) : undefined;
  const { capabilities, ...clientProperties } = config.connectionFactoryClientProperties;
  if (capabilities !== undefined)
    ctx.warn('connectionFactoryClientProperties: capabilities has no effect; the client knows its own.');
  return {
    network: ctx.network,
    targets: config.hostPortList.map(({ host, port }) => ({ host, port, tls })),
    virtualHost: config.connectionFactoryVirtualHost,
    username: config.authenticationEnabled ? (config.connectionFactoryUsername ?? '') : 'guest',
    password: config.authenticationEnabled ? (config.connectionFactoryPassword ?? '') : 'guest',
    connectTimeoutMs: config.connectionFactoryConnectionTimeout,
    clientProperties: {
      product: 'Plugboard',
      platform: `Node.js ${process.version}`,
      connection_name: `plugboard ${ctx.project}/${ctx.name} (${ctx.environment})`,
      ...clientProperties,
      capabilities: {
        publisher_confirms: true,
        exchange_exchange_bindings: true,
        'basic.nack': true,
        'connection.blocked': true,
        // Else a refused log-in is a closed socket without a word.
        authentication_failure_close: true,
      },
    },
    channelMax: config.connectionFactoryRequestedChannelMax,
    frameMax: config.connectionFactoryRequestedFrameMax,
    heartbeatSeconds: config.connectionFactoryRequestedHeartbeat,
  };
}

function tlsOptions(config: RabbitMqConfig, ctx: ConnectorContext): ConnectionOptions {
  const minVersion = config.connectionFactorySslProtocol;
  return {
    ...ctx.trust.tls(config),
    minVersion,
    // OpenSSL 3 offers the broken versions at its lowest security level only.
    ...(minVersion < 'TLSv1.2' ? { ciphers: 'DEFAULT@SECLEVEL=0' } : {}),
  };
}
