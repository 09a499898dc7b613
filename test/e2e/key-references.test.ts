import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Answer, type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { createAuthority } from '../services/certificates.ts';

const mine = '/apiops/projects/MyProject';
const theirs = '/apiops/projects/Other';
const authority = createAuthority();
const client = authority.issue({ commonName: 'client', client: true });

const inProduction = {
  environmentName: 'production',
  type: 'PEM',
  password: '',
  file: Buffer.from(client.keyPem + client.certPem).toString('base64'),
};
const bodies: Record<string, Record<string, unknown>> = {
  keystores: { keyStoreEnvironmentList: [inProduction, { ...inProduction, environmentName: 'test' }] },
  certificates: { pemEncodedFile: authority.caPem },
  environmentVariables: { global: true, globalValue: '127.0.0.1' },
};
const names = { keystores: 'STORE', certificates: 'ANCHOR', environmentVariables: 'HOST' } as const;
type Kind = keyof typeof names;
const kinds = Object.keys(names) as Kind[];
/** How a connection refers to an object of each kind. */
const referring: Record<Kind, (name: string) => Record<string, unknown>> = {
  keystores: (keyStoreName) => ({ keyStoreName }),
  certificates: (certificateName) => ({ certificateName }),
  environmentVariables: (name) => ({ host: `\${${name}}` }),
};
const mail = (name: string, more: Record<string, unknown>) => ({
  name,
  type: 'email',
  host: '127.0.0.1',
  useSsl: true,
  ...more,
});

