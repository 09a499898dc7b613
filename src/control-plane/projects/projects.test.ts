import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApp, type TestApp } from '../auth/test-app.ts';
import { createProjects } from './projects.service.ts';

async function addConnection(app: TestApp, project: string, name: string, sealed = '{}'): Promise<void> {
  await app.db.write(async (tx) => {
    const seq = await tx.nextSequence();
    await tx.run(
      "insert into connections (id, project_id, name, name_key, type, revision, seq, enabled, deploy_to_worker, environments, masked, sealed, created_at, updated_at, deleted_at) values ($1, $2, $3, $4, 'EMAIL', 1, $5, 1, 1, '[]', '{}', $6, 1, 1, null)",
      [`id-${name}`, app.projects.find(project)!.id, name, name.toLowerCase(), seq, sealed],
    );
  });
}

test('a project is made, read, changed and deleted, each with its audit entry', async () => {
  await using app = await startTestApp();
  const made = await app.call('POST', '/apiops/projects/', {
    body: { name: 'My Project', description: 'First' },
  });
  assert.deepEqual(made.body, { success: true });
  const url = '/apiops/projects/My%20Project/';
  assert.deepEqual((await app.call('GET', url)).body, {
    success: true,
    resultList: [{ name: 'My Project', description: 'First', environments: ['production'] }],
    resultCount: 1,
  });
  await app.call('POST', '/apiops/environments/', { body: { name: 'test', type: 'TEST' } });
  assert.equal((await app.call('PUT', url, { body: { environments: ['test', 'production'] } })).status, 200);
  assert.deepEqual(app.projects.find('My Project')?.environments, ['production', 'test']);
  assert.equal((await app.call('PUT', url, { body: { description: null, name: 'My Project' } })).status, 200);
  assert.deepEqual((await app.call('GET', url)).body.resultList[0], {
    name: 'My Project',
    description: null,
    environments: ['production', 'test'],
  });
  assert.equal((await app.call('DELETE', url)).status, 200);
  const gone = await app.call('GET', url);
  assert.equal(gone.status, 404);
  assert.equal(gone.body.error_description, "Project 'My Project' not found");
  assert.equal((await app.call('DELETE', url)).status, 404);
  const audit = await app.call('GET', '/apiops/audit/?project=My%20Project');
  assert.deepEqual(
    audit.body.resultList.map((entry: { action: string }) => entry.action),
    ['project.delete', 'project.update', 'project.update', 'project.create'],
  );
});

test('project names are unique and exact, also when two come at once', async () => {
  await using app = await startTestApp();
  const post = (name: string) => app.call('POST', '/apiops/projects/', { body: { name } });
  const answers = await Promise.all([post('A'), post('A'), post('a')]);
  assert.deepEqual(answers.map((answer) => answer.status).sort(), [200, 200, 400]);
  assert.match(answers.find((answer) => answer.status === 400)!.text, /Project 'A' already exists!/);
  assert.equal((await app.call('GET', '/apiops/projects/')).body.resultCount, 2);
});

test('a bad project is refused field by field, and unknown environments by name, with nothing stored', async () => {
  await using app = await startTestApp();
  const names = ['', ' A', '-A', '.', '..', 'a/b', 'a\\b', 'ä', 'a\nb', 'x'.repeat(256), 5, null];
  const bad: [Record<string, unknown>, string][] = [
    ...names.map((name): [Record<string, unknown>, string] => [{ name }, 'name']),
    [{}, 'name'],
    [{ name: 'A', environments: 'production' }, 'environments'],
    [{ name: 'A', environments: ['nowhere', 'production', 'never'] }, 'environments'],
    [{ name: 'A', description: 5 }, 'description'],
    [{ name: 'A', description: 'a\u0000b' }, 'description'],
    [{ name: 'A', owner: 'me' }, 'owner'],
  ];
  for (const [body, field] of bad) {
    const answer = await app.call('POST', '/apiops/projects/', { body });
    assert.equal(answer.status, 400, JSON.stringify(body));
    assert.equal(answer.body.validation_errors[0].field, field, answer.text);
  }
  const unknown = await app.call('POST', '/apiops/projects/', {
    body: { name: 'A', environments: ['nowhere', 'production', 'never'] },
  });
  assert.match(unknown.body.error_description, /'never', 'nowhere'/);
  assert.equal((await app.call('GET', '/apiops/projects/')).body.resultCount, 0);
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  assert.equal((await app.call('PUT', '/apiops/projects/A/', { body: { name: 'B' } })).status, 400);
  assert.equal(
    (await app.call('PUT', '/apiops/projects/A/', { body: { environments: ['nowhere'] } })).status,
    400,
  );
  assert.deepEqual(app.projects.find('A')?.environments, ['production']);
});

test('only visible projects are listed, in pages, sorted and searched', async () => {
  await using app = await startTestApp();
  for (const name of ['B', 'A', 'C']) {
    await app.call('POST', '/apiops/projects/', { body: { name, description: `the ${name}` } });
  }
  const { token } = await app.token([
    { project: 'B', permissions: ['KEYS:VIEW'] },
    { project: 'C', permissions: ['CONNECTIONS:USE'] },
  ]);
  const names = async (query: string, as?: string) =>
    (await app.call('GET', `/apiops/projects/${query}`, as ? { token: as } : {})).body.resultList.map(
      (item: { name: string }) => item.name,
    );
  assert.deepEqual(await names('', token), ['B', 'C']);
  assert.deepEqual(await names(''), ['A', 'B', 'C']);
  assert.deepEqual(await names('?sort=name,desc&size=2'), ['C', 'B']);
  assert.deepEqual(await names('?page=2&size=2'), ['C']);
  assert.deepEqual(await names('?q=THE%20a'), ['A']);
  assert.equal((await app.call('GET', '/apiops/projects/?sort=id')).status, 400);
});

