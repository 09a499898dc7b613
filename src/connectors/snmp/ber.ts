import { AppError } from '../../errors.ts';

/** Tags of the values that notifications carry (RFC 2578 7.1, X.690). */
export const tags = {
  integer: 0x02,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  sequence: 0x30,
  ipAddress: 0x40,
  counter32: 0x41,
  gauge32: 0x42,
  timeTicks: 0x43,
  counter64: 0x46,
} as const;

/** Tag, length and contents. */
export function encode(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const length = contents.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return Buffer.concat([Uint8Array.of(tag), encodeLength(length), ...contents]);
}

function encodeLength(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  const digits: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return Uint8Array.of(0x80 | digits.length, ...digits);
}

/** An integer in the fewest octets of two's complement, under its own or an application's tag. */
export function encodeInteger(value: number | bigint, tag: number = tags.integer): Buffer {
  let rest = BigInt(value);
  const octets: number[] = [];
  do {
    octets.unshift(Number(rest & 0xffn));
    rest >>= 8n;
  } while (rest !== (octets[0]! & 0x80 ? -1n : 0n));
  return encode(tag, Uint8Array.from(octets));
}

export function encodeOctets(value: string | Uint8Array): Buffer {
  return encode(tags.octetString, typeof value === 'string' ? Buffer.from(value) : value);
}

/** An OID in dotted form, with or without a leading dot. */
export function encodeOid(oid: string): Buffer {
  const [first = 0, second = 0, ...rest] = oid.replace(/^\./, '').split('.').map(Number);
  return encode(tags.oid, Uint8Array.from([first * 40 + second, ...rest].flatMap(base128)));
}

function base128(number: number): number[] {
  const digits = [number % 128];
  for (let rest = Math.floor(number / 128); rest > 0; rest = Math.floor(rest / 128))
    digits.unshift((rest % 128) | 0x80);
  return digits;
}

/** Reads definite-length BER from front to back; fails with `protocol_error`. */
export class BerReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** The next element, whose contents share the memory of what is read. */
  next(expected?: number): { tag: number; contents: Buffer } {
    const size = elementSize(this.#bytes.subarray(this.#at));
    if (size === undefined || this.#at + size.total > this.#bytes.length) throw malformed();
    const tag = this.#bytes[this.#at]!;
    if (expected !== undefined && tag !== expected) throw malformed();
    const contents = this.#bytes.subarray(this.#at + size.header, this.#at + size.total);
    this.#at += size.total;
    return { tag, contents };
  }

  integer(): number {
    const { contents } = this.next(tags.integer);
    if (contents.length === 0 || contents.length > 5) throw malformed();
    return contents.readIntBE(0, contents.length);
  }

  octets(): Buffer {
    return this.next(tags.octetString).contents;
  }

  oid(): string {
    const { contents } = this.next(tags.oid);
    const numbers: number[] = [];
    let number = 0;
    for (const octet of contents) {
      number = number * 128 + (octet & 0x7f);
      if (octet & 0x80) continue;
      numbers.push(number);
      number = 0;
    }
    const [head = 0, ...rest] = numbers;
    const first = Math.min(2, Math.floor(head / 40));
    return [first, head - first * 40, ...rest].join('.');
  }

  inner(tag: number = tags.sequence): BerReader {
    return new BerReader(this.next(tag).contents);
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }
}

/** Octets of the element that begins here, its tag and length included; undefined while its length is not there yet. */
export function elementSize(bytes: Buffer): { header: number; total: number } | undefined {
  const first = bytes[1];
  if (first === undefined) return undefined;
  if (first < 0x80) return { header: 2, total: 2 + first };
  const digits = first & 0x7f;
  if (digits === 0 || digits > 4) throw malformed();
  if (bytes.length < 2 + digits) return undefined;
  return { header: 2 + digits, total: 2 + digits + bytes.readUIntBE(2, digits) };
}

export function malformed(): AppError {
  return new AppError('protocol_error', 'The answer is not SNMP', {
    details: { hint: 'Check that host and port belong to a receiver of SNMP notifications.' },
  });
}
