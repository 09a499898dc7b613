import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { type Plugboard, startPlugboard } from '../../../test/harness/plugboard.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { Events, type PlugboardEvent } from '../server/events.routes.ts';
import { createExpiring } from './expiring.ts';

let app: Plugboard;
before(async () => {
  app = await startPlugboard({ projects: ['MyProject', 'Other'], withWorker: false, deployTimeoutMs: 0 });
});
after(() => app.stop());

it('what ends soon is listed for those who may see it, counted in metrics, and announced once', async () => {
  const authority = createAuthority();
  const old = authority.issue({ commonName: 'old', expired: true });
  const base = '/apiops/projects/MyProject';
  await app.ok('POST', `${base}/certificates/`, { name: 'soon', pemEncodedFile: authority.caPem });
  await app.ok('POST', `${base}/keystores/`, {
    name: 'over',
    keyStoreEnvironmentList: [
      {
        environmentName: 'production',
        type: 'PEM',
        file: Buffer.from(old.certPem + old.keyPem).toString('base64'),
        password: '',
      },
    ],
  });
  const inTenDays = new Date(Date.now() + 10 * 86_400_000).toISOString();
  const viewer = await app.ok('POST', '/apiops/tokens/', {
    name: 'ci',
    expiresAt: inTenDays,
    grants: [{ project: 'MyProject', permissions: ['KEYS:VIEW'] }],
  });
  const stranger = await app.ok('POST', '/apiops/tokens/', {
    name: 'stranger',
    grants: [{ project: 'Other', permissions: ['KEYS:VIEW'] }],
  });

  const list = await app.ok('GET', '/apiops/expiring/?days=30', undefined, { token: viewer.token });
  assert.deepEqual(
    list.resultList.map(({ kind, project, name, environmentName, expired }: Record<string, unknown>) => [
      kind,
      project,
      name,
      environmentName,
      expired,
    ]),
    [
      ['keystore', 'MyProject', 'over', 'production', true],
      ['token', null, 'ci', null, false],
      ['certificate', 'MyProject', 'soon', null, false],
    ],
  );
  const few = await app.ok('GET', '/apiops/expiring/?days=5', undefined, { token: viewer.token });
  assert.deepEqual(
    few.resultList.map(({ name }: { name: string }) => name),
    ['over'],
  );
  assert.equal(
    (await app.ok('GET', '/apiops/expiring/', undefined, { token: stranger.token })).resultCount,
    0,
  );

  const metrics = await app.call('GET', '/metrics');
  assert.match(metrics.text, /^plugboard_expiring\{kind="certificate"\} 1$/m);
  assert.match(metrics.text, /^plugboard_expiring\{kind="keystore"\} 1$/m);

  const project = await app.db.get<{ id: string }>("select id from projects where name = 'MyProject'");
  const expiring = createExpiring({
    db: app.db,
    access: undefined as never,
    tokens: undefined as never,
    projects: {
      findById: (id) =>
        id === project!.id ? { id, name: 'MyProject', description: null, environments: [] } : undefined,
    },
  });
  const events = new Events();
  await expiring.announce(events);
  const heard: PlugboardEvent[] = [];
  events.on('event', (event) => heard.push(event));
  await expiring.announce(events);
  await expiring.announce(events);
  assert.deepEqual(
    heard.map(({ event, data, scope }) => [event, data['name'], scope?.project]),
    [
      ['expiry', 'soon', 'MyProject'],
      ['expiry', 'over', 'MyProject'],
    ],
  );
});
