import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import forge from 'node-forge';
import { createNetwork } from '../../src/worker/egress.ts';
import { createEgressPolicy } from '../../src/worker/egress-policy.ts';
import { type Canary, canarySearch, newCanary, searchFiles } from '../harness/canaries.ts';
import { type EchoingTarget, startEchoingTarget } from '../harness/echoing-target.ts';
import { type Answer, type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { type Certificate, createAuthority } from '../services/certificates.ts';
import { privateDirectory } from '../services/service.ts';

const base = '/apiops/projects/MyProject';
const authority = createAuthority();
const client = (commonName: string) => authority.issue({ commonName, client: true });
const [ofPkcs12, ofPem, ofTest, rotated] = ['p12', 'pem', 'test', 'rotated'].map(client) as [
  Certificate,
  Certificate,
  Certificate,
  Certificate,
];

const passwords = {
  production: newCanary('password of the keystore in production'),
  test: newCanary('password of the keystore in test'),
  rotated: newCanary('password of the rotated keystore'),
  wrong: newCanary('a wrong password'),
};
const values = {
  global: newCanary('invisible global value'),
  production: newCanary('invisible value of production'),
  test: newCanary('invisible value of test'),
  changed: newCanary('changed invisible value'),
  refused: newCanary('refused value'),
};
const inFile = newCanary('secret of a file');
const inChangedFile = newCanary('changed secret of a file');

/** Every line of a private key in both of its forms; the first ones say only what kind of key it is. */
function linesOf(place: string, { keyPem }: Certificate): Canary[] {
  const pkcs8 = createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'pem' }) as string;
  return [keyPem, pkcs8].flatMap((pem) =>
    pem
      .split(/\r?\n/)
      .slice(2, -3)
      .map((line, at) => ({ place: `line ${at} of ${place}`, core: line.slice(4, 52), value: line })),
  );
}

const canaries: Canary[] = [
  ...Object.values(passwords),
  ...Object.values(values),
  inFile,
  inChangedFile,
  ...linesOf('the key of the PKCS12', ofPkcs12),
  ...linesOf('the key of the PEM', ofPem),
  ...linesOf('the key of test', ofTest),
  ...linesOf('the rotated key', rotated),
];
const search = canarySearch(canaries);
const openText = newCanary('a visible value, which is no secret');

function pkcs12({ keyPem, certPem }: Certificate, password: string): string {
  const asn1 = forge.pkcs12.toPkcs12Asn1(
    forge.pki.privateKeyFromPem(keyPem),
    [forge.pki.certificateFromPem(certPem)],
    password,
    { friendlyName: 'client', algorithm: '3des' },
  );
  return Buffer.from(forge.asn1.toDer(asn1).getBytes(), 'binary').toString('base64');
}
const pem = ({ keyPem, certPem }: Certificate) => Buffer.from(keyPem + certPem).toString('base64');

