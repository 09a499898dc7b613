const DEFAULT_MAX_KEYS = 10_000;
const MINUTE_MS = 60_000;

export type Take = { ok: true } | { ok: false /** Whole seconds. */; retryAfter: number };

export interface RateLimiter {
  /** Takes one of the key's allowance. */
  take(key: string): Take;
  /** Gives one back, for what turned out not to count. */
  giveBack(key: string): void;
}

/**
 * A token bucket a key, refilled evenly over the minute; `now` is in ms. Of more than `maxKeys` keys
 * (10,000) the least recently used are forgotten.
 */
export function createRateLimiter(options: {
  perMinute: number;
  now?: () => number;
  maxKeys?: number;
}): RateLimiter {
  const { perMinute, now = Date.now, maxKeys = DEFAULT_MAX_KEYS } = options;
  const costMs = MINUTE_MS / perMinute;
  // Credit is time, which adds up without rounding.
  const buckets = new Map<string, { creditMs: number; at: number }>();

  const refilled = (key: string) => {
    const time = now();
    const bucket = buckets.get(key) ?? { creditMs: MINUTE_MS, at: time };
    // A clock set back must not empty a bucket.
    bucket.creditMs = Math.min(MINUTE_MS, bucket.creditMs + Math.max(0, time - bucket.at));
    bucket.at = time;
    return bucket;
  };

  return {
    take(key) {
      const bucket = refilled(key);
      buckets.delete(key);
      buckets.set(key, bucket);
      if (buckets.size > maxKeys) buckets.delete(buckets.keys().next().value!);
      if (bucket.creditMs < costMs) {
        return { ok: false, retryAfter: Math.max(1, Math.ceil((costMs - bucket.creditMs) / 1000)) };
      }
      bucket.creditMs -= costMs;
      return { ok: true };
    },
    giveBack(key) {
      const bucket = buckets.get(key);
      if (bucket) bucket.creditMs = Math.min(MINUTE_MS, bucket.creditMs + costMs);
    },
  };
}
