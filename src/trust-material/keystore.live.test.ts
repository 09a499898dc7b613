import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type KeystoreTools, makeAuthority, openKeystoreTools } from '../../test/services/keystore-tools.ts';
import { startOrSkip } from '../../test/services/service.ts';
import { AppError } from '../errors.ts';
import { type KeystoreType, type OpenedKeystore, openKeystore } from './keystore.ts';

const unicode = 'şifre-π-漢字-🔑';

async function refusal(type: KeystoreType, file: Buffer, password: string): Promise<string> {
  try {
    await openKeystore({ type, file, password });
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    assert.equal(error.code, 'bad_request');
    if (password.length > 3) assert.ok(!error.message.includes(password));
    return error.message;
  }
  return assert.fail('it was opened');
}

/** Every key belongs to the first certificate of its chain, and every certificate is one. */
function assertWhole({ keys, trusted }: OpenedKeystore): void {
  for (const { keyPem, chainPem, certificates } of keys) {
    assert.equal(chainPem.length, certificates.length);
    const ofKey = createPublicKey(createPrivateKey(keyPem)).export({ format: 'pem', type: 'spki' });
    assert.equal(new X509Certificate(chainPem[0]!).publicKey.export({ format: 'pem', type: 'spki' }), ofKey);
  }
  for (const { pem, certificate } of trusted)
    assert.equal(new X509Certificate(pem).fingerprint256, certificate.fingerprint256);
}

const shape = ({ keys, trusted }: OpenedKeystore) => ({
  keys: keys.map(({ alias, certificates }) => [
    alias,
    ...certificates.map(({ subject, keyType, keyBits }) => `${subject} ${keyType} ${keyBits}`),
  ]),
  trusted: trusted.map(({ alias, certificate }) => `${alias}: ${certificate.subject}`),
});

