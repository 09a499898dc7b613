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

test('answers are prepared when the rows are committed, before the disk has answered', async () => {
  await using app = await startTestApp();
  const order: string[] = [];
  const noting: Pick<Database, 'write'> = {
    write: async (job, options) => {
      const value = await app.db.write(job, {
        ...options,
        onCommit: () => {
          order.push('committed');
          options?.onCommit?.();
        },
      });
      order.push('durable');
      return value;
    },
  };
  const audit = createReadAudit(noting as Database);
  await Promise.all([
    audit(entry('one'), () => order.push('one')),
    audit(entry('two'), () => {
      throw new Error('for the one who waits');
    }),
    audit(entry('three'), () => order.push('three')),
  ]);
  assert.deepEqual(order, ['committed', 'one', 'three', 'durable']);
});
