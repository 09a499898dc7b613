import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPostgresql } from '../../../test/services/postgresql.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { purgeAudit } from '../audit/audit.service.ts';
import { createProjects } from '../projects/projects.service.ts';
import { purgeIdempotency } from '../server/idempotency.ts';
import { createAccess } from './access.ts';
import { startTestApp } from './test-app.ts';
import { purgeLogIns } from './tokens.service.ts';

test('PostgreSQL keeps tokens, users, projects, environments, audit and answers as the embedded database does', async (t) => {
  const server = await startOrSkip(t, startPostgresql);
  if (!server) return;
  await server.createDatabase('access', 'en-US');
  try {
    await using app = await startTestApp({ databaseUrl: server.url('access') });
    const ok = async (...parts: Parameters<typeof app.call>) => {
      const answer = await app.call(...parts);
      assert.equal(answer.status, 200, `${parts[0]} ${parts[1]} ${answer.text}`);
      return answer;
    };
    const keyed = { 'idempotency-key': 'k' };
    await ok('POST', '/apiops/environments/', { body: { name: 'test', type: 'TEST' } });
    const projects = await Promise.all(
      ['A', 'A', 'b'].map((name) =>
        app.call('POST', '/apiops/projects/', { body: { name, environments: ['test', 'production'] } }),
      ),
    );
    assert.deepEqual(projects.map(({ status }) => status).sort(), [200, 200, 400]);
    await ok('PUT', '/apiops/projects/A/', { body: { environments: ['test'] } });
    const users = await Promise.all(
      ['ann', 'ANN'].map((username) =>
        app.call('POST', '/apiops/users/', {
          body: {
            username,
            password: 'correct horse battery',
            grants: [{ project: 'A', permissions: ['CONNECTIONS:VIEW'] }],
          },
        }),
      ),
    );
    assert.deepEqual(users.map(({ status }) => status).sort(), [200, 400]);
    const logIn = (await app.logIn('ann', 'correct horse battery')).body.access_token as string;
    const body = { name: 'ci', expiresAt: '2099-01-01T00:00:00Z', grants: [] };
    const made = await ok('POST', '/apiops/tokens/', { token: logIn, headers: keyed, body });
    const again = await ok('POST', '/apiops/tokens/', { token: logIn, headers: keyed, body });
    assert.deepEqual(again.body, { ...made.body, token: null });
    const enrolled = await ok('POST', '/apiops/environments/test/enrollment-tokens/', {
      body: { name: 'w' },
    });
    assert.equal(app.environments.authenticateWorker(enrolled.body.token)?.environment.name, 'test');
    assert.equal((await app.call('DELETE', '/apiops/environments/test/')).status, 409);

    const restarted = await createAccess(app.db);
    const principal = restarted.authenticate(`Bearer ${made.body.token}`);
    assert.equal(principal.expiresAt, Date.parse('2099-01-01T00:00:00Z'));
    restarted.close();
    const stored = await createProjects(app.db, {
      access: app.access,
      connections: { removeAll: async () => false, replaceAll: async () => {} },
    });
    assert.deepEqual(stored.find('A')?.environments, ['test']);

    const audit = await ok(
      'GET',
      '/apiops/audit/?project=A&actor=token:admin&from=2001-01-01T00:00:00Z&size=1',
    );
    assert.equal(audit.body.resultCount, 2);
    assert.equal(audit.body.resultList[0].action, 'project.update');
    const own = await app.token([{ project: '*', permissions: ['AUDIT:VIEW'] }]);
    assert.equal((await ok('GET', '/apiops/audit/', { token: own.token })).body.resultCount, 3);

    await ok('DELETE', `/apiops/environments/test/enrollment-tokens/${enrolled.body.id}/`);
    await ok('DELETE', '/apiops/projects/A/?force=true');
    await ok('DELETE', '/apiops/projects/b/');
    await ok('DELETE', '/apiops/environments/test/');
    const later = Date.now() + 400 * 86_400_000;
    assert.equal(await purgeLogIns(app.db, app.access, later), 1);
    await ok('DELETE', '/apiops/users/ann/');
    assert.throws(() => app.access.authenticate(`Bearer ${made.body.token}`));
    assert.ok((await purgeIdempotency(app.db, later)) >= 1);
    assert.ok((await purgeAudit(app.db, 365, later)) > 10);
  } finally {
    await server.stop();
  }
});
