import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Database } from '../store/database.ts';
import { openDatabase } from '../store/open-database.ts';
import { createAccess } from './access.ts';
import { bootstrapAdminToken } from './admin-token.ts';
import { ADMIN_TOKEN, startTestApp } from './test-app.ts';
import { hashToken, isWellFormedToken } from './token-format.ts';
import { createTokens } from './tokens.service.ts';
import { createUsers } from './users.service.ts';

test('a token is shown once: no list, audit row or database page has it', async () => {
  await using app = await startTestApp();
  const made = await app.call('POST', '/apiops/tokens/', {
    body: {
      name: 'ci',
      expiresAt: '2099-01-01T00:00:00Z',
      grants: [{ project: '*', permissions: ['ADMIN'] }],
    },
  });
  assert.equal(made.status, 200);
  assert.equal(made.headers['cache-control'], 'no-store');
  const { token, id } = made.body;
  assert.ok(isWellFormedToken(token, 'pbt'));
  const list = await app.call('GET', '/apiops/tokens/?q=CI');
  assert.equal(list.body.resultCount, 1);
  assert.deepEqual(list.body.resultList[0], {
    id,
    name: 'ci',
    kind: 'personal',
    username: null,
    grants: [{ project: '*', permissions: ['ADMIN'] }],
    createdAt: list.body.resultList[0].createdAt,
    expiresAt: '2099-01-01T00:00:00.000Z',
  });
  const audit = await app.call('GET', '/apiops/audit/');
  for (const text of [list.text, audit.text]) {
    assert.ok(!text.includes(token));
    assert.ok(!text.includes(hashToken(token)));
    assert.ok(!text.includes(ADMIN_TOKEN));
  }
  const files = await Promise.all(
    ['', '-wal'].map((suffix) =>
      readFile(join(app.directory, 'data', `plugboard.db${suffix}`)).catch(() => null),
    ),
  );
  const pages = Buffer.concat(files.filter((file) => file !== null));
  assert.ok(pages.includes(hashToken(token)), 'the database is where it is looked for');
  assert.ok(!pages.includes(token));
  assert.ok(!pages.includes(ADMIN_TOKEN));
});

