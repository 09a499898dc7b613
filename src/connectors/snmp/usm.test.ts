import assert from 'node:assert/strict';
import { test } from 'node:test';
import { localiseKeys, type PrivacyProtocol, privacyKey } from './usm.ts';

const engineId = Buffer.from('000000000000000000000002', 'hex');

test('keys are those of RFC 3414 A.3 and of the 3DES draft', () => {
  const key = (hash: string, octets: number, extension: 'blumenthal' | 'reeder') =>
    privacyKey(hash, 'maplesyrup', engineId, octets, extension).toString('hex');
  assert.equal(key('md5', 16, 'blumenthal'), '526f5eed9fcce26f8964c2930787d82b');
  assert.equal(key('sha1', 20, 'blumenthal'), '6695febc9288e36282235fc7151f128497b38f3f');
  assert.equal(key('md5', 32, 'reeder'), '526f5eed9fcce26f8964c2930787d82b79eff44a90650ee0a3a40abfac5acc12');
  assert.equal(key('sha1', 32, 'reeder'), '6695febc9288e36282235fc7151f128497b38f3f9b8b6d78936ba6e7d19dfd9c');
});

test('what is encrypted can be decrypted, with zeros where a cipher pads', () => {
  const protocols: PrivacyProtocol[] = [
    'PrivDES',
    'Priv3DES',
    'PrivAES128',
    'PrivAES192',
    'PrivAES256',
    'PrivAES192with3DES',
    'PrivAES256with3DES',
  ];
  for (const protocol of protocols) {
    const keys = localiseKeys(
      {
        name: 'user',
        authentication: { protocol: 'AuthMD5', passphrase: 'maplesyrup' },
        privacy: { protocol, passphrase: 'maplesyrup' },
      },
      engineId,
    );
    const clock = { boots: 7, time: 2 ** 31 - 1 };
    const plain = Buffer.from('thirteen byte');
    const first = keys.encrypt(plain, clock);
    const second = keys.encrypt(plain, clock);
    assert.notDeepEqual(first.salt, second.salt, protocol);
    assert.notDeepEqual(first.encrypted, second.encrypted, protocol);
    const read = keys.decrypt(first.encrypted, first.salt, clock);
    assert.deepEqual(read.subarray(0, plain.length), plain, protocol);
    assert.ok(
      read.subarray(plain.length).every((octet) => octet === 0),
      protocol,
    );
  }
});
