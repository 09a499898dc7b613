import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { createAuthority } from '../services/certificates.ts';

/** Tokens that may change much and read little: no change brings a secret within what they may read. */
let plugboard: Plugboard;
const call: Plugboard['call'] = (...given) => plugboard.call(...given);
const connections = '/apiops/projects/Narrow/connections';
const canary = 'canary-N4rrow';

const mail = (name: string, more: object = {}) => ({
  type: 'email',
  name,
  host: 'mail.example',
  auth: true,
  username: 'u',
  password: canary,
  environments: ['production'],
  ...more,
});

interface Grant {
  permissions: string[];
  environments?: string[];
  connections?: string[];
}

async function must(...given: Parameters<Plugboard['call']>) {
  const answer = await call(...given);
  assert.equal(answer.status, 200, answer.text);
  return answer;
}

async function tokenOf(...grants: Grant[]): Promise<string> {
  const given = grants.map((grant) => ({ project: 'Narrow', ...grant }));
  return (await must('POST', '/apiops/tokens/', { name: 'narrow', grants: given })).body.token;
}

async function passwordFor(token: string, name: string) {
  const { body } = await must('GET', `${connections}/${name}/`, undefined, { token });
  return body.resultList[0].password;
}

before(async () => {
  plugboard = await startPlugboard({ withWorker: false });
  await must('POST', '/apiops/environments/', { name: 'test', type: 'TEST' });
  await must('POST', '/apiops/projects/', { name: 'Narrow', environments: ['production', 'test'] });
});
after(() => plugboard.stop());