test('no token is given more, or longer, than its maker may', async () => {
  await using app = await startTestApp();
  const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
  const grants = [
    { project: 'A', permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:USE'], connections: ['mail*'] },
  ];
  const maker = await app.token(grants as never, { expiresAt });
  const make = (body: Record<string, unknown>) =>
    app.call('POST', '/apiops/tokens/', { token: maker.token, body: { name: 'child', expiresAt, ...body } });

  for (const more of [
    [{ ...grants[0], project: '*' }],
    [{ ...grants[0], project: 'B' }],
    [{ ...grants[0], connections: ['*'] }],
    [{ project: 'A', permissions: ['CONNECTIONS:VIEW'] }],
    [{ ...grants[0], permissions: ['CONNECTIONS:REVEAL'] }],
    [{ project: '*', permissions: ['ADMIN'] }],
    [{ project: 'A', permissions: ['ADMIN'] }],
  ]) {
    const answer = await make({ grants: more });
    assert.equal(answer.status, 403, JSON.stringify(more));
    assert.match(answer.body.error_description, /(CONNECTIONS:[A-Z]+|ADMIN)/);
  }
  assert.equal((await make({ grants, expiresAt: null })).status, 403);
  assert.equal((await make({ grants, expiresAt: '2099-01-01T00:00:00Z' })).status, 403);
  assert.equal((await make({ grants: [{ ...grants[0], connections: ['mail-1'] }] })).status, 200);
  assert.equal((await make({ grants: [] })).status, 200);
});

test('a token sees and ends itself and what it made, nothing else; another is as if it were not there', async () => {
  await using app = await startTestApp();
  const grants = [{ project: 'A', permissions: ['CONNECTIONS:VIEW' as const] }];
  const one = await app.token(grants);
  const two = await app.token(grants);
  const child = await app.call('POST', '/apiops/tokens/', {
    token: one.token,
    body: { name: 'child', grants },
  });
  const list = await app.call('GET', '/apiops/tokens/', { token: one.token });
  assert.deepEqual(
    list.body.resultList.map((item: { id: string }) => item.id).sort(),
    [one.id, child.body.id].sort(),
  );

  const absent = await app.call('DELETE', '/apiops/tokens/nothing/', { token: one.token });
  const other = await app.call('DELETE', `/apiops/tokens/${two.id}/`, { token: one.token });
  assert.equal(other.status, 404);
  const plain = (text: string) => text.replace(/"request_id":"[^"]*"/, '').replace(/id: [\w-]+/, 'id: X');
  assert.equal(plain(other.text), plain(absent.text));
  assert.equal(
    (await app.call('DELETE', `/apiops/tokens/${child.body.id}/`, { token: one.token })).status,
    200,
  );
  assert.equal((await app.call('DELETE', `/apiops/tokens/${one.id}/`, { token: one.token })).status, 200);
  assert.equal((await app.call('GET', '/apiops/tokens/', { token: one.token })).status, 401);
});

test('what a token is asked for is checked field by field', async () => {
  await using app = await startTestApp();
  const good = { name: 'x', grants: [] };
  const bad: [Record<string, unknown>, string][] = [
    [{ ...good, expiresAt: '2001-01-01T00:00:00Z' }, 'expiresAt'],
    [{ ...good, expiresAt: '2099-13-01T00:00:00Z' }, 'expiresAt'],
    [{ ...good, expiresAt: 'tomorrow' }, 'expiresAt'],
    [{ ...good, expiresAt: 5 }, 'expiresAt'],
    [{ grants: [] }, 'name'],
    [{ ...good, name: '' }, 'name'],
    [{ ...good, name: 'a\nb' }, 'name'],
    [{ name: 'x' }, 'grants'],
    [{ ...good, grants: [{ project: 'A', permissions: ['EVERYTHING'] }] }, 'grants[0].permissions[0]'],
    [{ ...good, grants: [{ project: 'A', permissions: [] }] }, 'grants[0].permissions'],
    [{ ...good, grants: [{ permissions: ['ADMIN'] }] }, 'grants[0].project'],
    [
      { ...good, grants: [{ project: 'A', permissions: ['ADMIN'], connections: ['x'] }] },
      'grants[0].connections',
    ],
    [{ ...good, user: 'root' }, 'user'],
  ];
  for (const [body, field] of bad) {
    const answer = await app.call('POST', '/apiops/tokens/', { body });
    assert.equal(answer.status, 400, JSON.stringify(body));
    assert.ok(
      answer.body.validation_errors.some((fault: { field: string }) => fault.field === field),
      `${field}: ${answer.text}`,
    );
  }
  assert.equal((await app.call('GET', '/apiops/tokens/')).body.resultCount, 1);
});

test('the last way to administer cannot be closed', async () => {
  await using app = await startTestApp();
  const refused = await app.call('DELETE', '/apiops/tokens/admin-given/');
  assert.equal(refused.status, 409);
  const second = await app.token([{ project: '*', permissions: ['ADMIN'] }]);
  const [one, two] = await Promise.all([
    app.call('DELETE', '/apiops/tokens/admin-given/', { token: second.token }),
    app.call('DELETE', `/apiops/tokens/${second.id}/`, { token: second.token }),
  ]);
  assert.deepEqual([one.status, two.status].sort(), [200, 409]);
});

test('neither a token that ends nor one of a disabled administrator keeps a way to administer', async () => {
  await using app = await startTestApp();
  const grants = [{ project: '*', permissions: ['ADMIN' as const] }];
  await app.token(grants, { expiresAt: '2099-01-01T00:00:00Z' });
  await app.call('POST', '/apiops/users/', {
    body: { username: 'ann', password: 'correct horse', admin: true },
  });
  const token = (await app.logIn('ann', 'correct horse')).body.access_token as string;
  const made = await app.call('POST', '/apiops/tokens/', { token, body: { name: 'by ann', grants } });
  assert.equal(made.status, 200);
  assert.equal((await app.call('PUT', '/apiops/users/ann/', { body: { disabled: true } })).status, 200);
  assert.equal((await app.call('DELETE', '/apiops/tokens/admin-given/')).status, 409);
});

test('a token whose maker is ended while it is written is not made', async () => {
  await using app = await startTestApp();
  const maker = await app.token([]);
  const db: Database = {
    ...app.db,
    async write(job, options) {
      const written = await app.db.write(job, options);
      app.access.directory.removeToken(maker.id);
      return written;
    },
  };
  const principal = app.access.authenticate(`Bearer ${maker.token}`);
  await assert.rejects(
    createTokens(db, app.access).create({ actor: principal.actor }, principal, { name: 'child', grants: [] }),
    { code: 'unauthorized_client' },
  );
  const names = (rows: Iterable<{ name: string }>) => [...rows].map(({ name }) => name);
  assert.ok(!names(await app.db.all<{ name: string }>('select name from tokens')).includes('child'));
  assert.ok(!names(app.access.directory.tokens()).includes('child'));
});

test('one maker has at most a thousand tokens', async () => {
  await using app = await startTestApp();
  const { token, id } = await app.token([]);
  const make = () => app.call('POST', '/apiops/tokens/', { token, body: { name: 'child', grants: [] } });
  const first = app.access.directory.token((await make()).body.id)!;
  assert.equal(first.made_by, id);
  // Its maker's own is one of them.
  for (let at = 2; at < 999; at++)
    app.access.directory.putToken({ ...first, id: `child-${at}`, hash: `hash-${at}` });
  assert.equal((await make()).status, 200);
  const refused = await make();
  assert.equal(refused.status, 409);
  assert.match(refused.body.error_description, /1000 tokens/);
});

async function start(directory: string, given?: string) {
  const db = await openDatabase({ dataDirectory: join(directory, 'data') });
  const access = await createAccess(db);
  const made = await bootstrapAdminToken(db, access, { given, secretsDirectory: join(directory, 'secrets') });
  const may = (token: string) => {
    try {
      return access.allows(access.authenticate(`Bearer ${token}`), 'ADMIN', {});
    } catch {
      return false;
    }
  };
  const rows = await db.all('select * from tokens');
  return {
    ...made,
    may,
    rows: JSON.stringify(rows),
    async stop() {
      access.close();
      await db.close();
    },
  };
}

test('the first start makes a random admin token in a file of its owner alone, later starts keep it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'plugboard-admin-'));
  try {
    const first = await start(directory);
    assert.equal(first.path, join(directory, 'secrets', 'admin-token'));
    assert.equal((await stat(first.path!)).mode & 0o777, 0o600);
    assert.equal((await stat(join(directory, 'secrets'))).mode & 0o777, 0o700);
    const token = (await readFile(first.path!, 'utf8')).trim();
    assert.ok(isWellFormedToken(token, 'pbt'));
    assert.ok(first.may(token));
    assert.ok(!first.rows.includes(token));
    await first.stop();

    const second = await start(directory);
    assert.equal(second.path, null);
    assert.ok(second.may(token));
    await second.stop();

    const given = await start(directory, 'a-given-token-of-mine-1');
    assert.ok(given.may(token) && given.may('a-given-token-of-mine-1'));
    await given.stop();

    const replaced = await start(directory, 'a-given-token-of-mine-2');
    assert.ok(replaced.may(token) && replaced.may('a-given-token-of-mine-2'));
    assert.ok(!replaced.may('a-given-token-of-mine-1'));
    await replaced.stop();
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a given admin token stands alone, and one too short to be safe stops the start', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'plugboard-admin-'));
  try {
    const first = await start(directory, 'a-given-token-of-mine-1');
    assert.equal(first.path, null);
    assert.ok(first.may('a-given-token-of-mine-1'));
    await first.stop();
    await assert.rejects(stat(join(directory, 'secrets')));
    const kept = await start(directory);
    assert.equal(kept.path, null);
    assert.ok(kept.may('a-given-token-of-mine-1'));
    await kept.stop();
    for (const given of ['', 'nineteen-characters', 'with a space in between them']) {
      const other = await mkdtemp(join(tmpdir(), 'plugboard-admin-'));
      const db = await openDatabase({ dataDirectory: join(other, 'data') });
      const access = await createAccess(db);
      await assert.rejects(bootstrapAdminToken(db, access, { given, secretsDirectory: other }), {
        message: /PLUGBOARD_ADMIN_TOKEN/,
      });
      await db.close();
      await rm(other, { recursive: true });
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('what a crash left of the file of the admin token is replaced, for its owner alone', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'plugboard-admin-'));
  try {
    await mkdir(join(directory, 'secrets'));
    await writeFile(join(directory, 'secrets', 'admin-token'), `${'x'.repeat(500)}\n`, { mode: 0o644 });
    const { path, may, stop } = await start(directory);
    assert.ok(may((await readFile(path!, 'utf8')).trim()));
    assert.equal((await stat(path!)).mode & 0o777, 0o600);
    await stop();
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('where a user administers, a start makes no admin token', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'plugboard-admin-'));
  const db = await openDatabase({ dataDirectory: join(directory, 'data') });
  try {
    const secretsDirectory = join(directory, 'secrets');
    const access = await createAccess(db);
    const users = createUsers(db, access);
    const system = { actor: 'system' };
    await users.create(system, { username: 'ann', password: 'correct horse', admin: true });
    assert.deepEqual(await bootstrapAdminToken(db, access, { secretsDirectory }), { path: null });
    await assert.rejects(stat(secretsDirectory));
    await users.create(system, { username: 'bob', password: 'correct horse', admin: true, disabled: true });
    access.directory.removeUser(access.directory.userByKey('ann')!.id);
    const { path } = await bootstrapAdminToken(db, access, { secretsDirectory });
    assert.ok(path, 'a disabled administrator is none');
    access.close();
  } finally {
    await db.close();
    await rm(directory, { recursive: true });
  }
});
