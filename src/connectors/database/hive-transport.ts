import type { Socket } from 'node:net';
import { AppError } from '../../errors.ts';
import { classifySocketError } from '../transport/socket-errors.ts';
import { readChunk } from './dialect.ts';
import {
  callMessage,
  EXCEPTION,
  type Field,
  type Message,
  REPLY,
  type Struct,
  ThriftReader,
} from './thrift-binary.ts';

const MOST_MESSAGE_BYTES = 64 * 1024 * 1024;
const MOST_NEGOTIATION_BYTES = 65_536;
/** States of Thrift's SASL negotiation, as on the wire. */
const START = 1;
const OK = 2;
const BAD = 3;
const ERROR = 4;
const COMPLETE = 5;
/** Kind of a TApplicationException: the server has no such method. */
const UNKNOWN_METHOD = 1;

/** Thrown where the server does not know the method. */
export class UnknownMethod extends Error {}

/** Logs in by SASL PLAIN (RFC 4616) as Thrift frames it. Fails with `authentication_failed`. */
export async function logInPlain(
  socket: Socket,
  { user, password }: { user: string; password: string },
  limits: { timeoutMs: number; signal: AbortSignal },
): Promise<void> {
  if (user.includes('\0') || password.includes('\0'))
    throw new AppError('invalid_configuration', 'SASL PLAIN cannot carry U+0000');
  const frame = (status: number, text: string) => {
    const payload = Buffer.from(text);
    const head = Buffer.of(status, 0, 0, 0, 0);
    head.writeUInt32BE(payload.length, 1);
    return Buffer.concat([head, payload]);
  };
  socket.write(Buffer.concat([frame(START, 'PLAIN'), frame(COMPLETE, `\0${user}\0${password}`)]));
  let complete = 0;
  const answer = await readChunk(
    socket,
    (got) => {
      if (got.length > 0 && (got[0]! < START || got[0]! > COMPLETE))
        throw new AppError('protocol_error', 'what answers there does not speak SASL as Thrift frames it');
      if (got.length < 5) return false;
      const length = got.readUInt32BE(1);
      if (length > MOST_NEGOTIATION_BYTES)
        throw new AppError('protocol_error', 'what answers there does not speak SASL as Thrift frames it');
      complete = 5 + length;
      return got.length >= complete;
    },
    limits,
  );
  const status = answer[0];
  const text = answer.toString('utf8', 5, complete).replace(/\s+/g, ' ').trim().slice(0, 300);
  if (status === BAD || status === ERROR)
    throw new AppError(
      'authentication_failed',
      `the server refuses the log-in: ${text || 'no reason given'}`,
    );
  if (status !== COMPLETE && status !== OK)
    throw new AppError('protocol_error', 'what answers there does not speak SASL as Thrift frames it');
}

/** Calls of a Thrift service over one socket, one at a time; with `framed`, each message in frames of SASL. */
export class ThriftConnection {
  readonly #socket: Socket;
  readonly #framed: boolean;
  readonly #reader = new ThriftReader(MOST_MESSAGE_BYTES);
  #sequence = 0;
  #pending: { resolve(message: Message): void; reject(error: AppError): void } | undefined;
  #failure: AppError | undefined;
  #frame: Buffer = Buffer.alloc(0);
  #frameLeft = 0;

  /** `lost` is called when the socket ends without `end`. */
  constructor(socket: Socket, framed: boolean, lost: () => void) {
    this.#socket = socket;
    this.#framed = framed;
    const gone = (error?: unknown) => {
      if (this.#failure) return;
      this.#fail(classifySocketError(error) ?? new AppError('connection_lost', undefined, { cause: error }));
      lost();
    };
    socket
      .on('error', gone)
      .on('end', gone)
      .on('close', () => gone());
    socket.on('data', (chunk: Buffer) => {
      try {
        this.#take(chunk);
      } catch (error) {
        this.#fail(error as AppError);
        lost();
      }
    });
  }

  get isOpen(): boolean {
    return this.#failure === undefined;
  }

  /** The struct that a method answers; `UnknownMethod` where the server has no such method. */
  async call(method: string, argument: readonly Field[]): Promise<Struct> {
    if (this.#failure) throw this.#failure;
    const sequence = ++this.#sequence;
    const bytes = callMessage(method, sequence, argument);
    if (this.#framed) {
      const head = Buffer.alloc(4);
      head.writeUInt32BE(bytes.length);
      this.#socket.write(head);
    }
    this.#socket.write(bytes);
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    this.#pending = { resolve, reject };
    const { type, body, sequence: answered } = await promise;
    if (answered !== sequence) {
      this.#fail(new AppError('protocol_error', 'the server answers another call'));
      throw this.#failure;
    }
    const result = body.get(0);
    if (type === REPLY && result instanceof Map) return result;
    if (type === EXCEPTION) {
      const [text, kind] = [body.get(1), body.get(2)];
      if (kind === UNKNOWN_METHOD) throw new UnknownMethod(method);
      throw new AppError('target_error', `${method}: ${Buffer.isBuffer(text) ? text.toString() : 'failed'}`);
    }
    throw new AppError('protocol_error', `the server does not answer ${method}`);
  }

  /** Ends the socket at once; may be called twice. */
  end(reason: AppError): void {
    this.#fail(reason);
  }

  #fail(error: AppError): void {
    this.#failure ??= error;
    this.#socket.destroy();
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.reject(error);
  }

  #take(chunk: Buffer): void {
    if (!this.#framed) {
      this.#push(chunk);
      return;
    }
    let rest = this.#frame.length > 0 ? Buffer.concat([this.#frame, chunk]) : chunk;
    this.#frame = Buffer.alloc(0);
    while (rest.length > 0) {
      if (this.#frameLeft === 0) {
        if (rest.length < 4) {
          this.#frame = rest;
          return;
        }
        this.#frameLeft = rest.readUInt32BE();
        if (this.#frameLeft > MOST_MESSAGE_BYTES)
          throw new AppError('protocol_error', 'an answer of the server is too large, or no frame of SASL');
        rest = rest.subarray(4);
        continue;
      }
      const part = rest.subarray(0, this.#frameLeft);
      this.#frameLeft -= part.length;
      rest = rest.subarray(part.length);
      this.#push(part);
    }
  }

  #push(bytes: Buffer): void {
    const message = this.#reader.push(bytes);
    if (!message) return;
    const pending = this.#pending;
    if (!pending) throw new AppError('protocol_error', 'the server speaks without being asked');
    this.#pending = undefined;
    pending.resolve(message);
  }
}
