/** Bytes that are not what OpenWire says. */
export class OpenWireFormatError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'OpenWireFormatError';
  }
}

/** What a primitive map or list may hold. `Typed` names a type that a plain value of ours does not tell. */
export type Primitive =
  | null
  | boolean
  | number
  | bigint
  | string
  | Buffer
  | Primitive[]
  | { [name: string]: Primitive };

const primitiveTypes = {
  null: 0,
  boolean: 1,
  byte: 2,
  char: 3,
  short: 4,
  integer: 5,
  long: 6,
  double: 7,
  float: 8,
  string: 9,
  bytes: 10,
  map: 11,
  list: 12,
  bigString: 13,
} as const;

const maxStringBytes = 0xffff;
const maxDepth = 32;

/** Java's modified UTF-8: U+0000 takes two bytes, and each half of a surrogate pair three. */
export function encodeModifiedUtf8(text: string): Buffer {
  // Most texts are plain in both encodings.
  if (!/[\0\ud800-\udfff]/.test(text)) return Buffer.from(text, 'utf8');
  const bytes = Buffer.allocUnsafe(text.length * 3);
  let at = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit >= 0x01 && unit <= 0x7f) bytes[at++] = unit;
    else if (unit <= 0x7ff) {
      bytes[at++] = 0xc0 | (unit >> 6);
      bytes[at++] = 0x80 | (unit & 0x3f);
    } else {
      bytes[at++] = 0xe0 | (unit >> 12);
      bytes[at++] = 0x80 | ((unit >> 6) & 0x3f);
      bytes[at++] = 0x80 | (unit & 0x3f);
    }
  }
  return bytes.subarray(0, at);
}

/** Reads Java's modified UTF-8, and the four-byte forms of true UTF-8 too, which other clients send. */
export function decodeModifiedUtf8(bytes: Buffer): string {
  const units: string[] = [];
  let chunk: number[] = [];
  const byteAt = (at: number) => {
    const byte = bytes[at];
    if (byte === undefined || (byte & 0xc0) !== 0x80) throw new OpenWireFormatError('text that is not UTF-8');
    return byte & 0x3f;
  };
  for (let at = 0; at < bytes.length; ) {
    const byte = bytes[at]!;
    if (byte < 0x80) {
      chunk.push(byte);
      at++;
    } else if ((byte & 0xe0) === 0xc0) {
      chunk.push(((byte & 0x1f) << 6) | byteAt(at + 1));
      at += 2;
    } else if ((byte & 0xf0) === 0xe0) {
      chunk.push(((byte & 0x0f) << 12) | (byteAt(at + 1) << 6) | byteAt(at + 2));
      at += 3;
    } else if ((byte & 0xf8) === 0xf0) {
      const point =
        (((byte & 0x07) << 18) | (byteAt(at + 1) << 12) | (byteAt(at + 2) << 6) | byteAt(at + 3)) - 0x10000;
      if (point < 0 || point > 0xfffff) throw new OpenWireFormatError('text that is not UTF-8');
      chunk.push(0xd800 | (point >> 10), 0xdc00 | (point & 0x3ff));
      at += 4;
    } else throw new OpenWireFormatError('text that is not UTF-8');
    if (chunk.length >= 4096) {
      units.push(String.fromCharCode(...chunk));
      chunk = [];
    }
  }
  units.push(String.fromCharCode(...chunk));
  return units.join('');
}

/** Writes data in the loose encoding: every value stands where it is, presence as a byte before it. */
export class OpenWireWriter {
  #bytes = Buffer.allocUnsafe(256);
  #length = 0;

