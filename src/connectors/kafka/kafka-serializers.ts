import type { serializers } from './kafka.definition.ts';

export type SerializerName = (typeof serializers)[number];
/** A key or value as JSON has it. */
export type Datum = string | number | null;

/** Bytes ↔ JSON as one of `org.apache.kafka.common.serialization` has them. */
export interface Serializer {
  /** Throws a `TypeError` that says what is needed, without quoting the value. */
  encode(datum: Datum): Buffer | null;
  /** Throws a `TypeError` on bytes that this serializer never makes. */
  decode(bytes: Buffer | null): Datum;
}

const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

const forms: Record<
  SerializerName,
  { encode(datum: string | number): Buffer; decode(bytes: Buffer): string | number }
> = {
  String: {
    encode(datum) {
      return Buffer.from(String(datum), 'utf8');
    },
    decode: (bytes) => bytes.toString('utf8'),
  },
  ByteArray: {
    encode(datum) {
      if (typeof datum !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(datum) || datum.length % 4 !== 0)
        throw new TypeError('must be base64');
      return Buffer.from(datum, 'base64');
    },
    decode: (bytes) => bytes.toString('base64'),
  },
  Integer: {
    encode(datum) {
      const number = toNumber(datum);
      if (!Number.isInteger(number) || number < -(2 ** 31) || number >= 2 ** 31)
        throw new TypeError('must be a whole number of 32 bits');
      const bytes = Buffer.alloc(4);
      bytes.writeInt32BE(number);
      return bytes;
    },
    decode: (bytes) => sized(bytes, 4).readInt32BE(),
  },
  Long: {
    encode(datum) {
      const isWhole = typeof datum === 'number' ? Number.isSafeInteger(datum) : /^-?\d{1,19}$/.test(datum);
      const number = isWhole ? BigInt(datum) : undefined;
      if (number === undefined || BigInt.asIntN(64, number) !== number)
        throw new TypeError('must be a whole number of 64 bits; beyond 2^53 as text');
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64BE(number);
      return bytes;
    },
    decode(bytes) {
      const number = sized(bytes, 8).readBigInt64BE();
      return Number.isSafeInteger(Number(number)) ? Number(number) : String(number);
    },
  },
  Double: {
    encode(datum) {
      const number = toNumber(datum);
      if (Number.isNaN(number) && datum !== 'NaN') throw new TypeError('must be a number');
      const bytes = Buffer.alloc(8);
      bytes.writeDoubleBE(number);
      return bytes;
    },
    decode(bytes) {
      const number = sized(bytes, 8).readDoubleBE();
      return Number.isFinite(number) ? number : String(number);
    },
  },
  UUID: {
    encode(datum) {
      if (typeof datum !== 'string' || !uuidForm.test(datum)) throw new TypeError('must be a UUID');
      return Buffer.from(datum.toLowerCase(), 'utf8');
    },
    decode(bytes) {
      const text = bytes.toString('latin1');
      if (!uuidForm.test(text)) throw new TypeError('is no UUID');
      return text;
    },
  },
};

/** The serializer of that name; null stays null with each of them. */
export function serializerNamed(name: SerializerName): Serializer {
  const form = forms[name];
  return {
    encode: (datum) => (datum === null ? null : form.encode(datum)),
    decode: (bytes) => (bytes === null ? null : form.decode(bytes)),
  };
}

function toNumber(datum: string | number): number {
  if (typeof datum === 'number') return datum;
  return /^-?(\d+\.?\d*([eE][+-]?\d+)?|Infinity)$/.test(datum) ? Number(datum) : Number.NaN;
}

function sized(bytes: Buffer, length: number): Buffer {
  if (bytes.length !== length) throw new TypeError(`has ${bytes.length} bytes, not ${length}`);
  return bytes;
}
