import type { HealthReport } from '../contract/worker-protocol.ts';
import type { AppError } from '../errors.ts';

type State = HealthReport['state'];

const minuteMs = 60_000;

/** What is seen of one connection, counted by the minute. */
export class HealthRecord {
  #minute: number;
  #operations = { ok: 0, failed: 0, totalMs: 0, maxMs: 0 };
  #state: State = 'unknown';
  #since: number;
  #lastError: HealthReport['lastError'];
  /** Of one that nothing is known of there is nothing to tell. */
  #changed = false;

  constructor(now: number) {
    this.#minute = startOfMinute(now);
    this.#since = now;
  }

  get state(): State {
    return this.#state;
  }

  setState(state: State, now: number): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#since = now;
    this.#changed = true;
  }

  noteError(error: AppError, now: number): void {
    this.#lastError = { code: error.code, message: error.message, at: now };
    this.#changed = true;
  }

  noteOperation(ok: boolean, durationMs: number): void {
    const operations = this.#operations;
    if (ok) operations.ok += 1;
    else operations.failed += 1;
    operations.totalMs += durationMs;
    operations.maxMs = Math.max(operations.maxMs, durationMs);
    this.#changed = true;
  }

  /** Whether a new minute has begun since the last report. */
  isOver(now: number): boolean {
    return startOfMinute(now) > this.#minute;
  }

  /** A report when anything changed since the last one, or when its minute is over and a new one begins. */
  collect(
    connection: string,
    revision: number,
    figures: () => Record<string, number> | undefined,
    now: number,
  ): HealthReport | undefined {
    const isOver = this.isOver(now);
    if (!isOver && !this.#changed) return undefined;
    const measured = figures();
    const report: HealthReport = {
      connection,
      revision,
      minute: this.#minute,
      state: this.#state,
      since: this.#since,
      ...(this.#lastError ? { lastError: this.#lastError } : {}),
      operations: {
        ...this.#operations,
        totalMs: Math.round(this.#operations.totalMs),
        maxMs: Math.round(this.#operations.maxMs),
      },
      ...(measured ? { figures: measured } : {}),
    };
    this.#changed = false;
    if (isOver) {
      this.#minute = startOfMinute(now);
      this.#operations = { ok: 0, failed: 0, totalMs: 0, maxMs: 0 };
    }
    return report;
  }
}

function startOfMinute(now: number): number {
  return now - (now % minuteMs);
}
