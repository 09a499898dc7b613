import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPostgresql } from '../../../test/services/postgresql.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import type { Database } from './database.ts';
import { openDatabase } from './open-database.ts';
import { rereadAfterLoss } from './rereading.ts';

test('what is held follows a commit that the server is still about, and is asked for until it answers', async (t) => {
  const server = await startOrSkip(t, startPostgresql);
  if (!server) return;
  t.after(() => server.stop());
  const db = await openDatabase({ url: server.url() });
  t.after(() => db.close());
  const { default: pg } = await import('pg');
  const slow = new pg.Client({ connectionString: server.url() });
  slow.on('error', () => {});
  await slow.connect();
  const until = async (holds: () => boolean) => {
    const deadline = Date.now() + 20_000;
    while (!holds()) {
      assert.ok(Date.now() < deadline, 'never');
      await sleep(10);
    }
  };

  const seen: string[][] = [];
  const warned: unknown[] = [];
  let lose = () => {};
  const losing: Database = Object.create(db, {
    onOutcomeUnknown: { value: (listener: () => void) => (lose = listener) },
    write: { value: db.write.bind(db) },
  });
  const stop = rereadAfterLoss(
    losing,
    {
      tables: ['environments'],
      read: async (tx) => {
        seen.push((await tx.all<{ name: string }>('select name from environments')).map(({ name }) => name));
      },
    },
    { warn: (...said: unknown[]) => void warned.push(said) } as never,
  );

  await slow.query('begin');
  await slow.query("insert into environments (id, name, type, created_at) values ('e', 'late', 'TEST', 0)");
  lose();
  await sleep(300);
  assert.deepEqual(seen, [], 'it waits for what is under way');
  await slow.query('commit');
  await until(() => seen.length > 0);
  assert.deepEqual(seen, [['late']]);

  await server.shutDown();
  lose();
  await until(() => warned.length > 0);
  await server.restart();
  await until(() => seen.length === 2);

  await server.shutDown();
  lose();
  await stop();
  await sleep(300);
  assert.equal(seen.length, 2, 'nothing goes on behind its end');
  await server.restart();
});
