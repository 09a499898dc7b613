import assert from 'node:assert/strict';
import fs from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LogSync } from './log-sync.ts';

/** A log on a disk whose syncs end when they are told to. */
async function setUp(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'plugboard-log-sync-'));
  const path = join(directory, 'log');
  await writeFile(path, '');
  const log = await LogSync.open(path);
  const syncs: ((error: NodeJS.ErrnoException | null) => void)[] = [];
  t.mock.method(fs, 'fdatasync', (_: number, done: (typeof syncs)[number]) => syncs.push(done));
  t.after(async () => {
    await log.close();
    await rm(directory, { recursive: true });
  });
  const told: string[] = [];
  const flush = (name: string) =>
    log.flush().then(
      () => told.push(name),
      () => told.push(`${name} failed`),
    );
  const end = async (at: number, error: NodeJS.ErrnoException | null = null) => {
    syncs[at]!(error);
    await nextTurn();
  };
  return { log, syncs, told, flush, end };
}

test('a flush is told by a sync that began after it, one for all that wait', async (t) => {
  const { syncs, told, flush, end } = await setUp(t);
  void flush('a');
  void flush('b');
  void flush('c');
  assert.equal(syncs.length, 1);
  await end(0);
  assert.deepEqual([told, syncs.length], [['a'], 2]);
  void flush('d');
  await nextTurn();
  assert.equal(syncs.length, 2, 'd waits for the one under way');
  await end(1);
  assert.deepEqual([told, syncs.length], [['a', 'b', 'c'], 3]);
  await end(2);
  assert.deepEqual(told, ['a', 'b', 'c', 'd']);
  void flush('e');
  assert.equal(syncs.length, 4);
  await end(3);
  assert.equal(told.at(-1), 'e');
});

test('after a sync that failed none succeeds, as what was lost is not known', async (t) => {
  const { log, syncs, told, flush, end } = await setUp(t);
  void flush('a');
  void flush('b');
  assert.equal(log.hasFailed, false);
  await end(0, new Error('EIO'));
  assert.equal(log.hasFailed, true);
  await flush('c');
  assert.deepEqual(told, ['a failed', 'b failed', 'c failed']);
  assert.equal(syncs.length, 1);
});
