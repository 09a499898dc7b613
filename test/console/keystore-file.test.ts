import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  guessKeystoreType,
  readCertificateFile,
  readKeystoreFile,
} from '../../console/src/keys/keystore-file.ts';
import { createAuthority } from '../services/certificates.ts';

const bytes = (...values: number[]) => Uint8Array.from(values);

describe('a chosen keystore file', () => {
  it('is known by its content first, then by its name', () => {
    const text = new TextEncoder().encode('Bag Attributes\n-----BEGIN PRIVATE KEY-----\n');
    assert.equal(guessKeystoreType(bytes(0xfe, 0xed, 0xfe, 0xed, 0, 0), 'store.p12'), 'JKS');
    assert.equal(guessKeystoreType(bytes(0x30, 0x82), 'store.jks'), 'PKCS12');
    assert.equal(guessKeystoreType(text, 'store.p12'), 'PEM');
    assert.equal(guessKeystoreType(bytes(1, 2), 'a.PFX'), 'PKCS12');
    assert.equal(guessKeystoreType(bytes(1, 2), 'a.jks'), 'JKS');
    assert.equal(guessKeystoreType(bytes(), 'a.pem'), 'PEM');
    assert.equal(guessKeystoreType(bytes(1, 2), 'a.bin'), null);
  });

  it('is read byte by byte into base64, and refused above 1 MiB', async () => {
    const all = Uint8Array.from({ length: 100_000 }, (_, index) => index % 256);
    const { base64 } = await readKeystoreFile(new File([all], 'x.bin'));
    assert.deepEqual(Buffer.from(base64, 'base64'), Buffer.from(all));
    await assert.rejects(readKeystoreFile(new File([new Uint8Array(1024 * 1024 + 1)], 'x.jks')), /1 MiB/);
  });

  it('is the same certificate from DER as from PEM', async () => {
    const pem = createAuthority().caPem.replaceAll('\r', '');
    const der = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
    assert.equal(await readCertificateFile(new File([der], 'ca.cer')), pem);
    assert.equal(await readCertificateFile(new File([pem], 'ca.pem')), pem);
  });
});
