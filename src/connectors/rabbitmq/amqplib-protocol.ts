import type { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import type { ChannelModel, ConfirmChannel } from 'amqplib';

/** What is said to the server while the connection is opened (AMQP 0-9-1, 2.2.4). */
export interface OpenFields {
  clientProperties: Record<string, unknown>;
  mechanism: 'PLAIN';
  response: Buffer;
  locale: string;
  /** 0: as the server says. */
  channelMax: number;
  /** Bytes; 0: as the server says. */
  frameMax: number;
  /** Seconds; 0: none. */
  heartbeat: number;
  virtualHost: string;
  capabilities: '';
  insist: 0;
}

export interface ProtocolFrame {
  readonly id: number;
  readonly fields: {
    readonly replyCode?: number;
    readonly replyText?: string;
    /** Of connection.start, separated by spaces. */
    readonly mechanisms?: Buffer;
  };
}

/** amqplib's connection over a ready socket. */
export interface ProtocolConnection extends EventEmitter {
  readonly serverProperties: Record<string, unknown>;
  readonly heartbeat: number;
  readonly frameMax: number;
  readonly channelMax: number;
  /** What passes the frames of the channels on to the socket. */
  readonly muxer: { _readIncoming(): void };
  open(fields: OpenFields, done: (error: Error | null) => void): void;
  /** Hands over the next frame while the connection is being opened. */
  step(done: (error: Error | null, frame: ProtocolFrame | null) => void): void;
}

/** The parts of amqplib's channel below its own API, which leaves out cluster_id and transactions. */
export interface ProtocolChannel extends ConfirmChannel {
  sendMessage(method: object, properties: object, content: Buffer): boolean;
  pushConfirmCallback(done: (error: Error | null) => void): void;
  rpc(method: number, fields: object, expected: number): Promise<unknown>;
}

interface Protocol {
  Connection: new (socket: Socket) => ProtocolConnection;
  ChannelModel: new (connection: ProtocolConnection) => ChannelModel;
  methods: Record<
    'ConnectionStart' | 'ConnectionClose' | 'TxSelect' | 'TxSelectOk' | 'TxRollback' | 'TxRollbackOk',
    number
  >;
}

let loaded: Protocol | undefined;

/**
 * The half of amqplib that speaks the protocol. Its `connect` dials by itself, past the egress policy,
 * and the package names no other entry; so the files are loaded by their path, and its version is exact
 * in package.json.
 */
export function loadProtocol(): Protocol {
  if (loaded) return loaded;
  const require = createRequire(import.meta.url);
  const folder = join(dirname(require.resolve('amqplib')), 'lib');
  loaded = {
    Connection: require(join(folder, 'connection.js')).Connection,
    ChannelModel: require(join(folder, 'channel_model.js')).ChannelModel,
    methods: require(join(folder, 'defs.js')),
  };
  return loaded;
}

/** Lets frames that wait at the same time leave in one write: amqplib makes a system call, and a packet, of each. */
export function writeTogether({ muxer }: ProtocolConnection, socket: Socket): void {
  const passOn = muxer._readIncoming.bind(muxer);
  muxer._readIncoming = () => {
    socket.cork();
    try {
      passOn();
    } finally {
      socket.uncork();
    }
  };
}
