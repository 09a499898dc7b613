import assert from 'node:assert/strict';
import { test } from 'node:test';
import { movedFields } from '../../contract/destination-binding.ts';
import { parseConnection } from '../../contract/validation.ts';
import { effectivePort, ftp } from './ftp.definition.ts';

const minimal = { type: 'ftp', name: 'files', host: 'h', username: 'u', password: 'secret-1' };

function parse(body: object) {
  return parseConnection(ftp, { ...minimal, ...body });
}

function faultyFields(body: object): string[] {
  const result = parse(body);
  return result.ok ? [] : result.faults.map(({ field }) => field);
}

test('the port depends on the protocol until it is given', () => {
  assert.equal(effectivePort({ protocol: 'FTP', useImplicit: false }), 21);
  assert.equal(effectivePort({ protocol: 'FTPS', useImplicit: false }), 21);
  assert.equal(effectivePort({ protocol: 'FTPS', useImplicit: true }), 990);
  assert.equal(effectivePort({ protocol: 'SFTP', useImplicit: false }), 22);
  assert.equal(effectivePort({ protocol: 'FTP', useImplicit: true }), 21);
  assert.equal(effectivePort({ protocol: 'SFTP', useImplicit: false, port: 2222 }), 2222);
});

test('FTPS needs exactly one of implicit and explicit', () => {
  assert.deepEqual(faultyFields({ protocol: 'FTPS' }), ['useExplicit']);
  assert.deepEqual(faultyFields({ protocol: 'FTPS', useImplicit: true, useExplicit: true }), ['useExplicit']);
  assert.deepEqual(faultyFields({ protocol: 'FTPS', useImplicit: true }), []);
  assert.deepEqual(faultyFields({ protocol: 'FTPS', useExplicit: true }), []);
  assert.deepEqual(faultyFields({ protocol: 'FTP' }), []);
});

test('only SFTP with a private key does without a password', () => {
  const withoutPassword = { password: null };
  assert.deepEqual(faultyFields({ protocol: 'FTP', ...withoutPassword }), ['password']);
  assert.deepEqual(faultyFields({ protocol: 'FTP', ...withoutPassword, privateKey: 'k' }), ['password']);
  assert.deepEqual(faultyFields({ protocol: 'SFTP', ...withoutPassword }), ['password']);
  assert.deepEqual(faultyFields({ protocol: 'SFTP', ...withoutPassword, privateKey: 'a\nb\n' }), []);
});

test('a fingerprint is that of ssh-keygen', () => {
  const fingerprint = (hostKeyFingerprint: string) => faultyFields({ protocol: 'SFTP', hostKeyFingerprint });
  assert.deepEqual(fingerprint('SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8'), []);
  assert.deepEqual(fingerprint('MD5:16:27:ac:a5'), ['hostKeyFingerprint']);
});

test('a step to FTP in clear or to another service moves, a step from FTP to TLS does not', () => {
  const config = (body: object) => {
    const result = parse(body);
    assert.ok(result.ok);
    return result.config;
  };
  const plain = config({ protocol: 'FTP' });
  const explicit = config({ protocol: 'FTPS', useExplicit: true });
  const implicit = config({ protocol: 'FTPS', useImplicit: true });
  assert.deepEqual(movedFields(ftp, plain, explicit), []);
  assert.deepEqual(movedFields(ftp, explicit, plain).sort(), ['protocol', 'useExplicit']);
  // The port that is dialled when none is given changes with it.
  assert.ok(movedFields(ftp, plain, implicit).includes('useImplicit'));
  assert.deepEqual(movedFields(ftp, explicit, config({ protocol: 'SFTP', useExplicit: true })), ['protocol']);
});
