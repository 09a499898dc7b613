import type { Verdict } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';

const pauseMs = 1_000;
/** What a worker sends at once, too: one that cannot be stored takes no more than these with it. */
const verdictsPerWrite = 500;
/** As many as a worker keeps for a control plane that is away. */
const maxWaiting = 20_000;

interface VerdictInboxOptions {
  store(verdicts: Verdict[]): Promise<void>;
  /** Told of each failure. */
  onFailure(error: unknown): void;
}

/**
 * Hands the verdicts of one stream to the store, those on one connection in the order they were said.
 * A worker says each once a stream: what comes while the database is away waits until it is back.
 */
export class VerdictInbox {
  readonly #options: VerdictInboxOptions;
  /** Connections of which a verdict is on its way: PostgreSQL could commit the next one before it. */
  readonly #underWay = new Set<string>();
  #waiting: Verdict[] = [];
  #pause: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: VerdictInboxOptions) {
    this.#options = options;
  }

  take(verdicts: readonly Verdict[]): void {
    // What a worker sends is another program's word.
    const sound = verdicts.filter((verdict) => typeof verdict?.connection === 'string');
    this.#waiting = this.#waiting.concat(sound);
    this.#goOn();
    if (this.#waiting.length > verdictsPerWrite) this.#waiting = newest(this.#waiting);
  }

  /** What still waits is said again when the worker comes back. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#pause);
    this.#waiting = [];
  }

  #goOn(): void {
    if (this.#closed || this.#pause) return;
    const now: Verdict[] = [];
    const later: Verdict[] = [];
    for (const verdict of this.#waiting)
      if (now.length < verdictsPerWrite && !this.#underWay.has(verdict.connection)) now.push(verdict);
      else later.push(verdict);
    this.#waiting = later;
    if (now.length > 0) void this.#store(now);
  }

  async #store(verdicts: Verdict[]): Promise<void> {
    for (const { connection } of verdicts) this.#underWay.add(connection);
    try {
      await this.#options.store(verdicts);
    } catch (error) {
      this.#options.onFailure(error);
      // What the database itself refuses, it would refuse again.
      if (error instanceof AppError && error.entry.status === 503) this.#putBack(verdicts);
    }
    for (const { connection } of verdicts) this.#underWay.delete(connection);
    this.#goOn();
  }

  #putBack(verdicts: Verdict[]): void {
    if (this.#closed) return;
    // Before what was said of the same connections meanwhile.
    this.#waiting = newest(verdicts.concat(this.#waiting));
    this.#pause ??= setTimeout(() => {
      this.#pause = undefined;
      this.#goOn();
    }, pauseMs).unref();
  }
}

/** The newest of each connection, revision and step, in their order. */
function newest(verdicts: readonly Verdict[]): Verdict[] {
  const kept = new Map<string, Verdict>();
  for (const verdict of verdicts) {
    const key = `${verdict.connection} ${verdict.revision} ${verdict.step}`;
    kept.delete(key);
    kept.set(key, verdict);
  }
  return [...kept.values()].slice(-maxWaiting);
}
