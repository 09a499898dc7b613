import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostKey } from '../../contract/worker-protocol.ts';
import { KnownHostKeys } from './known-host-keys.ts';

const key = (name: string, server = 'a.example.com:22'): HostKey => ({
  server,
  algorithm: 'ssh-ed25519',
  fingerprint: `SHA256:${name.padEnd(43, 'x')}`,
});

function known(pinned: HostKey[] = []) {
  const told: HostKey[] = [];
  return { told, keys: new KnownHostKeys(pinned, (seen) => told.push(seen)) };
}

test('the first key is expected from then on, and told once', () => {
  const { keys, told } = known();
  assert.equal(keys.expected('a.example.com:22'), undefined);
  keys.accept(key('one'));
  keys.accept(key('one'));
  assert.deepEqual(keys.expected('a.example.com:22'), key('one'));
  assert.equal(keys.expected('b.example.com:22'), undefined, 'it vouches for its own server alone');
  assert.deepEqual(told, [key('one')]);
  assert.deepEqual(keys.unconfirmed, [key('one')]);
  assert.equal(keys.pin([key('one')]), false, 'nothing that is open has to be replaced');
  assert.deepEqual(keys.unconfirmed, []);
});

test('a pinned key is not told; another one is, once, and stays to be told', () => {
  const { keys, told } = known([key('one')]);
  keys.accept(key('one'));
  assert.deepEqual(told, []);
  keys.refuse(key('two'));
  keys.refuse(key('two'));
  assert.deepEqual(told, [key('two')]);
  assert.deepEqual(keys.unconfirmed, [key('two')]);
  assert.equal(keys.pin([key('two')]), true, 'what trusts the old one has to be replaced');
  assert.deepEqual(keys.expected('a.example.com:22'), key('two'));
  assert.deepEqual(keys.unconfirmed, []);
});

test('of two first uses the pinned one holds', () => {
  const { keys } = known();
  keys.accept(key('mine'));
  assert.equal(keys.pin([key('theirs')]), true);
  assert.deepEqual(keys.expected('a.example.com:22'), key('theirs'));
});

test('what is forgotten is a first use again; what was not confirmed yet is kept', () => {
  const { keys } = known([key('one')]);
  keys.accept(key('one'));
  keys.pin([]);
  assert.equal(keys.expected('a.example.com:22'), undefined);
  keys.accept(key('two'));
  keys.pin([]);
  assert.deepEqual(keys.expected('a.example.com:22'), key('two'));
});
