import assert from 'node:assert/strict';
import { test } from 'node:test';
import { movedFields } from '../../contract/destination-binding.ts';
import { parseConnection } from '../../contract/validation.ts';
import { ldap, parseServerAddress } from './ldap.definition.ts';

const minimal = {
  type: 'ldap',
  name: 'directory',
  serverAddress: 'ldap://ldap.example.com:389',
  username: 'cn=reader,dc=example,dc=com',
  password: 'secret-1',
  baseDn: 'dc=example,dc=com',
};

function faultyFields(body: object): string[] {
  const result = parseConnection(ldap, { ...minimal, ...body });
  return result.ok ? [] : result.faults.map(({ field }) => field);
}

test('addresses are read with their default ports', () => {
  assert.deepEqual(parseServerAddress('ldap://h'), { secure: false, host: 'h', port: 389 });
  assert.deepEqual(parseServerAddress('LDAPS://H.example.com/'), {
    secure: true,
    host: 'h.example.com',
    port: 636,
  });
  assert.deepEqual(parseServerAddress('ldap://[2001:DB8::1]:3268'), {
    secure: false,
    host: '2001:db8::1',
    port: 3268,
  });
  for (const wrong of [
    'h:389',
    'http://h',
    'ldap://',
    'ldap://h:0',
    'ldap://h:65536',
    'ldap://good@evil:389',
    'ldap://h/dc=x',
    'ldap://a:1:2',
    'ldap://a b',
  ])
    assert.equal(parseServerAddress(wrong), undefined, wrong);
});

test('useSsl and startTls agree with the scheme', () => {
  assert.deepEqual(faultyFields({ serverAddress: 'ldaps://h', useSsl: true }), []);
  assert.deepEqual(faultyFields({ serverAddress: 'ldaps://h' }), ['useSsl']);
  assert.deepEqual(faultyFields({ useSsl: true }), ['useSsl']);
  assert.deepEqual(faultyFields({ startTls: true }), []);
  assert.deepEqual(faultyFields({ serverAddress: 'ldaps://h', useSsl: true, startTls: true }), ['startTls']);
  assert.deepEqual(faultyFields({ serverAddress: 'ldap://h:70000' }), ['serverAddress']);
  assert.deepEqual(faultyFields({ serverAddress: '${LDAP_URL}', useSsl: true }), []);
});

test('a resolved address is judged again', () => {
  const body = { ...minimal, serverAddress: 'ldaps://h', useSsl: false };
  assert.equal(parseConnection(ldap, body, { resolved: true }).ok, false);
});

test('REQUIRED_AN_PN needs the name of a certificate', () => {
  const strict = { startTls: true, requireCertificateType: 'REQUIRED_AN_PN' };
  assert.deepEqual(faultyFields(strict), ['certificateName']);
  assert.deepEqual(faultyFields({ ...strict, certificateId: '7' }), ['certificateName']);
  assert.deepEqual(faultyFields({ ...strict, certificateName: 'ca' }), []);
  assert.deepEqual(faultyFields({ startTls: true, requireCertificateType: 'REQUIRED_CN' }), []);
});

test('parentheses of the filter pair up', () => {
  assert.deepEqual(faultyFields({ customFilter: '(&(a=b)(uid={0}))' }), []);
  assert.deepEqual(faultyFields({ customFilter: '(cn=\\28{0})' }), []);
  assert.deepEqual(faultyFields({ customFilter: '(uid={0}' }), ['customFilter']);
  assert.deepEqual(faultyFields({ customFilter: ')(' }), ['customFilter']);
});

test('an unverified server is remarked on', () => {
  const result = parseConnection(ldap, { ...minimal, startTls: true });
  assert.ok(result.ok);
  assert.match(result.warnings.join(), /NOT_REQUIRED verifies neither chain nor name/);
});

test('another spelling of the address is no move, a weaker verification is', () => {
  const config = (body: object) => {
    const result = parseConnection(ldap, { ...minimal, startTls: true, ...body });
    assert.ok(result.ok);
    return result.config;
  };
  const before = config({ requireCertificateType: 'REQUIRED_CN' });
  const after = { ...before, serverAddress: 'LDAP://LDAP.example.com./' };
  assert.deepEqual(movedFields(ldap, before, after), []);
  assert.deepEqual(movedFields(ldap, before, config({})), ['requireCertificateType']);
  assert.deepEqual(movedFields(ldap, config({}), before), []);
  assert.deepEqual(movedFields(ldap, before, { ...before, serverAddress: 'ldap://evil.example.com' }), [
    'serverAddress',
  ]);
});
