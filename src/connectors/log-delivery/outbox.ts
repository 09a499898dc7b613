import { AppError } from '../../errors.ts';
import { abortError, type CallContext, isAborted, whenAborted } from '../connector.ts';
import type { PlainRows } from './plain-rows.ts';
import { maxSpareLength } from './spare-buffers.ts';

/** One message as the wire carries it: the text of one frame of a stream (UTF-8), or what it is made up of. */
export type Frame = string | readonly Buffer[];

/** How the items of a connection become frames. */
export interface Encoder<Item> {
  /** Fails with an AppError on an item that cannot be sent. */
  frame(item: Item): Frame | Promise<Frame>;
  /** The same for many at once, where frames are texts. */
  readonly rows?: PlainRows<Item>;
}

/** An open way to the receiver. */
export interface Channel {
  /** Why it cannot be used any more; undefined while it stands. */
  readonly failure: AppError | undefined;
  /** Whether it should be opened anew before it is used again. */
  readonly isStale?: boolean;
  /** Is called once, when the channel fails, whether or not a write is going on. */
  onFailure(listener: () => void): void;
  /** Resolves when the system has taken everything; one write at a time. */
  write(frames: readonly Frame[]): Promise<void>;
  /** Ends it in order, or by force after a moment. */
  close(): Promise<void>;
  destroy(): void;
}

export interface OutboxOptions {
  open(signal: AbortSignal): Promise<Channel>;
  /** Most channels open at a time; each is opened when there is something to send. */
  channels: number;
  /** Most messages that wait. */
  maxWaiting: number;
  /** Most bytes that wait or are being written. */
  maxBytes: number;
  /**
   * How long a message may wait for room. For a call that is longer than the queue it counts from when a
   * channel stands, which takes longer to open than a queue to move.
   */
  waitForRoomMs: number;
  /** Most messages of one write. */
  maxBatch: number;
  /** Wait before a channel is opened after as many failures in a row, which is 0 for the first. */
  backoffMs(failures: number): number;
  /** Whether messages are sent again that a lost channel may not have delivered. */
  resends: boolean;
}

/** One message, or several of one call in a row that are written together. */
interface Entry {
  frame: Frame;
  readonly bytes: number;
  readonly count: number;
  attempts: number;
  state: 'outside' | 'waiting' | 'sending' | 'done';
  /** Nobody waits for it any more. */
  isAbandoned: boolean;
  isSettled: boolean;
  readonly call: Call;
  /** The place of the first among the call's items. */
  readonly at: number;
}

/** The items of one `send`, and what became of them. */
interface Call {
  readonly outcomes: (AppError | undefined)[];
  readonly entries: Entry[];
  unsettled: number;
  /** No further item comes. */
  isComplete: boolean;
  finish(): void;
}

interface Lane {
  channel: Channel | undefined;
  writing: Entry[] | undefined;
}

interface RoomWaiter {
  readonly entry: Entry;
  /** Its time is up while a channel is being opened. */
  isHeld: boolean;
  /** Its time begins, anew if it had begun. */
  start(): void;
  settle(): void;
}

const maxBatchBytes = maxSpareLength;
/** Fewer messages are not worth a row of their own kind. */
const leastPlainRow = 8;
/** Of a UTF-16 unit in UTF-8. */
const maxBytesPerUnit = 3;
/** A message on which the receiver hangs up must not be sent for ever. */
const maxAttempts = 3;

