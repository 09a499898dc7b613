import assert from 'node:assert/strict';
import { createCipheriv, generateKeyPairSync, hash, pbkdf2Sync } from 'node:crypto';
import { describe, test } from 'node:test';
import { seededRandom } from '../../test/harness/seeded-random.ts';
import { createAuthority } from '../../test/services/certificates.ts';
import { AppError } from '../errors.ts';
import { childrenOf, integerOf, octetsOf, oidOf, readDer } from './der.ts';
import { type KeystoreType, openCertificates, openKeystore } from './keystore.ts';
import { decryptByPassword, derivePkcs12, WorkBudget } from './password-encryption.ts';
import { decryptRc2Cbc } from './rc2.ts';

const authority = createAuthority();
const issued = authority.issue({ commonName: 'client', client: true });
const bundle = Buffer.from(issued.keyPem + issued.certPem + authority.caPem);
const password = 'the-password-of-it';

// A writer of DER, as small as the tests need.
function der(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const length = Buffer.alloc(5);
  length[0] = 0x84;
  length.writeUInt32BE(content.length, 1);
  return Buffer.concat([
    Buffer.from([tag]),
    content.length < 128 ? Buffer.from([content.length]) : length,
    content,
  ]);
}
const sequence = (...parts: Buffer[]) => der(0x30, ...parts);
const octets = (...parts: Buffer[]) => der(0x04, ...parts);
const integer = (value: number) => {
  const bytes = Buffer.alloc(5);
  bytes.writeUInt32BE(value, 1);
  return der(0x02, bytes);
};
function oid(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split('.').map(Number) as [number, number, ...number[]];
  const bytes = [first * 40 + second, ...rest].flatMap((part) => {
    const digits = [part & 127];
    for (let left = part >>> 7; left > 0; left >>>= 7) digits.unshift((left & 127) | 128);
    return digits;
  });
  return der(0x06, Buffer.from(bytes));
}
const data = (content: Buffer) => sequence(oid('1.2.840.113549.1.7.1'), der(0xa0, octets(content)));
const certificateDer = (pem: string) => Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
const certificateBag = (pem: string) =>
  sequence(
    oid('1.2.840.113549.1.12.10.1.3'),
    der(0xa0, sequence(oid('1.2.840.113549.1.9.22.1'), der(0xa0, octets(certificateDer(pem))))),
  );
const pfx = (safe: Buffer, ...mac: Buffer[]) => sequence(integer(3), data(safe), ...mac);
const macOf = (iterations: number) =>
  sequence(
    sequence(sequence(oid('1.3.14.3.2.26'), der(0x05)), octets(Buffer.alloc(20))),
    octets(Buffer.alloc(8)),
    integer(iterations),
  );

/** A JKS file as Java writes it, with one trusted certificate. */
function jks(...entries: Buffer[]): Buffer {
  const word = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const body = Buffer.concat([word(0xfeedfeed), word(2), word(entries.length), ...entries]);
  const key = Buffer.from(password, 'utf16le').swap16();
  return Buffer.concat([
    body,
    hash('sha1', Buffer.concat([key, Buffer.from('Mighty Aphrodite'), body]), 'buffer'),
  ]);
}
function jksTrusted(alias: string, pem: string): Buffer {
  const text = (value: string) => Buffer.concat([Buffer.from([0, value.length]), Buffer.from(value)]);
  const certificate = certificateDer(pem);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(certificate.length);
  return Buffer.concat([
    Buffer.from([0, 0, 0, 2]),
    text(alias),
    Buffer.alloc(8),
    text('X.509'),
    length,
    certificate,
  ]);
}

async function refusal(type: KeystoreType, file: Buffer, secret = password): Promise<string> {
  try {
    await openKeystore({ type, file, password: secret });
  } catch (error) {
    assert.ok(error instanceof AppError, String((error as Error).stack));
    assert.equal(error.code, 'bad_request');
    assert.ok(!error.message.includes(password));
    return error.message;
  }
  return assert.fail('it was opened');
}

/** Opened or refused in order: what hostile bytes may do. */
async function survives(type: KeystoreType, file: Buffer): Promise<boolean> {
  try {
    await openKeystore({ type, file, password });
    return true;
  } catch (error) {
    assert.ok(error instanceof AppError && error.code === 'bad_request', String((error as Error).stack));
    return false;
  }
}

