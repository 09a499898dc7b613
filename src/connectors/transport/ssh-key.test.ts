import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import ssh2 from 'ssh2';
import { AppError } from '../../errors.ts';
import { readPrivateKey } from './ssh-key.ts';

const passphrase = 'Canary-pass phrase';

const keys = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  ed25519: generateKeyPairSync('ed25519').privateKey,
};

for (const [kind, key] of Object.entries(keys))
  test(`a PKCS#8 key of the kind ${kind} is converted, and signs as it did`, () => {
    const pem = key.export({ type: 'pkcs8', format: 'pem' }) as string;
    const sealed = key.export({
      type: 'pkcs8',
      format: 'pem',
      cipher: 'aes-256-cbc',
      passphrase,
    }) as string;
    for (const converted of [readPrivateKey(pem, undefined), readPrivateKey(sealed, passphrase)]) {
      const parsed = ssh2.utils.parseKey(converted);
      assert.ok(!(parsed instanceof Error), String(parsed));
      const signature = parsed.sign('hello', kind === 'ed25519' ? undefined : 'sha256');
      assert.ok(!(signature instanceof Error));
      assert.equal(parsed.verify('hello', signature, kind === 'ed25519' ? undefined : 'sha256'), true);
    }
  });

test('what cannot be used is refused without a word of it', () => {
  const { ed25519, rsa } = keys;
  const sealed = ed25519.export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase,
  }) as string;
  const old = rsa.export({ type: 'pkcs1', format: 'pem', cipher: 'aes-128-cbc', passphrase }) as string;
  const publicKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
    type: 'pkcs1',
    format: 'pem',
  }) as string;
  const refused: [string, string | undefined, RegExp][] = [
    [sealed, undefined, /is encrypted: give its passphrase/],
    [old, undefined, /is encrypted: give its passphrase/],
    [sealed, 'Canary-wrong', /cannot be opened with this passphrase/],
    [old, 'Canary-wrong', /cannot be opened with this passphrase/],
    ['Canary-not a key', undefined, /is not a private key in PEM or OpenSSH format/],
    [publicKey, undefined, /public key/],
    [
      `ssh-ed25519 ${Buffer.from('\0\0\0\x0bssh-ed25519\0\0\0\x20'.padEnd(51, 'x'), 'latin1').toString('base64')} me`,
      undefined,
      /public key/,
    ],
    [sealed.slice(0, 200), passphrase, /cannot be opened/],
  ];
  for (const [key, phrase, said] of refused)
    assert.throws(
      () => readPrivateKey(key, phrase),
      (error) => {
        assert.ok(error instanceof AppError);
        assert.equal(error.code, 'invalid_configuration');
        assert.match(error.message, said);
        assert.ok(!error.message.includes('Canary'));
        return true;
      },
    );
  assert.equal(readPrivateKey(old, passphrase), old);
});
