import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createAccess } from './access.ts';
import { startTestApp } from './test-app.ts';
import { makeToken } from './token-format.ts';

test('every token that is not valid is answered alike, byte for byte, with no query', async () => {
  await using app = await startTestApp();
  const revoked = await app.token([{ project: '*', permissions: ['ADMIN'] }]);
  await app.call('DELETE', `/apiops/tokens/${revoked.id}/`);
  const expiring = await app.token([], { expiresAt: new Date(Date.now() + 1500).toISOString() });
  await app.call('POST', '/apiops/users/', {
    body: { username: 'ann', password: 'correct horse', grants: [] },
  });
  const disabled = (await app.logIn('ann', 'correct horse')).body.access_token;
  await app.call('PUT', '/apiops/users/ann/', { body: { disabled: true } });
  await sleep(1520);

  const before = app.statements();
  const answers = new Set<string>();
  for (const authorization of [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Basic YWRtaW46YWRtaW4=',
    'Bearer nonsense',
    `Bearer ${'x'.repeat(5000)}`,
    `Bearer ${makeToken('pbt')}`,
    `Bearer ${makeToken('pbw')}`,
    `Bearer ${revoked.token}`,
    `Bearer ${expiring.token}`,
    `Bearer ${disabled}`,
    `Bearer ${disabled} x`,
  ]) {
    const response = await app.app.inject({
      method: 'GET',
      url: '/apiops/tokens/',
      headers: { ...(authorization === undefined ? {} : { authorization }), 'x-request-id': 'same' },
    });
    assert.equal(response.statusCode, 401);
    answers.add(response.body.replace(/"request_id":"[^"]*"/, ''));
  }
  assert.equal(answers.size, 1);
  assert.match([...answers][0]!, /"error":"unauthorized_client","error_description":"Invalid token"/);
  assert.equal(app.statements(), before);
});

test('a known token costs no query either, and its scheme may be written in any case', async () => {
  await using app = await startTestApp();
  const { token } = await app.token([]);
  const before = app.statements();
  assert.equal(app.access.authenticate(`bearer ${token}`), app.access.authenticate(`Bearer ${token}`));
  assert.equal(app.statements(), before);
});

test('revocation ends what runs under a token at once', async () => {
  await using app = await startTestApp();
  const { id, token } = await app.token([]);
  const { ended } = app.access.authenticate(`Bearer ${token}`);
  assert.equal(ended.aborted, false);
  await app.call('DELETE', `/apiops/tokens/${id}/`);
  assert.equal(ended.aborted, true);
});

test('expiry ends what runs under a token, also when tokens that expire later were made before', async () => {
  await using app = await startTestApp();
  await app.token([], { expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
  const expiresAt = Date.now() + 400;
  const { token } = await app.token([], { expiresAt: new Date(expiresAt).toISOString() });
  const { ended } = app.access.authenticate(`Bearer ${token}`);
  await once(ended, 'abort', { signal: AbortSignal.timeout(20_000) });
  assert.ok(Date.now() >= expiresAt);
  assert.throws(() => app.access.authenticate(`Bearer ${token}`), { code: 'unauthorized_client' });
});

test('disabling a user ends all of its tokens at once, enabling brings back those made by hand', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/users/', {
    body: {
      username: 'ann',
      password: 'correct horse',
      grants: [{ project: 'A', permissions: ['CONNECTIONS:VIEW'] }],
    },
  });
  const logIn = (await app.logIn('ann', 'correct horse')).body.access_token as string;
  const made = await app.call('POST', '/apiops/tokens/', {
    token: logIn,
    body: { name: 'ci', grants: [{ project: 'A', permissions: ['CONNECTIONS:VIEW'] }] },
  });
  const byHand = made.body.token as string;
  const principals = [logIn, byHand].map((token) => app.access.authenticate(`Bearer ${token}`));
  assert.deepEqual(
    principals.map((principal) => principal.actor),
    ['user:ann', 'token:ci'],
  );

  await app.call('PUT', '/apiops/users/ann/', { body: { disabled: true } });
  for (const principal of principals) assert.ok(principal.ended.aborted);
  assert.equal((await app.logIn('ann', 'correct horse')).status, 401);

  await app.call('PUT', '/apiops/users/ann/', { body: { disabled: false } });
  assert.throws(() => app.access.authenticate(`Bearer ${logIn}`));
  assert.equal(app.access.authenticate(`Bearer ${byHand}`).actor, 'token:ci');
  await app.call('DELETE', '/apiops/users/ann/');
  assert.throws(() => app.access.authenticate(`Bearer ${byHand}`));
});

test("a user's token never has more than its user has now", async () => {
  await using app = await startTestApp();
  const both = [{ project: 'A', permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:MANAGE'] }];
  await app.call('POST', '/apiops/users/', {
    body: { username: 'ann', password: 'correct horse', grants: both },
  });
  const logIn = (await app.logIn('ann', 'correct horse')).body.access_token as string;
  const made = await app.call('POST', '/apiops/tokens/', {
    token: logIn,
    body: { name: 'ci', grants: both },
  });
  const before = app.access.authenticate(`Bearer ${made.body.token}`);
  assert.ok(app.access.allows(before, 'CONNECTIONS:MANAGE', { project: 'A' }));
  assert.ok(!app.access.allows(before, 'CONNECTIONS:REVEAL', { project: 'A' }));

  await app.call('PUT', '/apiops/users/ann/', {
    body: { grants: [{ project: 'A', permissions: ['CONNECTIONS:VIEW'] }] },
  });
  assert.ok(before.ended.aborted);
  const after = app.access.authenticate(`Bearer ${made.body.token}`);
  assert.ok(app.access.allows(after, 'CONNECTIONS:VIEW', { project: 'A' }));
  assert.ok(!app.access.allows(after, 'CONNECTIONS:MANAGE', { project: 'A' }));
  await app.call('PUT', '/apiops/users/ann/', { body: { grants: [] } });
  assert.ok(!app.access.seesProject(app.access.authenticate(`Bearer ${made.body.token}`), 'A'));
});

test('tokens and users are found again after a restart', async () => {
  await using app = await startTestApp();
  const { token } = await app.token([{ project: 'A', permissions: ['CONNECTIONS:USE'] }]);
  const again = await createAccess(app.db);
  try {
    const principal = again.authenticate(`Bearer ${token}`);
    assert.ok(again.allows(principal, 'CONNECTIONS:USE', { project: 'A' }));
    assert.throws(() => again.require(principal, 'CONNECTIONS:VIEW', { project: 'A' }), {
      code: 'forbidden',
      message: /CONNECTIONS:VIEW/,
    });
  } finally {
    again.close();
  }
});
