import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '../../errors.ts';
import { startTestApp } from '../auth/test-app.ts';
import type { Database } from '../store/database.ts';
import { createConnectionReads, type ReadConnection } from './connection-reads.ts';
import { type ConnectionRow, insertConnection, markDeleted, updateConnection } from './connections.store.ts';

function rowOf(id: string, more: Partial<ConnectionRow> = {}): ConnectionRow {
  return {
    id,
    project_id: 'p',
    name: id,
    type: 'email',
    revision: 1,
    seq: 1,
    enabled: 1,
    deploy_to_worker: 1,
    environments: '[]',
    masked: '{"password":null}',
    sealed: '{}',
    created_at: 1,
    updated_at: 1,
    ...more,
  };
}

async function start() {
  const app = await startTestApp();
  const read = createConnectionReads(app.db);
  const insert = (row: ConnectionRow) => app.db.write((tx) => insertConnection(tx, row, row.name));
  /** What it answers, and whether it had to ask the database. */
  const reading = async (name: string, project = 'p') => {
    const before = app.statements();
    const row: ReadConnection = await read(project, name, name);
    return { row, asked: app.statements() > before };
  };
  return { app, read, insert, reading, [Symbol.asyncDispose]: () => app[Symbol.asyncDispose]() };
}

test('what was read is answered at once, to the one who asks for that project and name', async () => {
  await using given = await start();
  const { insert, reading, read } = given;
  await insert(rowOf('a'));
  await insert(rowOf('of-another', { project_id: 'q', name: 'a' }));
  assert.deepEqual([(await reading('a')).row.id, (await reading('a', 'q')).row.id], ['a', 'of-another']);
  assert.ok(!(read('p', 'a', 'a') instanceof Promise));
  const again = [await reading('a'), await reading('a', 'q')];
  assert.deepEqual(
    again.map(({ row, asked }) => [row.id, asked]),
    [
      ['a', false],
      ['of-another', false],
    ],
  );
});

test('nobody is answered what stood before a commit, whoever made it and however', async () => {
  await using given = await start();
  const { app, insert, reading } = given;
  const changed = rowOf('a', { name: 'b', revision: 2, masked: '{"password":null,"port":2}' });
  const changes: Record<string, () => Promise<unknown>> = {
    'an update': () => app.db.write((tx) => updateConnection(tx, { ...changed, name: 'a' }, 'a', 1)),
    'a new name': () => app.db.write((tx) => updateConnection(tx, { ...changed, revision: 3 }, 'b', 2)),
    'secrets sealed anew': () =>
      app.db.write((tx) => tx.run('update connections set sealed = $1 where id = $2', ['{"/p":"x"}', 'a'])),
    'an update by the builder': () =>
      app.db.write((tx) =>
        tx.builder.updateTable('connections').set({ masked: '{}' }).where('id', '=', 'a').execute(),
      ),
    'a deletion': () => app.db.write((tx) => markDeleted(tx, 'a', 3, 1)),
  };
  await insert(rowOf('a'));
  for (const [what, change] of Object.entries(changes)) {
    for (const name of ['a', 'b']) await reading(name).catch(() => {});
    await change();
    for (const name of ['a', 'b']) {
      const stored = await app.db.get<ConnectionRow>(
        'select revision, masked, sealed from connections where name_key = $1 and deleted_at is null',
        [name],
      );
      const answered = await reading(name).catch((error: AppError) => error.code);
      if (typeof answered === 'string') assert.deepEqual([answered, stored], ['not_found', undefined], what);
      else
        assert.deepEqual(
          [answered.row.tag, answered.row.masked, answered.row.sealed],
          [stored && `"a.${stored.revision}"`, stored?.masked, stored?.sealed],
          what,
        );
    }
  }
});

test('while a change is being made and where it is undone, what is committed is answered', async () => {
  await using given = await start();
  const { app, insert, reading } = given;
  await insert(rowOf('a'));
  await reading('a');
  const changed = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const failing = app.db.write(async (tx) => {
    await updateConnection(tx, rowOf('a', { revision: 2 }), 'a', 1);
    changed.resolve();
    await goOn.promise;
    throw new Error('undone');
  });
  const failed = assert.rejects(failing, /undone/);
  await changed.promise;
  assert.deepEqual(
    [await reading('a')].map(({ row, asked }) => [row.tag, asked]),
    [['"a.1"', false]],
  );
  goOn.resolve();
  await failed;
  assert.equal((await reading('a')).row.tag, '"a.1"');
  await app.db.write((tx) => updateConnection(tx, rowOf('a', { revision: 2 }), 'a', 1));
  assert.equal((await reading('a')).row.tag, '"a.2"');
});

test('a row that was read before a commit is not kept for those who ask after it', async () => {
  await using given = await start();
  const { app, insert } = given;
  await insert(rowOf('a'));
  const slow: Pick<Database, 'get' | 'connectionsVersion'> = {
    async get<Row>(sql: string, values?: readonly (string | number | null)[]) {
      const row = await app.db.get<Row>(sql, values);
      await app.db.write((tx) => updateConnection(tx, rowOf('a', { revision: 2 }), 'a', 1));
      return row;
    },
    connectionsVersion: () => app.db.connectionsVersion(),
  };
  const read = createConnectionReads(slow as Database);
  assert.equal((await read('p', 'a', 'a')).tag, '"a.1"');
  assert.equal((await read('p', 'a', 'a')).tag, '"a.2"');
});

test('nothing is kept where other processes write too, and nothing that is not there', async () => {
  await using given = await start();
  const { app, insert, reading } = given;
  await assert.rejects(reading('a'), (error: AppError) => error.code === 'not_found');
  await insert(rowOf('a'));
  const shared: Pick<Database, 'get' | 'connectionsVersion'> = {
    get: (sql, values) => app.db.get(sql, values),
    connectionsVersion: () => undefined,
  };
  const read = createConnectionReads(shared as Database);
  await read('p', 'a', 'a');
  const before = app.statements();
  await read('p', 'a', 'a');
  assert.equal(app.statements(), before + 1);
});

test('what is kept is bounded in bytes, not in connections', async () => {
  await using given = await start();
  const { insert, reading } = given;
  const masked = JSON.stringify({ text: 'x'.repeat(7 * 1024 * 1024) });
  const names = ['a', 'b', 'c', 'd', 'e'];
  for (const name of names) await insert(rowOf(name, { masked }));
  for (const name of names.slice(0, 4)) await reading(name);
  assert.deepEqual(
    (await Promise.all(names.slice(0, 4).map((name) => reading(name)))).map(({ asked }) => asked),
    [false, false, false, false],
  );
  await reading('e');
  assert.deepEqual([(await reading('e')).asked, (await reading('a')).asked], [false, true]);
});

test('what is kept is refused like what is read, once a sync of the disk has failed', async () => {
  await using given = await start();
  const { app, insert } = given;
  await insert(rowOf('a'));
  let failed = false;
  const failing: Pick<Database, 'get' | 'connectionsVersion'> = {
    get: (sql, values) => app.db.get(sql, values),
    connectionsVersion: () => {
      if (failed) throw new AppError('unavailable');
      return app.db.connectionsVersion();
    },
  };
  const read = createConnectionReads(failing as Database);
  await read('p', 'a', 'a');
  failed = true;
  assert.throws(
    () => read('p', 'a', 'a'),
    (error: AppError) => error.code === 'unavailable',
  );
});