/**
 * Messages on their way out: a queue that is bounded in messages and bytes, over channels that are
 * opened when needed and again when lost. A message is done when the system has taken it. What waits
 * when no channel can be opened fails with that failure instead of waiting for a better day.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  readonly #lanes: Lane[];
  readonly #stop = new AbortController();
  /** Entries in order from `#head`; those that were given up stay as `done` until their turn. */
  #queue: Entry[] = [];
  #head = 0;
  /** Of a lost channel; they go first. */
  #again: Entry[] = [];
  #waiting = 0;
  #bytes = 0;
  readonly #outside = new Set<RoomWaiter>();
  #dial: { abort: AbortController; done: Promise<void> } | undefined;
  #failures = 0;
  /** The last attempt to open a channel has failed. */
  #isUnreachable = false;
  /** Writes that have ended well. */
  #writes = 0;
  #notBefore = 0;
  #turn = 0;
  #immediate: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#lanes = Array.from({ length: options.channels }, () => ({
      channel: undefined,
      writing: undefined,
    }));
  }

  get figures(): { queued: number; bytes: number; connected: number } {
    return {
      queued: this.#waiting,
      bytes: this.#bytes,
      connected: this.#lanes.filter(({ channel }) => channel).length,
    };
  }

  /**
   * Sends the items in order; answers for each why it was not sent, or undefined. An item is encoded
   * when its turn has come, so that a long list is not in memory twice. Rejects with the reason for which
   * whoever asks has gone; what was being written by then may still arrive.
   */
  async send<Item>(
    items: readonly Item[],
    encoder: Encoder<Item>,
    asker: CallContext,
  ): Promise<(AppError | undefined)[]> {
    const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
    const outcomes = new Array<AppError | undefined>(items.length).fill(undefined);
    const call: Call = { outcomes, entries: [], unsettled: 0, isComplete: false, finish };
    this.#checkOpen(asker);
    const forget = whenAborted(asker, () => {
      for (const entry of call.entries) this.#giveUp(entry, abortError(asker.signal.reason));
    });
    try {
      let stoodAt: number | undefined;
      let hasWaited = false;
      for (let at = 0; at < items.length; at++) {
        try {
          if (hasWaited) this.#checkOpen(asker);
          const row = this.#enqueuePlain(items, at, encoder, call);
          if (row > 0) {
            at += row - 1;
            continue;
          }
          const made = encoder.frame(items[at]!);
          const frame = made instanceof Promise ? await made : made;
          if (made instanceof Promise) {
            hasWaited = true;
            this.#checkOpen(asker);
          }
          if (typeof frame === 'string') {
            const count = this.#enqueueRow(items, at, frame, encoder, call);
            if (count > 0) {
              at += count - 1;
              continue;
            }
          }
          const entry = toEntry(frame, call, at, 1);
          if (this.#admit(entry)) continue;
          const writes = this.#writes;
          await this.#waitForRoom(entry, stoodAt === writes ? 0 : this.#options.waitForRoomMs);
          hasWaited = true;
          // The rest of the list does not wait as long again while the queue does not move.
          if (outcomes[at] && this.#writes === writes) stoodAt = writes;
        } catch (error) {
          if (!(error instanceof AppError)) throw error;
          outcomes[at] = error;
        }
      }
      call.isComplete = true;
      if (call.unsettled > 0) await finished;
      if (isAborted(asker)) throw abortError(asker.signal.reason);
      return outcomes;
    } finally {
      forget();
    }
  }

  /** Gives up what waits and ends every channel: in order, or at once by `force`. May be called again. */
  async close(force = false): Promise<void> {
    const reason = closedError();
    this.#stop.abort(reason);
    clearImmediate(this.#immediate);
    clearTimeout(this.#timer);
    for (const { entry } of this.#outside) this.#giveUp(entry, reason);
    for (const entry of [...this.#again, ...this.#queue.slice(this.#head)]) this.#giveUp(entry, reason);
    const channels = this.#lanes.flatMap(({ channel }) => channel ?? []);
    for (const lane of this.#lanes) {
      for (const entry of lane.writing ?? []) this.#giveUp(entry, reason);
      if (force) lane.channel?.destroy();
    }
    await Promise.all([this.#dial?.done, ...channels.map((channel) => channel.close())]);
    for (const lane of this.#lanes) lane.channel = undefined;
    this.#queue = [];
    this.#again = [];
    this.#head = 0;
  }

  #checkOpen(asker: CallContext): void {
    if (this.#stop.signal.aborted) throw closedError();
    if (isAborted(asker)) throw abortError(asker.signal.reason);
  }

  // ---- room ----

  /**
   * Enqueues the item whose text is given, and those behind it, as one entry while there is room for
   * them however many bytes their characters take; answers how many. The one behind them may be faulty.
   */
  #enqueueRow<Item>(
    items: readonly Item[],
    first: number,
    firstText: string,
    encoder: Encoder<Item>,
    call: Call,
  ): number {
    const { most, mostLength } = this.#roomForRow(items.length - first);
    if (most < 1 || firstText.length > mostLength) return 0;
    let text = firstText;
    let count = 1;
    for (; count < most; count++) {
      let frame: Frame | Promise<Frame>;
      try {
        frame = encoder.frame(items[first + count]!);
      } catch {
        // It is encoded again in its own turn.
        break;
      }
      if (typeof frame !== 'string' || text.length + frame.length > mostLength) break;
      text += frame;
    }
    this.#enqueue(toEntry(text, call, first, count));
    return count;
  }

  /** The same for messages in which nothing has to be escaped, which costs a third. */
  #enqueuePlain<Item>(items: readonly Item[], first: number, { rows }: Encoder<Item>, call: Call): number {
    if (!rows || items.length - first < leastPlainRow) return 0;
    const { most, mostLength } = this.#roomForRow(items.length - first);
    const row = rows.take(items, first, most, mostLength);
    if (!row) return 0;
    this.#enqueue(toEntry(row.text, call, first, row.count, row.bytes));
    return row.count;
  }

  #roomForRow(messages: number): { most: number; mostLength: number } {
    const { maxWaiting, maxBytes, maxBatch } = this.#options;
    if (this.#outside.size > 0) return { most: 0, mostLength: 0 };
    return {
      most: Math.min(maxBatch, maxWaiting - this.#waiting, messages),
      mostLength: Math.min(maxSpareLength, (maxBytes - this.#bytes) / maxBytesPerUnit),
    };
  }

  #admit(entry: Entry): boolean {
    if (this.#outside.size > 0 || !this.#hasRoom(entry.bytes)) return false;
    this.#enqueue(entry);
    return true;
  }

  #hasRoom(bytes: number): boolean {
    const { maxWaiting, maxBytes } = this.#options;
    if (this.#waiting < maxWaiting && this.#bytes + bytes <= maxBytes) return true;
    // Without a queue, a message goes straight to a channel that has nothing to do.
    return this.#waiting === 0 && this.#lanes.some(({ writing }) => !writing);
  }

  #enqueue(entry: Entry): void {
    entry.state = 'waiting';
    this.#queue.push(entry);
    this.#waiting += entry.count;
    this.#bytes += entry.bytes;
    this.#schedule();
  }

  #waitForRoom(entry: Entry, waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      let immediate: NodeJS.Immediate | undefined;
      const stop = () => {
        clearTimeout(timer);
        clearImmediate(immediate);
      };
      const refuse = () => {
        waiter.isHeld = !this.#isConnected() && !this.#isUnreachable && isPassing(entry);
        if (!waiter.isHeld) this.#giveUp(entry, this.#fullError());
      };
      const waiter: RoomWaiter = {
        entry,
        isHeld: false,
        start: () => {
          stop();
          waiter.isHeld = false;
          timer = setTimeout(() => {
            // After a stalled event loop, what could have made room meanwhile has its turn before.
            immediate = setImmediate(() => {
              immediate = setImmediate(refuse);
            });
          }, waitMs);
        },
        settle: () => {
          stop();
          this.#outside.delete(waiter);
          resolve();
        },
      };
      this.#outside.add(waiter);
      waiter.start();
    });
  }

  /** A channel stands now, or could not be opened. */
  #startWaits(): void {
    for (const waiter of this.#outside) if (waiter.isHeld || isPassing(waiter.entry)) waiter.start();
  }

  #fullError(): AppError {
    const { maxWaiting, maxBytes } = this.#options;
    return new AppError(
      'buffer_full',
      `${this.#waiting} messages of ${this.#bytes} bytes wait; at most ${maxWaiting} messages and ${maxBytes} bytes may`,
    );
  }

  #offerRoom(): void {
    for (const { entry, settle } of this.#outside) {
      if (!this.#hasRoom(entry.bytes)) return;
      settle();
      this.#enqueue(entry);
    }
  }

  /** Ends the wait for an entry, wherever it is; one that is being written cannot be taken back. */
  #giveUp(entry: Entry, error: AppError): void {
    const { state } = entry;
    if (state === 'done') return;
    if (state === 'outside') for (const waiter of this.#outside) if (waiter.entry === entry) waiter.settle();
    if (state === 'waiting') this.#leave(entry);
    if (state !== 'sending') {
      entry.state = 'done';
      entry.frame = '';
    }
    entry.isAbandoned = true;
    settle(entry, error);
    if (state === 'sending') return;
    if (this.#waiting === 0 && !this.#isConnected()) this.#dial?.abort.abort(error);
    this.#offerRoom();
  }

  #leave(entry: Entry): void {
    this.#waiting -= entry.count;
    this.#bytes -= entry.bytes;
  }

  // ---- sending ----

  #isConnected(): boolean {
    return this.#lanes.some(({ channel }) => channel);
  }

  /** Behind the poll phase: what the peers' closing has to say is heard before anything is written. */
  #schedule(): void {
    if (this.#stop.signal.aborted) return;
    this.#immediate ??= setImmediate(() => {
      this.#immediate = undefined;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#stop.signal.aborted || this.#waiting === 0) return;
    for (const lane of this.#lanes)
      if (lane.channel?.isStale && !lane.writing) {
        lane.channel.destroy();
        lane.channel = undefined;
      }
    const ready = this.#lanes.filter(({ channel, writing }) => channel && !writing);
    const share = Math.ceil(this.#waiting / ready.length);
    for (let at = 0; at < ready.length && this.#waiting > 0; at++) {
      const lane = ready[(this.#turn + at) % ready.length]!;
      void this.#write(lane, lane.channel!, this.#take(Math.min(share, this.#options.maxBatch)));
    }
    this.#turn++;
    this.#offerRoom();
    if (this.#lanes.some(({ channel }) => !channel)) this.#dialSoon();
  }

  #take(maxMessages: number): Entry[] {
    const batch: Entry[] = [];
    let bytes = 0;
    let count = 0;
    for (let entry = this.#peek(); entry; entry = this.#peek()) {
      const isTooMuch = count + entry.count > maxMessages || bytes + entry.bytes > maxBatchBytes;
      if (batch.length > 0 && isTooMuch) break;
      if (this.#again[0] === entry) this.#again.shift();
      else this.#head++;
      entry.state = 'sending';
      this.#waiting -= entry.count;
      bytes += entry.bytes;
      count += entry.count;
      batch.push(entry);
    }
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    return batch;
  }

  /** The next that waits; those that were given up meanwhile are left behind. */
  #peek(): Entry | undefined {
    while (this.#again[0] && this.#again[0].state !== 'waiting') this.#again.shift();
    if (this.#again[0]) return this.#again[0];
    while (this.#queue[this.#head] && this.#queue[this.#head]!.state !== 'waiting') this.#head++;
    return this.#queue[this.#head];
  }

  async #write(lane: Lane, channel: Channel, batch: Entry[]): Promise<void> {
    lane.writing = batch;
    let failure: AppError | undefined;
    try {
      await channel.write(batch.map(({ frame }) => frame));
      this.#failures = 0;
      this.#writes++;
    } catch (error) {
      failure = asAppError(error);
    }
    lane.writing = undefined;
    const { resends } = this.#options;
    const again: Entry[] = [];
    for (const entry of batch) {
      this.#bytes -= entry.bytes;
      const isLost = resends && failure?.code === 'connection_lost' && !entry.isAbandoned;
      if (isLost && ++entry.attempts < maxAttempts) {
        again.push(entry);
        continue;
      }
      entry.state = 'done';
      entry.frame = '';
      settle(entry, failure);
    }
    if (this.#stop.signal.aborted) {
      for (const entry of again) settle(entry, closedError());
      return;
    }
    for (const entry of again) {
      entry.state = 'waiting';
      this.#waiting += entry.count;
      this.#bytes += entry.bytes;
    }
    this.#again.unshift(...again);
    if (channel.failure) this.#lose(lane, channel);
    this.#offerRoom();
    this.#schedule();
  }

  #lose(lane: Lane, channel: Channel): void {
    if (lane.channel !== channel) return;
    lane.channel = undefined;
    this.#delayDial();
    if (this.#waiting > 0) this.#schedule();
  }

  #delayDial(): void {
    this.#notBefore = performance.now() + this.#options.backoffMs(this.#failures);
    this.#failures++;
  }

  #dialSoon(): void {
    if (this.#dial || this.#timer) return;
    const waitMs = this.#notBefore - performance.now();
    if (waitMs <= 0) {
      this.#startDial();
      return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#pump();
    }, waitMs);
  }

  #startDial(): void {
    const abort = new AbortController();
    const stop = () => abort.abort(this.#stop.signal.reason);
    this.#stop.signal.addEventListener('abort', stop, { once: true });
    const done = this.#connect(abort.signal).finally(() => {
      this.#stop.signal.removeEventListener('abort', stop);
      this.#dial = undefined;
      this.#schedule();
    });
    this.#dial = { abort, done };
  }

  async #connect(signal: AbortSignal): Promise<void> {
    try {
      const channel = await this.#options.open(signal);
      const lane = this.#lanes.find((each) => !each.channel && !each.writing);
      if (signal.aborted || !lane) return channel.destroy();
      this.#isUnreachable = false;
      if (!this.#isConnected()) this.#startWaits();
      lane.channel = channel;
      channel.onFailure(() => this.#lose(lane, channel));
    } catch (error) {
      // Given up by those who waited: no failure of the target.
      if (signal.aborted) return;
      this.#delayDial();
      if (this.#isConnected()) return;
      this.#isUnreachable = true;
      this.#startWaits();
      const failure = asAppError(error);
      for (const entry of [...this.#again, ...this.#queue.slice(this.#head)])
        if (entry.state === 'waiting') this.#giveUp(entry, failure);
    }
  }
}

/** Adds a frame to those that its call waits for. */
function toEntry(frame: Frame, call: Call, at: number, count: number, textBytes?: number): Entry {
  let held = frame;
  let bytes = 0;
  if (typeof frame === 'string') {
    bytes = textBytes ?? Buffer.byteLength(frame);
    // Other texts take more memory than their bytes on the wire, which is what is counted.
    if (bytes !== frame.length) held = [Buffer.from(frame)];
  } else for (const { length } of frame) bytes += length;
  const entry: Entry = {
    frame: held,
    bytes,
    count,
    attempts: 0,
    state: 'outside',
    isAbandoned: false,
    isSettled: false,
    call,
    at,
  };
  call.entries.push(entry);
  call.unsettled += count;
  return entry;
}

/** Whether others of its call are in the queue or on their way, which bounds how many such there are. */
function isPassing({ call, count }: Entry): boolean {
  return call.unsettled > count;
}

function settle(entry: Entry, error?: AppError): void {
  if (entry.isSettled) return;
  const { call } = entry;
  entry.isSettled = true;
  if (error) call.outcomes.fill(error, entry.at, entry.at + entry.count);
  call.unsettled -= entry.count;
  if (call.isComplete && call.unsettled === 0) call.finish();
}

function asAppError(error: unknown): AppError {
  return error instanceof AppError ? error : new AppError('internal_error', undefined, { cause: error });
}

function closedError(): AppError {
  return new AppError('cancelled', 'The connection was closed');
}
