import type { Socket } from 'node:net';
import type { PGlite } from '@electric-sql/pglite';
import { ScramServer } from './scram-server.ts';

interface SessionOptions {
  db: PGlite;
  turns: Turns;
  account: { username: string; password: string };
  version: string;
}

const protocolVersion = 196_608;
const sslRequest = 80_877_103;
const gssRequest = 80_877_104;
const maxMessageBytes = 16 * 1024 * 1024;

/** Whose turn it is: the database is one session, which one client uses at a time. */
export class Turns {
  #holder: PostgresSession | undefined;
  readonly #waiting: { session: PostgresSession; begin: () => void }[] = [];

  /** Waits until no other session is between its first message and the end of its transaction. */
  take(session: PostgresSession): Promise<void> | undefined {
    if (this.#holder === session) return undefined;
    if (this.#holder) return new Promise((begin) => this.#waiting.push({ session, begin }));
    this.#holder = session;
    return undefined;
  }

  release(session: PostgresSession): void {
    if (this.#holder !== session) return;
    const next = this.#waiting.shift();
    this.#holder = next?.session;
    next?.begin();
  }
}

/**
 * One client of the database, spoken to as PostgreSQL does (protocol 3.0, SCRAM-SHA-256). The clients
 * take turns by transaction on one session, so what one of them SETs another sees; prepared statements
 * are told apart by a prefix to their names.
 */
export class PostgresSession {
  static #last = 0;
  readonly #socket: Socket;
  readonly #options: SessionOptions;
  readonly #prefix: string;
  readonly #statements = new Set<string>();
  #buffer: Buffer = Buffer.alloc(0);
  #scram: ScramServer | undefined;
  #isLoggedIn = false;
  #work: Promise<void> = Promise.resolve();

  constructor(socket: Socket, options: SessionOptions) {
    PostgresSession.#last += 1;
    this.#prefix = `session${PostgresSession.#last}_`;
    this.#socket = socket;
    this.#options = options;
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      if (this.#buffer.length > maxMessageBytes) socket.destroy();
      this.#then(() => this.#readMessages());
    });
    socket.on('close', () => this.#then(() => this.#leave()));
  }

  #then(work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch(() => void this.#socket.destroy());
  }

  async #readMessages(): Promise<void> {
    for (;;) {
      // The first message has no type (55.2.1 of PostgreSQL's manual).
      const typeBytes = this.#scram === undefined ? 0 : 1;
      if (this.#socket.destroyed || this.#buffer.length < typeBytes + 4) return;
      const length = typeBytes + this.#buffer.readInt32BE(typeBytes);
      if (length < typeBytes + 4 || length > maxMessageBytes) return void this.#socket.destroy();
      if (this.#buffer.length < length) return;
      const message = this.#buffer.subarray(0, length);
      this.#buffer = this.#buffer.subarray(length);
      if (typeBytes === 0) this.#start(message);
      else if (!this.#isLoggedIn) this.#logIn(message);
      else await this.#execute(message);
    }
  }

  #start(message: Buffer): void {
    const code = message.readInt32BE(4);
    if (code === sslRequest || code === gssRequest) return void this.#socket.write('N');
    // Among others a request to cancel, which nothing here can do.
    if (code !== protocolVersion) return void this.#socket.destroy();
    const parameters = message.subarray(8).toString().split('\0');
    const user = parameters[parameters.indexOf('user') + 1] ?? '';
    const { username, password } = this.#options.account;
    this.#scram = new ScramServer(user === username ? password : undefined);
    this.#send('R', int32(10), Buffer.from('SCRAM-SHA-256\0\0'));
  }

  #logIn(message: Buffer): void {
    const scram = this.#scram!;
    if (message[0] !== 'p'.charCodeAt(0)) return void this.#socket.destroy();
    if (!scram.isBegun) {
      // Mechanism, null byte, length, then what the mechanism says.
      const start = message.indexOf(0, 5) + 5;
      this.#send('R', int32(11), Buffer.from(scram.begin(message.subarray(start).toString())));
      return;
    }
    const proof = scram.finish(message.subarray(5).toString());
    if (proof === undefined) {
      this.#send('E', Buffer.from(`SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user\0\0`));
      return void this.#socket.end();
    }
    this.#isLoggedIn = true;
    this.#send('R', int32(12), Buffer.from(proof));
    this.#send('R', int32(0));
    for (const [name, value] of Object.entries({
      server_version: this.#options.version,
      server_encoding: 'UTF8',
      client_encoding: 'UTF8',
      DateStyle: 'ISO, MDY',
      TimeZone: 'UTC',
      integer_datetimes: 'on',
      standard_conforming_strings: 'on',
    }))
      this.#send('S', Buffer.from(`${name}\0${value}\0`));
    this.#send('K', int32(0), int32(0));
    this.#send('Z', Buffer.from('I'));
  }

  async #execute(message: Buffer): Promise<void> {
    const type = String.fromCharCode(message[0]!);
    if (type === 'X') return void this.#socket.end();
    const { db, turns } = this.#options;
    await turns.take(this);
    const answer = await db.execProtocolRaw(this.#withOwnNames(type, message), { syncToFs: false });
    this.#socket.write(answer);
    if (isIdle(answer)) turns.release(this);
  }

  /** Names of prepared statements are the client's; the empty one is for a single use and stays. */
  #withOwnNames(type: string, message: Buffer): Buffer {
    const body = message.subarray(5);
    const at =
      type === 'P'
        ? 0
        : type === 'B'
          ? body.indexOf(0) + 1
          : (type === 'D' || type === 'C') && body[0] === 'S'.charCodeAt(0)
            ? 1
            : -1;
    if (at < 0 || body[at] === 0) return message;
    const name = body.subarray(at, body.indexOf(0, at)).toString();
    if (type === 'P') this.#statements.add(name);
    if (type === 'C') this.#statements.delete(name);
    return frame(type, body.subarray(0, at), Buffer.from(this.#prefix), body.subarray(at));
  }

  /** Takes back what the client began and did not end. */
  async #leave(): Promise<void> {
    if (!this.#isLoggedIn) return;
    const { db, turns } = this.#options;
    await turns.take(this);
    try {
      for (const name of this.#statements)
        await db.execProtocolRaw(frame('C', Buffer.from(`S${this.#prefix}${name}\0`)), { syncToFs: false });
      const answer = await db.execProtocolRaw(frame('S'), { syncToFs: false });
      if (!isIdle(answer)) await db.exec('rollback');
    } finally {
      turns.release(this);
    }
  }

  #send(type: string, ...contents: Buffer[]): void {
    this.#socket.write(frame(type, ...contents));
  }
}

/** Whether an answer ends with ReadyForQuery outside of a transaction. */
function isIdle(answer: Uint8Array): boolean {
  return Buffer.from(answer.subarray(-6)).equals(Buffer.from('Z\0\0\0\x05I', 'latin1'));
}

function frame(type: string, ...contents: Buffer[]): Buffer {
  const length = contents.reduce((sum, part) => sum + part.length, 4);
  return Buffer.concat([Buffer.from(type), int32(length), ...contents]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}