const samples: [KeystoreType, Buffer][] = [
  ['PEM', bundle],
  ['PKCS12', pfx(sequence(data(sequence(certificateBag(authority.caPem)))))],
  ['JKS', jks(jksTrusted('ca', authority.caPem))],
];

describe('what opens', () => {
  for (const [type, file] of samples)
    test(type, async () => {
      const { keys, trusted } = await openKeystore({ type, file, password });
      assert.equal(keys.length + trusted.length, 1);
      const certificate = keys[0]?.certificates[0] ?? trusted[0]!.certificate;
      assert.match(certificate.issuer, /CN=Plugboard Test CA/);
      assert.equal(certificate.keyType, 'rsa');
      assert.equal(certificate.keyBits, 2048);
      assert.ok(certificate.notBefore < Date.now() && certificate.notAfter > Date.now());
      assert.match(certificate.fingerprint256, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
    });

  test('lengths that are not told (BER) and strings in several pieces', async () => {
    const open = (tag: number, ...parts: Buffer[]) =>
      Buffer.concat([Buffer.from([tag, 0x80]), ...parts, Buffer.from([0, 0])]);
    const safe = sequence(data(sequence(certificateBag(authority.caPem))));
    const pieces = open(0x24, octets(safe.subarray(0, 100)), octets(safe.subarray(100)));
    const file = open(0x30, integer(3), open(0x30, oid('1.2.840.113549.1.7.1'), open(0xa0, pieces)));
    assert.equal((await openKeystore({ type: 'PKCS12', file, password })).trusted.length, 1);
  });
});

describe('what is refused', () => {
  test('a wrong password, also one of the 256 after which the padding looks right', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    // One round of hashing, so that thousands of passwords can be tried.
    const plain = privateKey.export({ type: 'pkcs8', format: 'der' });
    const saltBytes = Buffer.alloc(16, 7);
    const key = pbkdf2Sync(password, saltBytes, 1, 32, 'sha256');
    const cipher = createCipheriv('aes-256-cbc', key, saltBytes);
    const encrypted = sequence(
      sequence(
        oid('1.2.840.113549.1.5.13'),
        sequence(
          sequence(
            oid('1.2.840.113549.1.5.12'),
            sequence(octets(saltBytes), integer(1), sequence(oid('1.2.840.113549.2.9'), der(0x05))),
          ),
          sequence(oid('2.16.840.1.101.3.4.1.42'), octets(saltBytes)),
        ),
      ),
      octets(cipher.update(plain), cipher.final()),
    );
    const pem = `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${encrypted.toString('base64')}\n-----END ENCRYPTED PRIVATE KEY-----\n`;
    const file = Buffer.from(pem + issued.certPem);
    for (let number = 0; number < 2000; number++)
      assert.match(await refusal('PEM', file, `wrong ${number}`), /password is wrong/);
  });

  test('in a sentence', async () => {
    assert.match(await refusal('JKS', Buffer.alloc(0)), /empty/);
    assert.match(await refusal('JKS', Buffer.alloc(1024 * 1024 + 1)), /larger than 1 MiB/);
    assert.match(
      await refusal('JKS', Buffer.from('hello, this is no keystore')),
      /neither a JKS nor a PKCS12/,
    );
    assert.match(await refusal('PEM', Buffer.from('hello')), /not in PEM form/);
    assert.match(await refusal('JKS', bundle), /type PEM/);
    assert.match(await refusal('JKS', jks()), /neither a private key nor a certificate/);
    assert.match(await refusal('PKCS12', pfx(sequence())), /neither a private key nor a certificate/);
    assert.match(await refusal('PEM', Buffer.from(issued.keyPem)), /no certificate in the file/);
    assert.match(await refusal('PEM', bundle.subarray(0, 500)), /damaged or cut off/);
    assert.match(await refusal('JKS', jks(jksTrusted('ca', authority.caPem)), 'wrong'), /password is wrong/);
    assert.match(await refusal('JKS', samples[2]![1], 'x'.repeat(2000)), /longer than/);
  });

  test('more entries than any keystore has', async () => {
    const entry = jksTrusted('ca', authority.caPem);
    const header = jks();
    header.writeUInt32BE(0x7fffffff, 8);
    await refusal('JKS', header);
    const many = Buffer.from('-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n'.repeat(2_000));
    assert.match(await refusal('PEM', many), /more than 1000 entries/);
    assert.ok(await survives('JKS', jks(...Array.from({ length: 900 }, () => entry))));
  });

  test('iteration counts that would keep a processor busy', async () => {
    const safe = sequence(data(sequence(certificateBag(authority.caPem))));
    assert.match(await refusal('PKCS12', pfx(safe, macOf(0x7fffffff))), /rounds of password hashing/);
    const pbkdf2 = (iterations: number) =>
      sequence(
        oid('1.2.840.113549.1.5.13'),
        sequence(
          sequence(oid('1.2.840.113549.1.5.12'), sequence(octets(Buffer.alloc(8)), integer(iterations))),
          sequence(oid('2.16.840.1.101.3.4.1.42'), octets(Buffer.alloc(16))),
        ),
      );
    const shrouded = (iterations: number) =>
      sequence(
        oid('1.2.840.113549.1.12.10.1.2'),
        der(0xa0, sequence(pbkdf2(iterations), octets(Buffer.alloc(64)))),
      );
    assert.match(
      await refusal('PKCS12', pfx(sequence(data(sequence(shrouded(0x7fffffff)))))),
      /rounds of password hashing/,
    );
    const pem = sequence(pbkdf2(0x7fffffff), octets(Buffer.alloc(64))).toString('base64');
    assert.match(
      await refusal(
        'PEM',
        Buffer.from(`-----BEGIN ENCRYPTED PRIVATE KEY-----\n${pem}\n-----END ENCRYPTED PRIVATE KEY-----`),
      ),
      /rounds of password hashing/,
    );
  });

  test('many counts that are each allowed: the file has one budget', async () => {
    const budget = new WorkBudget();
    budget.spend(4_000_000);
    assert.throws(() => budget.spend(1_000_001), /rounds of password hashing/);
  });

  test('scrypt that asks for much memory', async () => {
    const scrypt = sequence(
      oid('1.2.840.113549.1.5.13'),
      sequence(
        sequence(
          oid('1.3.6.1.4.1.11591.4.11'),
          sequence(octets(Buffer.alloc(8)), integer(1 << 24), integer(8), integer(1)),
        ),
        sequence(oid('2.16.840.1.101.3.4.1.42'), octets(Buffer.alloc(16))),
      ),
    );
    const secret = { utf8: Buffer.from('x'), bmp: Buffer.alloc(2) };
    await assert.rejects(
      decryptByPassword(readDer(scrypt), Buffer.alloc(16), secret, new WorkBudget()),
      /64 MiB of memory/,
    );
  });

  test('values nested beyond measure', async () => {
    const nested = Buffer.concat([Buffer.from('3080'.repeat(100_000), 'hex'), Buffer.alloc(1000)]);
    assert.equal(await survives('PKCS12', nested), false);
    let bags = sequence(certificateBag(authority.caPem));
    for (let i = 0; i < 50; i += 1)
      bags = sequence(sequence(oid('1.2.840.113549.1.12.10.1.6'), der(0xa0, bags)));
    assert.match(await refusal('PKCS12', pfx(sequence(data(bags)))), /damaged/);
    assert.equal(await survives('PKCS12', sequence(Buffer.alloc(1_000_000))), false);
  });

  test('a key that would make the runtime compute for ever', async () => {
    const dsa = sequence(
      integer(0),
      sequence(oid('1.2.840.10040.4.1'), sequence(integer(7), integer(3), integer(2))),
      octets(integer(2)),
    );
    const text = `-----BEGIN PRIVATE KEY-----\n${dsa.toString('base64')}\n-----END PRIVATE KEY-----`;
    assert.match(await refusal('PEM', Buffer.from(text)), /kind that TLS does not use/);
  });
});

