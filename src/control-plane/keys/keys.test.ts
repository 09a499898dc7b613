import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import forge from 'node-forge';
import { type Plugboard, startPlugboard } from '../../../test/harness/plugboard.ts';
import { type Certificate, createAuthority } from '../../../test/services/certificates.ts';

const base = '/apiops/projects/MyProject';
const keystores = `${base}/keystores/`;
const certificates = `${base}/certificates/`;
const password = 'canary-keystore-password';

function pkcs12({ keyPem, certPem }: Certificate, friendlyName = 'client'): string {
  const asn1 = forge.pkcs12.toPkcs12Asn1(
    forge.pki.privateKeyFromPem(keyPem),
    [forge.pki.certificateFromPem(certPem)],
    password,
    { friendlyName, algorithm: '3des' },
  );
  return Buffer.from(forge.asn1.toDer(asn1).getBytes(), 'binary').toString('base64');
}

function weakCertificate(): string {
  const pair = forge.pki.rsa.generateKeyPair(1024);
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = pair.publicKey;
  certificate.serialNumber = '01';
  certificate.validity.notBefore = new Date(Date.now() - 1000);
  certificate.validity.notAfter = new Date(Date.now() + 1000 * 86_400_000);
  const name = [{ name: 'commonName', value: 'weak' }];
  certificate.setSubject(name);
  certificate.setIssuer(name);
  certificate.sign(pair.privateKey, forge.md.sha256.create());
  return forge.pki.certificateToPem(certificate);
}

const mail = (name: string, more: Record<string, unknown> = {}) => ({
  name,
  type: 'email',
  host: '127.0.0.1',
  port: 2525,
  auth: true,
  username: 'app',
  password: 'a-password-of-tests',
  ...more,
});

