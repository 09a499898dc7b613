import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Limiter } from './limiter.ts';

test('thousands wait in order, so many run at a time, and a failure leaves room', async () => {
  const limiter = new Limiter(3);
  const numbers = Array.from({ length: 2500 }, (_, index) => index);
  const begun: number[] = [];
  let running = 0;
  let most = 0;
  const results = await Promise.allSettled(
    numbers.map((number) =>
      limiter.run(async () => {
        begun.push(number);
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        if (number % 7 === 0) throw new Error('no');
        return number;
      }),
    ),
  );
  assert.deepEqual(begun, numbers);
  assert.equal(most, 3);
  assert.equal(results.filter(({ status }) => status === 'rejected').length, Math.ceil(2500 / 7));

  // It is as new: again three at once, and no more.
  const open = Promise.withResolvers<void>();
  let again = 0;
  const more = numbers.slice(0, 5).map(() =>
    limiter.run(() => {
      again += 1;
      return open.promise;
    }),
  );
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(again, 3);
  open.resolve();
  await Promise.all(more);
  assert.equal(again, 5);
});
