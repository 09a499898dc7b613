import { X509Certificate } from 'node:crypto';
import type { ConnectionOptions } from 'node:tls';
import { itemsOf } from '../../contract/one-or-many.ts';
import { AppError } from '../../errors.ts';
import { type ConnectorContext, defineConnector } from '../connector.ts';
import {
  classifyDelivery,
  deliver,
  type LiveDelivery,
  type LogTarget,
  openDelivery,
  proveDelivery,
  testDelivery,
} from '../log-delivery/log-delivery.ts';
import type { Encoder } from '../log-delivery/outbox.ts';
import { type GelfItem, type GraylogConfig, messageEncoder } from './gelf-message.ts';
import { graylog } from './graylog.definition.ts';

interface LiveGraylog extends LiveDelivery {
  readonly encoder: Encoder<GelfItem>;
}

const defaultSliceBytes = 256 * 1024;
const maxBufferBytes = 64 * 1024 * 1024;
/** So that a batch that is longer than the queue passes through it as fast as the target takes it. */
const waitForRoomMs = 100;
/** GELF has no setting for a target that is connected and does not read. */
const stallMs = 30_000;

/** Sends GELF messages over sockets of the worker's network. */
export const graylogConnector = defineConnector<typeof graylog, LiveGraylog>(graylog, {
  open(config, ctx) {
    const overUdp = config.transportType === 'UDP';
    const target = readTarget(config, ctx);
    const delivery = openDelivery(
      target,
      {
        channels: 1,
        maxWaiting: config.queueSize,
        maxBytes: maxBufferBytes,
        waitForRoomMs,
        maxBatch: overUdp ? 1 : Math.max(1, config.maxInflightSends),
        backoffMs: () => (overUdp ? 0 : config.reconnectDelay),
      },
      ctx,
    );
    return { ...delivery, encoder: messageEncoder(config) };
  },

  prove: proveDelivery,

  async test(config, stages, ctx) {
    const text = 'plugboard connection test';
    await testDelivery(
      readTarget(config, ctx),
      {
        frame: await messageEncoder(config).frame({ message: text, level: 'DEBUG' }),
        text,
        protocol: 'GELF',
        verification: { field: 'tlsCertVerificationEnabled', on: config.tlsCertVerificationEnabled },
      },
      stages,
      ctx,
    );
  },

  operations: {
    log: (live, input, call) => deliver(live, itemsOf<GelfItem>(input), live.encoder, call),
  },

  figures: ({ outbox }) => outbox.figures,

  close: (live) => live.close(),

  classify: classifyDelivery,
});

function readTarget(config: GraylogConfig, ctx: ConnectorContext): LogTarget {
  const { hostname: host, port, sendBufferSize } = config;
  const { network } = ctx;
  const bufferBytes = sendBufferSize > 0 ? sendBufferSize : undefined;
  if (config.transportType === 'UDP')
    return { transport: 'datagram', network, host, port, sendBufferBytes: bufferBytes };
  return {
    transport: 'stream',
    network,
    host,
    port,
    timeoutMs: config.connectTimeout,
    stallMs,
    tls: config.tlsEnabled ? tlsOptions(config, ctx) : undefined,
    sliceBytes: bufferBytes ?? defaultSliceBytes,
    noDelay: config.tcpNoDelay,
    keepAlive: config.tcpKeepAlive,
  };
}

function tlsOptions(config: GraylogConfig, { trust }: ConnectorContext): ConnectionOptions {
  const { keyStoreName, tlsCertVerificationEnabled: verifyCertificate, tlsTrustCertChainFile } = config;
  const options = trust.tls({ verifyCertificate, ...(keyStoreName == null ? {} : { keyStoreName }) });
  return verifyCertificate ? { ...options, ca: readChain(tlsTrustCertChainFile ?? '') } : options;
}

/** The certificates of the chain file, base64 of PEM; fails with `invalid_configuration`. */
function readChain(file: string): string[] {
  const pem = Buffer.from(file, 'base64').toString('latin1');
  const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const refuse = (why: string, cause?: unknown) =>
    new AppError('invalid_configuration', `tlsTrustCertChainFile: ${why}`, {
      cause,
      details: { hint: 'It is the PEM file of the certificates to trust, once more encoded in base64.' },
    });
  if (certificates.length === 0) throw refuse('holds no certificate in PEM');
  for (const [at, certificate] of certificates.entries()) {
    try {
      new X509Certificate(certificate);
    } catch (error) {
      throw refuse(`certificate ${at + 1} cannot be read`, error);
    }
  }
  return certificates;
}