const editor = { permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:MANAGE'] };

test('security 1: REVEAL in one environment reads no secret of another by moving it there', async () => {
  const token = await tokenOf(editor, { permissions: ['CONNECTIONS:REVEAL'], environments: ['test'] });
  for (const [name, environments] of [
    ['moved', ['production']],
    ['left', ['production', 'test']],
  ] as const) {
    const path = `${connections}/${name}/?async=true`;
    await must('POST', path, mail(name, { environments }));
    assert.equal(await passwordFor(token, name), null);
    const moved = { ...mail(name), environments: ['test'], password: null };
    const refused = await call('PUT', path, moved, { token });
    assert.equal(refused.status, 400, refused.text);
    assert.match(refused.body.error_description, /password must be given again, because environments/);
    assert.equal(await passwordFor(token, name), null);
    await must('PUT', path, { ...moved, password: 'another' }, { token });
    assert.equal(await passwordFor(token, name), 'another');
  }
});

test('security 1: a new name brings no secret within the names of a narrowed grant', async () => {
  for (const permission of ['CONNECTIONS:REVEAL', 'CONNECTIONS:USE']) {
    const token = await tokenOf(editor, { permissions: [permission], connections: ['dev-*'] });
    await must('POST', `${connections}/prod-mail/?async=true`, mail('prod-mail'));
    const rename = (name: string) =>
      call(
        'PUT',
        `${connections}/prod-mail/?rename=true&async=true`,
        { ...mail(name), password: null },
        { token },
      );
    const refused = await rename('dev-mail');
    assert.equal(refused.status, 400, refused.text);
    assert.match(refused.body.error_description, /password must be given again, because name/);
    assert.equal((await rename('prod-mail-2')).status, 200, 'a name that opens nothing is free');
    await must('DELETE', `${connections}/prod-mail-2/?async=true`);
  }
});

test('security 1: a project that is moved to other environments needs REVEAL before and after', async () => {
  await must('POST', `${connections}/follows/?async=true`, mail('follows', { environments: [] }));
  const manager = { permissions: ['PROJECT:MANAGE', 'CONNECTIONS:VIEW'] };
  const move = (token: string) =>
    call('PUT', '/apiops/projects/Narrow/', { name: 'Narrow', environments: ['test'] }, { token });
  const narrowed = await tokenOf(manager, { permissions: ['CONNECTIONS:REVEAL'], environments: ['test'] });
  const refused = await move(narrowed);
  assert.equal(refused.status, 403, refused.text);
  assert.match(refused.body.error_description, /CONNECTIONS:REVEAL/);
  await must('DELETE', `${connections}/follows/?async=true`);
});

test('security 1: a revision comes back no further than the connection goes, without REVEAL', async () => {
  const path = `${connections}/restored/`;
  const token = await tokenOf(editor);
  await must('POST', `${path}?async=true`, mail('restored', { environments: [] }));
  await must('PUT', `${path}?async=true`, mail('restored'));
  const restore = () => call('POST', `${path}revisions/1/restore/?async=true`, {}, { token });
  const wider = await restore();
  assert.equal(wider.status, 403, wider.text);
  assert.match(wider.body.error_description, /CONNECTIONS:REVEAL.*environments/);
  await must('POST', `${path}revisions/2/restore/?async=true`, {}, { token });
  await must('DELETE', `${path}?async=true`, undefined, { token });
  assert.equal((await restore()).status, 403, 'of a deleted one, too');
  await must('POST', `${path}revisions/2/restore/?async=true`, {}, { token });
  await must('POST', `${path}revisions/1/restore/?async=true`, {});
});

test('security 1: further allowedHosts of a variable need the right over each value that is not visible', async () => {
  const path = '/apiops/projects/Narrow/environmentVariables/';
  const variable = {
    name: 'PROD_PASSWORD',
    allowedHosts: ['smtp.corp.example', 'mail.corp.example'],
    environmentValueList: [{ environmentName: 'production', value: canary, visible: false }],
  };
  await must('POST', path, variable);
  const token = await tokenOf(editor, {
    permissions: ['VARIABLES:VIEW', 'VARIABLES:MANAGE'],
    environments: ['test'],
  });
  const kept = {
    ...variable,
    environmentValueList: [{ environmentName: 'production', value: null, visible: false }],
  };
  const put = (allowedHosts: string[]) =>
    call('PUT', `${path}PROD_PASSWORD/`, { ...kept, allowedHosts }, { token });
  const refused = await put(['*']);
  assert.equal(refused.status, 403, refused.text);
  assert.match(refused.body.error_description, /VARIABLES:MANAGE for environment 'production'/);
  assert.equal((await put(['smtp.corp.example'])).status, 200, 'fewer are no move');
  const elsewhere = mail('elsewhere', { password: '${PROD_PASSWORD}', host: '127.0.0.1' });
  assert.equal((await call('POST', `${connections}/elsewhere/`, elsewhere, { token })).status, 403);
});

test('security 1: without its jdbcUrl a database is protected in another way, and asks for the password', async () => {
  const path = `${connections}/database/?async=true`;
  const database = {
    type: 'database',
    name: 'database',
    dbType: 'POSTGRES',
    host: 'db.example',
    port: 5432,
    databaseName: 'app',
    username: 'u',
    environments: ['production'],
    jdbcUrl: 'jdbc:postgresql://db.example:5432/app?sslmode=verify-full',
  };
  await must('POST', path, { ...database, password: canary });
  const token = await tokenOf(editor);
  for (const jdbcUrl of [null, 'jdbc:postgresql://db.example:5432/app?sslmode=disable']) {
    const refused = await call('PUT', path, { ...database, jdbcUrl, password: null }, { token });
    assert.equal(refused.status, 400, refused.text);
    assert.match(refused.body.error_description, /password must be given again, because .*jdbcUrl/);
  }
  await must('PUT', path, { ...database, password: null }, { token });
});

test('a changed host key is accepted only with MANAGE and TEST in that very environment, named or not', async () => {
  await must('POST', `${connections}/keys/?async=true`, mail('keys'));
  const accept = (token: string, query: string) =>
    call(
      'POST',
      `${connections}/keys/trust-host-key/${query}`,
      { fingerprint: `SHA256:${'A'.repeat(43)}` },
      { token },
    );
  const [manage, tests] = ['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'] as const;
  const elsewhere = { environments: ['test'] };
  for (const query of ['', '?environment=production']) {
    for (const [lacks, grants] of [
      [tests, [{ permissions: [manage] }]],
      [tests, [{ permissions: [manage] }, { permissions: [tests], ...elsewhere }]],
      [manage, [{ permissions: [tests] }, { permissions: [manage], ...elsewhere }]],
      [manage, [{ permissions: [manage, tests], ...elsewhere }]],
    ] as [string, Grant[]][]) {
      const refused = await accept(await tokenOf(...grants), query);
      assert.equal(refused.status, 403, `${query} ${refused.text}`);
      assert.match(refused.body.error_description, new RegExp(lacks));
    }
    const allowed = await accept(await tokenOf({ permissions: [manage, tests] }), query);
    assert.match(allowed.body.error_description, /has no pinned host key in 'production'/);
  }
});

test('a revision is restored only with MANAGE where the connection is and where the revision was', async () => {
  const both = ['production', 'test'];
  const token = await tokenOf({ permissions: ['CONNECTIONS:MANAGE'], environments: ['test'] });
  for (const [name, first, then] of [
    ['was-there', both, ['test']],
    ['is-there', ['test'], both],
  ] as const) {
    const open = { auth: false, username: null, password: null };
    await must('POST', `${connections}/${name}/?async=true`, mail(name, { ...open, environments: first }));
    await must('PUT', `${connections}/${name}/?async=true`, mail(name, { ...open, environments: then }));
    const path = `${connections}/${name}/revisions/1/restore/?async=true`;
    const refused = await call('POST', path, undefined, { token });
    assert.equal(refused.status, 403, `${name} ${refused.text}`);
    assert.match(refused.body.error_description, /CONNECTIONS:MANAGE .*'production'/);
    await must('POST', path);
  }
});

test('a test runs where the token may test, and only there, also where the first environment is another', async () => {
  const both = ['production', 'test'];
  await must('POST', `${connections}/tested/?async=true`, mail('tested', { environments: both }));
  const token = await tokenOf({ permissions: ['CONNECTIONS:TEST'], environments: ['test'] });
  const tested = (query: string) => call('POST', `${connections}/tested/test/${query}`, undefined, { token });
  const everywhere = await tested('');
  assert.deepEqual([everywhere.status, everywhere.body.error], [503, 'no_worker']);
  assert.equal((await tested('?environment=production')).status, 403);
});

test('what is not to be live is not deployed by hand, but may be withdrawn', async () => {
  for (const [name, more, why] of [
    ['is-off', { enabled: false }, 'enabled'],
    ['is-kept', { deployToWorker: false }, 'deployToWorker'],
  ] as const) {
    await must('POST', `${connections}/${name}/?async=true`, mail(name, more));
    const deployed = await call('POST', `${connections}/${name}/deploy/?async=true`);
    assert.deepEqual([deployed.status, deployed.body.error], [409, 'not_active'], deployed.text);
    assert.match(deployed.body.error_description, new RegExp(`has ${why} set to false`));
    await must('POST', `${connections}/${name}/undeploy/?async=true`);
  }
});

test('a certificate is stored, moved and changed only with MANAGE in all environments it is or was for', async () => {
  const certificates = '/apiops/projects/Narrow/certificates';
  const token = await tokenOf({ permissions: ['KEYS:VIEW', 'KEYS:MANAGE'], environments: ['test'] });
  const pemEncodedFile = createAuthority('Mine').caPem;
  const write = (method: string, name: string, environmentList: string[], pem = pemEncodedFile) =>
    call(method, `${certificates}/${name}/`, { environmentList, pemEncodedFile: pem }, { token });
  for (const environments of [[], ['production'], ['production', 'test']]) {
    const refused = await write('POST', 'roots', environments);
    assert.equal(refused.status, 403, refused.text);
    assert.match(refused.body.error_description, /KEYS:MANAGE/);
  }
  assert.equal((await write('POST', 'roots', ['test'])).status, 200);
  assert.equal((await write('PUT', 'roots', ['production'])).status, 403, 'the same file, elsewhere');
  await must('PUT', `${certificates}/roots/`, { environmentList: ['production'] });
  assert.equal((await write('PUT', 'roots', ['test'])).status, 403, 'taken from where it is');
  assert.equal((await write('PUT', 'roots', ['production'], createAuthority('Another').caPem)).status, 403);
});
