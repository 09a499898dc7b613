import { AppError } from '../../errors.ts';

/** One write, as the lines of NDJSON that `_bulk` takes. */
export interface BulkWrite {
  readonly lines: string;
  /** Of the lines in UTF-8. */
  readonly bytes: number;
  /** Whether a second arrival leaves the same document. */
  readonly repeatable: boolean;
}

/** What became of one write. */
export interface BulkOutcome {
  index?: string;
  id?: string;
  status: number;
  result?: string;
  error?: AppError;
}

/** Sends writes in one request and answers their outcomes in order; fails as a whole. */
export type SendBatch = (writes: readonly BulkWrite[], signal: AbortSignal) => Promise<BulkOutcome[]>;

export interface BulkLimits {
  /** Most writes that wait or are on their way. */
  readonly capacity: number;
  /** Longest time that a write waits for its batch to fill; 0: none. */
  readonly flushIntervalMs: number;
  readonly maxBatchSize: number;
}

interface Entry {
  readonly write: BulkWrite;
  readonly at: number;
  readonly call: Call;
}

interface Call {
  readonly outcomes: (BulkOutcome | AppError)[];
  left: number;
  readonly waits: boolean;
  /** Nobody wants the outcomes any more. */
  abandoned: boolean;
  done(): void;
}

/** Elasticsearch takes 100 MB at most, and recommends less than a fifth of it. */
const maxBatchBytes = 16 * 1024 * 1024;
/** How long `close` waits for what is still in the buffer. */
const maxDrainMs = 10_000;

/** Writes of many callers, sent in batches one after the other, so that they stay in order. */
export class BulkBuffer {
  readonly #send: SendBatch;
  readonly #limits: BulkLimits;
  readonly #onLost: (count: number, error: AppError) => void;
  #queue: Entry[] = [];
  #batch: { entries: Entry[]; abort: AbortController } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #held = 0;
  #failed = 0;
  #closed = false;
  #onDrained: (() => void) | undefined;

  /** `onLost` is told of writes that nobody waits for and that could not be sent. */
  constructor(send: SendBatch, limits: BulkLimits, onLost: (count: number, error: AppError) => void) {
    this.#send = send;
    this.#limits = limits;
    this.#onLost = onLost;
  }

  /**
   * Takes all writes or, with `buffer_full`, none. Waiting, it answers the outcome of each, and fails
   * when none could be sent; an abort takes back what has not been sent.
   */
  async add(writes: readonly BulkWrite[], wait: boolean, signal: AbortSignal): Promise<BulkOutcome[]> {
    signal.throwIfAborted();
    if (this.#closed) throw new AppError('cancelled', 'The connection was closed');
    const { capacity } = this.#limits;
    if (this.#held + writes.length > capacity)
      throw new AppError(
        'buffer_full',
        `The buffer has room for ${capacity - this.#held} of ${capacity} writes, not for ${writes.length} more`,
        { details: { hint: 'Wait, send less at once, or raise bulkBufferCapacity.' } },
      );
    const call: Call = { outcomes: [], left: writes.length, waits: wait, abandoned: false, done() {} };
    if (!wait) {
      this.#take(writes, call);
      return [];
    }
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#abandon(call, signal.reason);
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      call.done = () => {
        signal.removeEventListener('abort', onAbort);
        const [first] = call.outcomes;
        const unsent = call.outcomes.filter((outcome) => outcome instanceof AppError).length;
        if (unsent > 0 && unsent === call.outcomes.length) reject(first);
        else resolve(unsent > 0 ? call.outcomes.map(asOutcome) : (call.outcomes as BulkOutcome[]));
      };
      this.#take(writes, call);
    });
  }

  figures(): { buffered: number; failedWrites: number } {
    return { buffered: this.#held, failedWrites: this.#failed };
  }

  /** Takes no more and sends what it holds, for ten seconds at most. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#held === 0) return;
    await new Promise<void>((resolve) => {
      const late = setTimeout(() => this.#giveUp(), maxDrainMs);
      const earlier = this.#onDrained;
      this.#onDrained = () => {
        clearTimeout(late);
        earlier?.();
        resolve();
      };
      this.#schedule();
    });
  }

  #take(writes: readonly BulkWrite[], call: Call): void {
    this.#held += writes.length;
    for (const [at, write] of writes.entries()) this.#queue.push({ write, at, call });
    this.#schedule();
  }

  #schedule(): void {
    if (this.#batch) return;
    if (this.#queue.length === 0) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      if (this.#held === 0) this.#onDrained?.();
      return;
    }
    const { flushIntervalMs, maxBatchSize } = this.#limits;
    if (this.#closed || flushIntervalMs === 0 || this.#queue.length >= maxBatchSize) void this.#flush();
    else this.#timer ??= setTimeout(() => void this.#flush(), flushIntervalMs);
  }

  async #flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const entries = this.#queue.splice(0, this.#batchLength());
    const abort = new AbortController();
    this.#batch = { entries, abort };
    try {
      const outcomes = await this.#send(
        entries.map(({ write }) => write),
        abort.signal,
      );
      for (const [at, entry] of entries.entries()) this.#settle(entry, outcomes[at]!);
      const refused = entries.filter((_, at) => outcomes[at]!.error);
      this.#failed += refused.length;
      const [reason] = outcomes.flatMap(({ error }) => error ?? []);
      if (reason) this.#lose(refused, reason);
    } catch (error) {
      const failure =
        error instanceof AppError ? error : new AppError('internal_error', undefined, { cause: error });
      for (const entry of entries) this.#settle(entry, failure);
      this.#failed += entries.length;
      this.#lose(entries, failure);
    } finally {
      this.#batch = undefined;
      this.#schedule();
    }
  }

  #batchLength(): number {
    let bytes = 0;
    const most = Math.min(this.#limits.maxBatchSize, this.#queue.length);
    for (let length = 0; length < most; length++) {
      bytes += this.#queue[length]!.write.bytes;
      if (bytes > maxBatchBytes && length > 0) return length;
    }
    return most;
  }

  #settle({ call, at }: Entry, outcome: BulkOutcome | AppError): void {
    this.#held--;
    call.outcomes[at] = outcome;
    if (--call.left === 0 && !call.abandoned) call.done();
  }

  #abandon(call: Call, reason: unknown): void {
    call.abandoned = true;
    const kept = this.#queue.filter((entry) => entry.call !== call);
    this.#held -= this.#queue.length - kept.length;
    this.#queue = kept;
    // A batch goes on for whoever else has writes in it.
    if (this.#batch?.entries.every((entry) => entry.call.abandoned)) this.#batch.abort.abort(reason);
    else this.#schedule();
  }

  #lose(entries: readonly Entry[], error: AppError): void {
    const unheard = entries.filter(({ call }) => !call.waits).length;
    if (unheard > 0) this.#onLost(unheard, error);
  }

  #giveUp(): void {
    const error = new AppError('cancelled', 'The connection was closed before the buffer had drained');
    const lost = this.#queue.splice(0);
    for (const entry of lost) this.#settle(entry, error);
    this.#failed += lost.length;
    this.#lose(lost, error);
    if (this.#batch) this.#batch.abort.abort(error);
    else this.#schedule();
  }
}

function asOutcome(outcome: BulkOutcome | AppError): BulkOutcome {
  return outcome instanceof AppError ? { status: outcome.entry.status, error: outcome } : outcome;
}
