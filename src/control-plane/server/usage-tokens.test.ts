import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Grant } from '../auth/permissions.ts';
import { startTestApp, type TestApp } from '../auth/test-app.ts';
import { hashToken } from '../auth/token-format.ts';
import { usageTokens } from './usage-tokens.ts';

const use = (more: Partial<Grant> = {}): Grant => ({
  project: 'A',
  permissions: ['CONNECTIONS:USE'],
  ...more,
});

/** Projects A and B in production, C in none of a worker's environment. */
async function start() {
  const app = await startTestApp();
  await app.call('POST', '/apiops/environments/', { body: { name: 'test', type: 'TEST' } });
  for (const [name, environment] of [
    ['A', 'production'],
    ['B', 'production'],
    ['C', 'test'],
  ])
    await app.call('POST', '/apiops/projects/', { body: { name, environments: [environment] } });
  return app;
}

const known = (app: TestApp) => usageTokens('production', app.access, (name) => app.projects.find(name));

test('a worker is told the tokens that name USE in projects of its environment, by their hashes, and no other', async () => {
  await using app = await start();
  const { token } = await app.token([
    use({ connections: ['mail*'], operations: ['send'] }),
    use({ project: 'B', permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:USE'], environments: ['production'] }),
    use({ project: 'C' }),
  ]);
  for (const grant of [
    use({ project: '*' }),
    use({ permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:MANAGE'] }),
    use({ environments: ['test'] }),
    use({ project: 'C' }),
    use({ project: 'nowhere' }),
    { project: 'A', permissions: ['ADMIN' as const, 'CONNECTIONS:USE' as const] },
  ])
    await app.token([grant]);
  await app.token([use(), { project: 'B', permissions: ['ADMIN'] }]);
  assert.deepEqual(known(app), [
    {
      hash: hashToken(token),
      expiresAt: null,
      actor: 'token:made',
      grants: [{ project: 'A', connections: ['mail*'], operations: ['send'] }, { project: 'B' }],
    },
  ]);
});

test("a user's token is told to workers only as far as its user may now", async () => {
  await using app = await start();
  const user = '/apiops/users/ann/';
  const both = [use(), use({ project: 'B' })];
  await app.call('POST', '/apiops/users/', {
    body: { username: 'ann', password: 'correct horse', grants: both },
  });
  const logIn = (await app.logIn('ann', 'correct horse')).body.access_token as string;
  const expiresAt = '2099-01-01T00:00:00Z';
  const made = await app.call('POST', '/apiops/tokens/', {
    token: logIn,
    body: { name: 'ci', grants: both, expiresAt },
  });
  const told = (...projects: string[]) => [
    {
      hash: hashToken(made.body.token),
      expiresAt: Date.parse(expiresAt),
      actor: 'token:ci',
      grants: projects.map((project) => ({ project })),
    },
  ];
  assert.deepEqual(known(app), told('A', 'B'), 'the log-in itself is not among them');
  await app.call('PUT', user, { body: { grants: [use({ project: 'B' })] } });
  assert.deepEqual(known(app), told('B'));
  await app.call('PUT', user, { body: { grants: [], admin: true } });
  assert.deepEqual(known(app), told('A', 'B'), 'an administrator may everything');
  await app.call('PUT', user, { body: { disabled: true } });
  assert.deepEqual(known(app), []);
  await app.call('PUT', user, { body: { disabled: false, admin: false } });
  assert.deepEqual(known(app), []);
  await app.call('PUT', user, { body: { grants: both } });
  assert.deepEqual(known(app), told('A', 'B'));
  await app.call('DELETE', user);
  assert.deepEqual(known(app), []);
});