describe('what connections refer to, by whom it is seen, and when it may go', () => {
  let app: Plugboard;
  before(async () => {
    app = await startPlugboard({ projects: ['MyProject', 'Other'], deployTimeoutMs: 10_000 });
    await ok('POST', '/apiops/environments/', { name: 'test', type: 'TEST' });
    await ok('PUT', `${mine}/`, { environments: ['production', 'test'] });
    for (const kind of kinds) await ok('POST', `${mine}/${kind}/${names[kind]}/`, bodies[kind]);
  });
  after(() => app.stop());

  const ask = (method: string, path: string, body?: unknown, token?: string) =>
    app.call(method, path, body, token === undefined ? {} : { token });
  async function ok(method: string, path: string, body?: unknown, token?: string) {
    const answer = await ask(method, path, body, token);
    assert.equal(answer.status, 200, `${method} ${path}: ${answer.text}`);
    return answer.body;
  }
  const tokenFor = async (project: string, ...permissions: string[]) =>
    (await ok('POST', '/apiops/tokens/', { name: 't', grants: [{ project, permissions }] })).token as string;
  /** All of an answer, but for the name that was sent and what every answer has of its own. */
  const said = (answer: Answer, name: string) => ({
    status: answer.status,
    text: answer.text
      .replaceAll(name, 'NAME')
      .replace(/"request_id":"[^"]*"/, '')
      .replaceAll(/"durationMs":\d+/g, ''),
    headers: [...answer.headers]
      .filter(([header]) => !['date', 'content-length', 'x-request-id'].includes(header))
      .map(([header, value]) => `${header}: ${value}`),
  });

  for (const kind of kinds)
    test(`${kind}: deletion is refused while anything refers to it, wherever and however`, async () => {
      const path = `${mine}/${kind}/${names[kind]}/`;
      const refersTo = referring[kind](names[kind]);
      const connections: Record<string, Record<string, unknown>> = {
        'in production': { environments: ['production'] },
        'in test': { environments: ['test'] },
        'switched off': { enabled: false },
        'not deployed': { deployToWorker: false },
      };
      const place = (name: string) => `${mine}/connections/${encodeURIComponent(name)}/`;
      for (const [name, more] of Object.entries(connections))
        await ok('POST', place(name), mail(name, { ...refersTo, ...more }));
      const left = new Set(Object.keys(connections));
      for (const name of Object.keys(connections)) {
        const refused = await ask('DELETE', path);
        assert.equal(refused.status, 409, refused.text);
        assert.equal(refused.body.error, 'conflict');
        for (const other of left) assert.ok(refused.text.includes(`'${other}'`), refused.text);
        assert.equal((await ask('GET', path)).status, 200);
        // One gives the reference up, the others go.
        if (name === 'in production') await ok('PUT', place(name), mail(name, connections[name]!));
        else await ok('DELETE', place(name));
        left.delete(name);
        if (left.size > 0) assert.ok(!(await ask('DELETE', path)).text.includes(`'${name}'`));
      }
      await ok('DELETE', place('in production'));
      await ok('DELETE', path);
      assert.equal((await ask('GET', path)).status, 404);
      const again = await ask('DELETE', path);
      assert.equal(again.status, 404, again.text);
      await ok('POST', path, bodies[kind]);
    });

  test('another project sees of an object what it sees of one that is not there', async () => {
    const everything = [
      ...['KEYS:VIEW', 'KEYS:MANAGE', 'VARIABLES:VIEW', 'VARIABLES:MANAGE'],
      ...['CONNECTIONS:VIEW', 'CONNECTIONS:MANAGE', 'CONNECTIONS:REVEAL', 'CONNECTIONS:TEST', 'AUDIT:VIEW'],
    ];
    const stranger = await tokenFor('Other', ...everything);
    for (const kind of kinds) {
      const real = names[kind];
      const unreal = real.split('').reverse().join('');
      const same = async (
        method: string,
        path: (name: string) => string,
        body?: (name: string) => unknown,
      ) => {
        const [one, other] = [
          await ask(method, path(real), body?.(real), stranger),
          await ask(method, path(unreal), body?.(unreal), stranger),
        ];
        assert.deepEqual(said(one, real), said(other, unreal), `${method} ${path(real)}`);
        return one;
      };
      for (const method of ['GET', 'PUT', 'DELETE', 'POST']) {
        const body = method === 'PUT' || method === 'POST' ? () => bodies[kind] : undefined;
        const guessed = await same(method, (name) => `${mine}/${kind}/${name}/`, body);
        assert.equal(guessed.status, 404);
        assert.match(guessed.text, /Project 'MyProject' not found/);
        const nowhere = await ask(method, `/apiops/projects/Nowhere1/${kind}/${real}/`, body?.(), stranger);
        assert.deepEqual(said(guessed, 'MyProject'), said(nowhere, 'Nowhere1'));
      }
      const inOther = kind === 'keystores' ? { keyStoreEnvironmentList: [inProduction] } : bodies[kind];
      for (const method of ['GET', 'PUT', 'DELETE']) {
        const body = method === 'PUT' ? () => inOther : undefined;
        assert.equal((await same(method, (name) => `${theirs}/${kind}/${name}/`, body)).status, 404);
      }
      const list = await ask('GET', `${theirs}/${kind}/?q=${real}`, undefined, stranger);
      assert.equal(list.body.resultCount, 0);
      const draft = (name: string) => mail('guess', referring[kind](name));
      await same('POST', () => `${theirs}/connections/guess/validate/`, draft);
      await same('POST', () => `${theirs}/connection-test/?timeoutMs=3000`, draft);
      const create = async (name: string, as: string) => {
        const answer = await ask(
          'POST',
          `${theirs}/connections/${as}/`,
          { ...draft(name), name: as },
          stranger,
        );
        const { status, text, headers } = said(answer, name);
        // The tag is that of the connection, which is the caller's own.
        return {
          status,
          text: text.replaceAll(as, 'AS'),
          headers: headers.filter((one) => !one.startsWith('etag')),
        };
      };
      const created = await create(real, `one-${kind}`);
      assert.deepEqual(created, await create(unreal, `other-${kind}`));
      if (kind === 'environmentVariables') assert.equal(created.status, 400);
      else assert.match(created.text, /"deploymentResult":\{"success":false/);
    }
    const seen = await ask('GET', '/apiops/expiring/?days=9999', undefined, stranger);
    assert.equal(seen.status, 200);
    for (const name of [...Object.values(names), 'MyProject'])
      assert.ok(!seen.text.includes(`"${name}"`), seen.text);
    const audit = await ask('GET', '/apiops/audit/?size=1000', undefined, stranger);
    assert.ok(!audit.text.includes('"MyProject"'), audit.text.slice(0, 500));
  });

  test('who may only look cannot write, and who may not look is told so', async () => {
    const permissionOf = (kind: Kind) => (kind === 'environmentVariables' ? 'VARIABLES' : 'KEYS');
    for (const kind of kinds) {
      const permission = permissionOf(kind);
      const path = `${mine}/${kind}/${names[kind]}/`;
      const viewer = await tokenFor('MyProject', `${permission}:VIEW`);
      const before = (await ok('GET', path, undefined, viewer)).resultList[0];
      assert.equal((await ok('GET', `${mine}/${kind}/`, undefined, viewer)).resultCount, 1);
      for (const [method, where, body] of [
        ['POST', `${mine}/${kind}/`, { ...bodies[kind], name: 'NEW' }],
        ['POST', `${mine}/${kind}/NEW/`, bodies[kind]],
        // Without the permission it is not told what is wrong with the body either.
        ['POST', `${mine}/${kind}/NEW/`, { nonsense: true }],
        ['PUT', path, bodies[kind]],
        ['PUT', `${path}?rename=true`, { ...bodies[kind], name: 'NEW' }],
        ['PUT', `${mine}/${kind}/NOTHING/`, bodies[kind]],
        ['DELETE', path, undefined],
        ['DELETE', `${mine}/${kind}/NOTHING/`, undefined],
      ] as const) {
        const refused = await ask(method, where, body, viewer);
        assert.equal(refused.status, 403, `${method} ${where}: ${refused.text}`);
        assert.match(refused.text, new RegExp(`${permission}:MANAGE`));
      }
      assert.deepEqual((await ok('GET', path)).resultList[0], before);
      const others = ['KEYS', 'VARIABLES'].filter((one) => one !== permission);
      const blind = await tokenFor(
        'MyProject',
        'CONNECTIONS:VIEW',
        'CONNECTIONS:MANAGE',
        ...others.flatMap((one) => [`${one}:VIEW`, `${one}:MANAGE`]),
      );
      for (const where of [path, `${mine}/${kind}/`, `${mine}/${kind}/NOTHING/`]) {
        const refused = await ask('GET', where, undefined, blind);
        assert.equal(refused.status, 403, refused.text);
        assert.match(refused.text, new RegExp(`${permission}:VIEW`));
      }
    }
  });
});
