import { compressionsAlgorithms, crc32c } from '@platformatic/kafka';
import type { KafkaSettings } from './kafka-settings.ts';

/** A message as it is stored. */
export interface KafkaRecord {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly (readonly [name: Buffer, value: Buffer])[];
  /** ms since the epoch. */
  readonly timestamp: number;
}

/** Who sends a batch, and the number of its first record, so that it is stored once. */
export interface BatchSequence {
  readonly producerId: bigint;
  readonly epoch: number;
  readonly first: number;
}

/** Base offset, length of what follows, leader epoch, magic and checksum. */
const uncheckedBytes = 8 + 4 + 4 + 1 + 4;
/** Attributes, last offset, first and last time, producer, epoch, first sequence and count. */
const headBytes = uncheckedBytes + 2 + 4 + 8 + 8 + 8 + 2 + 4 + 4;
const magic = 2;
/** The broker's to fill in. */
const noLeaderEpoch = -1;
const isNull = zigzag(-1);

/**
 * A record batch of version 2 (https://kafka.apache.org/documentation/#recordbatch), which brokers take since
 * Kafka 0.11. Made here because the library takes a writer of its own for each record, four times as long
 * (decision 19).
 */
export async function recordBatch(
  records: readonly KafkaRecord[],
  compression: KafkaSettings['compression'],
  sequence: BatchSequence | undefined,
): Promise<Buffer> {
  const first = records[0]!.timestamp;
  const last = records.reduce((latest, { timestamp }) => Math.max(latest, timestamp), first);
  const bodies = records.map((record, offset) => bodyBytes(record, offset, first));
  const bytes = bodies.reduce((sum, body) => sum + varintBytes(zigzag(body)) + body, 0);

  const plain = Buffer.allocUnsafe(headBytes + bytes);
  let end = headBytes;
  for (let offset = 0; offset < records.length; offset++) {
    end = writeVarint(plain, end, zigzag(bodies[offset]!));
    end = writeBody(plain, end, records[offset]!, offset, first);
  }
  const algorithm = compressionsAlgorithms[compression];
  const isPlain = algorithm.bitmask === 0;
  const batch = isPlain
    ? plain
    : Buffer.concat([plain.subarray(0, headBytes), await compressed(algorithm, plain.subarray(headBytes))]);

  let at = batch.writeBigInt64BE(0n, 0);
  at = batch.writeInt32BE(batch.length - at - 4, at);
  at = batch.writeInt32BE(noLeaderEpoch, at);
  at = batch.writeInt8(magic, at);
  const checksumAt = at;
  at = batch.writeInt16BE(algorithm.bitmask, uncheckedBytes);
  at = batch.writeInt32BE(records.length - 1, at);
  at = batch.writeBigInt64BE(BigInt(first), at);
  at = batch.writeBigInt64BE(BigInt(last), at);
  at = batch.writeBigInt64BE(sequence?.producerId ?? -1n, at);
  at = batch.writeInt16BE(sequence?.epoch ?? -1, at);
  at = batch.writeInt32BE(sequence?.first ?? -1, at);
  batch.writeInt32BE(records.length, at);
  batch.writeUInt32BE(crc32c(batch.subarray(uncheckedBytes)), checksumAt);
  return batch;
}

type Algorithm = (typeof compressionsAlgorithms)[KafkaSettings['compression']];

function compressed(algorithm: Algorithm, records: Buffer): Buffer | Promise<Buffer> {
  return 'compress' in algorithm ? algorithm.compress(records) : algorithm.compressSync(records);
}

function bodyBytes(record: KafkaRecord, offset: number, first: number): number {
  const { key, value, headers, timestamp } = record;
  let bytes =
    1 +
    varintBytes(zigzag(timestamp - first)) +
    varintBytes(zigzag(offset)) +
    datumBytes(key) +
    datumBytes(value) +
    varintBytes(zigzag(headers.length));
  for (const [name, content] of headers) bytes += datumBytes(name) + datumBytes(content);
  return bytes;
}

function writeBody(bytes: Buffer, start: number, record: KafkaRecord, offset: number, first: number): number {
  const { key, value, headers, timestamp } = record;
  let at = start;
  // Attributes, of which none is in use.
  bytes[at++] = 0;
  at = writeVarint(bytes, at, zigzag(timestamp - first));
  at = writeVarint(bytes, at, zigzag(offset));
  at = writeDatum(bytes, at, key);
  at = writeDatum(bytes, at, value);
  at = writeVarint(bytes, at, zigzag(headers.length));
  for (const [name, content] of headers) at = writeDatum(bytes, writeDatum(bytes, at, name), content);
  return at;
}

function datumBytes(datum: Buffer | null): number {
  return datum === null ? varintBytes(isNull) : varintBytes(zigzag(datum.length)) + datum.length;
}

function writeDatum(bytes: Buffer, at: number, datum: Buffer | null): number {
  if (datum === null) return writeVarint(bytes, at, isNull);
  const start = writeVarint(bytes, at, zigzag(datum.length));
  bytes.set(datum, start);
  return start + datum.length;
}

/** Small numbers of either sign as small ones without; by arithmetic, as times are longer than 32 bits. */
function zigzag(number: number): number {
  return number < 0 ? -2 * number - 1 : 2 * number;
}

function varintBytes(unsigned: number): number {
  let bytes = 1;
  for (let rest = unsigned; rest >= 0x80; rest = shifted(rest)) bytes++;
  return bytes;
}

/** Answers where it ends. */
function writeVarint(bytes: Buffer, start: number, unsigned: number): number {
  let at = start;
  let rest = unsigned;
  for (; rest >= 0x80; rest = shifted(rest)) bytes[at++] = (rest & 0x7f) | 0x80;
  bytes[at] = rest;
  return at + 1;
}

function shifted(unsigned: number): number {
  return unsigned > 0x7fffffff ? Math.floor(unsigned / 0x80) : unsigned >>> 7;
}