describe('keystores of the real keytool and openssl', () => {
  let tools: KeystoreTools | undefined;

  before(async (context) => {
    tools = await startOrSkip(context, openKeystoreTools);
    if (tools) await makeAuthority(tools);
  });
  after(() => tools?.[Symbol.asyncDispose]());

  /** Makes a file and opens it. */
  async function opened(type: KeystoreType, name: string, password: string): Promise<OpenedKeystore> {
    const keystore = await openKeystore({ type, file: await tools!.read(name), password });
    assertWhole(keystore);
    return keystore;
  }

  const genkey = (alias: string, store: string, storetype: string, password: string, ...more: string[]) =>
    tools!.keytool(
      ...['-genkeypair', '-alias', alias, '-dname', `CN=${alias}, O=Plugboard, C=TR`, '-validity', '30'],
      ...['-keystore', store, '-storetype', storetype, '-storepass', password, '-keypass', password],
      ...more,
    );
  /** An RSA key that openssl makes, which is quicker, in a file that keytool writes. */
  async function importKey(alias: string, bits: string, store: string, storetype: string, ...more: string[]) {
    await tools!.openssl(
      ...['req', '-x509', '-newkey', `rsa:${bits}`, '-noenc', '-subj', `/CN=${alias}`, '-days', '30'],
      ...['-keyout', `${alias}.key`, '-out', `${alias}.pem`],
    );
    await exportP12(
      `${alias}.p12`,
      'changeit',
      '-inkey',
      `${alias}.key`,
      '-in',
      `${alias}.pem`,
      '-name',
      alias,
    );
    await tools!.keytool(
      ...more,
      ...['-importkeystore', '-noprompt', '-srckeystore', `${alias}.p12`, '-srcstoretype', 'PKCS12'],
      ...['-srcstorepass', 'changeit', '-destkeystore', store, '-deststoretype', storetype],
      ...['-deststorepass', 'changeit', '-destkeypass', 'changeit'],
    );
  }
  const importTrusted = (alias: string, store: string, storetype: string, password: string, pem: string) =>
    tools!.keytool(
      ...['-importcert', '-noprompt', '-alias', alias, '-file', pem],
      ...['-keystore', store, '-storetype', storetype, '-storepass', password],
    );
  const exportP12 = (name: string, password: string, ...more: string[]) =>
    tools!.openssl('pkcs12', '-export', '-out', name, '-passout', `pass:${password}`, ...more);
  const client = ['-inkey', 'client.key', '-in', 'client.pem', '-name', 'Client'];

  for (const storetype of ['JKS', 'PKCS12'] as const)
    test(`keytool ${storetype}: RSA 2048, RSA 4096, EC and a trusted certificate under one roof`, async (t) => {
      if (!tools) return t.skip('no tools');
      const store = `many.${storetype}`;
      for (const bits of ['2048', '4096']) await importKey(`rsa-${bits}`, bits, store, storetype);
      await genkey('curve', store, storetype, 'changeit', '-keyalg', 'EC', '-groupname', 'secp384r1');
      await importTrusted('root', store, storetype, 'changeit', 'root.pem');
      const { keys, trusted } = shape(await opened(storetype, store, 'changeit'));
      assert.deepEqual(keys.sort(), [
        ['curve', 'CN=curve, O=Plugboard, C=TR ec 384'],
        ['rsa-2048', 'CN=rsa-2048 rsa 2048'],
        ['rsa-4096', 'CN=rsa-4096 rsa 4096'],
      ]);
      assert.deepEqual(trusted, ['root: CN=Test Root, O=Plugboard, C=TR']);
      const file = await tools.read(store);
      // As Java does: either name opens either format.
      const other = storetype === 'JKS' ? 'PKCS12' : 'JKS';
      assertWhole(await openKeystore({ type: other, file, password: 'changeit' }));
      assert.match(await refusal(storetype, file, 'wrong-password'), /password is wrong/);
      assert.match(await refusal(storetype, file, ''), /password is wrong/);
      assert.match(await refusal('PEM', file, 'changeit'), /PEM/);
      for (const length of [1, 40, Math.floor(file.length / 2), file.length - 1])
        await refusal(storetype, file.subarray(0, length), 'changeit');
    });

  test('keytool: the algorithms of Java before 8u301', async (t) => {
    if (!tools) return t.skip('no tools');
    const legacy = '-J-Dkeystore.pkcs12.legacy';
    await importKey('old', '2048', 'legacy.p12', 'PKCS12', legacy);
    await tools.keytool(
      ...[legacy, '-importcert', '-noprompt', '-alias', 'root', '-file', 'root.pem'],
      ...['-keystore', 'legacy.p12', '-storetype', 'PKCS12', '-storepass', 'changeit'],
    );
    const keystore = await opened('PKCS12', 'legacy.p12', 'changeit');
    assert.deepEqual(shape(keystore), {
      keys: [['old', 'CN=old rsa 2048']],
      trusted: ['root: CN=Test Root, O=Plugboard, C=TR'],
    });
    assert.match(await refusal('PKCS12', await tools.read('legacy.p12'), 'changei'), /password is wrong/);
  });

  test('keytool: trust alone', async (t) => {
    if (!tools) return t.skip('no tools');
    for (const type of ['JKS', 'PKCS12'] as const) {
      await importTrusted('first', `trust.${type}`, type, 'changeit', 'root.pem');
      await importTrusted('second', `trust.${type}`, type, 'changeit', 'server.pem');
      const { keys, trusted } = shape(await opened(type, `trust.${type}`, 'changeit'));
      assert.deepEqual(keys, []);
      assert.deepEqual(trusted.sort(), ['first: CN=Test Root, O=Plugboard, C=TR', 'second: CN=localhost']);
    }
  });

  test('keytool: a chain imported from PKCS12, a password beyond ASCII, another password for the key', async (t) => {
    if (!tools) return t.skip('no tools');
    await exportP12('chain.p12', 'changeit', ...client, '-certfile', 'chain.pem');
    await tools.keytool(
      ...[
        '-importkeystore',
        '-srckeystore',
        'chain.p12',
        '-srcstoretype',
        'PKCS12',
        '-srcstorepass',
        'changeit',
      ],
      ...[
        '-destkeystore',
        'chain.jks',
        '-deststoretype',
        'JKS',
        '-deststorepass',
        unicode,
        '-destkeypass',
        unicode,
      ],
    );
    const chain = ['CN=plugboard rsa 2048', 'CN=Test Intermediate, O=Plugboard rsa 2048'];
    const root = 'CN=Test Root, O=Plugboard, C=TR rsa 2048';
    for (const [type, name, password] of [
      ['JKS', 'chain.jks', unicode],
      ['PKCS12', 'chain.p12', 'changeit'],
    ] as const) {
      const { keys, trusted } = shape(await opened(type, name, password));
      assert.deepEqual(
        keys.map(([alias, ...rest]) => [alias?.toLowerCase(), ...rest]),
        [['client', ...chain, root]],
      );
      assert.deepEqual(trusted, []);
    }
    await genkey('apart', 'apart.jks', 'JKS', 'changeit', '-keyalg', 'EC', '-keypass', 'another');
    assert.match(
      await refusal('JKS', await tools.read('apart.jks'), 'changeit'),
      /'apart' has another password/,
    );
  });

  test('keytool: JCEKS is refused by name', async (t) => {
    if (!tools) return t.skip('no tools');
    await genkey('key', 'key.jceks', 'JCEKS', 'changeit', '-keyalg', 'EC');
    for (const type of ['JKS', 'PKCS12'] as const)
      assert.match(await refusal(type, await tools.read('key.jceks'), 'changeit'), /JCEKS/);
  });

  const written: [what: string, password: string, args: string[]][] = [
    ['the algorithms of OpenSSL 3', 'changeit', []],
    ['the algorithms of OpenSSL 1 (RC2-40, 3DES)', 'changeit', ['-legacy']],
    ['3DES for both', 'changeit', ['-legacy', '-descert']],
    ['RC2-128', 'changeit', ['-legacy', '-certpbe', 'PBE-SHA1-RC2-128', '-keypbe', 'PBE-SHA1-2DES']],
    [
      'AES-128 and a MAC by SHA-512',
      'changeit',
      ['-keypbe', 'AES-128-CBC', '-certpbe', 'AES-192-CBC', '-macalg', 'sha512'],
    ],
    ['an empty password', '', []],
    ['an empty password, old', '', ['-legacy']],
    ['a password beyond ASCII', unicode, []],
    ['a password beyond ASCII, old', unicode, ['-legacy']],
    ['no MAC', 'changeit', ['-nomac']],
    ['no encryption', 'changeit', ['-keypbe', 'NONE', '-certpbe', 'NONE']],
    ['600,000 iterations', 'changeit', ['-iter', '600000']],
  ];
  for (const [index, [what, password, args]] of written.entries())
    test(`openssl: ${what}`, async (t) => {
      if (!tools) return t.skip('no tools');
      const name = `openssl-${index}.p12`;
      await exportP12(name, password, ...client, '-certfile', 'intermediate.pem', ...args);
      assert.deepEqual(shape(await opened('PKCS12', name, password)), {
        keys: [['Client', 'CN=plugboard rsa 2048', 'CN=Test Intermediate, O=Plugboard rsa 2048']],
        trusted: [],
      });
      assert.match(await refusal('PKCS12', await tools.read(name), `${password}x`), /password is wrong/);
    });

  test('openssl: certificates without a key are trusted', async (t) => {
    if (!tools) return t.skip('no tools');
    await exportP12('trust.p12', 'changeit', '-nokeys', '-in', 'chain.pem');
    const { keys, trusted } = await opened('PKCS12', 'trust.p12', 'changeit');
    assert.deepEqual(keys, []);
    assert.deepEqual(
      trusted.map(({ certificate }) => certificate.subject),
      ['CN=Test Intermediate, O=Plugboard', 'CN=Test Root, O=Plugboard, C=TR'],
    );
  });

  test('PEM bundles: key, chain and more, in any order; EC and Ed25519', async (t) => {
    if (!tools) return t.skip('no tools');
    await tools.openssl(
      ...['req', '-x509', '-newkey', 'ed25519', '-noenc', '-subj', '/CN=edwards', '-days', '30'],
      ...['-keyout', 'ed.key', '-out', 'ed.pem'],
    );
    await tools.openssl('pkey', '-in', 'ec.key', '-traditional', '-out', 'ec-old.key');
    const parts = [
      'root.pem',
      'client.key',
      'ec.pem',
      'ec-old.key',
      'intermediate.pem',
      'client.pem',
      'ed.pem',
      'ed.key',
      'server.pem',
    ];
    await tools.write('bundle.pem', Buffer.concat(await Promise.all(parts.map(tools.read))));
    assert.deepEqual(shape(await opened('PEM', 'bundle.pem', '')), {
      keys: [
        [
          'key-1',
          'CN=plugboard rsa 2048',
          'CN=Test Intermediate, O=Plugboard rsa 2048',
          'CN=Test Root, O=Plugboard, C=TR rsa 2048',
        ],
        ['key-2', 'CN=plugboard-ec ec 256', 'CN=Test Root, O=Plugboard, C=TR rsa 2048'],
        ['key-3', 'CN=edwards ed25519 256'],
      ],
      trusted: ['certificate-1: CN=localhost'],
    });
    assert.match(await refusal('PKCS12', await tools.read('bundle.pem'), ''), /type PEM/);
    assert.match(await refusal('PEM', await tools.read('client.key'), ''), /has no certificate/);
  });

  const encryptions: [what: string, password: string, args: string[]][] = [
    ['PBES2 with AES-256', 'secret-of-key', ['pkcs8', '-topk8', '-v2', 'aes-256-cbc']],
    [
      'PBES2 with AES-128 and SHA-512',
      unicode,
      ['pkcs8', '-topk8', '-v2', 'aes128', '-v2prf', 'hmacWithSHA512'],
    ],
    ['scrypt', 'secret-of-key', ['pkcs8', '-topk8', '-scrypt']],
    ['PBE with SHA1 and 3DES', 'secret-of-key', ['pkcs8', '-topk8', '-v1', 'PBE-SHA1-3DES']],
    ['the traditional form', 'secret-of-key', ['rsa', '-aes256', '-traditional']],
  ];
  for (const [index, [what, password, args]] of encryptions.entries())
    test(`PEM key encrypted by ${what}`, async (t) => {
      if (!tools) return t.skip('no tools');
      const name = `encrypted-${index}.pem`;
      await tools.openssl(...args, '-in', 'client.key', '-out', name, '-passout', `pass:${password}`);
      await tools.write(name, Buffer.concat([await tools.read(name), await tools.read('client.pem')]));
      assert.equal((await opened('PEM', name, password)).keys.length, 1);
      assert.match(await refusal('PEM', await tools.read(name), 'not-the-one'), /password is wrong/);
      await refusal('PEM', await tools.read(name), '');
    });

  test('keys that TLS does not use are refused', async (t) => {
    if (!tools) return t.skip('no tools');
    await tools.openssl('genpkey', '-algorithm', 'X25519', '-out', 'x25519.pem');
    await tools.openssl(
      'genpkey',
      '-genparam',
      '-algorithm',
      'DSA',
      '-pkeyopt',
      'dsa_paramgen_bits:1024',
      '-out',
      'dsa.param',
    );
    await tools.openssl('genpkey', '-paramfile', 'dsa.param', '-out', 'dsa.pem');
    for (const name of ['x25519.pem', 'dsa.pem'])
      assert.match(await refusal('PEM', await tools.read(name), ''), /kind that TLS does not use/);
  });
});
