import { AppError, type ErrorCode } from '../errors.ts';

export interface CircuitBreakerConfig {
  enabled: boolean;
  errorThreshold: number;
  sleepWindowSeconds: number;
}

/** Failures that say nothing about the target: a faulty request, our own limits, somebody's cancel. */
const unrelated: ReadonlySet<ErrorCode> = new Set([
  'bad_request',
  'not_found',
  'not_active',
  'payload_too_large',
  'cancelled',
  'egress_denied',
  'buffer_full',
]);

/**
 * After `errorThreshold` failed operations in a row it refuses further ones for the sleep window, then
 * lets a single one through; that one's success closes it, its failure opens it again.
 */
export class CircuitBreaker {
  readonly #config: CircuitBreakerConfig;
  readonly #now: () => number;
  #failures = 0;
  #openUntil = 0;
  #probing = false;

  constructor(config: CircuitBreakerConfig, now: () => number = () => performance.now()) {
    this.#config = config;
    this.#now = now;
  }

  /** Throws `circuit_open` with `retryAfter`; otherwise the returned function, where there is one, takes the outcome. */
  enter(): ((error?: AppError) => void) | undefined {
    if (!this.#config.enabled) return undefined;
    const { errorThreshold, sleepWindowSeconds } = this.#config;
    let isProbe = false;
    if (this.#failures >= errorThreshold) {
      const leftMs = this.#openUntil - this.#now();
      if (leftMs > 0 || this.#probing)
        throw new AppError('circuit_open', undefined, {
          details: { retryAfter: Math.max(1, Math.ceil(leftMs / 1000)) },
        });
      isProbe = true;
      this.#probing = true;
    }
    return (error) => {
      if (isProbe) this.#probing = false;
      if (!error) this.#failures = 0;
      else if (!unrelated.has(error.code)) {
        this.#failures += 1;
        if (isProbe || this.#failures === errorThreshold)
          this.#openUntil = this.#now() + sleepWindowSeconds * 1000;
      }
    };
  }
}
