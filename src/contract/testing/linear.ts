import assert from 'node:assert/strict';

/** The shortest of several runs, which is the one that nothing else on the machine disturbed. */
export function shortestMs(work: () => unknown): number {
  let shortest = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 5; run++) {
    const began = performance.now();
    work();
    shortest = Math.min(shortest, performance.now() - began);
  }
  return shortest;
}

/** That eight times the length takes about eight times as long, where a square would take 64 times. */
export function assertLinear(what: string, ofLength: (length: number) => number): void {
  ofLength(4_000);
  const short = ofLength(16_000);
  const long = ofLength(128_000);
  assert.ok(long < 24 * short + 2, `${what}: ${short} ms, then ${long} ms`);
}
