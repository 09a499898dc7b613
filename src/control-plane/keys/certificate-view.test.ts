import assert from 'node:assert/strict';
import { test } from 'node:test';
import { certificateWarnings, soonestEnd, viewOfCertificate } from './certificate-view.ts';

const day = 24 * 3_600_000;
const now = Date.parse('2030-01-01T00:00:00.000Z');
const view = (more: { notBefore?: number; notAfter?: number; keyType?: string; keyBits?: number } = {}) =>
  viewOfCertificate({
    subject: 'CN=a',
    issuer: 'CN=a',
    serialNumber: '01',
    notBefore: now,
    notAfter: now + 31 * day,
    keyType: 'rsa',
    keyBits: 2048,
    fingerprint256: '',
    ...more,
  } as never);

test('what is wrong with a certificate is said, up to its very limits', () => {
  const warned = (more: Parameters<typeof view>[0]) => certificateWarnings('a', view(more), now);
  assert.deepEqual(warned({}), []);
  assert.deepEqual(warned({ notAfter: now }), ['a: expired on 2030-01-01T00:00:00.000Z']);
  assert.deepEqual(warned({ notAfter: now + 1 }), ['a: ends on 2030-01-01T00:00:00.001Z']);
  assert.deepEqual(warned({ notAfter: now + 30 * day }), ['a: ends on 2030-01-31T00:00:00.000Z']);
  assert.deepEqual(warned({ notAfter: now + 30 * day + 1 }), []);
  assert.deepEqual(warned({ notBefore: now + 1 }), ['a: not valid before 2030-01-01T00:00:00.001Z']);
  assert.deepEqual(warned({ keyBits: 2047 }), ['a: a weak key, RSA of 2047 bits; use 2048 or more']);
  assert.deepEqual(warned({ keyBits: 0 }), [], 'of a size that is not known');
  assert.deepEqual(warned({ keyType: 'ec', keyBits: 256 }), []);
});

test('the soonest end is that of the first to end; one that cannot be read counts as none', () => {
  const ends = [now + 2, Number.NaN, now + 1, now + 3].map((notAfter) => view({ notAfter }));
  assert.equal(soonestEnd(ends), now + 1);
  assert.equal(soonestEnd([view({ notAfter: Number.NaN })]), null);
  assert.equal(soonestEnd([]), null);
});
