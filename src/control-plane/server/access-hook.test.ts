import assert from 'node:assert/strict';
import { test } from 'node:test';
import Fastify from 'fastify';
import { startTestApp } from '../auth/test-app.ts';
import { registerAccess } from './access-hook.ts';

test('a route that does not say who may call it cannot be registered', async () => {
  await using app = await startTestApp();
  const other = Fastify();
  registerAccess(other, { access: app.access, projects: app.projects, publicPrefixes: ['/docs'] });
  assert.throws(() => other.get('/open', async () => 'open'), { message: /GET \/open/ });
  assert.throws(() => other.get('/docsearch', async () => 'open'), { message: /docsearch/ });
  other.get('/docs/page', async () => 'page');
  assert.equal((await other.inject('/docs/page')).statusCode, 200);
  await other.close();
});

function withProbe() {
  let reached = 0;
  return {
    reached: () => reached,
    start: () =>
      startTestApp({
        addRoutes: (app) => {
          app.post(
            '/apiops/projects/:project/connections/:connection/operations/:operation/',
            {
              config: { access: { project: ['CONNECTIONS:USE', 'CONNECTIONS:VIEW'] } },
              schema: { body: { type: 'object', required: ['x'], properties: { x: { type: 'string' } } } },
            },
            async (request) => {
              reached++;
              return { project: request.project.name };
            },
          );
        },
      }),
  };
}

test('the order of checks is token, project, permission, body', async () => {
  const probe = withProbe();
  await using app = await probe.start();
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  const url = '/apiops/projects/A/connections/mail/operations/send/';
  const view = await app.token([{ project: 'A', permissions: ['CONNECTIONS:VIEW'] }]);
  const both = await app.token([{ project: 'A', permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:USE'] }]);
  const other = await app.token([{ project: 'B', permissions: ['CONNECTIONS:USE', 'CONNECTIONS:VIEW'] }]);
  const malformed = { headers: { 'content-type': 'application/json' }, body: '{"x":' };

  assert.equal((await app.call('POST', url, { token: 'nonsense', ...malformed })).status, 401);
  assert.equal((await app.call('POST', url, { token: other.token, ...malformed })).status, 404);
  const forbidden = await app.call('POST', url, { token: view.token, ...malformed });
  assert.equal(forbidden.status, 403);
  assert.match(forbidden.body.error_description, /CONNECTIONS:USE/);
  assert.equal((await app.call('POST', url, { token: both.token, ...malformed })).status, 400);
  assert.equal(probe.reached(), 0);
  const answer = await app.call('POST', url, { token: both.token, body: { x: 'y' } });
  assert.deepEqual(answer.body, { project: 'A' });
});

test('a grant narrowed by connection, environment or operation is checked against path and query', async () => {
  const probe = withProbe();
  await using app = await probe.start();
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  const { token } = await app.token([
    {
      project: 'A',
      permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:USE'],
      connections: ['mail*'],
      environments: ['test'],
      operations: ['send'],
    },
  ]);
  const call = (path: string) =>
    app.call('POST', `/apiops/projects/A/connections/${path}`, { token, body: { x: 'y' } });
  assert.equal((await call('Mailer/operations/send/?environment=test')).status, 200);
  assert.equal((await call('mailer/operations/send')).status, 200);
  assert.equal((await call('db/operations/send/?environment=test')).status, 403);
  assert.equal((await call('mail/operations/verify/?environment=test')).status, 403);
  assert.equal((await call('mail/operations/send/?environment=production')).status, 403);
});

test('6: a project that is not visible is answered byte for byte as one that is not there, with as many queries', async () => {
  const probe = withProbe();
  await using app = await probe.start();
  await app.call('POST', '/apiops/projects/', { body: { name: 'Hidden' } });
  const { token } = await app.token([{ project: 'Seen', permissions: ['PROJECT:MANAGE', 'AUDIT:VIEW'] }]);
  const plain = (text: string) => text.replace(/"request_id":"[^"]*"/, '').replaceAll('Absent', 'Hidden');

  for (const [method, path] of [
    ['GET', '/apiops/projects/NAME/'],
    ['PUT', '/apiops/projects/NAME/'],
    ['DELETE', '/apiops/projects/NAME/'],
    ['POST', '/apiops/projects/NAME/connections/x/operations/send/'],
    ['GET', '/apiops/audit/?project=NAME'],
    ['GET', '/apiops/projects/NAME/nothing/'],
  ] as const) {
    const answers = [];
    const counts = [];
    for (const name of ['Hidden', 'Absent']) {
      const before = app.statements();
      answers.push(await app.call(method, path.replace('NAME', name), { token }));
      counts.push(app.statements() - before);
    }
    const [hidden, absent] = answers;
    assert.equal(hidden!.status, 404, `${method} ${path} ${hidden!.text}`);
    assert.equal(hidden!.status, absent!.status);
    assert.equal(plain(hidden!.text), plain(absent!.text));
    assert.deepEqual(
      { ...hidden!.headers, 'content-length': 0, date: 0 },
      { ...absent!.headers, 'content-length': 0, date: 0 },
    );
    assert.equal(counts[0], counts[1]);
  }
  const list = await app.call('GET', '/apiops/projects/', { token });
  assert.deepEqual(list.body, { success: true, resultList: [], resultCount: 0 });
  const spelled = await app.call('GET', '/apiops/projects/seen/', { token });
  assert.equal(spelled.body.error_description, "Project 'seen' not found");
});
