import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '../errors.ts';
import { createTrust } from './trust.ts';

test('the system roots are trusted and TLS 1.2 is the least', () => {
  assert.deepEqual(createTrust().tls({ verifyCertificate: true }), { minVersion: 'TLSv1.2' });
  assert.deepEqual(createTrust().tls({}), { minVersion: 'TLSv1.2' });
});

test('verification is off only when the connection says so', () => {
  assert.equal(createTrust().tls({ verifyCertificate: false }).rejectUnauthorized, false);
});

for (const field of ['trustStoreName', 'keyStoreName', 'certificateName'])
  test(`${field} that does not exist is refused by name`, () => {
    assert.throws(
      () => createTrust().tls({ [field]: 'corporate-ca', verifyCertificate: false }),
      (error) =>
        error instanceof AppError &&
        error.code === 'missing_reference' &&
        error.message.includes(field) &&
        error.message.includes('corporate-ca'),
    );
  });
