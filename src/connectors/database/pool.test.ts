import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { AppError } from '../../errors.ts';
import { ConnectionPool, type Lease, type PoolSettings } from './pool.ts';

interface Fake {
  readonly id: number;
  sound: boolean;
  destroyed: 'no' | 'politely' | 'by force';
  validations: number;
  lose(): void;
}

const defaults: PoolSettings = {
  initialPoolSize: 1,
  minPoolSize: 1,
  maxPoolSize: 5,
  incrementCount: 1,
  connectionTimeoutMs: 1000,
  idleConnectionTestPeriodMs: 0,
  maxConnectionAgeMs: 0,
  maxIdleTimeMs: 0,
  testConnectionOnCheckout: false,
  testConnectionOnCheckin: false,
};

/** A pool of fakes under a clock that the test moves. */
function setUp(t: TestContext, settings: Partial<PoolSettings> = {}) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const made: Fake[] = [];
  const attempts: number[] = [];
  const driver = {
    failWith: undefined as Error | undefined,
    hang: false,
    hangValidation: false,
    async create(signal: AbortSignal, lost: () => void): Promise<Fake> {
      attempts.push(Date.now());
      await Promise.resolve();
      if (driver.hang)
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      if (driver.failWith) throw driver.failWith;
      const fake: Fake = {
        id: made.length,
        sound: true,
        destroyed: 'no',
        validations: 0,
        lose: () => {
          fake.sound = false;
          lost();
        },
      };
      made.push(fake);
      return fake;
    },
    async validate(fake: Fake) {
      fake.validations++;
      await Promise.resolve();
      if (driver.hangValidation) return new Promise<void>(() => {});
      if (!fake.sound) throw new Error('broken');
    },
    destroy(fake: Fake, force: boolean) {
      assert.equal(fake.destroyed, 'no', 'destroyed once');
      fake.destroyed = force ? 'by force' : 'politely';
    },
  };
  const pool = new ConnectionPool<Fake>({ ...defaults, ...settings }, driver, () => Date.now());
  return {
    pool,
    driver,
    made,
    attempts,
    open: () => made.filter(({ destroyed }) => destroyed === 'no'),
    async advance(ms: number) {
      // In steps, so that what a timer started can set the next.
      for (let left = ms; left > 0; left -= 50) {
        t.mock.timers.tick(Math.min(left, 50));
        await turns();
      }
    },
  };
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

async function code(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt;
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return error.code;
  }
  assert.fail('it was expected to fail');
}

test('opens nothing before the first use, then the initial size, and refills to the minimum', async (t) => {
  const { pool, made, open } = setUp(t, { initialPoolSize: 3, minPoolSize: 2 });
  await turns();
  assert.equal(made.length, 0);
  const lease = await pool.acquire();
  await turns();
  assert.deepEqual(pool.figures(), { size: 3, idle: 2, busy: 1, waiting: 0 });
  lease.release();
  for (const fake of open().slice(0, 2)) fake.lose();
  await turns();
  assert.equal(pool.figures().size, 2, 'the minimum, not the initial size');
  await pool.close();
});

test('grows by the increment, up to the maximum', async (t) => {
  const { pool } = setUp(t, { incrementCount: 3, maxPoolSize: 5 });
  const leases = [await pool.acquire()];
  leases.push(await pool.acquire());
  await turns();
  assert.equal(pool.figures().size, 4, '1 and an increment of 3');
  leases.push(await pool.acquire(), await pool.acquire(), await pool.acquire());
  await turns();
  assert.deepEqual(pool.figures(), { size: 5, idle: 0, busy: 5, waiting: 0 });
  for (const lease of leases) lease.release();
  await pool.close();
});

test('serves waiters in the order they came', async (t) => {
  const { pool } = setUp(t, { maxPoolSize: 1, testConnectionOnCheckout: true });
  const order: number[] = [];
  const first = await pool.acquire();
  const rest = [1, 2, 3].map((name) =>
    pool.acquire().then((lease) => {
      order.push(name);
      lease.release();
    }),
  );
  assert.equal(pool.figures().waiting, 3);
  first.release();
  await Promise.all(rest);
  assert.deepEqual(order, [1, 2, 3]);
  await pool.close();
});

