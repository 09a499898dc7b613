import { randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { AppError, type ErrorCode } from '../../errors.ts';
import type { Network } from '../connector.ts';
import { readChunk } from './dialect.ts';

const VERSION = 5;
const USER_AND_PASSWORD = 2;
const CONNECT = 1;
const IPV4 = 1;
const NAME = 3;
const IPV6 = 4;
const SUCCEEDED = 0;
/** How long the driver, in this very process, has for each message. */
const GREETING_TIMEOUT_MS = 10_000;

/** Reply codes of RFC 1928, section 6, for what the network fails with. */
const replies: Partial<Record<ErrorCode, number>> = {
  egress_denied: 2,
  host_unreachable: 3,
  name_not_resolved: 4,
  connection_refused: 5,
  connect_timeout: 6,
};

/** Where the driver finds the relay, and what it has to say there. */
export interface RelayAddress {
  host: string;
  port: number;
  username: string;
  password: string;
}

/**
 * A way through the worker's network for a driver that dials by itself: a SOCKS5 server (RFC 1928,
 * 1929) on loopback, for one client alone, that passes bytes and reads but the first.
 */
export class SocksRelay {
  readonly #network: Network;
  readonly #timeoutMs: number;
  readonly #isAnswer: (head: Buffer) => boolean;
  readonly #sockets = new Set<Socket>();
  readonly #failures = new Map<string, AppError>();
  readonly #username = randomBytes(16).toString('hex');
  readonly #password = randomBytes(16).toString('hex');
  #server: Server | undefined;

  /**
   * `timeoutMs` bounds each dial; `isAnswer` looks at what a server says first: what it refuses is a
   * `protocol_error`, as is a server that speaks before it is asked.
   */
  constructor(network: Network, timeoutMs: number, isAnswer: (head: Buffer) => boolean) {
    this.#isAnswer = isAnswer;
    this.#network = network;
    this.#timeoutMs = timeoutMs;
  }

  async listen(): Promise<RelayAddress> {
    const server = createServer((socket) => void this.#serve(socket));
    this.#server = server;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    return { host: '127.0.0.1', port, username: this.#username, password: this.#password };
  }

  /** What the latest dial of `host:port` failed with; undefined when it succeeded. */
  failureAt(address: string): AppError | undefined {
    return this.#failures.get(address.toLowerCase());
  }

  /** Ends every connection at once; may be called twice. */
  close(): void {
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #serve(socket: Socket): Promise<void> {
    this.#keep(socket);
    const gone = new AbortController();
    socket.once('close', () => gone.abort(new AppError('cancelled')));
    try {
      const target = await this.#greet(socket, gone.signal);
      const address = `${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`;
      let upstream: Socket;
      try {
        upstream = await this.#network.connect({
          ...target,
          timeoutMs: this.#timeoutMs,
          signal: gone.signal,
        });
        this.#failures.delete(address.toLowerCase());
      } catch (error) {
        const code = error instanceof AppError ? error.code : 'internal_error';
        if (error instanceof AppError && !gone.signal.aborted)
          this.#failures.set(address.toLowerCase(), error);
        socket.end(reply(replies[code] ?? 1));
        return;
      }
      this.#keep(upstream);
      upstream.setNoDelay(true);
      socket.setNoDelay(true);
      upstream.once('close', () => socket.destroy());
      socket.once('close', () => upstream.destroy());
      if (socket.destroyed) return void upstream.destroy();
      let isAsked = false;
      socket.once('data', () => {
        isAsked = true;
      });
      upstream.once('data', (head: Buffer) => {
        if (isAsked && this.#isAnswer(head)) return;
        this.#failures.set(
          address.toLowerCase(),
          new AppError('protocol_error', 'what answers there does not speak the expected protocol'),
        );
        upstream.destroy();
      });
      socket.write(reply(SUCCEEDED));
      socket.pipe(upstream);
      upstream.pipe(socket);
    } catch {
      socket.destroy();
    }
  }

  /** Reads the driver's three messages; whoever else came by is not let in. */
  async #greet(socket: Socket, signal: AbortSignal): Promise<{ host: string; port: number }> {
    const limits = { timeoutMs: GREETING_TIMEOUT_MS, signal };
    const hello = await readChunk(socket, (got) => got.length >= 2 && got.length >= 2 + got[1]!, limits);
    if (hello[0] !== VERSION || !hello.subarray(2).includes(USER_AND_PASSWORD)) throw refused();
    socket.write(Buffer.of(VERSION, USER_AND_PASSWORD));
    const expected = Buffer.concat([
      Buffer.of(1, this.#username.length),
      Buffer.from(this.#username),
      Buffer.of(this.#password.length),
      Buffer.from(this.#password),
    ]);
    const logIn = await readChunk(socket, (got) => got.length >= expected.length, limits);
    if (logIn.length !== expected.length || !timingSafeEqual(logIn, expected)) throw refused();
    socket.write(Buffer.of(1, SUCCEEDED));
    const request = await readChunk(socket, (got) => got.length >= requestLength(got), limits);
    if (request[0] !== VERSION || request[1] !== CONNECT) throw refused();
    return { host: hostOf(request), port: request.readUInt16BE(requestLength(request) - 2) };
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#sockets.delete(socket));
  }
}

function requestLength(request: Buffer): number {
  if (request.length < 5) return 5;
  switch (request[3]) {
    case IPV4:
      return 10;
    case NAME:
      return 7 + request[4]!;
    case IPV6:
      return 22;
    default:
      throw refused();
  }
}

function hostOf(request: Buffer): string {
  if (request[3] === NAME) return request.toString('utf8', 5, 5 + request[4]!);
  if (request[3] === IPV4) return request.subarray(4, 8).join('.');
  const groups = Array.from({ length: 8 }, (_, at) => request.readUInt16BE(4 + 2 * at).toString(16));
  return groups.join(':');
}

function reply(code: number): Buffer {
  return Buffer.of(VERSION, code, 0, IPV4, 0, 0, 0, 0, 0, 0);
}

function refused(): AppError {
  return new AppError('protocol_error', 'not a request of our own driver');
}