test('who may change a project', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  const manager = await app.token([{ project: 'A', permissions: ['PROJECT:MANAGE'] }]);
  const viewer = await app.token([{ project: 'A', permissions: ['CONNECTIONS:VIEW'] }]);
  const status = async (method: 'PUT' | 'DELETE' | 'POST', token: string) =>
    (
      await app.call(method, method === 'POST' ? '/apiops/projects/' : '/apiops/projects/A/', {
        token,
        ...(method === 'DELETE' ? {} : { body: method === 'POST' ? { name: 'N' } : { description: 'x' } }),
      })
    ).status;
  assert.equal(await status('PUT', manager.token), 200);
  assert.equal(await status('PUT', viewer.token), 403);
  const administrator = await app.token([{ project: 'A', permissions: ['ADMIN'] }]);
  for (const { token } of [manager, viewer, administrator]) {
    assert.equal(await status('POST', token), 403);
    assert.equal(await status('DELETE', token), 403);
  }
  const stranger = await app.token([{ project: 'B', permissions: ['ADMIN'] }]);
  assert.equal(await status('PUT', stranger.token), 404);
  assert.equal(await status('DELETE', stranger.token), 404);
  assert.ok(app.projects.find('A'));
});

test('a project with connections is deleted by force alone, and its workers learn of it', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  await addConnection(app, 'A', 'mail');
  const before = await app.db.get<{ value: number }>('select value from change_counter');
  const refused = await app.call('DELETE', '/apiops/projects/A/');
  assert.equal(refused.status, 409);
  assert.equal(refused.body.error, 'conflict');
  assert.ok(app.projects.find('A'));
  assert.equal((await app.call('DELETE', '/apiops/projects/A/?force=yes')).status, 400);
  assert.equal((await app.call('DELETE', '/apiops/projects/A/?force=true')).status, 200);
  const row = await app.db.get<{ deleted_at: number; seq: number }>(
    'select deleted_at, seq from connections',
  );
  assert.ok(row!.deleted_at);
  assert.ok(row!.seq > before!.value);
  assert.equal((await app.call('GET', '/apiops/projects/A/')).status, 404);
});

test("1: changing a project's environments needs REVEAL on each connection that holds secrets", async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/environments/', { body: { name: 'test' } });
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  const put = (token: string, environments: string[]) =>
    app.call('PUT', '/apiops/projects/A/', { token, body: { environments, description: 'moved' } });
  const manager = await app.token([{ project: 'A', permissions: ['PROJECT:MANAGE'] }]);
  await addConnection(app, 'A', 'plain');
  assert.equal((await put(manager.token, ['production', 'test'])).status, 200);

  await addConnection(app, 'A', 'mail', '{"/password":"sealed"}');
  await addConnection(app, 'A', 'db', '{"/password":"sealed"}');
  const partly = await app.token([
    { project: 'A', permissions: ['PROJECT:MANAGE'] },
    { project: 'A', permissions: ['CONNECTIONS:REVEAL'], connections: ['mail'] },
  ]);
  for (const { token } of [manager, partly]) {
    const answer = await put(token, ['test']);
    assert.equal(answer.status, 403);
    assert.match(answer.body.error_description, /CONNECTIONS:REVEAL/);
    assert.deepEqual(app.projects.find('A')?.environments, ['production', 'test']);
    assert.equal((await put(token, ['test', 'production'])).status, 200);
  }
  const whole = await app.token([{ project: 'A', permissions: ['PROJECT:MANAGE', 'CONNECTIONS:REVEAL'] }]);
  assert.equal((await put(whole.token, ['test'])).status, 200);
  assert.deepEqual(app.projects.find('A')?.environments, ['test']);
});

test('16: two writers with the same If-Match: one wins', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  const etag = String((await app.call('GET', '/apiops/projects/A/')).headers.etag);
  const answers = await Promise.all(
    ['one', 'two'].map((description) =>
      app.call('PUT', '/apiops/projects/A/', { body: { description }, headers: { 'if-match': etag } }),
    ),
  );
  assert.deepEqual(answers.map((answer) => answer.status).sort(), [200, 412]);
  const stale = await app.call('DELETE', '/apiops/projects/A/', { headers: { 'if-match': etag } });
  assert.equal(stale.status, 412);
  assert.equal(
    (await app.call('DELETE', '/apiops/projects/A/', { headers: { 'if-match': '"x", *' } })).status,
    200,
  );
});

test('projects are found again after a restart, and made at the start once', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/environments/', { body: { name: 'test' } });
  await app.call('POST', '/apiops/projects/', { body: { name: 'A', environments: ['test'] } });
  await app.projects.ensure(['A', 'default', 'default']);
  const again = await createProjects(app.db, {
    access: app.access,
    connections: { removeAll: async () => false, replaceAll: async () => {} },
  });
  assert.deepEqual(
    again
      .list()
      .map(({ name, environments }) => [name, environments])
      .sort(),
    [
      ['A', ['test']],
      ['default', ['production']],
    ],
  );
  assert.deepEqual(again.findById(again.find('A')!.id), again.find('A'));
});

test('an environment that does not exist is named, with where environments are made', async () => {
  await using app = await startTestApp();
  const refused = await app.call('POST', '/apiops/projects/', {
    body: { name: 'A', environments: ['staging'] },
  });
  assert.equal(refused.status, 400);
  assert.equal(refused.body.error_description, "Environment 'staging' not found");
  assert.match(refused.body.hint, /POST \/apiops\/environments\//);
});
