import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '../../errors.ts';
import { startTestApp } from '../auth/test-app.ts';
import type { Database, Transaction } from '../store/database.ts';
import { createReadAudit } from './audit.service.ts';

const entry = (target: string) => ({
  actor: 'token:t',
  project: 'A',
  action: 'connection.reveal',
  target,
});

test('reads of one turn are audited by one job, and each is durable when it resolves', async () => {
  await using app = await startTestApp();
  let jobs = 0;
  const counting: Pick<Database, 'write'> = {
    write: (job) => {
      jobs += 1;
      return app.db.write(job);
    },
  };
  const audit = createReadAudit(counting as Database);
  await Promise.all([audit(entry('one')), audit(entry('two'))]);
  await audit(entry('three'));
  assert.equal(jobs, 2);
  const rows = await app.db.all<{ target: string }>(
    "select target from audit where action = 'connection.reveal' order by id",
  );
  assert.deepEqual(
    rows.map(({ target }) => target),
    ['one', 'two', 'three'],
  );
});

test('a batch that fails fails all of its reads, and none after it', async () => {
  await using app = await startTestApp();
  let broken = true;
  const failing: Pick<Database, 'write'> = {
    write: <T>(job: (tx: Transaction) => Promise<T>) =>
      broken ? Promise.reject<T>(new AppError('unavailable')) : app.db.write(job),
  };
  const audit = createReadAudit(failing as Database);
  const outcomes = await Promise.allSettled([audit(entry('one')), audit(entry('two'))]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  broken = false;
  await audit(entry('three'));
  const rows = await app.db.all<{ target: string }>(
    "select target from audit where action = 'connection.reveal'",
  );
  assert.deepEqual(
    rows.map(({ target }) => target),
    ['three'],
  );
});

test('of many reads that come one by one half is written while the others still come', {
  timeout: 60_000,
}, async () => {
  const batches: string[][] = [];
  const answers: (() => void)[] = [];
  const held: Pick<Database, 'write'> = {
    async write<T>(job: (tx: Transaction) => Promise<T>): Promise<T> {
      const tx: Pick<Transaction, 'insertRows'> = {
        async insertRows(_into, rows) {
          batches.push(rows.map((row) => String(row[5])));
        },
      };
      const value = await job(tx as Transaction);
      await new Promise<void>((resolve) => answers.push(resolve));
      return value;
    },
  };
  const audit = createReadAudit(held as Database);
  /** Answers as the disk would, until all of these are answered. */
  const answered = async (reads: Promise<void>[]) => {
    let waiting = true;
    const all = Promise.all(reads).finally(() => {
      waiting = false;
    });
    while (waiting) {
      for (const answer of answers.splice(0)) answer();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await all;
  };
  for (const round of ['a', 'b', 'c']) {
    const reads: Promise<void>[] = [];
    for (let at = 0; at < 8; at++) {
      reads.push(audit(entry(`${round}${at}`)));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await answered(reads);
  }
  // The first round does not know yet how many come.
  for (const round of ['b', 'c']) {
    const sizes = batches.filter(([first]) => first!.startsWith(round)).map(({ length }) => length);
    assert.ok(sizes[0] === 3 || sizes[0] === 4, sizes.join());
    assert.equal(
      sizes.reduce((sum, size) => sum + size),
      8,
    );
  }
  // None waits for company that does not come any more.
  await answered([audit(entry('alone'))]);
  assert.deepEqual(batches.at(-1), ['alone']);
});
