import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientAddress } from './client-address.ts';

test('a proxy is believed what it says of whom it asks for, and nobody else', () => {
  const of = (ip: string, forwarded?: string, isBehindProxy = false) =>
    clientAddress(
      { ip, headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded } },
      isBehindProxy,
    );
  assert.equal(of('127.0.0.1', '203.0.113.7'), '203.0.113.7');
  assert.equal(of('::1', '2001:db8::7'), '2001:db8::7');
  assert.equal(of('::ffff:127.0.0.1', '203.0.113.7'), '203.0.113.7');
  assert.equal(of('198.51.100.1', '203.0.113.7', true), '203.0.113.7');
  assert.equal(of('198.51.100.1', '203.0.113.7'), '198.51.100.1', 'no proxy is declared');
  assert.equal(of('127.0.0.1', '192.0.2.1, 203.0.113.7'), '203.0.113.7', 'the rest may be made up');
  for (const unusable of [undefined, '', 'unknown', '203.0.113.7,', '203.0.113.7:4711'])
    assert.equal(of('127.0.0.1', unusable), '127.0.0.1', unusable);
});
