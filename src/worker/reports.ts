import type { FromWorker, HealthReport, Verdict } from '../contract/worker-protocol.ts';

const healthIntervalMs = 5_000;
/** How long the outcome of a proof waits for others, to be sent with them. */
const proofsDelayMs = 10;
const itemsPerFrame = 500;
const maxRetained = 20_000;

/** What the reports are about, and who takes them. */
interface ReportsOptions {
  /** What there is to tell of the minutes up to now. */
  health(now: number): Iterable<HealthReport>;
  /** Whether somebody takes them. */
  canSend(): boolean;
  send(message: Extract<FromWorker, { kind: 'verdicts' | 'health' }>): void;
}

/** Verdicts and health of a worker: told in batches, kept as long as nobody takes them, the newest alone of each. */
export class Reports {
  readonly #options: ReportsOptions;
  #verdicts = new Map<string, Verdict>();
  #verdictsFlush: NodeJS.Immediate | undefined;
  #proofsFlush: NodeJS.Timeout | undefined;
  readonly #health = new Map<string, HealthReport>();
  #healthTimer: NodeJS.Timeout | undefined;

  constructor(options: ReportsOptions) {
    this.#options = options;
  }

  /** Tells of health every five seconds from now on, and right after the end of each minute. */
  start(): void {
    const toMinuteMs = 60_000 - (Date.now() % 60_000) + 1;
    this.#healthTimer = setTimeout(
      () => {
        this.#collectHealth();
        this.start();
      },
      Math.min(healthIntervalMs, toMinuteMs),
    );
    this.#healthTimer.unref();
  }

  stop(): void {
    clearTimeout(this.#healthTimer);
  }

  /** Kept until it is sent: a later one of the same revision and step takes its place. */
  note(verdict: Verdict): void {
    keepNewest(this.#verdicts, `${verdict.connection} ${verdict.revision} ${verdict.step}`, verdict);
    // A deployment waits for the others; these come in numbers, and each frame costs a commit.
    if (verdict.step === 'connected' || verdict.step === 'unreachable')
      this.#proofsFlush ??= setTimeout(() => this.#flushVerdicts(), proofsDelayMs);
    else this.#verdictsFlush ??= setImmediate(() => this.#flushVerdicts());
  }

  /** The control plane that comes next knows nothing of these connections. */
  forgetVerdicts(): void {
    this.#verdicts.clear();
  }

  /** Tells at once what has not been told. */
  flush(): void {
    this.#flushVerdicts();
    this.#flushHealth();
  }

  /** Tells at once, health up to this moment. */
  flushLast(): void {
    this.#collectHealth();
    this.#flushVerdicts();
  }

  #flushVerdicts(): void {
    if (this.#verdictsFlush) clearImmediate(this.#verdictsFlush);
    this.#verdictsFlush = undefined;
    clearTimeout(this.#proofsFlush);
    this.#proofsFlush = undefined;
    if (!this.#options.canSend() || this.#verdicts.size === 0) return;
    const items = [...this.#verdicts.values()];
    // Not cleared: its outgrown tables would hold what was in them until the whole heap is collected.
    this.#verdicts = new Map();
    for (const some of frames(items)) this.#options.send({ kind: 'verdicts', items: some });
  }

  #collectHealth(): void {
    for (const report of this.#options.health(Date.now()))
      keepNewest(this.#health, `${report.connection} ${report.minute}`, report);
    this.#flushHealth();
  }

  #flushHealth(): void {
    if (!this.#options.canSend() || this.#health.size === 0) return;
    const items = [...this.#health.values()];
    this.#health.clear();
    for (const some of frames(items)) this.#options.send({ kind: 'health', items: some });
  }
}

function keepNewest<T>(kept: Map<string, T>, key: string, value: T): void {
  kept.delete(key);
  kept.set(key, value);
  if (kept.size > maxRetained) kept.delete(kept.keys().next().value!);
}

function* frames<T>(items: T[]): Generator<T[]> {
  for (let at = 0; at < items.length; at += itemsPerFrame) yield items.slice(at, at + itemsPerFrame);
}
