import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as breathe, setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../errors.ts';
import { type Channel, type Frame, Outbox, type OutboxOptions } from './outbox.ts';

const waitForRoomMs = 20;

interface Receiver {
  readonly written: string[];
  /** What a channel does with frames before they count as taken. */
  take(frames: readonly Frame[]): Promise<void>;
}

function openOutbox(t: TestContext, receiver: Receiver, options: Partial<OutboxOptions> = {}): Outbox {
  const outbox = new Outbox({
    open: async () => channelTo(receiver),
    channels: 1,
    maxWaiting: 10,
    maxBytes: 1_000_000,
    waitForRoomMs,
    maxBatch: 3,
    backoffMs: () => 0,
    resends: true,
    ...options,
  });
  t.after(() => outbox.close());
  return outbox;
}

function channelTo({ written, take }: Receiver): Channel {
  return {
    failure: undefined,
    onFailure() {},
    async write(frames) {
      await take(frames);
      written.push(frames.join(''));
    },
    async close() {},
    destroy() {},
  };
}

const numbers = (count: number) => Array.from({ length: count }, (_, at) => `n${at};`);
const asIs = { frame: (text: string) => text };
const never = new AbortController().signal;
const codesOf = (outcomes: readonly (AppError | undefined)[]) =>
  outcomes.map((outcome) => outcome?.code ?? 'sent');

test('a call that is longer than the queue waits for a channel that takes longer to open than room may', async (t) => {
  const written: string[] = [];
  const receiver: Receiver = { written, take: async () => {} };
  const opened = Promise.withResolvers<Channel>();
  const outbox = openOutbox(t, receiver, { open: () => opened.promise });
  const texts = numbers(500);
  const sent = outbox.send(texts, asIs, { signal: never });
  await sleep(5 * waitForRoomMs);
  assert.equal(outbox.figures.queued, 10);
  opened.resolve(channelTo(receiver));
  assert.deepEqual(new Set(codesOf(await sent)), new Set(['sent']));
  assert.equal(written.join(''), texts.join(''));
});

test('it waits as well for a channel that is opened anew', async (t) => {
  const written: string[] = [];
  let channels = 0;
  const outbox = openOutbox(
    t,
    { written, take: async () => {} },
    {
      backoffMs: () => 5 * waitForRoomMs,
      async open() {
        if (channels++ > 0) return channelTo({ written, take: async () => {} });
        const failure = new AppError('connection_lost');
        return {
          ...channelTo({ written, take: () => Promise.reject(failure) }),
          failure,
          onFailure() {},
        };
      },
    },
  );
  const texts = numbers(100);
  assert.deepEqual(new Set(codesOf(await outbox.send(texts, asIs, { signal: never }))), new Set(['sent']));
  assert.equal(written.join(''), texts.join(''));
});

test('a call of which nothing is in the queue waits no longer than it may, whatever is being opened', async (t) => {
  const outbox = openOutbox(
    t,
    { written: [], take: async () => {} },
    {
      open: (signal) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    },
  );
  const abort = new AbortController();
  const first = outbox.send(numbers(10), asIs, abort);
  assert.deepEqual(codesOf(await outbox.send(['late'], asIs, { signal: never })), ['buffer_full']);
  abort.abort();
  await assert.rejects(first, { code: 'cancelled' });
});

test('a call that is longer than the queue ends when no channel can be opened', async (t) => {
  const outbox = openOutbox(
    t,
    { written: [], take: async () => {} },
    {
      backoffMs: () => 2 * waitForRoomMs,
      async open() {
        await sleep(2 * waitForRoomMs);
        throw new AppError('connection_refused');
      },
    },
  );
  const codes = codesOf(await outbox.send(numbers(40), asIs, { signal: never }));
  assert.deepEqual(new Set(codes), new Set(['connection_refused', 'buffer_full']));
  // What waited while nothing was known of the target had its chance.
  assert.deepEqual(new Set(codes.slice(0, 20)), new Set(['connection_refused']));
});

test('after a refusal the rest of a call waits again as soon as the queue moves', async (t) => {
  const written: string[] = [];
  let move = () => {};
  const outbox = openOutbox(
    t,
    {
      written,
      async take() {
        if (written.length > 0) await sleep(10);
        else
          await new Promise<void>((resolve) => {
            move = resolve;
          });
      },
    },
    { maxWaiting: 2, maxBatch: 1, waitForRoomMs: 300 },
  );
  const texts = numbers(20);
  const encoder = {
    frame(text: string) {
      if (text === texts[8]) move();
      return text;
    },
  };
  const codes = codesOf(await outbox.send(texts, encoder, { signal: never }));
  assert.ok(codes.slice(0, 8).includes('buffer_full'), codes.join());
  assert.deepEqual(new Set(codes.slice(8)), new Set(['sent']), codes.join());
  assert.equal(written.join(''), texts.filter((_, at) => codes[at] === 'sent').join(''));
});

test('what is being written leaves its room in the queue to others', async (t) => {
  const taken = Promise.withResolvers<void>();
  const receiver = { written: [], take: () => taken.promise };
  const outbox = openOutbox(t, receiver, { maxWaiting: 2, maxBatch: 1 });
  const sent = outbox.send(numbers(4), asIs, { signal: never });
  await sleep(5 * waitForRoomMs);
  assert.equal(outbox.figures.queued, 2);
  taken.resolve();
  assert.deepEqual(codesOf(await sent), ['sent', 'sent', 'sent', 'buffer_full']);
});

test('a loop that stood still refuses nothing for which room was made meanwhile', async (t) => {
  const written: string[] = [];
  const outbox = openOutbox(t, {
    written,
    async take() {
      const standsUntil = performance.now() + 2 * waitForRoomMs;
      while (performance.now() < standsUntil);
      await breathe();
    },
  });
  const texts = numbers(40);
  assert.deepEqual(new Set(codesOf(await outbox.send(texts, asIs, { signal: never }))), new Set(['sent']));
  assert.equal(written.join(''), texts.join(''));
});
