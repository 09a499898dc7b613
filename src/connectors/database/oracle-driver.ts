import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { AppError } from '../../errors.ts';

/** What is used of oracledb, which has no types of its own. */
export interface OracleDriver {
  readonly OUT_FORMAT_ARRAY: number;
  readonly STRING: unknown;
  readonly BUFFER: unknown;
  getConnection(options: {
    user?: string | undefined;
    password?: string | undefined;
    connectString: string;
    stmtCacheSize: number;
  }): Promise<OracleConnection>;
}

export interface OracleConnection {
  readonly oracleServerVersionString: string;
  readonly transactionInProgress: boolean;
  execute(sql: string, binds: unknown[], options: object): Promise<OracleResult>;
  rollback(): Promise<void>;
  break(): Promise<void>;
  close(options: { drop: boolean }): Promise<void>;
}

export interface OracleResult {
  rowsAffected?: number;
  lastRowid?: string;
  metaData?: { name: string; dbTypeName: string }[];
  resultSet?: {
    metaData: { name: string; dbTypeName: string }[];
    getRows(count: number): Promise<unknown[][]>;
    close(): Promise<void>;
  };
}

/** The sockets of one log-in, in place of those that the driver would open. */
export interface OracleCarrier {
  dial(address: { host: string; port: number }): Promise<Socket>;
  secure(plain: Socket): Promise<TLSSocket>;
  /** What answers is no listener of Oracle; the socket is destroyed. */
  refused(error: AppError): void;
}

interface Transport {
  stream: Socket;
  connStream: Socket;
  connected: boolean;
}

interface TransportPrototype {
  ntConnect(this: Transport, address: { host: string; hostname?: string; port?: number }): Promise<void>;
  tlsConnect(this: Transport, context: unknown, plain: Socket): Promise<void>;
  startRead(this: Transport): void;
}

const DEFAULT_PORT = 1521;
/** Packets with which a listener answers: accept, refuse, redirect, resend, control. */
const answers = [2, 4, 5, 11, 14];
const carriers = new AsyncLocalStorage<OracleCarrier>();
let driver: OracleDriver | undefined;

/**
 * oracledb in its thin mode, whose transport asks the carrier of the log-in for its sockets: it would
 * dial by itself, also to wherever a listener sends it on. Fails with `driver_missing` on a version
 * of another make, rather than letting it dial.
 */
export function oracleDriver(): OracleDriver {
  if (driver) return driver;
  const require = createRequire(import.meta.url);
  const loaded = require('oracledb') as OracleDriver;
  const { prototype } = require('oracledb/lib/thin/sqlnet/ntTcp.js') as { prototype: TransportPrototype };
  const { startRead } = prototype;
  if (![startRead, prototype.ntConnect, prototype.tlsConnect].every((part) => typeof part === 'function'))
    throw new AppError(
      'driver_missing',
      'the oracledb that is installed is not the one this version was made for',
    );
  prototype.ntConnect = async function (address) {
    const { host, hostname = host, port = DEFAULT_PORT } = address;
    this.stream = await carrier().dial({ host: hostname, port });
    this.connected = true;
  };
  prototype.tlsConnect = async function (_context, plain) {
    this.stream.removeAllListeners();
    this.stream = await carrier().secure(plain);
    this.connStream = plain;
  };
  prototype.startRead = function () {
    const by = carrier();
    startRead.call(this);
    const { stream } = this;
    // Else something like "HTTP" would be taken for the head of a long packet.
    stream.prependOnceListener('data', (head: Buffer) => {
      if (head.length < 5 || answers.includes(head[4]!)) return;
      by.refused(new AppError('protocol_error', 'what answers there is not Oracle'));
      stream.destroy();
    });
  };
  driver = loaded;
  return driver;
}

/** Runs a log-in with its carrier. */
export function carried<T>(by: OracleCarrier, work: () => Promise<T>): Promise<T> {
  return carriers.run(by, work);
}

function carrier(): OracleCarrier {
  const found = carriers.getStore();
  if (!found) throw new AppError('internal_error', 'oracledb dials without a log-in of ours');
  return found;
}