  finish(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length));
  }

  byte(value: number): this {
    this.#reserve(1);
    this.#bytes.writeUInt8(value & 0xff, this.#length);
    this.#length += 1;
    return this;
  }

  boolean(value: boolean): this {
    return this.byte(value ? 1 : 0);
  }

  short(value: number): this {
    this.#reserve(2);
    this.#bytes.writeUInt16BE(value & 0xffff, this.#length);
    this.#length += 2;
    return this;
  }

  int(value: number): this {
    this.#reserve(4);
    this.#bytes.writeInt32BE(value | 0, this.#length);
    this.#length += 4;
    return this;
  }

  long(value: number | bigint): this {
    this.#reserve(8);
    this.#bytes.writeBigInt64BE(BigInt(value), this.#length);
    this.#length += 8;
    return this;
  }

  double(value: number): this {
    this.#reserve(8);
    this.#bytes.writeDoubleBE(value, this.#length);
    this.#length += 8;
    return this;
  }

  raw(bytes: Buffer): this {
    this.#reserve(bytes.length);
    bytes.copy(this.#bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  /** Length in two bytes and text; fails with a RangeError beyond 65535 bytes. */
  utf(text: string): this {
    const bytes = encodeModifiedUtf8(text);
    if (bytes.length > maxStringBytes)
      throw new RangeError(`a text of ${bytes.length} bytes is too long here`);
    return this.short(bytes.length).raw(bytes);
  }

  /** Length in four bytes and text. */
  longUtf(text: string): this {
    const bytes = encodeModifiedUtf8(text);
    return this.int(bytes.length).raw(bytes);
  }

  /** A text that may be absent. */
  string(text: string | undefined): this {
    return text === undefined ? this.boolean(false) : this.boolean(true).utf(text);
  }

  /** Bytes that may be absent. */
  byteSequence(bytes: Buffer | undefined): this {
    return bytes === undefined ? this.boolean(false) : this.boolean(true).int(bytes.length).raw(bytes);
  }

  /** A structure that may be absent: its type and what `write` adds. */
  nested(type: number | undefined, write: (to: this) => unknown = () => {}): this {
    if (type === undefined) return this.boolean(false);
    this.boolean(true).byte(type);
    write(this);
    return this;
  }

  map(values: Record<string, Primitive>): this {
    const entries = Object.entries(values);
    this.int(entries.length);
    for (const [name, value] of entries) this.utf(name).primitive(value);
    return this;
  }

  primitive(value: Primitive): this {
    if (value === null) return this.byte(primitiveTypes.null);
    if (typeof value === 'boolean') return this.byte(primitiveTypes.boolean).boolean(value);
    if (typeof value === 'bigint') return this.byte(primitiveTypes.long).long(value);
    if (typeof value === 'number') {
      if (!Number.isSafeInteger(value) || Object.is(value, -0))
        return this.byte(primitiveTypes.double).double(value);
      if (value === (value | 0)) return this.byte(primitiveTypes.integer).int(value);
      return this.byte(primitiveTypes.long).long(value);
    }
    if (typeof value === 'string') {
      // ActiveMQ's own client writes modified UTF-8 here and reads true UTF-8; what it reads is what counts.
      const bytes = Buffer.from(value, 'utf8');
      return bytes.length <= maxStringBytes
        ? this.byte(primitiveTypes.string).short(bytes.length).raw(bytes)
        : this.byte(primitiveTypes.bigString).longUtf(value);
    }
    if (Buffer.isBuffer(value)) return this.byte(primitiveTypes.bytes).int(value.length).raw(value);
    if (Array.isArray(value)) {
      this.byte(primitiveTypes.list).int(value.length);
      for (const each of value) this.primitive(each);
      return this;
    }
    return this.byte(primitiveTypes.map).map(value);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#length + count));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

/** Reads the loose encoding; fails with `OpenWireFormatError` where the bytes end too early. */
export class OpenWireReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  byte(): number {
    return this.#take(1).readUInt8();
  }

  boolean(): boolean {
    return this.byte() !== 0;
  }

  short(): number {
    return this.#take(2).readUInt16BE();
  }

  int(): number {
    return this.#take(4).readInt32BE();
  }

  long(): bigint {
    return this.#take(8).readBigInt64BE();
  }

  bytes(length: number): Buffer {
    return this.#take(length);
  }

  utf(): string {
    return decodeModifiedUtf8(this.#take(this.short()));
  }

  longUtf(): string {
    return decodeModifiedUtf8(this.#take(this.int()));
  }

  string(): string | undefined {
    return this.boolean() ? this.utf() : undefined;
  }

  byteSequence(): Buffer | undefined {
    return this.boolean() ? this.#take(this.int()) : undefined;
  }

  /** A structure that may be absent, read by `read` according to its type. */
  nested<T>(read: (type: number) => T): T | undefined {
    return this.boolean() ? read(this.byte()) : undefined;
  }

  /** A list that may be absent, of structures read by `read`. */
  array<T>(read: (type: number) => T): (T | undefined)[] {
    if (!this.boolean()) return [];
    return Array.from({ length: this.short() }, () => this.nested(read));
  }

  map(depth = 0): Record<string, Primitive> {
    const count = this.int();
    const entries: [string, Primitive][] = [];
    for (let index = 0; index < count; index++) entries.push([this.utf(), this.primitive(depth)]);
    return Object.fromEntries(entries);
  }

  primitive(depth = 0): Primitive {
    if (depth > maxDepth) throw new OpenWireFormatError('a map nested too deeply');
    const type = this.byte();
    switch (type) {
      case primitiveTypes.null:
        return null;
      case primitiveTypes.boolean:
        return this.boolean();
      case primitiveTypes.byte:
        return this.#take(1).readInt8();
      case primitiveTypes.char:
        return String.fromCharCode(this.short());
      case primitiveTypes.short:
        return this.#take(2).readInt16BE();
      case primitiveTypes.integer:
        return this.int();
      case primitiveTypes.long: {
        const value = this.long();
        return Number.isSafeInteger(Number(value)) ? Number(value) : value;
      }
      case primitiveTypes.double:
        return this.#take(8).readDoubleBE();
      case primitiveTypes.float:
        return this.#take(4).readFloatBE();
      case primitiveTypes.string:
        return this.utf();
      case primitiveTypes.bytes:
        return Buffer.from(this.#take(this.int()));
      case primitiveTypes.map:
        return this.map(depth + 1);
      case primitiveTypes.list: {
        const count = this.int();
        const values: Primitive[] = [];
        for (let index = 0; index < count; index++) values.push(this.primitive(depth + 1));
        return values;
      }
      case primitiveTypes.bigString:
        return this.longUtf();
    }
    throw new OpenWireFormatError(`a value of the unknown type ${type}`);
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (length < 0 || end > this.#bytes.length)
      throw new OpenWireFormatError('a command that ends too early');
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}
