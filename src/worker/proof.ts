import type { Verdict } from '../contract/worker-protocol.ts';
import { AppError, type ErrorCode } from '../errors.ts';
import type { Limiter } from './limiter.ts';

export type ProofOutcome = { ok: true } | { ok: false; error: AppError };
/** What a verdict says beside the outcome. */
export type ProofCircumstances = Pick<Verdict, 'isRepeated' | 'isUntried' | 'retryInMs'>;

interface ProofOptions {
  /** One harmless round trip; rejects with an error that is fit for the client. */
  roundTrip: () => Promise<void>;
  /** Called on every change of the outcome, for every request, and for every refused log-in. */
  report: (outcome: ProofOutcome, circumstances: ProofCircumstances) => void;
  /** Bounds the round trips that nobody asked for. */
  periodic: Limiter;
  /** Bounds those that were asked for. */
  requested: Limiter;
  /** Of a clock that nobody sets; default `performance.now`. */
  now?: () => number;
  random?: () => number;
  intervalMs?: number;
}

export const proofIntervalMs = 60_000;
const firstRetryMs = 5_000;
const longestRetryMs = 60_000;
const firstLogInRetryMs = 30_000;
const longestLogInRetryMs = 15 * 60_000;

/** Timers of one length share a list in Node, and each length of its own costs a place in a queue. */
function rounded(delayMs: number): number {
  return delayMs < 5_000 ? delayMs : Math.round(delayMs / 250) * 250;
}

/** Failures after which the target counts as unreachable; others are answers of a target that is there. */
const unreachable: ReadonlySet<ErrorCode> = new Set([
  'name_not_resolved',
  'connection_refused',
  'host_unreachable',
  'connection_lost',
  'connect_timeout',
  'tls_not_offered',
  'tls_failed',
  'certificate_untrusted',
  'certificate_expired',
  'certificate_wrong_host',
  'host_key_mismatch',
  'authentication_failed',
  'egress_denied',
]);

/** Why nothing is dialled, as an answer to whoever asked for a round trip; `refusal`: this worker's own. */
function spared(refusal: AppError | undefined, forMs: number): AppError {
  const until = new Date(Date.now() + forMs).toISOString();
  const reason = refusal?.message ?? "Another worker's log-in was refused";
  return new AppError(
    refusal?.code ?? 'authentication_failed',
    `${reason}; so that the account is not locked it is not tried again before ${until}`,
    refusal ? { cause: refusal, details: refusal.details } : {},
  );
}

/** Decides when one client is proved against its target, and knows how the last time went. */
export class Proof {
  readonly #options: ProofOptions;
  readonly #now: () => number;
  readonly #intervalMs: number;
  #outcome: ProofOutcome | undefined;
  #failures = 0;
  /** The back-off of a log-in of its own that was refused. */
  #notBefore = 0;
  /** As long as another worker's was. */
  #heldUntil = 0;
  /** Whoever asked was told that nothing was dialled: what comes next is news, whatever it is. */
  #wasSpared = false;
  #lastSuccessAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #running = false;
  #asked = false;
  /** Asked while a round trip was under way, which may have begun before the target was repaired. */
  #askedAgain = false;
  #stopped = false;

  constructor(options: ProofOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#intervalMs = options.intervalMs ?? proofIntervalMs;
    this.#schedule(this.#intervalMs);
  }

  get outcome(): ProofOutcome | undefined {
    return this.#outcome;
  }

  /** Proves now and reports; within a hold or the back-off of a refused log-in nothing is dialled. */
  request(): void {
    if (this.#running) {
      this.#askedAgain = true;
      return;
    }
    this.#asked = true;
    void this.#prove(true);
  }

  /** Proves soon, without being asked: there is no control plane that would say who goes first. */
  proveSoon(withinMs: number): void {
    this.#schedule(withinMs * this.#random(), 0);
  }

  /** Another worker's log-in was refused: stay away from the account for a while; for none, it succeeded. */
  hold(forMs: number): void {
    this.#heldUntil = this.#now() + forMs;
    this.#schedule(this.#intervalMs);
  }

