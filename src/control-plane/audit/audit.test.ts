import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApp, type TestApp } from '../auth/test-app.ts';
import { purgeAudit, recordAudit } from './audit.service.ts';

interface Entry {
  id: string;
  project: string | null;
  action: string;
  target: string;
}

async function startWithEntries(): Promise<TestApp> {
  const app = await startTestApp();
  for (const name of ['A', 'B']) await app.call('POST', '/apiops/projects/', { body: { name } });
  await app.db.write((tx) => tx.run('delete from audit'));
  for (const [project, action, target] of [
    ['A', 'connection.create', 'mail'],
    ['B', 'connection.create', 'db'],
    [null, 'user.create', 'ann'],
    ['A', 'connection.reveal', 'mail'],
    ['A', 'connection.reveal', 'other'],
  ] as const) {
    await app.db.write((tx) =>
      recordAudit(tx, { actor: 'token:t', project, action, target, details: { a: 1 }, requestId: 'r-1' }),
    );
  }
  return app;
}

const targets = (entries: Entry[]) => entries.map(({ target }) => target);

test('audit entries come newest first, whole, with the total', async () => {
  await using app = await startWithEntries();
  const all = await app.call('GET', '/apiops/audit/');
  assert.equal(all.body.resultCount, 5);
  assert.deepEqual(targets(all.body.resultList), ['other', 'mail', 'ann', 'db', 'mail']);
  const [newest] = all.body.resultList;
  assert.deepEqual(newest, {
    id: newest.id,
    at: newest.at,
    project: 'A',
    actor: 'token:t',
    action: 'connection.reveal',
    target: 'other',
    details: { a: 1 },
    requestId: 'r-1',
  });
  assert.ok(Math.abs(Date.parse(newest.at) - Date.now()) < 60_000);
  const page = await app.call('GET', '/apiops/audit/?page=2&size=2');
  assert.deepEqual(targets(page.body.resultList), ['ann', 'db']);
  assert.equal(page.body.resultCount, 5);
});

test('audit is filtered by project, actor, action, target and time', async () => {
  await using app = await startWithEntries();
  const found = async (query: string) =>
    targets((await app.call('GET', `/apiops/audit/?${query}`)).body.resultList);
  assert.deepEqual(await found('project=B'), ['db']);
  assert.deepEqual(await found('action=connection.reveal&target=mail'), ['mail']);
  assert.deepEqual(await found('actor=token:nobody'), []);
  assert.deepEqual(await found("target=mail'%20or%20'1'='1"), []);
  await app.db.write((tx) =>
    tx.run("update audit set at = 1000, id = '0000000003e8' || substr(id, 13) where target = 'ann'"),
  );
  assert.deepEqual(await found('to=1970-01-01T00:00:02Z'), ['ann']);
  assert.deepEqual(await found('from=1970-01-01T00:00:01Z&to=1970-01-01T00:00:01.001Z'), ['ann']);
  assert.equal((await found('from=1970-01-01T00:00:02Z')).length, 4);
});

test('audit shows the entries of projects with AUDIT:VIEW alone, and global ones to administrators alone', async () => {
  await using app = await startWithEntries();
  const seen = async (permissions: string[], project: string, query = '') => {
    const { token } = await app.token([{ project, permissions: permissions as never }]);
    return app.call('GET', `/apiops/audit/${query}`, { token });
  };
  assert.deepEqual(targets((await seen(['AUDIT:VIEW'], 'A')).body.resultList), ['other', 'mail', 'mail']);
  assert.deepEqual(targets((await seen(['ADMIN'], 'B')).body.resultList), ['db']);
  assert.equal((await seen(['AUDIT:VIEW'], '*')).body.resultCount, 4);
  await app.call('DELETE', '/apiops/projects/B/');
  assert.equal((await seen(['AUDIT:VIEW'], '*', '?project=B&action=connection.create')).body.resultCount, 1);
  assert.equal((await seen(['AUDIT:VIEW'], 'B', '?project=B')).status, 404);
  const lacking = await seen(['CONNECTIONS:VIEW'], 'A');
  assert.equal(lacking.status, 403);
  assert.match(lacking.body.error_description, /AUDIT:VIEW/);
  assert.equal((await seen(['CONNECTIONS:VIEW'], 'A', '?project=A')).status, 403);
  assert.equal((await seen(['AUDIT:VIEW'], 'A', '?project=B')).status, 404);
});

test('a bad query is refused field by field', async () => {
  await using app = await startTestApp();
  for (const [query, field] of [
    ['page=0', 'page'],
    ['page=x', 'page'],
    ['size=-1', 'size'],
    ['size=100001', 'size'],
    ['from=yesterday', 'from'],
    ['to=2099-99-01T00:00:00Z', 'to'],
    ['project=A&project=B', 'project'],
    ['who=me', 'who'],
  ]) {
    const answer = await app.call('GET', `/apiops/audit/?${query}`);
    assert.equal(answer.status, 400, query);
    assert.equal(answer.body.validation_errors[0].field, field);
  }
});

test('22: an entry is in the transaction of its change', async () => {
  await using app = await startTestApp();
  const before = (await app.call('GET', '/apiops/audit/')).body.resultCount;
  await assert.rejects(
    app.db.write(async (tx) => {
      await recordAudit(tx, { actor: 'a', project: null, action: 'x', target: 'y' });
      throw new Error('rolled back');
    }),
  );
  assert.equal((await app.call('GET', '/apiops/audit/')).body.resultCount, before);
});

test('ids are unique and sort by their making, a thousand in a millisecond too', async () => {
  await using app = await startTestApp();
  await app.db.write(async (tx) => {
    await tx.run('delete from audit');
    for (let index = 0; index < 1000; index++) {
      await recordAudit(tx, { actor: 'a', project: null, action: 'x', target: String(index) });
    }
  });
  const { resultList } = (await app.call('GET', '/apiops/audit/?size=1000')).body as { resultList: Entry[] };
  assert.deepEqual(
    targets(resultList),
    Array.from({ length: 1000 }, (_, index) => String(999 - index)),
  );
});

test('entries older than they are to be kept are purged', async () => {
  await using app = await startWithEntries();
  assert.equal(await purgeAudit(app.db, 365), 0);
  assert.equal(await purgeAudit(app.db, 365, Date.now() + 366 * 86_400_000), 5);
  assert.equal((await app.call('GET', '/apiops/audit/')).body.resultCount, 0);
});