describe('hostile bytes are refused, never a crash', () => {
  const random = seededRandom(20_260_101);
  for (const [type, file] of samples) {
    test(`${type}: cut off anywhere`, async () => {
      for (let i = 0; i < 120; i += 1) await survives(type, file.subarray(0, random.below(file.length)));
    });
    test(`${type}: flipped bits`, async () => {
      let refused = 0;
      for (let i = 0; i < 300; i += 1) {
        const flipped = Buffer.from(file);
        for (let times = 1 + random.below(3); times > 0; times -= 1)
          flipped[random.below(flipped.length)]! ^= 1 << random.below(8);
        if (!(await survives(type, flipped))) refused += 1;
      }
      assert.ok(refused > 0);
    });
    test(`${type}: bytes at random behind its beginning`, async () => {
      for (let i = 0; i < 150; i += 1) {
        const bytes = Buffer.from(Array.from({ length: random.below(400) }, () => random.below(256)));
        await survives(type, Buffer.concat([file.subarray(0, random.below(60)), bytes]));
      }
    });
  }
});

describe('hostile bytes behind a digest that is right', () => {
  test('JKS', async () => {
    const random = seededRandom(20_260_102);
    const entry = jksTrusted('ca', authority.caPem);
    for (let i = 0; i < 400; i += 1) {
      const flipped = Buffer.from(entry);
      for (let times = 1 + random.below(3); times > 0; times -= 1)
        flipped[random.below(random.chance(0.5) ? 32 : flipped.length)]! ^= 1 << random.below(8);
      await survives(
        'JKS',
        jks(random.chance(0.2) ? flipped.subarray(0, random.below(flipped.length)) : flipped),
      );
    }
  });
});

