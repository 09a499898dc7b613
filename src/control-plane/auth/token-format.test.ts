import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { hashToken, isWellFormedToken, makeToken } from './token-format.ts';

test('a token is recognised by prefix and checksum, and any change of it is not', () => {
  for (let round = 0; round < 50; round++) {
    const token = makeToken('pbt');
    assert.match(token, /^pbt_[0-9A-Za-z]{40}_[0-9A-Za-z]{6}$/);
    assert.ok(isWellFormedToken(token, 'pbt'));
    assert.ok(!isWellFormedToken(token, 'pbw'));
    const at = 4 + (round % 40);
    const other = token[at] === 'x' ? 'y' : 'x';
    assert.ok(!isWellFormedToken(token.slice(0, at) + other + token.slice(at + 1), 'pbt'));
    assert.ok(!isWellFormedToken(`${token}0`, 'pbt'));
  }
});

test('the checksum is the CRC-32 of what stands before it, in base62', () => {
  const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  for (const prefix of ['pbt', 'pbw'] as const) {
    const token = makeToken(prefix);
    const value = [...token.slice(-6)].reduce((sum, digit) => sum * 62 + digits.indexOf(digit), 0);
    assert.equal(value, crc32(token.slice(0, -7)));
  }
});

test('no two tokens are alike, and a hash tells nothing of its token', () => {
  const tokens = new Set(Array.from({ length: 1000 }, () => makeToken('pbt')));
  assert.equal(tokens.size, 1000);
  const [token] = tokens;
  assert.match(hashToken(token!), /^[\w-]{43}$/);
});
