import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, type ErrorCode } from '../../errors.ts';
import { type Database, isUniqueViolation, type Transaction } from './database.ts';
import { type Position, positionAfter, positionOf } from './epoch.ts';
import { migrate } from './migrate.ts';
import { migrations } from './migrations/migrations.ts';

/** Opens one and the same database each time. */
export type Open = () => Promise<Database>;

/** What every database must do; `create` answers how to open a new, empty one. */
export function storeSuite(create: () => Promise<Open>): void {
  const opened: Database[] = [];
  after(() => Promise.all(opened.map((database) => database.close())));

  const openNew = async () => {
    const open = await create();
    const reopen = async () => {
      const database = await open();
      opened.push(database);
      return database;
    };
    return { database: await reopen(), reopen };
  };

  describe('write', () => {
    it('stores before it resolves', async () => {
      const { database, reopen } = await openNew();
      const answer = await database.write(async (tx) => {
        await insertAudit(tx, 'a');
        return 'answer';
      });
      assert.equal(answer, 'answer');
      await database.close();
      assert.deepEqual(await audited(await reopen()), ['a']);
    });

    it('undoes every statement of a job that throws, and of no other', async () => {
      const { database } = await openNew();
      const failure = new Error('of the job');
      const results = await Promise.allSettled(
        ['a', 'b', 'c', 'd', 'e'].map((target) =>
          database.write(async (tx) => {
            await insertAudit(tx, target);
            await insertAudit(tx, `${target}${target}`);
            if (target === 'b' || target === 'e') throw failure;
          }),
        ),
      );
      assert.deepEqual(
        results.map((result) => (result.status === 'rejected' ? result.reason : 'stored')),
        ['stored', failure, 'stored', 'stored', failure],
      );
      assert.deepEqual(await audited(database), ['a', 'aa', 'c', 'cc', 'd', 'dd']);
    });

    it('survives a job that throws before it returns a promise', async () => {
      const { database } = await openNew();
      const failure = new Error('at once');
      const throwing = database.write(() => {
        throw failure;
      });
      const other = database.write((tx) => insertAudit(tx, 'other'));
      await assert.rejects(throwing, failure);
      await other;
      assert.deepEqual(await audited(database), ['other']);
    });

    it('shows no row of a job that has not committed', async () => {
      const { database } = await openNew();
      const inserted = Promise.withResolvers<void>();
      const write = database.write(async (tx) => {
        await insertAudit(tx, 'dirty');
        inserted.resolve();
        await sleep(100);
        throw new Error('rolled back');
      });
      const refused = assert.rejects(write, /rolled back/);
      await inserted.promise;
      const seen = await Promise.all([
        database.all('select target from audit'),
        database.get('select target from audit'),
        database.builder.selectFrom('audit').select('target').execute(),
      ]);
      assert.deepEqual(seen, [[], undefined, []]);
      await refused;
    });

    it('shows a committed row to every read that starts afterwards', async () => {
      const { database } = await openNew();
      await Promise.all(
        Array.from({ length: 40 }, async (_, i) => {
          await database.write((tx) => insertAudit(tx, `t${i}`));
          assert.ok(await database.get('select id from audit where target = $1', [`t${i}`]));
        }),
      );
    });

    it('loses no update of concurrent jobs', async () => {
      const { database } = await openNew();
      await database.write((tx) => tx.run("insert into meta (key, value) values ('count', '0')"));
      await Promise.all(
        Array.from({ length: 50 }, () =>
          database.write((tx) =>
            tx.run("update meta set value = cast(cast(value as integer) + 1 as text) where key = 'count'"),
          ),
        ),
      );
      const row = await database.get<object>("select value from meta where key = 'count'");
      assert.deepEqual({ ...row }, { value: '50' });
    });

    it('fails a job whose statement failed, even where the job caught it', async () => {
      const { database } = await openNew();
      const caught = database.write(async (tx) => {
        await insertAudit(tx, 'before');
        await tx.run('insert into change_counter (id, value) values (1, 1)').catch(() => {});
        return 'stored?';
      });
      await assert.rejects(caught, (error) => isUniqueViolation(error));
      assert.deepEqual(await audited(database), []);
    });

    it('refuses a transaction that has ended', async () => {
      const { database } = await openNew();
      let escaped: Transaction | undefined;
      await database.write(async (tx) => {
        escaped = tx;
      });
      await assert.rejects(escaped!.get('select 1 as one'), isAppError('internal_error'));
      await assert.rejects(insertAudit(escaped!, 'late'), isAppError('internal_error'));
      await assert.rejects(
        escaped!.builder.selectFrom('audit').selectAll().execute(),
        isAppError('internal_error'),
      );
    });

    it('answers the number of rows changed', async () => {
      const { database } = await openNew();
      await database.write(async (tx) => {
        await insertAudit(tx, 'a');
        await insertAudit(tx, 'b');
        assert.equal(await tx.run('update audit set actor = $1', ['x']), 2);
        assert.equal(await tx.run('delete from audit where target = $1', ['none']), 0);
        const deleted = await tx.builder.deleteFrom('audit').where('target', '=', 'a').executeTakeFirst();
        assert.equal(deleted.numDeletedRows, 1n);
      });
    });

    it('stores what was queued before close, and is unavailable afterwards', async () => {
      const { database, reopen } = await openNew();
      const queued = ['a', 'b', 'c'].map((target) => database.write((tx) => insertAudit(tx, target)));
      await Promise.all(queued);
      await database.close();
      await database.close();
      await assert.rejects(
        database.write((tx) => insertAudit(tx, 'late')),
        isAppError('unavailable'),
      );
      await assert.rejects(database.get('select 1 as one'), isAppError('unavailable'));
      await assert.rejects(database.demandWritable(), isAppError('unavailable'));
      assert.deepEqual(await audited(await reopen()), ['a', 'b', 'c']);
    });
  });

  describe('nextSequence', () => {
    it('counts without gaps, and shows no number before all smaller ones', async () => {
      const { database } = await openNew();
      let writing = true;
      const reader = (async () => {
        let readings = 0;
        while (writing || readings === 0) {
          const rows = await database.all<{ at: number }>('select at from audit order by at');
          assert.deepEqual(
            rows.map((row) => row.at),
            rows.map((_, i) => i + 1),
          );
          readings++;
          await sleep(1);
        }
      })();
      const results = await Promise.allSettled(
        Array.from({ length: 60 }, async (_, i) => {
          await sleep(i % 7);
          return database.write(async (tx) => {
            const id = randomUUID();
            await insertAudit(tx, 'numbered', id);
            const seq = await tx.nextSequence();
            await tx.run('update audit set at = $1 where id = $2', [seq, id]);
            if (i % 5 === 0) throw new Error('gives its number back');
            return seq;
          });
        }),
      );
      writing = false;
      await reader;
      const numbers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      assert.deepEqual(
        numbers.sort((a, b) => a - b),
        Array.from({ length: 48 }, (_, i) => i + 1),
      );
    });
  });

  describe('queries', () => {
    it('number their parameters, also used twice, out of order, or looked like in a literal', async () => {
      const { database } = await openNew();
      const row = await database.get(
        `select cast($2 as text) as b, cast($1 as text) as a, cast($2 as text) as "$1", '$1 ''$2''' as literal`,
        ['one', 'two'],
      );
      assert.deepEqual({ ...(row as object) }, { b: 'two', a: 'one', $1: 'two', literal: "$1 '$2'" });
    });

    it('answer numbers for integers, counts and sums, and 0 or 1 for conditions', async () => {
      const { database } = await openNew();
      const now = Date.now();
      const row = await database.write(async (tx) => {
        await insertAudit(tx, 'a');
        await tx.run('update audit set at = $1', [now]);
        return tx.get(
          `select count(*) as count, sum(at) as sum, max(at) as max, min(project) as none,
            exists (select 1 from audit) as yes, count(*) > 5 as no from audit`,
        );
      });
      assert.deepEqual({ ...(row as object) }, { count: 1, sum: now, max: now, none: null, yes: 1, no: 0 });
    });

    it('insert however many rows, all in the one transaction', async () => {
      const { database } = await openNew();
      const into = 'insert into meta (key, value)';
      const stored = async () =>
        (
          await database.all<{ key: string; value: string }>(
            "select key, value from meta where key like 'each-%' order by key",
          )
        ).map(({ key, value }) => [key, value]);
      for (const count of [0, 1, 2, 7, 8, 9, 16, 41]) {
        const rows = Array.from({ length: count }, (_, at) => [
          `each-${count}-${String(at).padStart(2, '0')}`,
          `${at}`,
        ]);
        if (count > 0) await assert.rejects(database.write((tx) => tx.insertRows(into, [...rows, rows[0]!])));
        assert.deepEqual(await stored(), []);
        await database.write((tx) => tx.insertRows(into, rows));
        assert.deepEqual(await stored(), rows);
        await database.write((tx) => tx.run("delete from meta where key like 'each-%'"));
      }
    });

    it('keep text as it is, long or in any script', async () => {
      const { database } = await openNew();
      const texts = ['', ' ', "' or 1=1 --", '\u{1f50c} \u0301e\u0301 ß \u202e', 'x'.repeat(2_000_000)];
      await database.write(async (tx) => {
        for (const [i, text] of texts.entries())
          await tx.run('insert into meta (key, value) values ($1, $2)', [`text${i}`, text]);
      });
      const rows = await database.all<{ value: string }>(
        "select value from meta where key like 'text%' order by key",
      );
      assert.ok(rows.every((row, i) => row.value === texts[i]));
      assert.equal(rows.length, texts.length);
    });

    it('order text by its bytes', async () => {
      const { database } = await openNew();
      for (const target of ['a', 'B', 'b', 'é', 'Z', '_', 'A'])
        await database.write((tx) => insertAudit(tx, target));
      assert.deepEqual(await audited(database), ['A', 'B', 'Z', '_', 'a', 'b', 'é']);
    });

    it('turn U+0000 into an error of the client where the database cannot hold it', async () => {
      const { database } = await openNew();
      const write = database.write((tx) => insertAudit(tx, 'nul \0'));
      if (database.dialect === 'postgres') await assert.rejects(write, isAppError('bad_request'));
      else await write;
      await database.write((tx) => insertAudit(tx, 'next'));
      assert.ok((await audited(database)).includes('next'));
    });

    it('refuse to change rows or to make transactions by the builder outside of write', async () => {
      const { database } = await openNew();
      const { builder } = database;
      await assert.rejects(builder.deleteFrom('audit').execute(), isAppError('internal_error'));
      await assert.rejects(
        builder.insertInto('meta').values({ key: 'k', value: 'v' }).execute(),
        isAppError('internal_error'),
      );
      await assert.rejects(
        builder.transaction().execute(async () => {}),
        isAppError('internal_error'),
      );
      await database.write(async (tx) => {
        await tx.builder.insertInto('meta').values({ key: 'k', value: 'v' }).execute();
        await assert.rejects(
          tx.builder.transaction().execute(async () => {}),
          isAppError('internal_error'),
        );
      });
      const { value } = await builder
        .selectFrom('meta')
        .select('value')
        .where('key', '=', 'k')
        .executeTakeFirstOrThrow();
      assert.equal(value, 'v');
    });
  });

  describe('constraints', () => {
    it('let the database decide which name is taken, and say which index it was', async () => {
      const { database } = await openNew();
      const create = (id: string, project: string) =>
        database.write((tx) => insertConnection(tx, id, project));
      const results = await Promise.allSettled([create('1', 'p'), create('2', 'p'), create('3', 'other')]);
      const refused = results.filter((result) => result.status === 'rejected');
      assert.equal(refused.length, 1);
      const error = refused[0]!.reason;
      assert.ok(isUniqueViolation(error));
      assert.ok(isUniqueViolation(error, 'connections_name'));
      assert.ok(!isUniqueViolation(error, 'projects_name'));

      await database.write((tx) => tx.run("update connections set deleted_at = 1 where project_id = 'p'"));
      await create('4', 'p');
    });

    it('tell a primary key from an index, and both from other errors', async () => {
      const { database } = await openNew();
      const insert = () =>
        database
          .write((tx) => tx.run("insert into meta (key, value) values ('twice', '')"))
          .then(
            () => undefined,
            (error) => error,
          );
      assert.equal(await insert(), undefined);
      const error = await insert();
      assert.ok(isUniqueViolation(error));
      assert.ok(!isUniqueViolation(error, 'connections_name'));
      const missing = await database
        .write((tx) => tx.run("insert into meta (key, value) values ('k', null)"))
        .catch((error) => error);
      assert.ok(missing instanceof Error && !isUniqueViolation(missing));
      assert.ok(!isUniqueViolation(new AppError('conflict')));
    });

    it('hold references, and follow them on deletion', async () => {
      const { database } = await openNew();
      const revision = (connection: string) =>
        database.write((tx) =>
          tx.run(
            `insert into revisions (connection_id, revision, action, name, masked, sealed, author, at)
              values ($1, 1, 'create', 'c', '{}', '{}', 'me', 1)`,
            [connection],
          ),
        );
      await assert.rejects(revision('nowhere'));
      await database.write((tx) => insertConnection(tx, 'c', 'p'));
      await revision('c');
      await database.write((tx) => tx.run("delete from connections where id = 'c'"));
      assert.equal(await database.get('select revision from revisions'), undefined);
    });

    it('pin one host key for a server in an environment, by the first that commits', async () => {
      const { database } = await openNew();
      await database.write(async (tx) => {
        await insertConnection(tx, 'c', 'p');
        await tx.run("insert into environments (id, name, type, created_at) values ('e', 'e', 'TEST', 1)");
      });
      const pin = (fingerprint: string, server = 'a:22') =>
        database.write((tx) =>
          tx.run(
            `insert into host_keys (connection_id, environment_id, server, algorithm, fingerprint, pinned_at, pinned_by)
              values ('c', 'e', $1, 'ssh-ed25519', $2, 1, 'me') on conflict (connection_id, environment_id, server) do nothing`,
            [server, fingerprint],
          ),
        );
      const inserted = await Promise.all(['one', 'two', 'three', 'four'].map((key) => pin(key)));
      assert.equal(inserted.filter((rows) => rows === 1).length, 1);
      assert.equal(await pin('another', 'b:22'), 1);
      const rows = await database.all<{ fingerprint: string }>(
        'select fingerprint from host_keys order by server',
      );
      assert.deepEqual(
        rows.map(({ fingerprint }) => fingerprint),
        [['one', 'two', 'three', 'four'][inserted.indexOf(1)], 'another'],
      );
      await database.write((tx) => tx.run("delete from environments where id = 'e'"));
      assert.deepEqual(await database.all('select server from host_keys'), []);
    });

    it('take no text for an integer', async () => {
      const { database } = await openNew();
      await assert.rejects(
        database.write((tx) => tx.run('update change_counter set value = $1', ['not a number'])),
      );
    });
  });

  describe('start', () => {
    it('keeps the epoch of a database, and gives another one its own', async () => {
      const { database, reopen } = await openNew();
      const other = await openNew();
      const { epoch } = await positionOf(database);
      assert.match(epoch, /^[\w-]{20,}$/);
      assert.notEqual((await positionOf(other.database)).epoch, epoch);
      await database.close();
      assert.equal((await positionOf(await reopen())).epoch, epoch);
    });

    it('begins a new epoch, once, when it lies before what somebody was told', async () => {
      const { database, reopen } = await openNew();
      for (let count = 0; count < 3; count++) await database.write((tx) => tx.nextSequence());
      const { epoch, seq } = await positionOf(database);
      assert.equal(seq, 3);
      const after = (told?: Position) => database.write((tx) => positionAfter(tx, told));
      for (const told of [undefined, { epoch, seq }, { epoch, seq: 0 }, { epoch: 'another', seq: 99 }])
        assert.deepEqual(await after(told), { epoch, seq, wentBack: false });
      const told = { epoch, seq: 4 };
      const [one, ...others] = await Promise.all([after(told), after(told), after(told)]);
      assert.equal(one!.seq, 3);
      assert.notEqual(one!.epoch, epoch);
      for (const other of others) assert.equal(other.epoch, one!.epoch);
      assert.ok([one!, ...others].some(({ wentBack }) => wentBack));
      assert.equal((await after(told)).wentBack, false);
      await database.close();
      assert.equal((await positionOf(await reopen())).epoch, one!.epoch);
    });

    it('migrates once', async () => {
      const { database } = await openNew();
      const applied = () => database.all('select number, name, at from migrations order by number');
      const before = await applied();
      assert.equal(before.length, migrations.length);
      await migrate(database);
      assert.deepEqual(await applied(), before);
    });

    it('applies a migration wholly or not at all', async () => {
      const { database } = await openNew();
      const number = migrations.length + 1;
      const up = async (fails: boolean, builder: Database['builder']) => {
        await builder.schema.createTable('later').addColumn('id', 'text').execute();
        if (fails) throw new Error('halfway');
      };
      const next = (fails: boolean) => [
        ...migrations,
        { number, name: 'later', up: (builder: Database['builder']) => up(fails, builder) },
      ];
      await assert.rejects(migrate(database, next(true)), /halfway/);
      await assert.rejects(database.all('select id from later'));
      await migrate(database, next(false));
      assert.deepEqual(await database.all('select id from later'), []);
    });

    it('refuses a database that a newer program has migrated', async () => {
      const { database, reopen } = await openNew();
      await database.write((tx) =>
        tx.run("insert into migrations (number, name, at) values (999, 'from the future', 1)"),
      );
      await database.close();
      await assert.rejects(reopen(), /version 999 by a newer Plugboard/);
    });
  });
}