describe('canary secrets of keystores, variables and secret references', () => {
  let plugboard: Plugboard;
  let target: EchoingTarget;
  let directory: Awaited<ReturnType<typeof privateDirectory>>;
  const answers: { where: string; text: string }[] = [];
  let events = '';
  const eventsEnd = new AbortController();
  const secretFile = () => join(directory.path, 'api-key');

  before(async () => {
    target = await startEchoingTarget();
    directory = await privateDirectory('canary-keys');
    await writeFile(secretFile(), inFile.value);
    const network = createNetwork({
      policy: createEgressPolicy(),
      lookup: async () => [{ address: '127.0.0.1', family: 4 }],
    });
    const workerOptions = {
      network: {
        ...network,
        connect: (where: Parameters<typeof network.connect>[0]) =>
          network.connect({ ...where, host: '127.0.0.1', port: target.port }),
      },
      secretSources: { allow: [`MyProject file${directory.path}/* *`], environment: {} },
    };
    plugboard = await startPlugboard({ workerOptions, deployTimeoutMs: 20_000 });
    await ask('POST', '/apiops/environments/', { name: 'test', type: 'TEST' });
    await ask('PUT', `${base}/`, { environments: ['production', 'test'] });
    const second = await plugboard.addWorker('test', 'tester', workerOptions);
    while (!second.isConnected) await new Promise((resolve) => setTimeout(resolve, 5));
    const stream = await fetch(`${plugboard.url}/apiops/events/`, {
      headers: { authorization: `Bearer ${plugboard.token}` },
      signal: eventsEnd.signal,
    });
    void (async () => {
      for await (const chunk of stream.body!) events += Buffer.from(chunk).toString();
    })().catch(() => {});
  });

  after(async () => {
    eventsEnd.abort();
    await plugboard.stop();
    await target.close();
    await directory.remove();
  });

  // An administrator: what is searched for comes back to nobody.
  async function ask(method: string, path: string, body?: unknown, key?: string): Promise<Answer> {
    const answer = await plugboard.call(
      method,
      path,
      body,
      key ? { headers: { 'idempotency-key': key } } : {},
    );
    answers.push({
      where: `${method} ${path} → ${answer.status}`,
      text: `${answer.text}\n${JSON.stringify([...answer.headers])}`,
    });
    return answer;
  }
  async function ok(method: string, path: string, body?: unknown, key?: string) {
    const answer = await ask(method, path, body, key);
    assert.equal(answer.status, 200, `${method} ${path}: ${answer.text}`);
    return answer.body;
  }
  async function refused(method: string, path: string, body: unknown) {
    const answer = await ask(method, path, body);
    assert.ok(answer.status >= 400 && answer.status < 500, `${method} ${path}: ${answer.text}`);
  }

  const p12Files = {
    production: pkcs12(ofPkcs12, passwords.production.value),
    test: pkcs12(ofTest, passwords.test.value),
  };
  const p12Store = () => ({
    description: 'by PKCS12',
    keyStoreEnvironmentList: [
      {
        environmentName: 'production',
        type: 'PKCS12',
        file: p12Files.production,
        password: passwords.production.value,
        alias: 'client',
      },
      {
        environmentName: 'test',
        type: 'PKCS12',
        file: p12Files.test,
        password: passwords.test.value,
      },
    ],
  });
  const pemStore = (environmentName: string, certificate = ofPem) => ({
    environmentName,
    type: 'PEM',
    file: pem(certificate),
    password: '',
  });
  const perEnvironment = (production: string) => ({
    environmentValueList: [
      { environmentName: 'production', value: production, visible: false },
      { environmentName: 'test', value: values.test.value, visible: false },
    ],
  });
  const connections: Record<string, () => Record<string, unknown>> = {
    mail: () => ({
      type: 'email',
      host: 'mail.example',
      auth: true,
      username: 'me',
      password: '${HIDDEN}',
      from: 'a@b.example',
      keyStoreName: 'by-pkcs12',
    }),
    hook: () => ({
      type: 'webhook',
      httpMethod: 'POST',
      fullUrl: 'http://hook.example/path',
      headerList: [
        { name: 'Authorization', value: '${PER_ENVIRONMENT}' },
        { name: 'X-Api-Key', value: `secret://file${secretFile()}` },
      ],
      keyStoreName: 'by-pem',
    }),
    base: () => ({
      type: 'database',
      jdbcUrl: 'jdbc:postgresql://db.example/x?sslmode=disable',
      username: 'me',
      password: '${PER_ENVIRONMENT}',
      connectionTimeout: 1000,
    }),
    secure: () => ({
      type: 'email',
      host: 'mail.example',
      port: 465,
      useSsl: true,
      keyStoreName: 'by-pkcs12',
      trustStoreName: 'by-pem',
    }),
  };

  test('the search finds lines of keys in each form', () => {
    for (const { value } of linesOf('a key', ofPem).slice(0, 4))
      for (const text of [value, pem(ofPem), JSON.stringify({ value }), btoa(`x${value}`)])
        assert.ok(search(`before ${text} after`).length > 0, text);
    assert.ok(search(ofPkcs12.keyPem).length > 10);
    assert.deepEqual(search(ofPem.certPem), []);
  });

  test('created, repeated, listed and read', async () => {
    for (let time = 0; time < 2; time++) {
      await ok('POST', `${base}/keystores/by-pkcs12/`, p12Store(), 'create-p12');
      await ok(
        'POST',
        `${base}/keystores/by-pem/`,
        { keyStoreEnvironmentList: [pemStore('production'), pemStore('test')] },
        'create-pem',
      );
      await ok(
        'POST',
        `${base}/environmentVariables/HIDDEN/`,
        { global: true, globalValue: values.global.value, globalVisible: false },
        'create-hidden',
      );
      await ok(
        'POST',
        `${base}/environmentVariables/PER_ENVIRONMENT/`,
        perEnvironment(values.production.value),
        'create-per-environment',
      );
    }
    await ok('POST', `${base}/environmentVariables/OPEN/`, { global: true, globalValue: openText.value });
    for (const [name, body] of Object.entries(connections)) {
      const created = await ok('POST', `${base}/connections/${name}/`, { ...body(), name }, `create-${name}`);
      assert.equal(created.deploymentResult.success, true, JSON.stringify(created));
    }
    for (const path of ['keystores', 'environmentVariables', 'certificates'])
      await ok('GET', `${base}/${path}/`);
    for (const name of ['by-pkcs12', 'by-pem']) await ok('GET', `${base}/keystores/${name}/`);
    for (const name of ['HIDDEN', 'PER_ENVIRONMENT'])
      await ok('GET', `${base}/environmentVariables/${name}/`);
    const open = await ok('GET', `${base}/environmentVariables/OPEN/`);
    assert.equal(open.resultList[0].globalValue, openText.value, 'the positive control');
  });

  test('refused in every way', async () => {
    const [production, tester] = p12Store().keyStoreEnvironmentList;
    const store = `${base}/keystores/by-pkcs12/`;
    const put = (more: Record<string, unknown>) =>
      refused('PUT', store, { keyStoreEnvironmentList: [{ ...production, ...more }, tester] });
    await put({ password: passwords.wrong.value });
    await put({ password: [passwords.wrong.value] });
    await put({ password: passwords.wrong.value.repeat(100) });
    await put({ password: `${passwords.production.value}\u0000` });
    await put({ alias: 'nobody' });
    await put({ type: 'PEM' });
    await put({ passwort: passwords.wrong.value });
    await put({ environmentName: 'mars' });
    await put({ file: ofPem.keyPem });
    await put({ type: 'PEM', file: Buffer.from(ofPem.keyPem).toString('base64'), password: '' });
    await put({ type: 'PEM', file: pem({ ...ofPem, certPem: ofTest.certPem }), password: '' });
    await refused('PUT', store, `${JSON.stringify(p12Store()).slice(0, -1)},}`);
    await refused('POST', `${base}/keystores/other/`, { ...p12Store(), name: 'another' });
    const certificates = `${base}/certificates/key/`;
    await refused('POST', certificates, { pemEncodedFile: ofPem.keyPem });
    await refused('POST', certificates, { pemEncodedFile: ofPem.certPem + ofPem.keyPem });
    await refused('POST', certificates, { pemEncodedFile: ofPem.certPem, alias: [ofPem.keyPem] });
    const variable = `${base}/environmentVariables/PER_ENVIRONMENT/`;
    for (const value of [
      `${values.refused.value}\u0000`,
      [values.refused.value],
      { value: values.refused.value },
      values.refused.value.repeat(3000),
    ])
      await refused('PUT', variable, { environmentValueList: [{ environmentName: 'test', value }] });
    await refused('PUT', variable, { global: 'no', globalValue: values.refused.value });
    await refused('PUT', variable, `{"globalValue":"${values.refused.value}",}`);
    await refused('POST', variable, perEnvironment(values.refused.value));
  });

  test('tested, deployed and used, against a target that repeats what it hears', async () => {
    for (const [name, body] of Object.entries(connections)) {
      const path = `${base}/connections/${name}/`;
      await ok('POST', `${path}test/?timeoutMs=4000`);
      await ok('POST', `${base}/connection-test/?timeoutMs=4000`, { ...body(), name });
      await ok('POST', `${path}deploy/?prove=true&deployTimeoutMs=4000`);
      for (const [operation, input] of [
        ['send', { to: ['a@b.example'], subject: 's', text: 't' }],
        ['call', { body: 'x' }],
        ['query', { sql: 'select 1' }],
      ] as const)
        for (const environment of ['production', 'test'])
          await ask(
            'POST',
            `${path}operations/${operation}/?environment=${environment}&timeoutMs=4000`,
            input,
          );
      for (const part of ['', 'revisions/', 'revisions/1/', 'deployments/', 'health/'])
        await ok('GET', `${path}${part}`);
    }
    const heard = new Set(search(target.heard()).map((found) => found.split(':')[0]));
    for (const { place } of [values.global, values.production, values.test, inFile])
      assert.ok(heard.has(place), `the target was told the ${place}: ${[...heard].join(', ')}`);
  });

  test('changed, rotated and read again', async () => {
    await ok('PUT', `${base}/keystores/by-pkcs12/`, {
      keyStoreEnvironmentList: [
        {
          environmentName: 'production',
          type: 'PKCS12',
          file: pkcs12(rotated, passwords.rotated.value),
          password: passwords.rotated.value,
        },
        p12Store().keyStoreEnvironmentList[1],
      ],
    });
    await ok('PUT', `${base}/environmentVariables/PER_ENVIRONMENT/`, perEnvironment(values.changed.value));
    await writeFile(secretFile(), inChangedFile.value);
    const deadline = Date.now() + 30_000;
    // The file is watched; each call uses what the worker has by then.
    while (!target.heard().includes(inChangedFile.core)) {
      assert.ok(Date.now() < deadline, 'the changed file was never used');
      await ask('POST', `${base}/connections/hook/operations/call/?environment=production`, { body: 'x' });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(target.heard().includes(values.changed.core));
    await ok('PUT', `${base}/connections/mail/`, {
      ...connections['mail']!(),
      name: 'mail',
      description: 'again',
    });
    await ok('PUT', `${base}/keystores/by-pem/?rename=true`, {
      name: 'pem-of-old',
      keyStoreEnvironmentList: [pemStore('production'), pemStore('test')],
    });
    await ok('POST', '/apiops/keys/rotate/');
    let state = 'running';
    while (state === 'running') state = (await ok('GET', '/apiops/keys/rotate/')).rotation.state;
    assert.equal(state, 'done');
    for (const name of Object.keys(connections)) {
      await ok('GET', `${base}/connections/${name}/`);
      for (const part of ['revisions/', 'revisions/2/', 'deployments/', 'health/'])
        await ask('GET', `${base}/connections/${name}/${part}`);
    }
    await refused('DELETE', `${base}/keystores/by-pkcs12/`, undefined);
    await refused('DELETE', `${base}/environmentVariables/HIDDEN/`, undefined);
  });

  test('no answer, event, log line, row or file holds one of them', async () => {
    for (const path of [
      '/apiops/audit/?size=10000',
      '/metrics',
      '/apiops/expiring/?days=9999',
      '/apiops/keys/',
      '/apiops/openapi.json',
      `${base}/keystores/`,
      `${base}/environmentVariables/`,
      `${base}/connections/?type=*`,
      '/apiops/environments/production/workers/',
    ])
      await ok('GET', path);
    const inAnswers = answers.flatMap(({ where, text }) => search(text).map((found) => `${where}: ${found}`));
    assert.deepEqual([...new Set(inAnswers)].slice(0, 10), []);
    assert.ok(answers.length > 100, `${answers.length} answers`);
    assert.match(events, /by-pkcs12|mail/);
    assert.deepEqual(search(events), []);
    assert.deepEqual(search(plugboard.log.join('')).slice(0, 5), []);
    const kept = await plugboard.db.all('select * from idempotency');
    assert.ok(kept.length >= 8, `${kept.length} remembered answers`);
    assert.deepEqual(search(JSON.stringify(kept)), []);
    for (const table of [
      'audit',
      'revisions',
      'connections',
      'keystores',
      'keystore_files',
      'variable_values',
    ])
      assert.deepEqual(search(JSON.stringify(await plugboard.db.all(`select * from ${table}`))), [], table);

    const controls = await searchFiles(plugboard.directory, [openText]);
    assert.ok(
      controls.found.some((one) => /plugboard\.db/.test(one)),
      'what is no secret is found',
    );
    const { files, found } = await searchFiles(plugboard.directory, canaries);
    assert.ok(files.length >= 3, files.join());
    assert.deepEqual(found.slice(0, 5), []);
  });
});
