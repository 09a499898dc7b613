import { itemsOf } from '../../contract/one-or-many.ts';
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
import { syslog } from './syslog.definition.ts';
import { messageEncoder, type SyslogConfig, type SyslogItem } from './syslog-message.ts';

interface LiveSyslog extends LiveDelivery {
  readonly encoder: Encoder<SyslogItem>;
}

/** Most messages of one write; its bytes are bounded besides. */
const maxBatch = 1000;
const sliceBytes = 256 * 1024;
const firstBackoffMs = 100;
const maxBackoffMs = 5000;

/** Sends syslog messages over sockets of the worker's network. */
export const syslogConnector = defineConnector<typeof syslog, LiveSyslog>(syslog, {
  open(config, ctx) {
    const overUdp = config.syslogProtocolType === 'UDP';
    const delivery = openDelivery(
      readTarget(config, ctx),
      {
        channels: overUdp ? 1 : config.connections,
        maxWaiting: config.queueSize,
        maxBytes: config.maxBufferBytes,
        waitForRoomMs: config.enqueueTimeoutMs,
        maxBatch: overUdp ? 1 : maxBatch,
        backoffMs,
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
        frame: await messageEncoder(config).frame({ message: text, severity: 'DEBUG' }),
        text,
        protocol: 'syslog',
        verification: { field: 'verifyCertificate', on: config.verifyCertificate },
      },
      stages,
      ctx,
    );
  },

  operations: {
    log: (live, input, call) => deliver(live, itemsOf<SyslogItem>(input), live.encoder, call),
  },

  figures: ({ outbox }) => outbox.figures,

  close: (live) => live.close(),

  classify: classifyDelivery,
});

function readTarget(config: SyslogConfig, { network, trust }: ConnectorContext): LogTarget {
  const { syslogServerHostname: host, syslogPort: port, syslogTimeout } = config;
  if (config.syslogProtocolType === 'UDP') return { transport: 'datagram', network, host, port };
  return {
    transport: 'stream',
    network,
    host,
    port,
    timeoutMs: syslogTimeout,
    stallMs: syslogTimeout,
    tls: config.syslogSslEnabled ? trust.tls(config) : undefined,
    sliceBytes,
    noDelay: true,
    keepAlive: true,
  };
}

/** None at first, then doubling up to five seconds, with up to a half of it by chance. */
function backoffMs(failures: number): number {
  if (failures === 0) return 0;
  return Math.min(maxBackoffMs, firstBackoffMs * 2 ** (failures - 1)) * (1 - Math.random() / 2);
}
