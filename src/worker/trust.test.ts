import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAuthority } from '../../test/services/certificates.ts';
import type { TrustObjects } from '../contract/worker-protocol.ts';
import { AppError, type ErrorCode } from '../errors.ts';
import { createTrust, openTrustMaterial } from './trust.ts';

const authority = createAuthority();
const first = authority.issue({ commonName: 'first', client: true });
const second = authority.issue({ commonName: 'second', client: true });
const password = 'keystore-passw0rd';

const pem = (text: string, alias?: string): TrustObjects['keystores'][string] => ({
  type: 'PEM',
  file: Buffer.from(text).toString('base64'),
  password,
  ...(alias ? { alias } : {}),
});
const objects: TrustObjects = {
  keystores: {
    'Corporate CA': pem(authority.caPem),
    one: pem(first.keyPem + first.certPem + authority.caPem),
    both: pem(first.keyPem + first.certPem + second.keyPem + second.certPem),
    chosen: pem(first.keyPem + first.certPem + second.keyPem + second.certPem, 'KEY-2'),
    unknown: pem(first.keyPem + first.certPem, 'other'),
    broken: { type: 'JKS', file: Buffer.from('garbage').toString('base64'), password },
  },
  certificates: { leaf: first.certPem, empty: 'nothing' },
};

async function trust() {
  return createTrust(await openTrustMaterial(objects));
}

const same = (text: string) => text.replaceAll(/\s/g, '');

test('the system roots are trusted and TLS 1.2 is the least', () => {
  assert.deepEqual(createTrust().tls({ verifyCertificate: true }), { minVersion: 'TLSv1.2' });
  assert.deepEqual(createTrust().tls({}), { minVersion: 'TLSv1.2' });
});

test('verification is off only when the connection says so', async () => {
  assert.equal(createTrust().tls({ verifyCertificate: false }).rejectUnauthorized, false);
  const options = (await trust()).tls({ trustStoreName: 'Corporate CA', verifyCertificate: false });
  assert.equal(options.rejectUnauthorized, false);
  assert.equal('rejectUnauthorized' in (await trust()).tls({ trustStoreName: 'Corporate CA' }), false);
});

test('a truststore and a certificate take the place of the system roots', async () => {
  const { tls } = await trust();
  const caOf = (options: { ca?: unknown }) => (options.ca as string[]).map(same);
  assert.deepEqual(caOf(tls({ trustStoreName: 'Corporate CA' })), [same(authority.caPem)]);
  assert.deepEqual(caOf(tls({ trustStoreName: 'corporate ca', certificateName: 'leaf' })), [
    same(authority.caPem),
    same(first.certPem),
  ]);
  assert.equal('key' in tls({ trustStoreName: 'one' }), false);
  // Of a keystore used as a truststore, the certificates of its keys are trusted.
  assert.deepEqual(caOf(tls({ trustStoreName: 'both' })), [first.certPem, second.certPem].map(same));
});

test('a keystore gives the client certificate with its chain, and no trust', async () => {
  const { tls } = await trust();
  const options = tls({ keyStoreName: 'one' });
  assert.equal(same(String(options.cert)), same(first.certPem + authority.caPem));
  assert.match(String(options.key), /BEGIN PRIVATE KEY/);
  assert.equal('ca' in options, false);
  assert.equal(same(String(tls({ keyStoreName: 'chosen' }).cert)), same(second.certPem));
});

async function refused(config: object, code: ErrorCode, ...said: RegExp[]): Promise<void> {
  const { tls } = await trust();
  assert.throws(
    () => tls(config),
    (error) =>
      error instanceof AppError &&
      error.code === code &&
      !error.message.includes(password) &&
      said.every((pattern) => pattern.test(error.message)),
    JSON.stringify(config),
  );
}

test('what cannot be used is refused, naming it', async () => {
  await refused({ keyStoreName: 'both' }, 'invalid_configuration', /'both'/, /key-1, key-2/, /alias/);
  await refused({ keyStoreName: 'unknown' }, 'invalid_configuration', /'unknown'/, /'other'/, /key-1/);
  await refused({ keyStoreName: 'Corporate CA' }, 'invalid_configuration', /holds no private key/);
  await refused({ trustStoreName: 'broken' }, 'invalid_configuration', /'broken'/, /neither a JKS/);
  await refused({ certificateName: 'empty' }, 'invalid_configuration', /'empty'/, /no certificate/);
});

for (const [field, kind] of [
  ['trustStoreName', 'keystore'],
  ['keyStoreName', 'keystore'],
  ['certificateName', 'certificate'],
] as const)
  test(`${field} that does not exist is refused by name`, async () => {
    const config = { [field]: 'absent', verifyCertificate: false };
    await refused(config, 'missing_reference', new RegExp(`${field}.*${kind} 'absent'`));
    assert.throws(() => createTrust().tls(config), AppError);
  });

test('passwords and private keys are named as secrets', async () => {
  const { secrets } = await openTrustMaterial(objects);
  assert.ok(secrets.includes(password));
  assert.ok(secrets.some((secret) => secret.includes('BEGIN PRIVATE KEY')));
});
