import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PeerCertificate } from 'node:tls';
import fc from 'fast-check';
import { FilterParser } from 'ldapts';
import { AppError } from '../../errors.ts';
import { checkAlternativeName, checkCommonName } from './certificate-name.ts';
import { classifyLdapError } from './ldap-errors.ts';
import { escapeFilterValue, fillFilter } from './ldap-filter.ts';
import { readAnswer } from './start-tls.ts';

test('security 11: a value in a filter is that value, whatever it holds', () => {
  assert.equal(escapeFilterValue('a*(b)\\\0'), 'a\\2a\\28b\\29\\5c\\00');
  assert.equal(fillFilter('(&(a={1})(b={0})(c={2}))', ['{1}', '*']), '(&(a=\\2a)(b={1})(c={2}))');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (value) => {
      const filter = FilterParser.parseString(fillFilter('(uid={0})', [value])) as unknown as {
        value?: string;
      };
      assert.equal(filter.value, value);
    }),
  );
});

test('common and alternative names', () => {
  const cert = (cn: string, subjectaltname?: string) =>
    ({ subject: { CN: cn }, subjectaltname }) as unknown as PeerCertificate;
  const hosts: [string, string, boolean][] = [
    ['ldap.example.com', 'ldap.example.com', true],
    ['LDAP.Example.com', 'ldap.example.COM', true],
    ['*.example.com', 'ldap.example.com', true],
    ['*.example.com', 'a.ldap.example.com', false],
    ['*.example.com', 'example.com', false],
    ['*.com', 'example.com', false],
    ['*', 'example', false],
    ['example.com', 'notexample.com', false],
  ];
  for (const [cn, host, isRight] of hosts)
    assert.equal(checkCommonName(host, cert(cn)) === undefined, isRight, `${cn} for ${host}`);
  assert.equal(checkAlternativeName('a.example', cert('x', 'DNS:a.example')), undefined);
  assert.ok(checkAlternativeName('a.example', cert('a.example')));
  assert.ok(checkAlternativeName('a.example', cert('a.example', 'DNS:b.example')));
  assert.ok(checkAlternativeName('a.example', cert('a.example', 'email:a@a.example')));
});

test('an answer to StartTLS is read whole, and nothing behind it', () => {
  const answer = Buffer.from('300c02010178070a010004000400', 'hex');
  for (let length = 0; length < answer.length; length++)
    assert.equal(readAnswer(answer.subarray(0, length)), undefined);
  assert.equal(readAnswer(answer), 0);
  const refused = Buffer.from(answer);
  refused[9] = 2;
  assert.equal(readAnswer(refused), 2);
  for (const bytes of [
    Buffer.concat([answer, answer]),
    Buffer.from('HTTP/1.1 400'),
    Buffer.from('30847fffffff', 'hex'),
  ])
    assert.throws(
      () => readAnswer(bytes),
      (error) => error instanceof AppError && error.code === 'protocol_error',
    );
});

test('sub-codes of Active Directory become advice', () => {
  const error = Object.assign(
    new Error(
      '80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data 775, v3839 Code: 0x31',
    ),
    { code: 49 },
  );
  const failure = classifyLdapError(error);
  assert.equal(failure?.code, 'authentication_failed');
  assert.equal(failure?.details.hint, 'The account is locked.');
});
