import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createRateLimiter } from './rate-limits.ts';

test('a key gets its allowance, then one each interval, and is told how long to wait', () => {
  let time = 0;
  const limiter = createRateLimiter({ perMinute: 20, now: () => time });
  for (let index = 0; index < 20; index++) assert.deepEqual(limiter.take('a'), { ok: true });
  assert.deepEqual(limiter.take('a'), { ok: false, retryAfter: 3 });
  assert.deepEqual(limiter.take('b'), { ok: true });
  time += 2_999;
  assert.deepEqual(limiter.take('a'), { ok: false, retryAfter: 1 });
  time += 1;
  assert.deepEqual(limiter.take('a'), { ok: true });
  assert.equal(limiter.take('a').ok, false);
  limiter.giveBack('a');
  assert.deepEqual(limiter.take('a'), { ok: true });
  assert.equal(limiter.take('a').ok, false, 'one was given back, no more');
});

test('what is given back is never more than the allowance, and a key that is not known gets nothing', () => {
  const limiter = createRateLimiter({ perMinute: 2, now: () => 0 });
  limiter.giveBack('a');
  assert.ok(limiter.take('a').ok);
  for (let index = 0; index < 5; index++) limiter.giveBack('a');
  assert.deepEqual(
    Array.from({ length: 3 }, () => limiter.take('a').ok),
    [true, true, false],
  );
});

test('within any minute no key gets more than twice its allowance, waiting as told always helps', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(5_000), { maxLength: 300 }), (pauses) => {
      let time = 0;
      const limiter = createRateLimiter({ perMinute: 10, now: () => time });
      const taken: number[] = [];
      for (const pause of pauses) {
        time += pause;
        const take = limiter.take('key');
        if (take.ok) taken.push(time);
      }
      for (const start of taken) {
        assert.ok(taken.filter((at) => at >= start && at < start + 60_000).length <= 20);
      }
      let take = limiter.take('key');
      while (take.ok) take = limiter.take('key');
      time += take.retryAfter * 1000;
      assert.ok(limiter.take('key').ok);
    }),
    { seed: 4, numRuns: 100 },
  );
});

test('memory is bounded: of too many keys the least recently used are forgotten', () => {
  const limiter = createRateLimiter({ perMinute: 1, now: () => 0, maxKeys: 3 });
  for (const key of ['a', 'b', 'c']) limiter.take(key);
  assert.equal(limiter.take('a').ok, false);
  limiter.take('d');
  assert.equal(limiter.take('a').ok, false);
  assert.equal(limiter.take('b').ok, true);
});

test('a clock set back gives nothing and takes nothing', () => {
  let time = 1_000_000;
  const limiter = createRateLimiter({ perMinute: 1, now: () => time });
  assert.ok(limiter.take('a').ok);
  time = 0;
  assert.equal(limiter.take('a').ok, false);
  time = 60_000;
  assert.ok(limiter.take('a').ok);
});
