import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApp } from '../auth/test-app.ts';
import { isWellFormedToken, makeToken } from '../auth/token-format.ts';
import { createEnvironments } from './environments.service.ts';

test('an environment is made, read, changed and deleted', async () => {
  await using app = await startTestApp();
  const body = { name: 'staging', description: 'Before production', type: 'SANDBOX' };
  assert.deepEqual((await app.call('POST', '/apiops/environments/', { body })).body, { success: true });
  const again = await app.call('POST', '/apiops/environments/', { body });
  assert.equal(again.status, 400);
  assert.equal(again.body.error_description, "Environment 'staging' already exists!");
  const url = '/apiops/environments/staging/';
  assert.deepEqual((await app.call('GET', url)).body.resultList, [body]);
  await app.call('PUT', url, { body: { type: 'TEST' } });
  assert.deepEqual((await app.call('GET', url)).body.resultList, [{ ...body, type: 'TEST' }]);
  assert.equal((await app.call('PUT', url, { body: { name: 'other' } })).status, 400);
  assert.equal((await app.call('GET', '/apiops/environments/')).body.resultCount, 2);
  assert.equal((await app.call('DELETE', url)).status, 200);
  for (const method of ['GET', 'PUT', 'DELETE'] as const) {
    const answer = await app.call(method, url, method === 'PUT' ? { body: {} } : {});
    assert.equal(answer.status, 404);
    assert.equal(answer.body.error_description, "Environment 'staging' not found");
  }
  const audit = await app.call('GET', '/apiops/audit/?target=staging');
  assert.deepEqual(
    audit.body.resultList.map((entry: { action: string }) => entry.action),
    ['environment.delete', 'environment.update', 'environment.create'],
  );
});

test('a bad environment is refused field by field', async () => {
  await using app = await startTestApp();
  for (const [body, field] of [
    [{ name: '' }, 'name'],
    [{ name: '/' }, 'name'],
    [{ name: 'x', type: 'STAGE' }, 'type'],
    [{ name: 'x', type: null }, 'type'],
    [{ name: 'x', region: 'eu' }, 'region'],
    [{}, 'name'],
  ] as const) {
    const answer = await app.call('POST', '/apiops/environments/', { body });
    assert.equal(answer.status, 400, JSON.stringify(body));
    assert.equal(answer.body.validation_errors[0].field, field);
  }
});

test('environments are only for administrators', async () => {
  await using app = await startTestApp();
  const { token } = await app.token([
    { project: '*', permissions: ['PROJECT:MANAGE', 'CONNECTIONS:MANAGE'] },
  ]);
  for (const [method, path] of [
    ['GET', ''],
    ['POST', ''],
    ['GET', 'production/'],
    ['PUT', 'production/'],
    ['DELETE', 'production/'],
    ['GET', 'production/enrollment-tokens/'],
    ['POST', 'production/enrollment-tokens/'],
    ['DELETE', 'production/enrollment-tokens/x/'],
  ] as const) {
    assert.equal(
      (await app.call(method, `/apiops/environments/${path}`, { token })).status,
      403,
      method + path,
    );
  }
});

test('an environment in use is not deleted, and the answer says by whom', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  const enrolled = await app.call('POST', '/apiops/environments/production/enrollment-tokens/', {
    body: { name: 'w-1' },
  });
  const remove = () => app.call('DELETE', '/apiops/environments/production/');
  const both = await remove();
  assert.equal(both.status, 409);
  assert.match(both.body.error_description, /project 'A', enrollment token 'w-1'/);
  await app.call('DELETE', '/apiops/projects/A/');
  assert.equal((await remove()).status, 409);
  await app.call('DELETE', `/apiops/environments/production/enrollment-tokens/${enrolled.body.id}/`);
  assert.equal((await remove()).status, 200);
});

test("14: a worker's credential is shown once, bound to its environment, and ended at once", async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/environments/', { body: { name: 'test' } });
  const url = '/apiops/environments/production/enrollment-tokens/';
  const made = await app.call('POST', url, { body: { name: 'w-1' } });
  const { id, token } = made.body;
  assert.ok(isWellFormedToken(token, 'pbw'));
  const list = await app.call('GET', url);
  assert.deepEqual(
    list.body.resultList.map((item: { id: string; name: string }) => [item.id, item.name]),
    [[id, 'w-1']],
  );
  const audit = await app.call('GET', '/apiops/audit/');
  const rows = JSON.stringify(await app.db.all('select * from enrollment_tokens'));
  for (const text of [list.text, audit.text, rows]) assert.ok(!text.includes(token));

  const before = app.statements();
  const worker = app.environments.authenticateWorker(token);
  assert.deepEqual(worker, {
    enrollmentId: id,
    name: 'w-1',
    environment: { id: app.environments.find('production')!.id, name: 'production' },
  });
  for (const wrong of ['', 'x', makeToken('pbw'), token.slice(0, -1)]) {
    assert.equal(app.environments.authenticateWorker(wrong), undefined);
  }
  assert.equal(app.statements(), before);
  assert.equal((await app.call('GET', '/apiops/tokens/', { token })).status, 401);

  const restarted = await createEnvironments(app.db);
  assert.deepEqual(restarted.authenticateWorker(token), worker);

  const revoked: string[] = [];
  const stop = app.environments.onRevoked((enrollment) => revoked.push(enrollment));
  assert.equal((await app.call('DELETE', `/apiops/environments/test/enrollment-tokens/${id}/`)).status, 404);
  assert.ok(app.environments.authenticateWorker(token));
  assert.equal((await app.call('DELETE', `${url}${id}/`)).status, 200);
  assert.deepEqual(revoked, [id]);
  assert.equal(app.environments.authenticateWorker(token), undefined);
  assert.equal((await createEnvironments(app.db)).authenticateWorker(token), undefined);
  assert.equal((await app.call('DELETE', `${url}${id}/`)).status, 404);
  assert.equal((await app.call('GET', url)).body.resultCount, 0);
  stop();
});

test('16: two writers with the same If-Match: one wins', async () => {
  await using app = await startTestApp();
  const url = '/apiops/environments/production/';
  const etag = String((await app.call('GET', url)).headers.etag);
  const answers = await Promise.all(
    ['one', 'two'].map((description) =>
      app.call('PUT', url, { body: { description }, headers: { 'if-match': etag } }),
    ),
  );
  assert.deepEqual(answers.map((answer) => answer.status).sort(), [200, 412]);
});
