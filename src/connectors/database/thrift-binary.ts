import { AppError } from '../../errors.ts';

/** Types of Thrift's binary protocol, as on the wire. */
export const T = {
  stop: 0,
  bool: 2,
  byte: 3,
  double: 4,
  i16: 6,
  i32: 8,
  i64: 10,
  string: 11,
  struct: 12,
  map: 13,
  set: 14,
  list: 15,
} as const;

const VERSION = 0x80010000;
const CALL = 1;
export const REPLY = 2;
export const EXCEPTION = 3;
const MOST_DEPTH = 32;

/** A field to send: its number, type and value. */
export type Field =
  | readonly [id: number, type: typeof T.bool, value: boolean]
  | readonly [id: number, type: typeof T.i16 | typeof T.i32, value: number]
  | readonly [id: number, type: typeof T.i64, value: bigint]
  | readonly [id: number, type: typeof T.string, value: string | Buffer]
  | readonly [id: number, type: typeof T.struct, value: readonly Field[]]
  | readonly [id: number, type: typeof T.map, value: Readonly<Record<string, string>>];

/** What a struct holds: number of the field → value; binaries and texts are buffers, an i64 is a bigint. */
export type Struct = ReadonlyMap<number, ThriftValue>;
export type ThriftValue =
  | boolean
  | number
  | bigint
  | Buffer
  | Struct
  | ThriftValue[]
  | [ThriftValue, ThriftValue][];

export interface Message {
  type: number;
  sequence: number;
  body: Struct;
}

/** A call whose arguments are one struct, strict binary protocol. */
export function callMessage(method: string, sequence: number, argument: readonly Field[]): Buffer {
  const parts: Buffer[] = [word(VERSION | CALL), ...sized(method), word(sequence)];
  writeStruct(parts, [[1, T.struct, argument]]);
  return Buffer.concat(parts);
}

function writeStruct(parts: Buffer[], fields: readonly Field[]): void {
  for (const [id, type, value] of fields) {
    parts.push(Buffer.of(type, id >> 8, id & 0xff));
    switch (type) {
      case T.bool:
        parts.push(Buffer.of(value ? 1 : 0));
        break;
      case T.i16:
        parts.push(Buffer.of((value >> 8) & 0xff, value & 0xff));
        break;
      case T.i32:
        parts.push(word(value));
        break;
      case T.i64: {
        const bytes = Buffer.alloc(8);
        bytes.writeBigInt64BE(value);
        parts.push(bytes);
        break;
      }
      case T.string:
        parts.push(...sized(value));
        break;
      case T.struct:
        writeStruct(parts, value);
        break;
      case T.map: {
        const entries = Object.entries(value);
        parts.push(Buffer.of(T.string, T.string), word(entries.length));
        for (const [key, item] of entries) parts.push(...sized(key), ...sized(item));
      }
    }
  }
  parts.push(Buffer.of(T.stop));
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value | 0);
  return bytes;
}

function sized(value: string | Buffer): Buffer[] {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return [word(bytes.length), bytes];
}

type Reading<V> = Generator<void, V, void>;

/**
 * Reads messages from bytes as they come: without a frame around it, only reading tells where a
 * message ends. Fails with `protocol_error` on whatever is no Thrift and beyond `maxBytes` a message.
 */
export class ThriftReader {
  readonly #maxBytes: number;
  readonly #chunks: Buffer[] = [];
  #buffer: Buffer = Buffer.alloc(0);
  #at = 0;
  /** Bytes that have to be there before reading on makes sense. */
  #wanted = 0;
  #available = 0;
  #taken = 0;
  #reading: Reading<Message> | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The message that these bytes complete, if they do. */
  push(chunk: Buffer): Message | undefined {
    this.#chunks.push(chunk);
    this.#available += chunk.length;
    if (this.#available < this.#wanted) return undefined;
    this.#buffer = Buffer.concat([this.#buffer.subarray(this.#at), ...this.#chunks.splice(0)]);
    this.#at = 0;
    this.#reading ??= this.#message();
    const { done, value } = this.#reading.next();
    if (!done) return undefined;
    this.#reading = undefined;
    this.#wanted = 0;
    this.#taken = 0;
    return value;
  }

  /** Makes sure that `length` bytes are at hand, and takes them. */
  *#take(length: number): Reading<number> {
    this.#taken += length;
    if (length < 0 || this.#taken > this.#maxBytes)
      throw new AppError('protocol_error', 'an answer of the server is too large, or no answer of Thrift');
    while (this.#available < length) {
      this.#wanted = length;
      yield;
    }
    const at = this.#at;
    this.#at += length;
    this.#available -= length;
    return at;
  }

  *#message(): Reading<Message> {
    const version = this.#buffer.readInt32BE(yield* this.#take(4));
    if ((version & 0xffff0000) !== (VERSION | 0))
      throw new AppError('protocol_error', 'what answers there does not speak the binary protocol of Thrift');
    yield* this.#bytes();
    const sequence = this.#buffer.readInt32BE(yield* this.#take(4));
    return { type: version & 0xff, sequence, body: yield* this.#struct(0) };
  }

  *#bytes(): Reading<Buffer> {
    const length = this.#buffer.readInt32BE(yield* this.#take(4));
    const at = yield* this.#take(length);
    return this.#buffer.subarray(at, at + length);
  }

  *#struct(depth: number): Reading<Struct> {
    const fields = new Map<number, ThriftValue>();
    for (;;) {
      const type = this.#buffer[yield* this.#take(1)]!;
      if (type === T.stop) return fields;
      const id = this.#buffer.readInt16BE(yield* this.#take(2));
      fields.set(id, yield* this.#value(type, depth + 1));
    }
  }

  *#value(type: number, depth: number): Reading<ThriftValue> {
    if (depth > MOST_DEPTH)
      throw new AppError('protocol_error', 'an answer of the server is nested too deeply');
    switch (type) {
      case T.bool:
        return this.#buffer[yield* this.#take(1)] === 1;
      case T.byte:
        return this.#buffer.readInt8(yield* this.#take(1));
      case T.double:
        return this.#buffer.readDoubleBE(yield* this.#take(8));
      case T.i16:
        return this.#buffer.readInt16BE(yield* this.#take(2));
      case T.i32:
        return this.#buffer.readInt32BE(yield* this.#take(4));
      case T.i64:
        return this.#buffer.readBigInt64BE(yield* this.#take(8));
      case T.string:
        return yield* this.#bytes();
      case T.struct:
        return yield* this.#struct(depth);
      case T.set:
      case T.list: {
        const element = this.#buffer[yield* this.#take(1)]!;
        const count = this.#buffer.readInt32BE(yield* this.#take(4));
        const list: ThriftValue[] = [];
        for (let at = 0; at < count; at++) list.push(yield* this.#value(element, depth + 1));
        return list;
      }
      case T.map: {
        const types = yield* this.#take(2);
        const key = this.#buffer[types]!;
        const item = this.#buffer[types + 1]!;
        const count = this.#buffer.readInt32BE(yield* this.#take(4));
        const entries: [ThriftValue, ThriftValue][] = [];
        for (let at = 0; at < count; at++)
          entries.push([yield* this.#value(key, depth + 1), yield* this.#value(item, depth + 1)]);
        return entries;
      }
      default:
        throw new AppError('protocol_error', 'an answer of the server is no answer of Thrift');
    }
  }
}
