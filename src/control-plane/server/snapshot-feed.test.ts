import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Channel } from '../../contract/channel.ts';
import type { ToWorker } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import type { Database } from '../store/database.ts';
import { SnapshotFeed, type SnapshotReceiver } from './snapshot-feed.ts';

type Snapshot = Extract<ToWorker, { kind: 'snapshot' }>;
const frameCount = 4;
const environment = { id: 'e', name: 'production' };

function receiver(id: string, flushed: () => Promise<void> = async () => {}) {
  const frames: Snapshot[] = [];
  let flushes = 0;
  const channel: Channel = {
    send: (text) => void frames.push(JSON.parse(text)),
    onMessage() {},
    onClose() {},
    close() {},
    flushed() {
      flushes += 1;
      return flushed();
    },
  };
  const held: SnapshotReceiver = { id, channel, epoch: 'e1', cursor: null };
  return { held, frames, flushes: () => flushes };
}

/** A feed over four frames that end at 10, 20, 30 and 40; `fails` is asked before each is read. */
function setUp(options: { fails?: () => boolean; isOpen?: (one: SnapshotReceiver) => boolean } = {}) {
  const { fails = () => false, isOpen = () => true } = options;
  const reads: number[] = [];
  const sent = Promise.withResolvers<void>();
  const feed = new SnapshotFeed({
    db: { get: async () => ({ epoch: 'e1', seq: 33 }), async durable() {} } as unknown as Database,
    deployments: {
      async snapshotAfter(_environment, seq) {
        reads.push(seq);
        if (fails()) throw new AppError('unavailable');
        return { upTo: seq + 10, put: [], remove: [], isWhole: seq + 10 === frameCount * 10 };
      },
    },
    log: { debug() {}, info() {}, warn() {}, error() {} } as never,
    isOpen,
    onSent: () => sent.resolve(),
  });
  return { feed, reads, sent: sent.promise };
}

test('all who wait get the same frames, and are brought to where the first was read', async () => {
  const { feed, reads, sent } = setUp();
  const [one, two, later] = [receiver('one'), receiver('two'), receiver('later')];
  feed.start(environment, [one.held, two.held]);
  feed.start(environment, [later.held]);
  await sent;
  assert.deepEqual(reads, [0, 10, 20, 30]);
  for (const { frames, held } of [one, two]) {
    assert.deepEqual(
      frames.map(({ seq, more }) => [seq, more]),
      [
        [33, true],
        [33, true],
        [33, true],
        [33, undefined],
      ],
    );
    assert.equal(held.cursor, 33);
  }
  assert.deepEqual(later.frames, []);
  assert.equal(later.held.cursor, null);
});

test('a frame that cannot be read is read again, and what was sent is not', async () => {
  let left = 1;
  const { feed, reads, sent } = setUp({ fails: () => reads.length === 3 && left-- > 0 });
  const one = receiver('one');
  feed.start(environment, [one.held]);
  await sent;
  assert.deepEqual(reads, [0, 10, 20, 20, 30]);
  assert.equal(one.frames.length, frameCount);
});

test('who does not read is waited for once, and gets every frame all the same', async () => {
  const { feed, sent } = setUp();
  const reading = receiver('reading');
  const stuck = receiver('stuck', () => new Promise(() => {}));
  feed.start(environment, [reading.held, stuck.held]);
  await sent;
  assert.equal(stuck.flushes(), 1);
  assert.equal(reading.flushes(), frameCount - 1);
  assert.equal(stuck.frames.length, frameCount);
});

test('who is gone gets no more, and nothing is read for nobody', async () => {
  let isHere = true;
  const { feed, reads, sent } = setUp({ isOpen: () => isHere });
  const one = receiver('one', async () => {
    isHere = false;
  });
  feed.start(environment, [one.held]);
  await sent;
  assert.equal(one.frames.length, 1);
  assert.deepEqual(reads, [0, 10]);
  assert.equal(one.held.cursor, null);
});