  /** An operation is a round trip too. `at` is when it ended, for whoever has looked at the clock already. */
  noteOperation(error?: AppError, at: number = this.#now()): void {
    if (this.#stopped) return;
    // Nearly every one: the target was there and is there.
    if (!error && this.#outcome?.ok && !this.#asked && !this.#wasSpared) {
      this.#lastSuccessAt = at;
      this.#notBefore = 0;
      this.#heldUntil = 0;
      this.#ensureTimer();
    } else if (!error) this.#settle({ ok: true });
    else if (unreachable.has(error.code)) {
      if (this.#outcome?.ok !== false || this.#outcome.error.code !== error.code)
        this.#settle({ ok: false, error });
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#clearTimer();
  }

  async #prove(requested: boolean): Promise<void> {
    const { roundTrip, report } = this.#options;
    const intervalMs = this.#intervalMs;
    if (this.#running || this.#stopped) return;
    const waitMs = Math.max(this.#notBefore, this.#heldUntil) - this.#now();
    if (waitMs > 0) {
      if (this.#asked) {
        const own = this.#notBefore > this.#now() && !this.#outcome?.ok ? this.#outcome?.error : undefined;
        report({ ok: false, error: spared(own, waitMs) }, { isUntried: true, retryInMs: Math.ceil(waitMs) });
        this.#wasSpared = true;
      }
      this.#asked = false;
      this.#schedule(waitMs);
      return;
    }
    const quietMs = this.#now() - this.#lastSuccessAt;
    // A success before a failure says nothing of it: that one is tried again at its own pace.
    if (!requested && this.#outcome?.ok !== false && quietMs < intervalMs) {
      this.#schedule(intervalMs - quietMs);
      return;
    }
    this.#clearTimer();
    const limiter = requested ? this.#options.requested : this.#options.periodic;
    await limiter.run(async () => {
      // While this one waited for its turn, one that was asked for may have overtaken it.
      if (this.#running || this.#stopped) return;
      this.#running = true;
      let outcome: ProofOutcome;
      try {
        await roundTrip();
        outcome = { ok: true };
      } catch (error) {
        outcome = { ok: false, error: error as AppError };
      }
      this.#running = false;
      if (this.#stopped) return;
      this.#settle(outcome);
      if (!this.#askedAgain) return;
      this.#askedAgain = false;
      this.request();
    });
  }

  #settle(outcome: ProofOutcome): void {
    const { report } = this.#options;
    const intervalMs = this.#intervalMs;
    const before = this.#outcome;
    this.#outcome = outcome;
    let circumstances: ProofCircumstances = {};
    let isNews =
      before === undefined ||
      this.#wasSpared ||
      before.ok !== outcome.ok ||
      (!before.ok && !outcome.ok && before.error.code !== outcome.error.code);
    if (outcome.ok) {
      this.#failures = 0;
      this.#notBefore = 0;
      this.#heldUntil = 0;
      this.#lastSuccessAt = this.#now();
      // A timer that is running already looks at the time of the last success when it fires.
      if (isNews || this.#asked) this.#schedule(intervalMs);
    } else {
      this.#failures += 1;
      const isLogIn = outcome.error.code === 'authentication_failed';
      const [first, longest] = isLogIn
        ? [firstLogInRetryMs, longestLogInRetryMs]
        : [firstRetryMs, longestRetryMs];
      const delayMs = Math.min(first * 2 ** Math.min(this.#failures - 1, 20), longest);
      if (isLogIn) {
        this.#notBefore = this.#now() + delayMs;
        // The other workers leave the account alone until after the next time.
        circumstances = { retryInMs: delayMs };
        isNews = true;
      }
      this.#schedule(delayMs);
    }
    if (isNews || this.#asked) report(outcome, circumstances);
    this.#asked = false;
    this.#wasSpared = false;
    if (outcome.ok && before?.ok) this.#ensureTimer();
  }

  /** Jittered by a fifth, so that workers and connections do not probe in step. */
  #schedule(delayMs: number, jitter = 0.2): void {
    this.#clearTimer();
    if (this.#stopped) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        void this.#prove(false);
      },
      rounded(Math.max(1, delayMs * (1 + jitter * this.#random()))),
    );
    this.#timer.unref();
  }

  #random(): number {
    return (this.#options.random ?? Math.random)();
  }

  #clearTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #ensureTimer(): void {
    if (!this.#timer) this.#schedule(this.#intervalMs);
  }
}
