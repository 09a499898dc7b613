import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hashPassword, verifyPassword } from './passwords.ts';

test('a password is found right only by itself, and its hash is salted and memory-hard', async () => {
  const [one, two] = await Promise.all([hashPassword('correct horse'), hashPassword('correct horse')]);
  assert.match(one, /^\$argon2id\$v=19\$m=47104,t=2,p=1\$/);
  assert.notEqual(one, two);
  assert.ok(!one.includes('correct'));
  assert.equal(await verifyPassword('correct horse', one), true);
  assert.equal(await verifyPassword('correct horsf', one), false);
  assert.equal(await verifyPassword('', one), false);
});

test('the same password in another Unicode form is the same', async () => {
  assert.equal(await verifyPassword('caf\u00e9 noir', await hashPassword('cafe\u0301 noir')), true);
});

test('an unknown user is answered false', async () => {
  assert.equal(await verifyPassword('anything', undefined), false);
});

test('a hash that is not ours is a fault, never a match', async () => {
  await assert.rejects(verifyPassword('anything', 'plain'), { code: 'internal_error' });
});

test('more log-ins at once than can wait are refused', async () => {
  const outcomes = await Promise.allSettled(
    Array.from({ length: 104 }, () => verifyPassword('x', '$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAA')),
  );
  const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
  assert.equal(refused.length, 2);
  assert.equal((refused[0] as PromiseRejectedResult).reason.code, 'rate_limit_exceeded');
  assert.equal(await verifyPassword('x', undefined), false);
});
