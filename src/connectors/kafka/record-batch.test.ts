import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c, createRecordsBatch, NumericMap, Reader, readRecordsBatch } from '@platformatic/kafka';
import fc from 'fast-check';
import { type KafkaRecord, recordBatch } from './record-batch.ts';

const datum = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
const near = fc.integer({ min: 1_700_000_000_000, max: 1_700_000_100_000 });
const any = fc.integer({ min: 0, max: 253_402_300_799_999 });
const recordsAt = (timestamp: fc.Arbitrary<number>) => {
  const headers = fc.array(fc.tuple(datum, datum), { maxLength: 3 });
  const record = fc.record({ key: fc.option(datum), value: fc.option(datum), headers, timestamp });
  return fc.array(record, { minLength: 1, maxLength: 200 });
};
const sequence = { producerId: 2n ** 40n + 7n, epoch: 3, first: 2_147_483_000 };

/** The library's own encoder, which takes a message's topic and partition for its number. */
function byLibrary(messages: readonly KafkaRecord[]): Buffer {
  const place = { topic: 'orders', partition: 4 };
  return createRecordsBatch(
    messages.map(({ key, value, headers, timestamp }) => ({
      ...place,
      key,
      value,
      headers: new Map(headers),
      timestamp: BigInt(timestamp),
    })) as never,
    {
      producerId: sequence.producerId,
      producerEpoch: sequence.epoch,
      sequences: new NumericMap([[`${place.topic}:${place.partition}`, sequence.first]]),
      partitionLeaderEpoch: -1,
    } as never,
  ).buffer;
}

// Times that lie further apart than 2^31 ms it writes wrongly.
test('is the batch that the library makes, to the byte', async () => {
  await fc.assert(
    fc.asyncProperty(recordsAt(near), async (messages) => {
      assert.deepEqual(await recordBatch(messages, 'none', sequence), byLibrary(messages));
    }),
  );
});

for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const)
  test(`is read again by the library: ${compression}`, async () => {
    await fc.assert(
      fc.asyncProperty(recordsAt(fc.oneof(near, any)), async (messages) => {
        const bytes = await recordBatch(messages, compression, undefined);
        const batch = readRecordsBatch(Reader.from(bytes));
        assert.equal(batch.length, bytes.length - 12);
        assert.equal(batch.crc, crc32c(bytes.subarray(21)));
        assert.deepEqual([batch.producerId, batch.producerEpoch, batch.firstSequence], [-1n, -1, -1]);
        const times = messages.map(({ timestamp }) => timestamp);
        assert.equal(batch.maxTimestamp, BigInt(Math.max(...times)));
        assert.equal(batch.lastOffsetDelta, messages.length - 1);
        const read = batch.records.map(({ key, value, headers, timestampDelta, offsetDelta }) => ({
          offsetDelta,
          key,
          value,
          headers,
          timestamp: Number(batch.firstTimestamp + timestampDelta),
        }));
        assert.deepEqual(
          read,
          messages.map(({ key, value, headers, timestamp }, offsetDelta) => ({
            offsetDelta,
            key,
            value,
            headers,
            timestamp,
          })),
        );
      }),
      { numRuns: 30 },
    );
  });
