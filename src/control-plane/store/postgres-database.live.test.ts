import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startLostCommits } from '../../../test/services/lost-commit.ts';
import { startPostgresql } from '../../../test/services/postgresql.ts';
import { freePort, startOrSkip } from '../../../test/services/service.ts';
import type { Database } from './database.ts';
import { positionOf } from './epoch.ts';
import { openDatabase } from './open-database.ts';
import { audited, insertAudit, isAppError, storeSuite } from './store-suite.ts';

describe('PostgreSQL', async () => {
  let missing: string | undefined;
  const server = await startOrSkip(
    {
      skip: (message) => {
        missing = message;
      },
    },
    startPostgresql,
  );
  if (!server) {
    it('is exercised', { skip: missing ?? true }, () => {});
    return;
  }
  after(() => server.stop());

  let databases = 0;
  const newUrl = async () => {
    const name = `store${++databases}`;
    // A locale whose order is not that of bytes, as installations usually have.
    await server.createDatabase(name, 'en-US');
    return server.url(name);
  };

  storeSuite(async () => {
    const url = await newUrl();
    return () => openDatabase({ url });
  });

  it('is migrated by one of several replicas that start at once', async () => {
    const url = await newUrl();
    const replicas = await Promise.all([1, 2, 3].map(() => openDatabase({ url })));
    const positions = await Promise.all(replicas.map(positionOf));
    assert.equal(new Set(positions.map(({ epoch }) => epoch)).size, 1);
    const numbers = await Promise.all(
      replicas.flatMap((replica) =>
        Array.from({ length: 10 }, () => replica.write((tx) => tx.nextSequence())),
      ),
    );
    assert.deepEqual(
      numbers.sort((a, b) => a - b),
      Array.from({ length: 30 }, (_, i) => i + 1),
    );
    await Promise.all(replicas.map((replica) => replica.close()));
  });

  it('runs a job again after a deadlock', async () => {
    const database = await openDatabase({ url: await newUrl() });
    await database.write(async (tx) => {
      for (const key of ['a', 'b']) await tx.run("insert into meta (key, value) values ($1, '')", [key]);
    });
    let attempts = 0;
    const both = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const crosswise = (first: string, second: string, mine: number) =>
      database.write(async (tx) => {
        attempts++;
        await tx.run('update meta set value = value || $1 where key = $2', [first, first]);
        both[mine]!.resolve();
        await both[1 - mine]!.promise;
        await tx.run('update meta set value = value || $1 where key = $2', [first, second]);
      });
    await Promise.all([crosswise('a', 'b', 0), crosswise('b', 'a', 1)]);
    // More, where the one that goes on is slow to take what the other has left.
    assert.ok(attempts >= 3, `${attempts} attempts`);
    const rows = await database.all<{ value: string }>("select value from meta where key in ('a', 'b')");
    for (const { value } of rows) assert.deepEqual([...value].sort(), ['a', 'b']);
    await database.close();
  });

  it('leaves the parsers of other users of the driver alone', async () => {
    const database = await openDatabase({ url: await newUrl() });
    const { default: pg } = await import('pg');
    const client = new pg.Client({ connectionString: server.url() });
    await client.connect();
    const { rows } = await client.query('select 1::int8 as number, true as condition');
    await client.end();
    await database.close();
    assert.deepEqual(rows, [{ number: '1', condition: true }]);
  });

  it('is unavailable while the server is away, and works again by itself', async () => {
    const database = await openDatabase({ url: await newUrl() });
    await Promise.all(['a', 'b', 'c'].map((target) => database.write((tx) => insertAudit(tx, target))));
    // One write is inside its transaction when the server goes.
    const begun = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<void>();
    const interrupted = assert.rejects(
      database.write(async (tx) => {
        await insertAudit(tx, 'interrupted');
        begun.resolve();
        await gone.promise;
        await insertAudit(tx, 'interrupted');
      }),
      isAppError('unavailable'),
    );
    await begun.promise;
    await server.shutDown();
    gone.resolve();
    await interrupted;
    await assert.rejects(database.get('select 1 as one'), isAppError('unavailable'));
    await assert.rejects(
      database.builder.selectFrom('meta').selectAll().execute(),
      isAppError('unavailable'),
    );
    await assert.rejects(
      database.write((tx) => insertAudit(tx, 'away')),
      isAppError('unavailable'),
    );
    await server.restart();
    await database.write((tx) => insertAudit(tx, 'back'));
    assert.deepEqual(await audited(database), ['a', 'b', 'back', 'c']);
    await database.close();
  });

  it('says so when it is lost before it has answered a commit', async () => {
    const proxy = await startLostCommits(await newUrl());
    const database = await openDatabase({ url: proxy.url });
    try {
      const lost = proxy.loseNext('insert into audit');
      let seen = false;
      await assert.rejects(
        database.write((tx) => insertAudit(tx, 'stored'), { onCommit: () => (seen = true) }),
        isAppError('outcome_unknown'),
      );
      await lost;
      assert.equal(seen, false, 'nothing is told of what is not known');
      assert.deepEqual(await audited(database), ['stored']);
      await database.write((tx) => insertAudit(tx, 'then'));
    } finally {
      await database.close();
      await proxy.stop();
    }
  });

  it('says that it can only be read, and when it can be written again', async () => {
    const database = await openDatabase({ url: await newUrl() });
    const { default: pg } = await import('pg');
    const client = new pg.Client({ connectionString: server.url() });
    await client.connect();
    const becomes = async (isWritable: boolean) => {
      await client.query(`alter system set default_transaction_read_only = ${isWritable ? 'off' : 'on'}`);
      await client.query('select pg_reload_conf()');
      const deadline = Date.now() + 10_000;
      for (;;) {
        const error = await database.demandWritable().catch((raised: unknown) => raised);
        if ((error === undefined) === isWritable) return error;
        assert.ok(Date.now() < deadline, `never became ${isWritable ? 'writable' : 'read-only'}`);
        await sleep(20);
      }
    };
    try {
      await database.demandWritable();
      assert.ok(isAppError('unavailable')(await becomes(false)));
      await assert.rejects(
        database.write((tx) => insertAudit(tx, 'read-only')),
        isAppError('unavailable'),
      );
      await database.get('select key from meta limit 1');
    } finally {
      await becomes(true);
      await client.end();
      await database.close();
    }
  });

  it('is unavailable at start without a server, or with a wrong password', async () => {
    const port = await freePort();
    const wrong = [
      `postgres://test:test@127.0.0.1:${port}/test`,
      server.url().replace(server.password, 'wrong-password'),
      server.url('no-such-database'),
    ];
    for (const url of wrong)
      await assert.rejects(openDatabase({ url }) as Promise<Database>, (error: Error) => {
        assert.match(error.message, /ECONNREFUSED|password authentication failed|does not exist/);
        assert.ok(!error.message.includes('wrong-password'));
        return isAppError('unavailable')(error);
      });
  });
});