describe('keystores and certificates', () => {
  const authority = createAuthority();
  const client = authority.issue({ commonName: 'client', client: true });
  let app: Plugboard;
  before(async () => {
    app = await startPlugboard({ projects: ['MyProject', 'Other'], deployTimeoutMs: 5000 });
    await app.call('POST', '/apiops/environments/', { name: 'test', type: 'TEST' });
    await app.call('PUT', `${base}/`, { environments: ['production', 'test'] });
  });
  after(() => app.stop());

  const tokenFor = async (...permissions: string[]) =>
    (await app.ok('POST', '/apiops/tokens/', { name: 't', grants: [{ project: 'MyProject', permissions }] }))
      .token as string;
  const refused = async (method: string, path: string, body: unknown, field: string, words: RegExp) => {
    const answer = await app.call(method, path, body);
    assert.equal(answer.status, 400, answer.text);
    const fault = answer.body.validation_errors.find((one: { field: string }) => one.field === field);
    assert.ok(fault, answer.text);
    assert.match(fault.message, words);
    assert.ok(!answer.text.includes(password));
  };
  const inProduction = (more: Record<string, unknown>) => ({
    keyStoreEnvironmentList: [{ environmentName: 'production', ...more }],
  });

  it('are opened when they are stored, and never read back', async () => {
    const file = pkcs12(client);
    const created = await app.ok('POST', keystores, {
      name: 'client',
      ...inProduction({ keyStoreType: 'PKCS12', file, password, alias: 'client' }),
    });
    assert.match(created.warnings.join(), /client \(CN=client\): ends on/);
    const got = await app.call('GET', `${keystores}client/`);
    const [stored] = got.body.resultList[0].keyStoreEnvironmentList;
    assert.deepEqual(
      [stored.type, stored.file, stored.password, stored.alias],
      ['PKCS12', null, null, 'client'],
    );
    assert.equal(stored.entries[0].kind, 'key');
    assert.equal(stored.entries[0].subject, 'CN=client');
    assert.equal(stored.entries[0].issuer, 'CN=Plugboard Test CA');
    assert.ok(Date.parse(stored.expiresAt) > Date.now());
    assert.ok(!got.text.includes(file) && !got.text.includes(password));

    const same = await app.ok('PUT', `${keystores}client/`, got.body.resultList[0]);
    assert.equal(same.redeployedConnections, undefined);
    const row = await app.db.get<Record<string, string>>('select * from keystore_files');
    assert.match(row!['sealed_file']!, /^v1\./);
    assert.ok(!JSON.stringify(row).includes(password));

    const at = 'keyStoreEnvironmentList[0]';
    const put = (more: Record<string, unknown>, field: string, words: RegExp) =>
      refused('PUT', `${keystores}client/`, inProduction(more), `${at}.${field}`, words);
    await put({ password: 'wrong' }, 'password', /password/i);
    await put(
      { file: pkcs12(client, 'other') },
      'password',
      /is required; it is kept for the same file alone/,
    );
    await put({ file: file.slice(0, 400), password }, 'file', /./);
    await put({ file: '§§', password }, 'file', /base64/);
    await put({ alias: 'nobody' }, 'alias', /must be one of the file's: client/);
    await put({ environmentName: 'mars', file, password }, 'environmentName', /must be an environment/);
    for (const line of app.log) assert.ok(!line.includes(password));
  });

  it('say at once what is weak, expired, or has no private key', async () => {
    const expired = authority.issue({ commonName: 'old', expired: true });
    const old = await app.ok('POST', `${keystores}old/`, {
      ...inProduction({
        type: 'PEM',
        file: Buffer.from(expired.certPem).toString('base64'),
        password: '',
      }),
    });
    assert.match(old.warnings.join('\n'), /no private key: it serves as a truststore only/);
    assert.match(old.warnings.join('\n'), /CN=old\): expired on/);
    const weak = await app.ok('POST', certificates, { name: 'weak', pemEncodedFile: weakCertificate() });
    assert.match(weak.warnings.join(), /a weak key, RSA of 1024 bits/);
  });

  it('certificates come as JSON or as a form, and refuse private keys', async () => {
    const form = new FormData();
    form.set('certificateName', 'ca');
    form.set('certificateDescription', 'of tests');
    form.set('alias', 'root');
    form.set('environmentList', 'test');
    form.set('pemEncodedFile', new Blob([authority.caPem]), 'ca.pem');
    const answer = await fetch(`${app.url}${certificates}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${app.token}` },
      body: form,
    });
    assert.equal(answer.status, 200, await answer.text());
    const got = await app.ok('GET', `${certificates}ca/`);
    const [stored] = got.resultList;
    assert.deepEqual(
      [stored.name, stored.description, stored.alias, stored.environmentList, stored.pemEncodedFile],
      ['ca', 'of tests', 'root', ['test'], authority.caPem],
    );
    assert.equal(stored.certificates[0].subject, 'CN=Plugboard Test CA');
    await app.ok('PUT', `${certificates}ca/`, stored);
    assert.deepEqual((await app.ok('GET', `${certificates}ca/`)).resultList[0], stored);
    await refused(
      'POST',
      certificates,
      { name: 'key', pemEncodedFile: client.keyPem + client.certPem },
      'pemEncodedFile',
      /private key/,
    );
    await refused('POST', certificates, { name: 'none', pemEncodedFile: 'x' }, 'pemEncodedFile', /./);
    const broken = await fetch(`${app.url}${certificates}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${app.token}`, 'content-type': 'multipart/form-data; boundary=x' },
      body: 'nothing of the kind',
    });
    assert.equal(broken.status, 400);
    const elsewhere = await fetch(`${app.url}/apiops/projects/`, {
      method: 'POST',
      headers: { authorization: `Bearer ${app.token}` },
      body: form,
    });
    assert.equal(elsewhere.status, 415);
  });

  it('are taken up by the connections that name them, guarded, and not deleted under them', async () => {
    const body = { name: 'roots', environmentList: [], pemEncodedFile: authority.caPem };
    const created = await app.ok(
      'POST',
      `${base}/connections/trusting/`,
      mail('trusting', { certificateName: 'roots' }),
    );
    assert.match(created.warnings.join(), /certificate 'roots' does not exist/);
    const keeper = await tokenFor('KEYS:VIEW', 'KEYS:MANAGE');
    const blind = await app.call('POST', certificates, body, { token: keeper });
    assert.equal(blind.status, 403);
    assert.match(blind.text, /'trusting'.*CONNECTIONS:REVEAL/);
    assert.deepEqual((await app.ok('POST', certificates, body)).redeployedConnections, ['trusting']);

    const byVariable = `${base}/connections/by-variable/`;
    await app.ok('POST', `${base}/environmentVariables/`, { name: 'CA', global: true, globalValue: 'roots' });
    const aware = await app.ok('POST', byVariable, mail('by-variable', { certificateName: '${CA}' }));
    assert.doesNotMatch(String(aware.warnings), /does not exist/);
    const fixed = await app.call('PUT', `${certificates}roots/?rename=true`, { ...body, name: 'anchors' });
    assert.equal(fixed.status, 409, fixed.text);
    assert.match(fixed.text, /'by-variable' refers to the certificate 'roots' where the new name cannot/);
    await app.ok('DELETE', byVariable);

    const other = createAuthority('Another').caPem;
    const changed = await app.call(
      'PUT',
      `${certificates}roots/`,
      { pemEncodedFile: other },
      { token: keeper },
    );
    assert.equal(changed.status, 403);
    await app.ok(
      'PUT',
      `${certificates}roots/`,
      { description: 'only words', environmentList: [] },
      { token: keeper },
    );
    const deleted = await app.call('DELETE', `${certificates}roots/`);
    assert.equal(deleted.status, 409);
    assert.match(deleted.text, /'trusting'/);
    const renamed = await app.ok('PUT', `${certificates}roots/?rename=true`, { name: 'anchors' });
    assert.deepEqual(renamed.redeployedConnections, ['trusting']);
    const follower = await app.ok('GET', `${base}/connections/trusting/`);
    assert.equal(follower.resultList[0].certificateName, 'anchors');

    await app.ok('PUT', `${base}/connections/trusting/`, mail('trusting'));
    await app.ok('DELETE', `${certificates}anchors/`);
  });

  it('of another project are not there', async () => {
    const stranger = (
      await app.ok('POST', '/apiops/tokens/', {
        name: 's',
        grants: [{ project: 'Other', permissions: ['KEYS:VIEW', 'KEYS:MANAGE'] }],
      })
    ).token as string;
    for (const path of [
      `${keystores}client/`,
      `${certificates}ca/`,
      '/apiops/projects/Other/keystores/client/',
    ]) {
      const answer = await app.call('GET', path, undefined, { token: stranger });
      assert.equal(answer.status, 404, path);
    }
    const lacking = await tokenFor('KEYS:VIEW');
    assert.equal(
      (await app.call('DELETE', `${keystores}client/`, undefined, { token: lacking })).status,
      403,
    );
  });
});