test('a waiter that tests broken connections keeps its turn', async (t) => {
  const { pool, made } = setUp(t, { maxPoolSize: 2, testConnectionOnCheckout: true });
  const a = await pool.acquire();
  const b = await pool.acquire();
  for (const fake of made) fake.sound = false;
  const order: number[] = [];
  const waiting = [1, 2, 3].map((name) =>
    pool.acquire().then((lease) => {
      order.push(name);
      lease.release();
    }),
  );
  a.release();
  b.release();
  await Promise.all(waiting);
  assert.deepEqual(order, [1, 2, 3]);
  assert.ok(made.length > 2);
  await pool.close();
});

test('gives up after the connection timeout, and says how full the pool is', async (t) => {
  const { pool, advance } = setUp(t, { maxPoolSize: 1, connectionTimeoutMs: 500 });
  const lease = await pool.acquire();
  const late = pool.acquire();
  const outcome = assert.rejects(late, /500 ms \(1 of 1 busy, at most 1\)/);
  await advance(600);
  await outcome;
  assert.equal(await code(late), 'unavailable');
  assert.equal(pool.figures().waiting, 0);
  lease.release();
  await pool.close();
});

test('an aborted waiter leaves the queue, and an aborted signal is never queued', async (t) => {
  const { pool } = setUp(t, { maxPoolSize: 1 });
  const lease = await pool.acquire();
  const abort = new AbortController();
  const waiting = pool.acquire(abort.signal);
  abort.abort();
  assert.equal(await code(waiting), 'cancelled');
  assert.equal(await code(pool.acquire(abort.signal)), 'cancelled');
  assert.equal(pool.figures().waiting, 0);
  lease.release();
  assert.equal(pool.figures().idle, 1);
  await pool.close();
});

test('opening ends when the only one who wanted it gives up', async (t) => {
  const { pool, driver, attempts, advance } = setUp(t, { connectionTimeoutMs: 60_000 });
  driver.hang = true;
  const abort = new AbortController();
  const outcome = code(pool.acquire(abort.signal));
  await turns();
  abort.abort();
  assert.equal(await outcome, 'cancelled');
  await advance(10_000);
  assert.equal(attempts.length, 1, 'nothing is opened for nobody');
  driver.hang = false;
  (await pool.acquire()).release();
  assert.equal(attempts.length, 2);
  await pool.close();
});

test('opening that fails is told with its cause, at once', async (t) => {
  const { pool, driver } = setUp(t);
  driver.failWith = new AppError('connection_refused');
  assert.equal(await code(pool.acquire()), 'connection_refused');
  await pool.close();
});

test('opening that hangs is ended by the connection timeout', async (t) => {
  const { pool, driver, advance } = setUp(t, { connectionTimeoutMs: 400 });
  driver.hang = true;
  const outcome = code(pool.acquire());
  await advance(500);
  assert.equal(await outcome, 'connect_timeout');
  await pool.close();
});

test('failing attempts back off, whoever asks, and recovery is noticed', async (t) => {
  const { pool, driver, attempts, advance } = setUp(t, { connectionTimeoutMs: 60_000 });
  driver.failWith = new AppError('connection_refused');
  for (let second = 0; second < 60; second++) {
    for (let ask = 0; ask < 10; ask++)
      void pool.acquire().then(
        (lease) => lease.release(),
        () => {},
      );
    await advance(1000);
  }
  assert.ok(attempts.length < 25, `${attempts.length} attempts in a minute for 600 asking`);
  assert.ok(attempts.length > 8, `${attempts.length} attempts in a minute`);
  driver.failWith = undefined;
  const recovered = pool.acquire();
  await advance(6000);
  (await recovered).release();
  await pool.close();
});

test('a refused log-in is not tried again for a while, nor without anybody asking', async (t) => {
  const { pool, driver, attempts, advance } = setUp(t, { minPoolSize: 3, initialPoolSize: 3 });
  driver.failWith = new AppError('authentication_failed');
  assert.equal(await code(pool.acquire()), 'authentication_failed');
  await turns();
  const first = attempts.length;
  for (let second = 0; second < 9; second++) {
    assert.equal(await code(pool.acquire()), 'authentication_failed');
    await advance(1000);
  }
  await advance(60_000);
  assert.equal(attempts.length, first);
  driver.failWith = undefined;
  (await pool.acquire()).release();
  await pool.close();
});