/** Whether an error is an AppError of that code; for `assert.rejects`. */
export function isAppError(code: ErrorCode): (error: unknown) => boolean {
  return (error) => {
    if (!(error instanceof AppError) || error.code !== code)
      throw new Error(`expected an AppError ${code}, got ${error}`, { cause: error });
    return true;
  };
}

/** Inserts an audit row, the table of the suite's choice as it refers to no other. */
export async function insertAudit(tx: Transaction, target: string, id: string = randomUUID()): Promise<void> {
  await tx.run(
    `insert into audit (id, at, project, actor, action, target, details, request_id)
      values ($1, $2, null, 'me', 'test', $3, '{}', null)`,
    [id, 0, target],
  );
}

/** The targets of all audit rows, in the order of their text. */
export async function audited(database: Database): Promise<string[]> {
  const rows = await database.all<{ target: string }>('select target from audit order by target');
  return rows.map((row) => row.target);
}

async function insertConnection(tx: Transaction, id: string, project: string): Promise<void> {
  await tx.builder
    .insertInto('connections')
    .values({
      id,
      project_id: project,
      name: 'Name',
      name_key: 'name',
      type: 'email',
      revision: 1,
      seq: await tx.nextSequence(),
      enabled: 1,
      deploy_to_worker: 1,
      environments: '[]',
      masked: '{}',
      sealed: '{}',
      created_at: 1,
      updated_at: 1,
      deleted_at: null,
    })
    .execute();
}
