import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '../../errors.ts';
import { BulkBuffer, type BulkLimits, type BulkOutcome, type BulkWrite } from './bulk-buffer.ts';

const limits: BulkLimits = { capacity: 100, flushIntervalMs: 5, maxBatchSize: 3 };
const never = new AbortController().signal;

function writes(...names: string[]): BulkWrite[] {
  return names.map((name) => ({ lines: name, bytes: Buffer.byteLength(name), repeatable: true }));
}

interface Sending {
  readonly names: string[];
  readonly signal: AbortSignal;
  succeed(): void;
  /** Takes all but those of these names. */
  refuse(...names: string[]): void;
  fail(error: AppError): void;
}

/** A buffer whose batches the test answers by hand. */
function buffering(overrides: Partial<BulkLimits> = {}) {
  const batches: Sending[] = [];
  const lost: number[] = [];
  let arrived = () => {};
  const buffer = new BulkBuffer(
    (sent, signal) =>
      new Promise<BulkOutcome[]>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        batches.push({
          names: sent.map(({ lines }) => lines),
          signal,
          refuse: (...names) =>
            resolve(
              sent.map(({ lines }) =>
                names.includes(lines)
                  ? { status: 400, error: new AppError('request_rejected', `no ${lines}`) }
                  : { status: 200, id: lines },
              ),
            ),
          succeed: () => resolve(sent.map(({ lines }) => ({ status: 200, id: lines }))),
          fail: reject,
        });
        arrived();
      }),
    { ...limits, ...overrides },
    (count) => lost.push(count),
  );
  return {
    buffer,
    batches,
    lost,
    /** Resolves when so many batches have been sent. */
    async sent(count: number): Promise<Sending> {
      while (batches.length < count)
        await new Promise<void>((resolve) => {
          arrived = resolve;
        });
      return batches[count - 1]!;
    },
  };
}

const idsOf = (outcomes: BulkOutcome[]) => outcomes.map(({ id }) => id);

test('batches are as large as allowed, one at a time, in order, and each caller gets its own', async () => {
  const { buffer, sent, batches } = buffering();
  const first = buffer.add(writes('a', 'b'), true, never);
  const second = buffer.add(writes('c', 'd', 'e'), true, never);
  (await sent(1)).succeed();
  assert.deepEqual(batches[0]!.names, ['a', 'b', 'c']);
  assert.deepEqual(idsOf(await first), ['a', 'b']);
  (await sent(2)).succeed();
  assert.deepEqual(batches[1]!.names, ['d', 'e']);
  assert.deepEqual(idsOf(await second), ['c', 'd', 'e']);
  assert.deepEqual(buffer.figures(), { buffered: 0, failedWrites: 0 });
});

test('what is on its way counts as held', async () => {
  const { buffer, sent } = buffering({ capacity: 3, flushIntervalMs: 0 });
  const running = buffer.add(writes('a', 'b'), true, never);
  const batch = await sent(1);
  await assert.rejects(buffer.add(writes('c', 'd'), true, never), { code: 'buffer_full' });
  const fits = buffer.add(writes('c'), true, never);
  batch.succeed();
  await running;
  (await sent(2)).succeed();
  assert.deepEqual(idsOf(await fits), ['c']);
});

test('a call of which no write was sent fails; one that was sent in part says which', async () => {
  const { buffer, sent } = buffering({ maxBatchSize: 2, flushIntervalMs: 0 });
  const whole = buffer.add(writes('a', 'b'), true, never);
  (await sent(1)).fail(new AppError('connection_refused'));
  await assert.rejects(whole, { code: 'connection_refused' });
  const part = buffer.add(writes('c', 'd', 'e'), true, never);
  (await sent(2)).succeed();
  (await sent(3)).fail(new AppError('target_busy'));
  const outcomes = await part;
  assert.deepEqual(
    outcomes.map(({ status, error }) => [status, error?.code]),
    [
      [200, undefined],
      [200, undefined],
      [502, 'target_busy'],
    ],
  );
  assert.equal(buffer.figures().failedWrites, 3);
});

test('an abort takes back what has not been sent, and a batch that nobody else is in', async () => {
  const { buffer, sent, batches } = buffering({ maxBatchSize: 2 });
  const abort = new AbortController();
  const gone = buffer.add(writes('a', 'b', 'c'), true, abort.signal);
  const alone = await sent(1);
  const stays = buffer.add(writes('d'), true, never);
  abort.abort(new AppError('cancelled'));
  await assert.rejects(gone, { code: 'cancelled' });
  assert.equal(alone.signal.aborted, true);
  const next = await sent(2);
  assert.deepEqual(next.names, ['d']);
  next.succeed();
  await stays;
  assert.equal(buffer.figures().buffered, 0);
  assert.equal(batches.length, 2);
});

test('a batch goes on while somebody has a write in it', async () => {
  const { buffer, sent } = buffering({ maxBatchSize: 2 });
  const abort = new AbortController();
  const gone = buffer.add(writes('a'), true, abort.signal);
  const stays = buffer.add(writes('b'), true, never);
  const shared = await sent(1);
  abort.abort(new AppError('cancelled'));
  await assert.rejects(gone, { code: 'cancelled' });
  assert.equal(shared.signal.aborted, false);
  shared.succeed();
  assert.deepEqual(idsOf(await stays), ['b']);
});

test('unheard failures are counted and told', async () => {
  const { buffer, sent, lost } = buffering({ flushIntervalMs: 0 });
  assert.deepEqual(await buffer.add(writes('a', 'b'), false, never), []);
  (await sent(1)).fail(new AppError('connection_lost'));
  await buffer.close();
  assert.deepEqual([lost, buffer.figures()], [[2], { buffered: 0, failedWrites: 2 }]);
});

test('what is refused of a batch that nobody waits for is told', async () => {
  const { buffer, sent, lost } = buffering();
  await buffer.add(writes('a', 'b'), false, never);
  const waited = buffer.add(writes('c'), true, never);
  (await sent(1)).refuse('b', 'c');
  assert.equal((await waited)[0]?.error?.code, 'request_rejected', 'who waits is told so');
  assert.deepEqual([lost, buffer.figures().failedWrites], [[1], 2]);
});

test('close sends what is held and takes no more', async () => {
  const { buffer, sent } = buffering({ flushIntervalMs: 3_600_000 });
  await buffer.add(writes('a', 'b'), false, never);
  const closing = buffer.close();
  const again = buffer.close();
  (await sent(1)).succeed();
  await closing;
  await again;
  await assert.rejects(buffer.add(writes('c'), false, never), { code: 'cancelled' });
});

test('a batch stays below what Elasticsearch takes', async () => {
  const { buffer, sent, batches } = buffering({ flushIntervalMs: 0, maxBatchSize: 100 });
  const large = 'x'.repeat(9 * 1024 * 1024);
  const all = buffer.add(writes(large, large, large), true, never);
  for (const count of [1, 2, 3]) (await sent(count)).succeed();
  assert.equal((await all).length, 3);
  assert.deepEqual(
    batches.map(({ names }) => names.length),
    [1, 1, 1],
  );
});
