const DEFAULT_MAX_KEYS = 10_000;

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
  const perMs = perMinute / 60_000;
  const buckets = new Map<string, { left: number; at: number }>();

  const refilled = (key: string) => {
    const time = now();
    const bucket = buckets.get(key) ?? { left: perMinute, at: time };
    // A clock set back must not empty a bucket.
    bucket.left = Math.min(perMinute, bucket.left + Math.max(0, time - bucket.at) * perMs);
    bucket.at = time;
    return bucket;
  };

  return {
    take(key) {
      const bucket = refilled(key);
      buckets.delete(key);
      buckets.set(key, bucket);
      if (buckets.size > maxKeys) buckets.delete(buckets.keys().next().value!);
      if (bucket.left < 1) {
        return { ok: false, retryAfter: Math.max(1, Math.ceil((1 - bucket.left) / perMs / 1000)) };
      }
      bucket.left -= 1;
      return { ok: true };
    },
    giveBack(key) {
      const bucket = buckets.get(key);
      if (bucket) bucket.left = Math.min(perMinute, bucket.left + 1);
    },
  };
}