test('waits for a connection on loan while opening more of them fails', async (t) => {
  const { pool, driver, advance } = setUp(t, { connectionTimeoutMs: 5000 });
  const lease = await pool.acquire();
  driver.failWith = new AppError('target_busy', 'too many connections');
  const second = pool.acquire();
  const third = pool.acquire();
  const toldWhy = assert.rejects(third, /too many connections/);
  await advance(300);
  lease.release();
  const served = await second;
  await advance(6000);
  await toldWhy;
  served.release();
  await pool.close();
});

test('tests on checkout replace what broke', async (t) => {
  const { pool, made } = setUp(t, { testConnectionOnCheckout: true });
  (await pool.acquire()).release();
  made[0]!.sound = false;
  const lease = await pool.acquire();
  assert.equal(lease.resource.id, 1);
  assert.equal(made[0]!.destroyed, 'by force');
  lease.release();
  await pool.close();
});

test('a test that hangs is ended by the connection timeout', async (t) => {
  const { pool, driver, made, advance } = setUp(t, {
    testConnectionOnCheckout: true,
    connectionTimeoutMs: 400,
  });
  (await pool.acquire()).release();
  driver.hangValidation = true;
  const outcome = code(pool.acquire());
  await advance(500);
  assert.equal(await outcome, 'unavailable');
  assert.equal(made[0]!.destroyed, 'by force');
  await pool.close();
});

test('tests on checkin keep broken ones out of the pool', async (t) => {
  const { pool, made } = setUp(t, { testConnectionOnCheckin: true });
  const lease = await pool.acquire();
  made[0]!.sound = false;
  lease.release();
  await turns();
  assert.equal(made[0]!.destroyed, 'by force');
  assert.equal(pool.figures().idle, 1, 'the minimum is there again');
  await pool.close();
});

test('tests idle connections once a period', async (t) => {
  const { pool, made, advance } = setUp(t, { idleConnectionTestPeriodMs: 1000 });
  (await pool.acquire()).release();
  await advance(3500);
  assert.equal(made[0]!.validations, 3);
  made[0]!.sound = false;
  await advance(1000);
  assert.equal(made[0]!.destroyed, 'by force');
  assert.equal(pool.figures().size, 1);
  await pool.close();
});

test('idle connections beyond the minimum end after the idle time', async (t) => {
  const { pool, made, advance } = setUp(t, { maxIdleTimeMs: 1000, maxPoolSize: 3 });
  const leases = [await pool.acquire(), await pool.acquire(), await pool.acquire()];
  for (const lease of leases) lease.release();
  assert.equal(pool.figures().size, 3);
  await advance(1100);
  assert.equal(pool.figures().size, 1);
  assert.equal(made.filter(({ destroyed }) => destroyed === 'politely').length, 2);
  await advance(10_000);
  assert.equal(made.length, 3, 'nothing is opened anew');
  await pool.close();
});

test('connections end at their age: idle ones by themselves, busy ones when they are returned', async (t) => {
  const { pool, made, advance } = setUp(t, { maxConnectionAgeMs: 1000, minPoolSize: 2, initialPoolSize: 2 });
  const lease = await pool.acquire();
  await turns();
  await advance(1100);
  assert.equal(lease.resource.destroyed, 'no');
  assert.equal(made.filter(({ destroyed }) => destroyed === 'politely').length, 1);
  lease.release();
  assert.equal(lease.resource.destroyed, 'politely');
  await turns();
  assert.equal(pool.figures().size, 2);
  await pool.close();
});

test('a connection that is lost is replaced: at once when idle, on return when busy', async (t) => {
  const { pool, made } = setUp(t);
  const lease = await pool.acquire();
  made[0]!.lose();
  assert.equal(pool.figures().size, 1);
  lease.release();
  await turns();
  assert.equal(made.length, 2);
  made[1]!.lose();
  await turns();
  assert.equal(made.length, 3);
  assert.deepEqual(pool.figures(), { size: 1, idle: 1, busy: 0, waiting: 0 });
  await pool.close();
});

