import { type Server, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';

/** What a plain request says before its body. */
export interface PlainHead {
  /** The groups of the route, decoded. */
  readonly parts: readonly string[];
  readonly authorization: string;
  readonly bodyBytes: number;
}

export interface DirectAnswer {
  status: number;
  /** Beside those of every answer; without line breaks. */
  headers?: Readonly<Record<string, string>>;
  /** JSON. */
  body: string;
}

export interface DirectRoute<Permit> {
  /** Matches a whole target whose groups are path segments. */
  readonly target: RegExp;
  /** Decides before the body is read; undefined leaves the request to the server. */
  permit(head: PlainHead): Permit | undefined;
  /** Never rejects. `onGone` takes what is to be done when the client goes before it is answered. */
  answer(permit: Permit, body: Buffer, onGone: (listener: () => void) => void): Promise<DirectAnswer>;
}

const maxHeadBytes = 4096;
/** Of a body that is gathered; a longer one is the server's. */
const maxBodyBytes = 1024 * 1024;
/** Of what comes before it may be answered; reading on would be for nothing but to learn that the client goes. */
const maxAheadBytes = 64 * 1024;
const headEnd = Buffer.from('\r\n\r\n');
/** As Node's own server does, so that no client sends into a connection that is just being closed. */
const keepAliveBufferMs = 1000;

/**
 * Answers the plain requests of one route on the sockets of a server by itself: to Node's streams for
 * request and answer the larger part of a short operation's time went. Plain is a POST of JSON of a
 * known length with nothing that changes what a connection or a body is (RFC 9112); whatever else
 * comes, to a byte, goes to the server as if it had been there from the beginning, and so does all that
 * follows on that connection. Nothing that comes from a client is decided here but whether it is plain.
 */
export class DirectRequests<Permit> {
  readonly route: DirectRoute<Permit>;
  readonly keepAliveMs: number;
  readonly #connections = new Set<DirectConnection<Permit>>();
  #isClosing = false;

  /** Takes the server's connections over, before it listens. */
  constructor(server: Server, route: DirectRoute<Permit>) {
    this.route = route;
    this.keepAliveMs = server.keepAliveTimeout;
    const toServer = server.listeners('connection') as ((socket: Socket) => void)[];
    server.removeAllListeners('connection');
    server.on('connection', (socket: Socket) => {
      const connection = new DirectConnection(socket, this, () => {
        for (const take of toServer) take.call(server, socket);
      });
      this.#connections.add(connection);
    });
  }

  get isClosing(): boolean {
    return this.#isClosing;
  }

  /** Ends what waits for a request; what is being answered ends after its answer. */
  close(): void {
    this.#isClosing = true;
    for (const connection of this.#connections) connection.endIdle();
  }

  forget(connection: DirectConnection<Permit>): void {
    this.#connections.delete(connection);
  }
}

class DirectConnection<Permit> {
  readonly #socket: Socket;
  readonly #requests: DirectRequests<Permit>;
  readonly #toServer: () => void;
  /** Clients send the same head again and again. */
  #known: { bytes: Buffer; head: PlainHead } | undefined;
  /** Of a request that is not complete, or came before the one ahead of it was answered. */
  #received: Buffer[] = [];
  #receivedBytes = 0;
  /** Of the request in `#received`, once its head has been read and permitted. */
  #begun: { permit: Permit; bodyAt: number; bytes: number } | undefined;
  #isAnswering = false;
  #onGone: (() => void) | undefined;

  constructor(socket: Socket, requests: DirectRequests<Permit>, toServer: () => void) {
    this.#socket = socket;
    this.#requests = requests;
    this.#toServer = toServer;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onClose);
    socket.on('error', this.#onError);
    socket.on('timeout', this.#onTimeout);
    socket.setTimeout(requests.keepAliveMs + keepAliveBufferMs);
  }

  endIdle(): void {
    if (this.#isAnswering) return;
    if (this.#receivedBytes > 0) this.#leave();
    // An answer may still be on its way.
    else this.#socket.destroySoon();
  }

  readonly #onData = (chunk: Buffer): void => {
    // The usual case: a whole request, and nothing before or behind it.
    if (!this.#isAnswering && this.#receivedBytes === 0) this.#begin(chunk);
    if (this.#begun?.bytes === chunk.length && this.#receivedBytes === 0) this.#answer(chunk);
    else this.#keep(chunk);
  };

  /** Reads the head of a request; without `#begun` behind it the request is the server's. */
  #begin(chunk: Buffer): void {
    const head = this.#headOf(chunk);
    const permit = head && this.#requests.route.permit(head);
    if (permit === undefined) return;
    const bodyAt = this.#known!.bytes.length;
    this.#begun = { permit, bodyAt, bytes: bodyAt + head!.bodyBytes };
  }

  #keep(chunk: Buffer): void {
    this.#received.push(chunk);
    this.#receivedBytes += chunk.length;
    if (this.#isAnswering) {
      // It must not be answered before the one ahead of it.
      if (this.#receivedBytes > maxAheadBytes) this.#socket.pause();
    } else if (!this.#begun || this.#receivedBytes > this.#begun.bytes) this.#leave();
    else if (this.#receivedBytes === this.#begun.bytes) this.#answer(Buffer.concat(this.#received));
  }

  /** The plain head that a chunk begins with. */
  #headOf(chunk: Buffer): PlainHead | undefined {
    const known = this.#known;
    const length = known?.bytes.length ?? 0;
    if (known && chunk.length >= length && known.bytes.compare(chunk, 0, length) === 0) return known.head;
    const end = chunk.indexOf(headEnd);
    if (end < 0 || end > maxHeadBytes) return undefined;
    const head = readPlainHead(chunk.toString('latin1', 0, end), this.#requests.route.target);
    // Copied: the chunk is much larger.
    if (head) this.#known = { bytes: Buffer.from(chunk.subarray(0, end + headEnd.length)), head };
    return head;
  }

  #answer(request: Buffer): void {
    const { permit, bodyAt } = this.#begun!;
    this.#begun = undefined;
    this.#received = [];
    this.#receivedBytes = 0;
    this.#isAnswering = true;
    const onGone = (listener: () => void) => {
      this.#onGone = listener;
    };
    void this.#requests.route
      .answer(permit, request.subarray(bodyAt), onGone)
      .then((answer) => this.#write(answer));
  }

  #write(answer: DirectAnswer): void {
    this.#isAnswering = false;
    this.#onGone = undefined;
    const socket = this.#socket;
    if (!socket.writable) return;
    const { isClosing, keepAliveMs } = this.#requests;
    const isLast = isClosing && this.#received.length === 0;
    const hasRoom = writeAnswer(socket, answer, isLast ? 0 : keepAliveMs);
    if (isLast) socket.destroySoon();
    else if (this.#received.length > 0) this.#leave();
    else if (!hasRoom) {
      // Who does not read its answers is not read either.
      socket.pause();
      socket.once('drain', () => socket.resume());
    }
  }

  /** Leaves the connection, and what of it has not been answered, to the server. */
  #leave(): void {
    const socket = this.#socket;
    const received = Buffer.concat(this.#received);
    this.#received = [];
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    socket.off('error', this.#onError);
    socket.off('timeout', this.#onTimeout);
    socket.setTimeout(0);
    this.#requests.forget(this);
    if (received.length > 0) socket.unshift(received);
    this.#toServer();
    socket.resume();
  }

  // What has not arrived by now never will; the server could not be given it behind the end either.
  readonly #onEnd = (): void => {
    this.#socket.end();
  };

  readonly #onClose = (): void => {
    this.#requests.forget(this);
    this.#onGone?.();
  };

  // It is closed next.
  readonly #onError = (): void => {};

  readonly #onTimeout = (): void => {
    if (this.#isAnswering) return;
    if (this.#receivedBytes > 0) this.#leave();
    else this.#socket.destroy();
  };
}

/** A line of a head: a name and a value of visible characters, which may be empty. */
const headerLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e]*)$/;
/** What makes of a request, its body or its connection something else than a plain one. */
const notPlain = new Set([
  'connection',
  'content-encoding',
  'expect',
  'idempotency-key',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
const json = /^application\/json(?:; ?charset=utf-8)?$/i;

/** Reads a head without the empty line behind it; undefined when it is not plain, or not as it should be. */
function readPlainHead(text: string, target: RegExp): PlainHead | undefined {
  const lines = text.split('\r\n');
  const request = /^POST ([\x21-\x7e]+) HTTP\/1\.1$/.exec(lines[0]!)?.[1];
  const parts = request === undefined ? undefined : target.exec(request)?.slice(1);
  if (!parts) return undefined;
  const headers = new Map<string, string>();
  for (let at = 1; at < lines.length; at++) {
    const found = headerLine.exec(lines[at]!);
    if (!found) return undefined;
    const name = found[1]!.toLowerCase();
    const value = found[2]!.trim();
    if (headers.has(name)) return undefined;
    if (notPlain.has(name) && !(name === 'connection' && value.toLowerCase() === 'keep-alive'))
      return undefined;
    headers.set(name, value);
  }
  const authorization = headers.get('authorization');
  const length = headers.get('content-length');
  if (!headers.get('host') || authorization === undefined || !json.test(headers.get('content-type') ?? ''))
    return undefined;
  if (length === undefined || !/^[0-9]{1,7}$/.test(length) || Number(length) > maxBodyBytes) return undefined;
  try {
    return { parts: parts.map(decodeURIComponent), authorization, bodyBytes: Number(length) };
  } catch {
    return undefined;
  }
}

/** In one write: each costs a system call, and wakes the client. A `keepAliveMs` of 0 ends the connection. */
function writeAnswer(socket: Socket, { status, headers, body }: DirectAnswer, keepAliveMs: number): boolean {
  const bytes = Buffer.byteLength(body);
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${bytes}\r\n`;
  if (headers) for (const name of Object.keys(headers)) text += `${name}: ${headers[name]}\r\n`;
  text += `Date: ${httpDate()}\r\n`;
  text +=
    keepAliveMs > 0
      ? `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveMs / 1000)}\r\n\r\n`
      : 'Connection: close\r\n\r\n';
  return socket.write(text + body, bytes === body.length ? 'latin1' : 'utf8');
}

let dateText = '';
let dateSecond = Number.NaN;

/** The present second as RFC 9110 writes it. */
function httpDate(): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}
