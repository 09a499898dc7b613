import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SnapshotFile, SnapshotUnusable, type WorkerState } from './snapshot.ts';
import { desired } from './testing/fake-type.ts';

const directory = await mkdtemp(join(tmpdir(), 'plugboard-snapshot-'));
after(() => rm(directory, { recursive: true, force: true }));

const canary = 'c4nary-s3cret';
const offlineMaxMs = 60_000;
let count = 0;
const newPath = () => join(directory, String(count++), 'snapshot');

function state(more: Partial<WorkerState> = {}): WorkerState {
  return {
    environment: 'production',
    cursor: { epoch: 'e1', seq: 7 },
    items: [desired('a', 3, { password: canary })],
    tokens: [{ hash: 'h', expiresAt: null, actor: 'token:x', grants: [{ project: 'P' }] }],
    heardAt: Date.now(),
    ...more,
  };
}

test('what was saved is loaded again, by the same credential alone', async () => {
  const path = newPath();
  const saved = state();
  await new SnapshotFile(path, 'credential').save(saved);
  assert.deepEqual(await new SnapshotFile(path, 'credential').load(offlineMaxMs), saved);
  await assert.rejects(new SnapshotFile(path, 'another').load(offlineMaxMs), SnapshotUnusable);
});

test('no file is no snapshot', async () => {
  assert.equal(await new SnapshotFile(newPath(), 'c').load(offlineMaxMs), undefined);
});

test('what is there and cannot be read is unusable, not absent', async () => {
  const path = newPath();
  await mkdir(path, { recursive: true });
  await assert.rejects(new SnapshotFile(path, 'c').load(offlineMaxMs), SnapshotUnusable);
});

test('security.md 14: the file shows nothing, is private, and is useless after its time', async () => {
  const path = newPath();
  const file = new SnapshotFile(path, 'credential');
  await file.save(state());
  const bytes = await readFile(path);
  for (const text of [canary, 'credential', 'production', 'host-3']) assert.ok(!bytes.includes(text), text);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal((await stat(join(path, '..'))).mode & 0o777, 0o700);
  await file.save(state({ heardAt: Date.now() - offlineMaxMs - 1000 }));
  await assert.rejects(file.load(offlineMaxMs), SnapshotUnusable);
  await file.save(state({ heardAt: Date.now() + 3_600_000 }));
  await assert.rejects(file.load(offlineMaxMs), SnapshotUnusable, 'a clock that was set back');
});

test('a damaged file is refused, wherever it is damaged', async () => {
  const path = newPath();
  const file = new SnapshotFile(path, 'credential');
  await file.save(state());
  const whole = await readFile(path);
  for (const length of [0, 1, 8, 40, whole.length - 1]) {
    await writeFile(path, whole);
    await truncate(path, length);
    await assert.rejects(file.load(offlineMaxMs), SnapshotUnusable, `cut at ${length}`);
  }
  for (const at of [0, 9, 30, 60, whole.length - 3]) {
    const changed = Buffer.from(whole);
    changed[at]! ^= 1;
    await writeFile(path, changed);
    await assert.rejects(file.load(offlineMaxMs), SnapshotUnusable, `changed at ${at}`);
  }
});

test('writings follow one another, leave one file, and a leftover of a killed one does no harm', async () => {
  const path = newPath();
  const file = new SnapshotFile(path, 'c');
  await file.save(state());
  await writeFile(`${path}.tmp`, 'half written');
  await Promise.all([1, 2, 3, 4, 5].map((seq) => file.save(state({ cursor: { epoch: 'e1', seq } }))));
  assert.equal((await file.load(offlineMaxMs))!.cursor.seq, 5);
  assert.deepEqual(await readdir(join(path, '..')), ['snapshot']);
});

test('what is saved after a discard stays, also while the discard is under way', async () => {
  const path = newPath();
  const file = new SnapshotFile(path, 'c');
  await file.discard();
  for (let seq = 0; seq < 20; seq++) {
    await Promise.all([file.discard(), file.save(state({ cursor: { epoch: 'e1', seq } }))]);
    assert.equal((await file.load(offlineMaxMs))?.cursor.seq, seq);
  }
});

test('discarded it can be written again, removed it stays away', async () => {
  const path = newPath();
  const file = new SnapshotFile(path, 'c');
  await file.save(state());
  await file.discard();
  assert.equal(await file.load(offlineMaxMs), undefined);
  await file.save(state());
  assert.ok(await file.load(offlineMaxMs));
  await file.remove();
  await file.save(state());
  assert.equal(await file.load(offlineMaxMs), undefined);
});