describe('certificates', () => {
  test('one or several', () => {
    assert.equal(openCertificates(authority.caPem).length, 1);
    const two = openCertificates(`${issued.certPem}\n# and its issuer\n${authority.caPem}`);
    assert.deepEqual(
      two.map(({ subject }) => subject),
      ['CN=client', 'CN=Plugboard Test CA'],
    );
  });

  test('a private key among them is refused', () => {
    assert.throws(
      () => openCertificates(issued.certPem + issued.keyPem),
      (error) =>
        error instanceof AppError && error.code === 'bad_request' && /private key/.test(error.message),
    );
  });

  test('what is none is refused in a sentence', () => {
    const { publicKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      publicKeyEncoding: { format: 'pem', type: 'spki' },
      privateKeyEncoding: { format: 'pem', type: 'pkcs8' },
    });
    for (const [text, said] of [
      ['', /no certificate/],
      ['hello', /no certificate/],
      [publicKey, /PUBLIC KEY/],
      [authority.caPem.slice(0, 300), /cut off/],
      ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', /cannot be read/],
      ['x'.repeat(1024 * 1024 + 1), /larger than 1 MiB/],
    ] as const)
      assert.throws(
        () => openCertificates(text),
        (error) => error instanceof AppError && error.code === 'bad_request' && said.test(error.message),
      );
  });
});

describe('against published vectors', () => {
  test('RC2 of RFC 2268', () => {
    for (const [key, bits, plain, sealed] of [
      ['0000000000000000', 63, '0000000000000000', 'ebb773f993278eff'],
      ['ffffffffffffffff', 64, 'ffffffffffffffff', '278b27e42e2f0d49'],
      ['3000000000000000', 64, '1000000000000001', '30649edf9be7d2c2'],
      ['88', 64, '0000000000000000', '61a8a244adacccf0'],
      ['88bca90e90875a', 64, '0000000000000000', '6ccf4308974c267f'],
      ['88bca90e90875a7f0f79c384627bafb2', 64, '0000000000000000', '1a807d272bbe5db1'],
      ['88bca90e90875a7f0f79c384627bafb2', 128, '0000000000000000', '2269552ab0f85ca6'],
    ] as const)
      assert.equal(
        decryptRc2Cbc(Buffer.from(sealed, 'hex'), Buffer.from(key, 'hex'), bits, Buffer.alloc(8)).toString(
          'hex',
        ),
        plain,
        key,
      );
  });

  test('a long derivation lets other work go on', async () => {
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    const budget = new WorkBudget();
    await derivePkcs12('sha256', 3, Buffer.from('0073006d0000', 'hex'), Buffer.alloc(8), 200_000, 32, budget);
    clearInterval(timer);
    assert.ok(turns > 3);
  });

  test('DER', () => {
    assert.equal(oidOf(readDer(oid('2.16.840.1.113894.746875.1.1'))), '2.16.840.1.113894.746875.1.1');
    assert.equal(integerOf(readDer(integer(600_000))), 600_000);
    assert.throws(() => integerOf(readDer(integer(0x80000000))), AppError);
    assert.equal(octetsOf(readDer(octets(Buffer.from('ab')))).toString(), 'ab');
    assert.throws(() => childrenOf(readDer(octets())), AppError);
  });
});
