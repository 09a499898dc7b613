import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';

let plugboard: Plugboard;
const path = '/apiops/projects/MyProject/connections/';

before(async () => {
  plugboard = await startPlugboard({ withWorker: false });
});
after(() => plugboard.stop());

async function send(name: string, body: Buffer, headers: Record<string, string>) {
  const response = await fetch(`${plugboard.url}${path}${name}/?async=true`, {
    method: 'POST',
    headers: { authorization: `Bearer ${plugboard.token}`, ...headers },
    body: new Uint8Array(body),
  });
  return { status: response.status, body: (await response.json()) as Record<string, string> };
}

const mail = (name: string) => ({
  type: 'email',
  name,
  host: 'mail.example',
  auth: true,
  username: 'u',
  password: 'päss',
});

test('what is not JSON in UTF-8 is refused, never stored as something else', async () => {
  const json = Buffer.from(JSON.stringify(mail('encoded')));
  const latin = Buffer.from(JSON.stringify(mail('encoded')), 'latin1');
  const type = { 'content-type': 'application/json' };
  for (const [body, headers, status] of [
    [latin, type, 400],
    [latin, { 'content-type': 'application/json; charset=iso-8859-1' }, 415],
    [gzipSync(json), { ...type, 'content-encoding': 'gzip' }, 415],
    [json, { 'content-type': 'text/plain' }, 415],
  ] as const) {
    const answer = await send('encoded', body, headers);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.equal(answer.body['error'], status === 415 ? 'unsupported_media_type' : 'bad_request');
    assert.equal((await plugboard.call('GET', `${path}encoded/`)).status, 404);
  }
  const { status } = await send('encoded', json, { 'content-type': 'application/json; charset="UTF-8"' });
  assert.equal(status, 200);
  const { body } = await plugboard.call('GET', `${path}encoded/`);
  assert.equal(body.resultList[0].password, 'päss');
});

test('a user is created by its name in the path, too', async () => {
  const user = { password: 'correct horse battery', admin: false, grants: [] };
  assert.equal((await plugboard.call('POST', '/apiops/users/bob/', user)).status, 200);
  assert.equal((await plugboard.call('GET', '/apiops/users/bob/')).body.resultList[0].username, 'bob');
  const other = await plugboard.call('POST', '/apiops/users/carol/', { ...user, username: 'dave' });
  assert.equal(other.status, 400, other.text);
});

test('validating makes every check of Create and Update', async () => {
  const two = '/apiops/projects/Checked/connections/';
  await plugboard.call('POST', '/apiops/environments/', { name: 'checked', type: 'TEST' });
  await plugboard.call('POST', '/apiops/projects/', {
    name: 'Checked',
    environments: ['production', 'checked'],
  });
  await plugboard.call('POST', `${two}here/?async=true`, mail('here'));
  await plugboard.call('POST', `${two}there/?async=true`, mail('there'));
  const validate = (name: string, query = '', token?: string) =>
    plugboard.call('POST', `${two}here/validate/${query}`, mail(name), token ? { token } : {});
  assert.equal((await validate('new')).status, 400);
  assert.equal((await validate('new', '?rename=true')).status, 200);
  const taken = await validate('THERE', '?rename=true');
  assert.deepEqual([taken.status, taken.body.validation_errors?.[0]?.field], [400, 'name']);
  const grants = [
    {
      project: 'Checked',
      permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:MANAGE'],
      environments: ['production'],
    },
  ];
  const { token } = (await plugboard.call('POST', '/apiops/tokens/', { name: 'narrow', grants })).body;
  const refused = await validate('here', '', token);
  assert.equal(refused.status, 403, refused.text);
});

test('all faults of a body are told together, also where one has the wrong form', async () => {
  const faultsOf = async (body: { type: string } & Record<string, unknown>) => {
    const { status, body: answer } = await plugboard.call('POST', `${path}faulty/validate/`, {
      name: 'faulty',
      ...body,
    });
    assert.equal(status, 400);
    return answer.validation_errors.map(({ field }: { field: string }) => field).toSorted();
  };
  assert.deepEqual(await faultsOf({ type: 'email', host: 'h', description: 5, environments: ['nope'] }), [
    'description',
    'environments[0]',
  ]);
  assert.deepEqual(
    await faultsOf({
      type: 'ldap',
      serverAddress: 'ldap://h',
      useSsl: true,
      connectionTimeout: 1,
      username: 'cn=u',
      password: 'p',
      baseDn: 'dc=x',
    }),
    ['connectionTimeout', 'useSsl'],
  );
  // What depends on a value that is wrong itself is not known yet.
  assert.deepEqual(
    await faultsOf({
      type: 'webhook',
      fullUrl: 'http://h/',
      connectionPoolMaxConnectionPerHost: 50,
      connectionPoolMaxConnectionTotal: 0,
    }),
    ['connectionPoolMaxConnectionTotal'],
  );
});
