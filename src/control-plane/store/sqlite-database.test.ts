import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, it, mock } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { needProgram, startOrSkip } from '../../../test/services/service.ts';
import { openDatabase } from './open-database.ts';
import { audited, insertAudit, isAppError, storeSuite } from './store-suite.ts';

const root = await mkdtemp(join(tmpdir(), 'plugboard-store-'));
after(() => rm(root, { recursive: true, force: true }));
const newDirectory = async () => join(await mkdtemp(join(root, 'd-')), 'data');

/** A disk that answers a sync when the test lets it, and notes which files were synced. */
class HeldDisk {
  /** Inodes, in the order of the syncs. */
  readonly files: number[] = [];
  #held: ((error: Error | null) => void)[] = [];

  constructor() {
    mock.method(fs, 'fdatasync', (file: number, callback: (error: Error | null) => void) => {
      this.files.push(fs.fstatSync(file).ino);
      this.#held.push(callback);
    });
  }

  get syncs(): number {
    return this.files.length;
  }

  /** Waits until so many syncs were asked for. */
  async asked(count: number): Promise<void> {
    while (this.syncs < count) await sleep(1);
  }

  release(error: Error | null = null): void {
    for (const callback of this.#held.splice(0)) callback(error);
  }

  restore(): void {
    mock.restoreAll();
    this.release();
  }
}

/** Runs a program's text beside this file, as another process with the store's modules. */
function runProgram(text: string, ...args: string[]): ChildProcess {
  const program = `
    import { openDatabase } from ${JSON.stringify(new URL('open-database.ts', import.meta.url).href)};
    import { insertAudit } from ${JSON.stringify(new URL('store-suite.ts', import.meta.url).href)};
    ${text}`;
  return spawn(process.execPath, ['--input-type=module', '-e', program, '--', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function outcome(child: ChildProcess): Promise<{ code: number | null; output: string }> {
  let output = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.on('data', (chunk) => {
      output += chunk;
    });
  const [code] = await once(child, 'close');
  return { code, output };
}

describe('SQLite', () => {
  storeSuite(async () => {
    const dataDirectory = await newDirectory();
    return () => openDatabase({ dataDirectory });
  });

  it('keeps directory, database and journal to its owner', async () => {
    const dataDirectory = await newDirectory();
    const database = await openDatabase({ dataDirectory });
    const modes = await Promise.all(
      ['', 'plugboard.db', 'plugboard.db-wal'].map(
        async (name) => (await stat(join(dataDirectory, name))).mode & 0o777,
      ),
    );
    await database.close();
    assert.deepEqual(modes, [0o700, 0o600, 0o600]);
  });

  it('keeps a write-ahead log that is synced around every checkpoint', async () => {
    const database = await openDatabase({ dataDirectory: await newDirectory() });
    const pragma = async (name: string) => Object.values((await database.get<object>(`pragma ${name}`))!)[0];
    const normal = 1;
    assert.deepEqual(
      [await pragma('journal_mode'), await pragma('synchronous'), await pragma('foreign_keys')],
      ['wal', normal, 1],
    );
    await database.close();
  });

  it('answers a write once the disk has it, while readers see it and others are written', async () => {
    const dataDirectory = await newDirectory();
    const database = await openDatabase({ dataDirectory });
    const disk = new HeldDisk();
    try {
      const order: string[] = [];
      const written = database
        .write((tx) => insertAudit(tx, 'first'), { onCommit: () => order.push('committed') })
        .then(() => order.push('answered'));
      await disk.asked(1);
      assert.deepEqual(disk.files, [(await stat(join(dataDirectory, 'plugboard.db-wal'))).ino]);
      assert.deepEqual(await audited(database), ['first']);
      const durable = database.durable().then(() => order.push('durable'));
      await database.write((tx) => insertAudit(tx, 'needs no disk'), { durable: false });
      const later = ['second', 'third'].map((target) => database.write((tx) => insertAudit(tx, target)));
      while ((await audited(database)).length < 4) await sleep(5);
      assert.deepEqual(order, ['committed']);
      disk.release();
      await Promise.all([written, durable]);
      assert.deepEqual(order.sort(), ['answered', 'committed', 'durable']);
      // One sync for both, which began after they were written.
      await disk.asked(2);
      disk.release();
      await Promise.all(later);
      assert.equal(disk.syncs, 2);
    } finally {
      disk.restore();
    }
    await database.close();
  });

  it('answers nothing any more after a sync has failed, and has what the disk kept after a new start', async () => {
    const dataDirectory = await newDirectory();
    const database = await openDatabase({ dataDirectory });
    await database.write((tx) => insertAudit(tx, 'before'));
    const disk = new HeldDisk();
    try {
      const writes = ['first', 'second'].map((target) => database.write((tx) => insertAudit(tx, target)));
      await disk.asked(1);
      const behind = database.write((tx) => insertAudit(tx, 'behind'));
      disk.release(new Error('EIO'));
      for (const write of [...writes, behind]) await assert.rejects(write, isAppError('unavailable'));
    } finally {
      disk.restore();
    }
    const uses = [
      () => database.durable(),
      () => database.get('select 1 as one'),
      () => database.all('select 1 as one'),
      () => database.builder.selectFrom('meta').selectAll().execute(),
      async () => database.connectionsVersion(),
      () => database.write((tx) => insertAudit(tx, 'after')),
      () => database.write((tx) => insertAudit(tx, 'after'), { durable: false }),
    ];
    for (const use of uses) await assert.rejects(use, isAppError('unavailable'));
    await database.close();

    const again = await openDatabase({ dataDirectory });
    const stored = await audited(again);
    assert.ok(stored.includes('before') && !stored.includes('after'), stored.join());
    await again.write((tx) => insertAudit(tx, 'works'));
    await again.close();
  });

  it('gives each commit that may have changed connections another version, and no other', async () => {
    const database = await openDatabase({ dataDirectory: await newDirectory() });
    const versions = new Set([database.connectionsVersion()]);
    const isNew = () => {
      const { size } = versions;
      return versions.add(database.connectionsVersion()).size > size;
    };
    const after = async (sql: string) => {
      await database.write((tx) => tx.run(sql));
      return isNew();
    };
    assert.equal(await after('update connections set seq = 1'), true);
    assert.equal(await after('delete from "connections" where id = 1'), true);
    assert.equal(await after("insert into meta (key, value) values ('connection', '')"), false);
    assert.equal(await after("delete from connection_references where name = 'a'"), false);
    await database.write((tx) => tx.get('update connections set seq = 2 returning id'));
    assert.equal(isNew(), true);
    await database.write((tx) => tx.builder.updateTable('connections').set({ seq: 3 }).execute());
    assert.equal(isNew(), true);
    await database.write((tx) => tx.all('select id from connections'));
    await database.write((tx) => insertAudit(tx, 'one'));
    assert.equal(isNew(), false);

    // Read between the commit and the answer, too.
    let seen: boolean | undefined;
    await database.write((tx) => tx.run('update connections set seq = 4'), {
      onCommit: () => (seen = isNew()),
    });
    assert.equal(seen, true);

    // Which statements change connections is told by their text, so nothing else may reach them.
    assert.deepEqual(await database.all("select name from sqlite_schema where type = 'trigger'"), []);
    assert.deepEqual(await database.all("select * from pragma_foreign_key_list('connections')"), []);
    await database.close();
  });

  it('commits the jobs of one turn in their order, and answers them in it', async () => {
    const database = await openDatabase({ dataDirectory: await newDirectory() });
    const answered: number[] = [];
    const seen = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const count = await database.write(async (tx) => {
          await insertAudit(tx, String(i));
          return (await tx.get<{ count: number }>('select count(*) as count from audit'))!.count;
        });
        answered.push(i);
        return count;
      }),
    );
    assert.deepEqual(
      seen,
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
    assert.deepEqual(
      answered,
      seen.map((_, i) => i),
    );
    await database.close();
  });

  it('waits for the disk for those jobs of a group alone that ask for it', async () => {
    const database = await openDatabase({ dataDirectory: await newDirectory() });
    const disk = new HeldDisk();
    try {
      await database.write((tx) => insertAudit(tx, 'alone'), { durable: false });
      assert.equal(disk.syncs, 0);
      const durable = database.write((tx) => insertAudit(tx, 'durable'));
      await database.write((tx) => insertAudit(tx, 'beside it'), { durable: false });
      await disk.asked(1);
      disk.release();
      await durable;
      assert.equal(disk.syncs, 1);
    } finally {
      disk.restore();
    }
    await database.close();
  });

  it('runs the jobs of a group again when one of them has failed, and undoes that one alone', async () => {
    const database = await openDatabase({ dataDirectory: await newDirectory() });
    const runs = [0, 0, 0];
    const results = await Promise.allSettled(
      runs.map((_, place) =>
        database.write(async (tx) => {
          runs[place]! += 1;
          await insertAudit(tx, String(place));
          if (place === 1) throw new Error('of its own');
        }),
      ),
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(runs, [2, 2, 1]);
    assert.deepEqual(await audited(database), ['0', '2']);
    await database.close();
  });

  it('answers no job of a group whose commit fails, not even with an error of its own', async () => {
    const database = await openDatabase({ dataDirectory: await newDirectory() });
    const results = await Promise.allSettled([
      database.write((tx) => insertAudit(tx, 'first')),
      database.write(async (tx) => {
        // A violated deferred reference makes the commit itself fail.
        await tx.run('pragma defer_foreign_keys = on');
        await tx.run("insert into project_environments (project_id, environment_id) values ('x', 'y')");
      }),
      database.write(async () => {
        throw new Error('taken for granted what was rolled back');
      }),
    ]);
    for (const result of results) {
      assert.equal(result.status, 'rejected');
      isAppError('unavailable')((result as PromiseRejectedResult).reason);
    }
    await database.write((tx) => insertAudit(tx, 'afterwards'));
    assert.deepEqual(await audited(database), ['afterwards']);
    await database.close();
  });

  it('refuses at once what a job asks of the database instead of its transaction', async () => {
    const database = await openDatabase({ dataDirectory: await newDirectory() });
    const inside = [
      () => database.get('select 1 as one'),
      () => database.all('select 1 as one'),
      () => database.builder.selectFrom('meta').selectAll().execute(),
      () => database.write(async () => {}),
    ];
    for (const use of inside) await assert.rejects(database.write(use), isAppError('internal_error'));
    // What the job leads to after its end is outside of it.
    const later = Promise.withResolvers<unknown>();
    await database.write(async () => {
      setTimeout(() => later.resolve(database.get('select 1 as one')), 5);
    });
    assert.deepEqual({ ...((await later.promise) as object) }, { one: 1 });
    await database.close();
  });

  it('is unavailable on a full disk, stays up, and stores again when there is room', async () => {
    const database = await openDatabase({ dataDirectory: await newDirectory() });
    const { page_count: pages } = (await database.get<{ page_count: number }>('pragma page_count'))!;
    await database.get(`pragma max_page_count = ${pages + 2}`);
    const large = 'x'.repeat(100_000);
    const results = await Promise.allSettled([
      database.write((tx) => insertAudit(tx, 'small')),
      database.write((tx) => insertAudit(tx, large)),
    ]);
    assert.equal(results[1].status, 'rejected');
    isAppError('unavailable')((results[1] as PromiseRejectedResult).reason);
    const stored = results[0].status === 'fulfilled' ? ['small'] : [];
    assert.deepEqual(await audited(database), stored);

    await database.get(`pragma max_page_count = ${pages + 10_000}`);
    await database.write((tx) => insertAudit(tx, large));
    assert.deepEqual(await audited(database), [...stored, large]);
    await database.close();
  });

  it('is unavailable on a disk that fails, stays up, and stores again when it works', async (test) => {
    const prlimit = await startOrSkip(test, async () => needProgram('The failing disk', 'prlimit'));
    if (!prlimit) return;
    const child = runProgram(
      `import { execFileSync } from 'node:child_process';
      import { statSync } from 'node:fs';
      const [dataDirectory, prlimit] = process.argv.slice(1);
      const database = await openDatabase({ dataDirectory });
      const write = (target) => database.write((tx) => insertAudit(tx, target)).then(
        () => console.log('stored', target[0]),
        (error) => console.log(error.code, target[0]),
      );
      const limit = (bytes) =>
        execFileSync(prlimit, ['--pid', String(process.pid), '--fsize=' + bytes + ':unlimited']);
      await write('a');
      limit(statSync(dataDirectory + '/plugboard.db-wal').size + 10_000);
      await Promise.all(['b', 'c', 'd'].map((target) => write(target.repeat(20_000))));
      limit('unlimited');
      await write('e'.repeat(20_000));
      await database.close();`,
      ...[await newDirectory(), prlimit],
    );
    const { output } = await outcome(child);
    assert.deepEqual(output.trim().split('\n'), [
      'stored a',
      'unavailable b',
      'unavailable c',
      'unavailable d',
      'stored e',
    ]);
  });

  it('refuses a second process on the directory, and a second start in this one', async () => {
    const dataDirectory = await newDirectory();
    const database = await openDatabase({ dataDirectory });
    const open = `await openDatabase({ dataDirectory: process.argv[1] }).then(
      async (database) => { console.log('opened'); await database.close(); },
      (error) => { console.log(error.code, error.message); process.exitCode = 3; });`;
    const refused = await outcome(runProgram(open, dataDirectory));
    assert.equal(refused.code, 3, refused.output);
    assert.ok(refused.output.includes(`unavailable The data directory ${dataDirectory} is in use`));
    await assert.rejects(openDatabase({ dataDirectory }), isAppError('unavailable'));

    // The attempts have not taken the lock away from the first one.
    await database.write((tx) => insertAudit(tx, 'still mine'));
    assert.equal((await outcome(runProgram(open, dataDirectory))).code, 3);
    await database.close();
    assert.match((await outcome(runProgram(open, dataDirectory))).output, /opened/);
  });

  it('has every answered write after kill -9, and none in part', async () => {
    const dataDirectory = await newDirectory();
    const child = runProgram(
      `const database = await openDatabase({ dataDirectory: process.argv[1] });
      await Promise.all(Array.from({ length: 8 }, async (_, writer) => {
        for (let i = 0; ; i++) {
          const target = writer + '-' + i;
          await database.write(async (tx) => {
            await insertAudit(tx, target);
            await insertAudit(tx, target + '+');
          });
          console.log(target);
        }
      }));`,
      dataDirectory,
    );
    const answered: string[] = [];
    let errors = '';
    child.stderr!.on('data', (chunk) => {
      errors += chunk;
    });
    for await (const line of createInterface({ input: child.stdout! })) {
      answered.push(line);
      if (answered.length === 300) child.kill('SIGKILL');
    }
    assert.ok(answered.length >= 300, errors);
    const database = await openDatabase({ dataDirectory });
    const stored = new Set(await audited(database));
    assert.deepEqual(
      answered.filter((target) => !stored.has(target)),
      [],
    );
    for (const target of stored)
      assert.ok(stored.has(target.endsWith('+') ? target.slice(0, -1) : `${target}+`), target);
    const check = await database.get<{ integrity_check: string }>('pragma integrity_check');
    assert.equal(check!.integrity_check, 'ok');
    await database.close();
  });

  it('says which directory cannot be used, and why', async () => {
    const damaged = await newDirectory();
    await (await openDatabase({ dataDirectory: damaged })).close();
    const path = join(damaged, 'plugboard.db');
    const bytes = await readFile(path);
    await writeFile(path, Buffer.concat([Buffer.from('no database'), bytes.subarray(11)]));
    const blocked = join(root, 'a-file');
    await writeFile(blocked, '');
    await chmod(blocked, 0o600);
    for (const dataDirectory of [damaged, join(blocked, 'data')])
      await assert.rejects(openDatabase({ dataDirectory }), (error: Error) => {
        assert.ok(error.message.includes(dataDirectory), error.message);
        return isAppError('unavailable')(error);
      });
  });
});
