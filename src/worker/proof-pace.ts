interface ProofPaceOptions {
  /** Starts at a time that are not held back. Default 32. */
  burst?: number;
  /** Starts a second while changes keep coming. Default 50. */
  perSecond?: number;
  /** How long changes go first. Default 5000. */
  patienceMs?: number;
  /** Starts a second, whatever comes, as long as the first has waited for more than that. Default 2000. */
  perSecondOverdue?: number;
  /** Starts a second when no change has come for `quietMs`. Default 3000. */
  perSecondQuiet?: number;
  /** Default 100. */
  quietMs?: number;
  now?: () => number;
}

const tickMs = 20;

/**
 * Lets proofs give way to changes, which somebody waits for: a few start at once, many one after the
 * other, and fewer of them while changes come in, but none waits for ever. In order; nothing is dropped.
 */
export class ProofPace<Item> {
  readonly #options: Required<ProofPaceOptions>;
  readonly #start: (item: Item) => void;
  #waiting: { item: Item; since: number }[] = [];
  #tokens: number;
  #filledAt: number;
  #changedAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  constructor(start: (item: Item) => void, options: ProofPaceOptions = {}) {
    this.#options = {
      burst: 32,
      perSecond: 50,
      patienceMs: 5_000,
      perSecondOverdue: 2000,
      perSecondQuiet: 3000,
      quietMs: 100,
      now: () => performance.now(),
      ...options,
    };
    this.#start = start;
    this.#tokens = this.#options.burst;
    this.#filledAt = this.#options.now();
  }

  noteChange(): void {
    this.#changedAt = this.#options.now();
  }

  add(items: readonly Item[]): void {
    const since = this.#options.now();
    for (const item of items) this.#waiting.push({ item, since });
    if (!this.#timer) this.#go();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting = [];
  }

  readonly #go = (): void => {
    this.#timer = undefined;
    const { burst, perSecond, perSecondOverdue, perSecondQuiet, patienceMs, quietMs, now } = this.#options;
    const at = now();
    const isQuiet = at - this.#changedAt >= quietMs;
    const [first] = this.#waiting;
    const isOverdue = first !== undefined && at - first.since >= patienceMs;
    const rate = isQuiet ? perSecondQuiet : isOverdue ? perSecondOverdue : perSecond;
    const most = Math.max(burst, (rate * tickMs) / 1000);
    this.#tokens = Math.min(most, this.#tokens + ((at - this.#filledAt) / 1000) * rate);
    this.#filledAt = at;
    const starting = Math.min(Math.floor(this.#tokens), this.#waiting.length);
    this.#tokens -= starting;
    const items = this.#waiting.splice(0, starting);
    if (this.#waiting.length > 0) this.#timer = setTimeout(this.#go, tickMs);
    for (const { item } of items) this.#start(item);
  };
}
