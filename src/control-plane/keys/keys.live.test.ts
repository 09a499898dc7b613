import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPlugboard } from '../../../test/harness/plugboard.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { startPostgresql } from '../../../test/services/postgresql.ts';
import { startOrSkip } from '../../../test/services/service.ts';

const base = '/apiops/projects/MyProject';

test('variables, keystores, certificates and the rotation of keys on PostgreSQL', async (t) => {
  const server = await startOrSkip(t, startPostgresql);
  if (!server) return;
  await server.createDatabase('keys', 'en-US');
  const app = await startPlugboard({ databaseUrl: server.url('keys'), deployTimeoutMs: 10_000 });
  t.after(async () => {
    await app.stop();
    await server.stop();
  });
  const { caPem } = createAuthority();
  const mail = (more: Record<string, unknown> = {}) => ({
    name: 'mail',
    type: 'email',
    host: '${HOST}',
    enableStartTls: true,
    auth: true,
    username: 'app',
    password: '${PASSWORD}',
    certificateName: 'ca',
    trustStoreName: 'store',
    ...more,
  });
  const hidden = { name: 'PASSWORD', global: true, globalValue: 'a-hidden-one', globalVisible: false };
  await app.ok('POST', `${base}/environmentVariables/`, {
    name: 'HOST',
    global: true,
    globalValue: '127.0.0.1',
  });
  await app.ok('POST', `${base}/environmentVariables/`, hidden);
  assert.equal((await app.call('POST', `${base}/environmentVariables/`, hidden)).status, 400);
  const created = await app.ok('POST', `${base}/connections/mail/`, mail());
  assert.equal(created.warnings.length, 2, JSON.stringify(created.warnings));
  const store = {
    name: 'store',
    keyStoreEnvironmentList: [
      {
        environmentName: 'production',
        type: 'PEM',
        file: Buffer.from(caPem).toString('base64'),
        password: '',
      },
    ],
  };
  assert.deepEqual((await app.ok('POST', `${base}/keystores/`, store)).redeployedConnections, ['mail']);
  const certificate = { name: 'ca', pemEncodedFile: caPem };
  const completed = await app.ok('POST', `${base}/certificates/`, certificate);
  assert.deepEqual(completed.redeployedConnections, ['mail']);
  assert.equal(completed.deploymentResult.success, true, JSON.stringify(completed));
  assert.equal((await app.call('POST', `${base}/certificates/`, certificate)).status, 400);

  const moved = await app.ok('PUT', `${base}/environmentVariables/HOST/?rename=true`, {
    name: 'MAIL_HOST',
    global: true,
    globalValue: '127.0.0.2',
  });
  assert.deepEqual(moved.redeployedConnections, ['mail']);
  assert.equal((await app.ok('GET', `${base}/connections/mail/`)).resultList[0].host, '${MAIL_HOST}');
  await app.ok('PUT', `${base}/keystores/store/?rename=true`, { ...store, name: 'roots' });
  for (const path of ['environmentVariables/MAIL_HOST', 'keystores/roots', 'certificates/ca'])
    assert.equal((await app.call('DELETE', `${base}/${path}/`)).status, 409, path);
  assert.equal((await app.ok('GET', '/apiops/expiring/')).resultCount, 2);

  const keys = await app.ok('GET', '/apiops/keys/');
  assert.ok(keys.resultList[0].values >= 5);
  await app.ok('POST', '/apiops/keys/rotate/');
  let state = 'running';
  while (state === 'running') state = (await app.ok('GET', '/apiops/keys/rotate/')).rotation.state;
  assert.equal(state, 'done');

  await app.ok('DELETE', `${base}/connections/mail/`);
  for (const path of ['environmentVariables/MAIL_HOST', 'keystores/roots', 'certificates/ca'])
    await app.ok('DELETE', `${base}/${path}/`);
  await app.ok('DELETE', '/apiops/projects/MyProject/?force=true');
  assert.equal((await app.db.all('select * from variable_values')).length, 0);
});
