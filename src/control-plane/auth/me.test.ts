import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PERMISSIONS } from './permissions.ts';
import { startTestApp } from './test-app.ts';

test('a token is told who it is, until when, and what it may do in which project', async () => {
  await using app = await startTestApp();
  for (const name of ['A', 'B', 'C']) await app.call('POST', '/apiops/projects/', { body: { name } });
  const me = async (token?: string) =>
    (await app.call('GET', '/apiops/auth/me/', token === undefined ? {} : { token })).body;

  const admin = await me();
  assert.deepEqual([admin.actor, admin.expiresAt, admin.admin], ['token:admin', null, true]);
  assert.deepEqual(
    admin.projects.map(({ name }: { name: string }) => name),
    ['A', 'B', 'C'],
  );
  for (const project of admin.projects) assert.deepEqual(project.permissions, [...PERMISSIONS]);

  const expiresAt = '2099-01-01T00:00:00.000Z';
  const { token } = await app.token(
    [
      { project: 'A', permissions: ['CONNECTIONS:VIEW'], connections: ['mail*'] },
      { project: 'B', permissions: ['ADMIN'] },
    ],
    { expiresAt },
  );
  assert.deepEqual(await me(token), {
    success: true,
    actor: 'token:made',
    expiresAt,
    admin: false,
    projects: [
      { name: 'A', description: null, environments: ['production'], permissions: ['CONNECTIONS:VIEW'] },
      { name: 'B', description: null, environments: ['production'], permissions: [...PERMISSIONS] },
    ],
  });
});

test("a user's token is told no more than its user may now", async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  const permissions = ['KEYS:VIEW', 'KEYS:MANAGE'];
  const body = { username: 'ann', password: 'correct horse', grants: [{ project: 'A', permissions }] };
  await app.call('POST', '/apiops/users/', { body });
  const logIn = (await app.logIn('ann', 'correct horse')).body.access_token as string;
  const made = await app.call('POST', '/apiops/tokens/', {
    token: logIn,
    body: { name: 'ci', grants: body.grants },
  });
  const projects = async () =>
    (await app.call('GET', '/apiops/auth/me/', { token: made.body.token })).body.projects.map(
      (project: { permissions: string[] }) => project.permissions,
    );
  assert.deepEqual(await projects(), [permissions]);
  for (const left of [['KEYS:VIEW'], []]) {
    const grants = left.length > 0 ? [{ project: 'A', permissions: left }] : [];
    await app.call('PUT', '/apiops/users/ann/', { body: { grants } });
    assert.deepEqual(await projects(), left.length > 0 ? [left] : []);
  }
});
