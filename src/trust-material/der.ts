import { AppError } from '../errors.ts';

/** One value of an ASN.1 encoding; `content` is what stands between its length and its end. */
export interface DerValue {
  /** The identifier octet: class, constructed bit and number. */
  readonly tag: number;
  readonly content: Buffer;
  /** With identifier and length. */
  readonly whole: Buffer;
}

export const TAG = {
  integer: 0x02,
  octetString: 0x04,
  constructedOctetString: 0x24,
  oid: 0x06,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Deeper than this no keystore nests values of indefinite length. */
const maxDepth = 12;
/** More values than this stand in no sequence of a keystore. */
const maxChildren = 8_192;

/** Reads the value at the start of `bytes` (DER, or BER with indefinite lengths); what follows it is left. */
export function readDer(bytes: Buffer): DerValue {
  return readAt(bytes, 0, 0).value;
}

/** The values within a constructed value. */
export function childrenOf(value: DerValue): DerValue[] {
  if ((value.tag & 0x20) === 0) throw damaged();
  const children: DerValue[] = [];
  for (let at = 0; at < value.content.length; ) {
    const { value: child, end } = readAt(value.content, at, 0);
    if (children.push(child) > maxChildren) throw damaged();
    at = end;
  }
  return children;
}

/** The values within a SEQUENCE; a value that is none is damage. */
export function sequenceOf(value: DerValue | undefined): DerValue[] {
  return childrenOf(expectTag(value, TAG.sequence));
}

/** The one value inside an explicit tag. */
export function insideOf(value: DerValue | undefined, tag: number): DerValue {
  const [inside] = childrenOf(expectTag(value, tag));
  return expectTag(inside);
}

export function expectTag(value: DerValue | undefined, tag?: number): DerValue {
  if (!value || (tag !== undefined && value.tag !== tag)) throw damaged();
  return value;
}

/** The bytes of an OCTET STRING, in one piece or in several (BER), under its own or an implicit tag. */
export function octetsOf(value: DerValue | undefined, depth = 0): Buffer {
  if (!value || depth > 4) throw damaged();
  if ((value.tag & 0x20) === 0) return value.content;
  return Buffer.concat(childrenOf(value).map((child) => octetsOf(child, depth + 1)));
}

/** A non-negative INTEGER of at most 31 bits. */
export function integerOf(value: DerValue | undefined): number {
  const { content } = expectTag(value, TAG.integer);
  if (content.length === 0 || content.length > 5 || content[0]! > 0x7f) throw damaged();
  const number = content.readUIntBE(0, content.length);
  if (number > 0x7fffffff) throw damaged();
  return number;
}

/** An OBJECT IDENTIFIER in dotted form. */
export function oidOf(value: DerValue | undefined): string {
  const { content } = expectTag(value, TAG.oid);
  if (content.length === 0 || content.length > 64) throw damaged();
  const parts: number[] = [];
  let part = 0;
  for (const byte of content) {
    part = part * 128 + (byte & 0x7f);
    if (part > Number.MAX_SAFE_INTEGER / 128) throw damaged();
    if (byte & 0x80) continue;
    if (parts.length === 0) {
      const first = Math.min(Math.floor(part / 40), 2);
      parts.push(first, part - first * 40);
    } else parts.push(part);
    part = 0;
  }
  return parts.join('.');
}

export function damaged(): AppError {
  return new AppError('bad_request', 'The file is damaged or cut off');
}

function readAt(bytes: Buffer, start: number, depth: number): { value: DerValue; end: number } {
  if (depth > maxDepth || start + 2 > bytes.length) throw damaged();
  const tag = bytes[start]!;
  if ((tag & 0x1f) === 0x1f) throw damaged();
  const first = bytes[start + 1]!;
  const lengthBytes = first & 0x80 ? first & 0x7f : 0;
  const from = start + 2 + lengthBytes;
  if (lengthBytes > 4 || from > bytes.length) throw damaged();
  if (first === 0x80) return readIndefinite(bytes, start, tag, depth);
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(start + 2, lengthBytes);
  const end = from + length;
  if (end > bytes.length) throw damaged();
  return { value: { tag, content: bytes.subarray(from, end), whole: bytes.subarray(start, end) }, end };
}

function readIndefinite(
  bytes: Buffer,
  start: number,
  tag: number,
  depth: number,
): { value: DerValue; end: number } {
  if ((tag & 0x20) === 0) throw damaged();
  let at = start + 2;
  for (let count = 0; count <= maxChildren; count += 1) {
    if (at + 2 > bytes.length) throw damaged();
    if (bytes[at] === 0 && bytes[at + 1] === 0) {
      const end = at + 2;
      return {
        value: { tag, content: bytes.subarray(start + 2, at), whole: bytes.subarray(start, end) },
        end,
      };
    }
    at = readAt(bytes, at, depth + 1).end;
  }
  throw damaged();
}
