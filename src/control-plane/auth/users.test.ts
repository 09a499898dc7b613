import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApp } from './test-app.ts';

const ann = { username: 'Ann', password: 'correct horse battery', grants: [] };

test('a user is made, read, changed and deleted without its password ever being answered or audited', async () => {
  await using app = await startTestApp();
  assert.deepEqual((await app.call('POST', '/apiops/users/', { body: ann })).body, { success: true });
  const got = await app.call('GET', '/apiops/users/ann/');
  assert.deepEqual(got.body.resultList[0], {
    username: 'Ann',
    admin: false,
    disabled: false,
    grants: [],
    createdAt: got.body.resultList[0].createdAt,
  });
  const changed = await app.call('PUT', '/apiops/users/ann/', {
    body: { password: 'another horse battery', grants: [{ project: 'A', permissions: ['KEYS:VIEW'] }] },
  });
  assert.equal(changed.status, 200);
  const list = await app.call('GET', '/apiops/users/');
  const audit = await app.call('GET', '/apiops/audit/');
  const stored = JSON.stringify(await app.db.all('select * from users'));
  for (const text of [got.text, list.text, audit.text, stored]) {
    assert.ok(!text.includes('horse'));
  }
  for (const text of [got.text, list.text, audit.text]) assert.ok(!text.includes('argon2'));
  assert.deepEqual(
    audit.body.resultList
      .slice(0, 2)
      .map((entry: { action: string; target: string }) => [entry.action, entry.target]),
    [
      ['user.update', 'Ann'],
      ['user.create', 'Ann'],
    ],
  );
  assert.equal((await app.call('DELETE', '/apiops/users/ANN/')).status, 200);
  assert.equal((await app.call('GET', '/apiops/users/ann/')).status, 404);
  assert.equal((await app.call('DELETE', '/apiops/users/ann/')).status, 404);
});

test('user names are unique without regard to case, also when two come at once', async () => {
  await using app = await startTestApp();
  const answers = await Promise.all(
    ['ann', 'ANN', 'Ann'].map((username) =>
      app.call('POST', '/apiops/users/', { body: { ...ann, username } }),
    ),
  );
  assert.deepEqual(answers.map((answer) => answer.status).sort(), [200, 400, 400]);
  assert.equal((await app.call('GET', '/apiops/users/')).body.resultCount, 1);
});

test('users are only for administrators', async () => {
  await using app = await startTestApp();
  const { token } = await app.token([{ project: 'A', permissions: ['ADMIN'] }]);
  for (const [method, url] of [
    ['GET', '/apiops/users/'],
    ['GET', '/apiops/users/ann/'],
    ['POST', '/apiops/users/'],
    ['PUT', '/apiops/users/ann/'],
    ['DELETE', '/apiops/users/ann/'],
  ] as const) {
    const answer = await app.call(method, url, {
      token,
      ...(method === 'POST' ? { body: { nonsense: 1 } } : {}),
    });
    assert.equal(answer.status, 403);
    assert.match(answer.body.error_description, /ADMIN/);
  }
});

test('a bad user is refused field by field, quoting no password', async () => {
  await using app = await startTestApp();
  const bad: [Record<string, unknown>, string][] = [
    [{ ...ann, password: 'sh0rt!!' }, 'password'],
    [{ ...ann, password: '********' }, 'password'],
    [{ ...ann, password: '••••••••••' }, 'password'],
    [{ ...ann, password: 'pass\u0000word1' }, 'password'],
    [{ ...ann, username: '' }, 'username'],
    [{ ...ann, username: '../root' }, 'username'],
    [{ ...ann, admin: 'true' }, 'admin'],
    [{ ...ann, role: 'root' }, 'role'],
  ];
  for (const [body, field] of bad) {
    const answer = await app.call('POST', '/apiops/users/', { body });
    assert.equal(answer.status, 400, JSON.stringify(body));
    assert.equal(answer.body.validation_errors[0].field, field);
    assert.ok(!answer.text.includes(String(body.password)));
  }
  await app.call('POST', '/apiops/users/', { body: ann });
  const renamed = await app.call('PUT', '/apiops/users/ann/', { body: { username: 'bob' } });
  assert.equal(renamed.status, 400);
});

test('a new password ends the log-ins made with the old one', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/users/', { body: ann });
  const token = (await app.logIn('ann', ann.password)).body.access_token as string;
  const { ended } = app.access.authenticate(`Bearer ${token}`);
  await app.call('PUT', '/apiops/users/ann/', { body: { password: 'another horse battery' } });
  assert.ok(ended.aborted);
  assert.equal((await app.logIn('ann', ann.password)).status, 401);
  assert.equal((await app.logIn('ann', 'another horse battery')).status, 200);
});

test('two administrators with the same If-Match: one wins', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/users/', { body: ann });
  const etag = String((await app.call('GET', '/apiops/users/ann/')).headers.etag);
  const answers = await Promise.all(
    [true, true].map((admin) =>
      app.call('PUT', '/apiops/users/ann/', { body: { admin }, headers: { 'if-match': etag } }),
    ),
  );
  assert.deepEqual(answers.map((answer) => answer.status).sort(), [200, 412]);
});

test('the last administrators cannot remove each other at the same time', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/users/', { body: { ...ann, admin: true } });
  const answers = await Promise.all([
    app.call('DELETE', '/apiops/users/ann/'),
    app.call('DELETE', '/apiops/tokens/admin-given/'),
  ]);
  assert.deepEqual(answers.map((answer) => answer.status).sort(), [200, 409]);
});

test('the last administrator stays one', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/users/', { body: { ...ann, admin: true } });
  const token = (await app.logIn('ann', ann.password)).body.access_token as string;
  assert.equal((await app.call('DELETE', '/apiops/tokens/admin-given/', { token })).status, 200);
  for (const [method, body] of [
    ['PUT', { admin: false }],
    ['PUT', { disabled: true }],
    ['DELETE', undefined],
  ] as const) {
    const answer = await app.call(method, '/apiops/users/ann/', { token, ...(body ? { body } : {}) });
    assert.equal(answer.status, 409, answer.text);
  }
});