test('close ends what is idle and waits for what is busy', async (t) => {
  const { pool, made } = setUp(t, { maxPoolSize: 2, minPoolSize: 2, initialPoolSize: 2 });
  const lease = await pool.acquire();
  (await pool.acquire()).release();
  let isClosed = false;
  const closing = pool.close().then(() => {
    isClosed = true;
  });
  await turns();
  assert.equal(isClosed, false);
  assert.deepEqual(made.map(({ destroyed }) => destroyed).sort(), ['no', 'politely']);
  lease.release();
  await closing;
  assert.ok(made.every(({ destroyed }) => destroyed === 'politely'));
  assert.equal(await code(pool.acquire()), 'not_active');
});

test('close by force turns waiters away and ends busy connections and those being opened; a late lease does no harm', async (t) => {
  const { pool, driver, made } = setUp(t, { maxPoolSize: 2 });
  const lease = await pool.acquire();
  driver.hang = true;
  const waiting = code(pool.acquire());
  await turns();
  const draining = pool.close();
  await pool.close(true);
  await draining;
  assert.equal(await waiting, 'not_active');
  assert.equal(made[0]!.destroyed, 'by force');
  lease.release();
  lease.discard();
  assert.equal(pool.figures().size, 0);
});

test('under any sequence of events the pool holds its bounds and serves everybody', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const events = fc.array(
    fc.oneof(
      fc.constant('acquire' as const),
      fc.constant('release' as const),
      fc.constant('discard' as const),
      fc.constant('lose' as const),
      fc.constant('break' as const),
      fc.constant('fail' as const),
      fc.constant('heal' as const),
      fc.constant('tick' as const),
    ),
    { maxLength: 60 },
  );
  const settings = fc.record({
    initialPoolSize: fc.integer({ min: 1, max: 6 }),
    minPoolSize: fc.integer({ min: 1, max: 3 }),
    maxPoolSize: fc.integer({ min: 3, max: 5 }),
    incrementCount: fc.integer({ min: 1, max: 4 }),
    testConnectionOnCheckout: fc.boolean(),
    testConnectionOnCheckin: fc.boolean(),
    maxIdleTimeMs: fc.constantFrom(0, 300),
    maxConnectionAgeMs: fc.constantFrom(0, 700),
    idleConnectionTestPeriodMs: fc.constantFrom(0, 200),
  });
  await fc.assert(
    fc.asyncProperty(settings, events, async (chosen, sequence) => {
      const open = new Set<{ sound: boolean; lost: () => void }>();
      let failing = false;
      const pool = new ConnectionPool(
        { ...defaults, ...chosen, connectionTimeoutMs: 60_000 },
        {
          async create(_signal, lost) {
            await Promise.resolve();
            if (failing) throw new AppError('connection_refused');
            const connection = { sound: true, lost };
            open.add(connection);
            return connection;
          },
          async validate(connection) {
            await Promise.resolve();
            if (!connection.sound) throw new Error('broken');
          },
          destroy(connection) {
            assert.ok(open.delete(connection), 'destroyed once');
          },
        },
        () => Date.now(),
      );
      const leases: Lease<{ sound: boolean; lost: () => void }>[] = [];
      let pending = 0;
      for (const event of sequence) {
        if (event === 'acquire') {
          pending++;
          pool.acquire().then(
            (lease) => {
              pending--;
              assert.ok(!leases.some(({ resource }) => resource === lease.resource), 'lent once at a time');
              leases.push(lease);
            },
            () => pending--,
          );
        } else if (event === 'release') leases.shift()?.release();
        else if (event === 'discard') leases.shift()?.discard();
        else if (event === 'fail') failing = true;
        else if (event === 'heal') failing = false;
        else if (event === 'tick') t.mock.timers.tick(150);
        else {
          const victim = [...open][0];
          if (victim) victim.sound = false;
          if (event === 'lose') victim?.lost();
        }
        await turns();
        const { size, idle, busy } = pool.figures();
        assert.ok(open.size <= chosen.maxPoolSize, `${open.size} open`);
        assert.equal(size, idle + busy);
        assert.equal(size, open.size);
      }
      failing = false;
      for (let round = 0; round < 200 && pending > 0; round++) {
        leases.shift()?.release();
        t.mock.timers.tick(100);
        await turns();
      }
      assert.equal(pending, 0, 'somebody waits for ever');
      for (const lease of leases) lease.release();
      await turns();
      await pool.close();
      assert.equal(open.size, 0);
    }),
    { numRuns: 150, seed: 20261122 },
  );
});
