// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references as they are written
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { database } from '../connectors/database/database.definition.ts';
import { email } from '../connectors/email/email.definition.ts';
import { webhook } from '../connectors/webhook/webhook.definition.ts';
import type { ConnectionType } from './connection-type.ts';
import { parseSecretReference, variableOf, variablesIn } from './reference-syntax.ts';
import { findReferences, resolveVariables } from './references.ts';

const [mail, base, hook] = [email, database, webhook] as unknown as [
  ConnectionType,
  ConnectionType,
  ConnectionType,
];

const values: Record<string, string> = {
  HOST: 'smtp.example.com',
  PORT: '465',
  ON: 'true',
  PW: 'p@ss;word}/${HOST}',
  TEXT: 'a ${HOST} b',
};
const lookup = (name: string) => values[name];

function resolve(definition: ConnectionType, config: Record<string, unknown>) {
  const { config: resolved } = resolveVariables(definition, config, lookup);
  assert.ok(resolved);
  return resolved;
}

test('the syntax of templates', () => {
  assert.deepEqual(variablesIn('${A} $${B} x${C}y ${1} ${} $D ${E'), ['A', 'C']);
  assert.equal(variableOf('${A_1}'), 'A_1');
  for (const text of ['${A} ', '$${A}', '${A}${B}', '${1A}', 'A']) assert.equal(variableOf(text), undefined);
});

test('security 11: nothing is evaluated: what is no name stays the text that it is', () => {
  for (const text of [
    '${1+1}',
    '${A.B}',
    '${A()}',
    '${A:-x}',
    '${A|B}',
    '#{A}',
    '{{A}}',
    '<%= A %>',
    '$(A)',
    '`A`',
  ])
    assert.equal(resolve(mail, { host: text })['host'], text);
});

test('references to secret sources', () => {
  assert.deepEqual(parseSecretReference('secret://env/A_B'), { source: 'env', name: 'A_B' });
  assert.deepEqual(parseSecretReference('secret://file/run/a b'), { source: 'file', path: 'run/a b' });
  assert.deepEqual(parseSecretReference('secret://vault/kv/team/db#password'), {
    source: 'vault',
    mount: 'kv',
    path: 'team/db',
    key: 'password',
  });
  for (const text of [
    'secret://env/',
    'secret://env/a/b',
    'secret://vault/kv#x',
    'secret://x/y',
    ' secret://env/A',
    'secret://env/A\n',
  ])
    assert.equal(parseSecretReference(text), undefined, text);
});

describe('finding', () => {
  test('variables, secret sources and stored objects, by field', () => {
    assert.deepEqual(
      findReferences(mail, {
        host: '${HOST}',
        port: '${PORT}',
        password: '${PW}',
        username: 'x${A}${B}',
        keyStoreName: 'store',
        trustStoreName: '${STORE}',
        certificateName: 'cert',
        additionalProperties: [
          { name: 'a.password', value: 'secret://env/X' },
          { name: 'b', value: '${C}' },
          { name: 'c.password', value: 'x${NOT}' },
        ],
      }),
      {
        variables: [
          { field: 'host', name: 'HOST', secret: false },
          { field: 'port', name: 'PORT', secret: false },
          { field: 'password', name: 'PW', secret: true },
          { field: 'username', name: 'A', secret: false },
          { field: 'username', name: 'B', secret: false },
          { field: 'trustStoreName', name: 'STORE', secret: false },
          { field: 'additionalProperties[1].value', name: 'C', secret: false },
        ],
        secrets: [{ field: 'additionalProperties[0].value', reference: 'secret://env/X' }],
        objects: [
          { field: 'keyStoreName', kind: 'keystore', name: 'store' },
          { field: 'certificateName', kind: 'certificate', name: 'cert' },
        ],
      },
    );
  });

  test('a credential within a URL is a secret, the rest of the URL is not', () => {
    assert.deepEqual(
      findReferences(base, { jdbcUrl: 'jdbc:postgresql://${HOST}/db?password=${PW}&user=x' }).variables,
      [
        { field: 'jdbcUrl', name: 'HOST', secret: false },
        { field: 'jdbcUrl', name: 'PW', secret: true },
      ],
    );
  });
});

describe('resolving', () => {
  test('numbers and switches become such; a value that is none stays text', () => {
    const { port, auth, useSsl } = resolve(mail, { port: '${PORT}', auth: '${ON}', useSsl: '${HOST}' });
    assert.deepEqual([port, auth, useSsl], [465, true, 'smtp.example.com']);
  });

  test('security 11: values are not interpolated again, and $$ makes a reference literal', () => {
    const config = resolve(mail, { from: 'x ${TEXT} $${HOST}', username: '$${HOST}', host: '${HOST}' });
    assert.deepEqual(config, {
      from: 'x a ${HOST} b ${HOST}',
      username: '${HOST}',
      host: 'smtp.example.com',
    });
  });

  test('a secret is a reference only as a whole', () => {
    const password = (text: string) => resolve(mail, { password: text })['password'];
    assert.equal(password('${PW}'), values['PW']);
    assert.equal(password('x${PW}'), 'x${PW}');
    assert.equal(password('$${PW}'), '${PW}');
    assert.equal(password('pa$$word$'), 'pa$$word$');
    assert.equal(password('secret://env/X'), 'secret://env/X');
  });

  test('a credential put into a URL cannot end its place there', () => {
    assert.equal(
      resolve(base, { jdbcUrl: 'jdbc:postgresql://h/db?password=${PW}&sslmode=require' })['jdbcUrl'],
      `jdbc:postgresql://h/db?password=${encodeURIComponent(values['PW']!)}&sslmode=require`,
    );
    assert.equal(
      resolve(base, { jdbcUrl: 'jdbc:sqlserver://h;password=${PW};encrypt=true' })['jdbcUrl'],
      'jdbc:sqlserver://h;password={p@ss;word}}/${HOST}}};encrypt=true',
    );
    assert.equal(
      resolve(hook, { fullUrl: 'https://u:${PW}@h/x' })['fullUrl'],
      `https://u:${encodeURIComponent(values['PW']!)}@h/x`,
    );
  });

  test('every variable without a value is named with its field', () => {
    assert.deepEqual(
      resolveVariables(mail, { host: '${NONE}', port: '${PORT}', password: '${NO}' }, lookup),
      {
        missing: [
          { field: 'host', name: 'NONE' },
          { field: 'password', name: 'NO' },
        ],
      },
    );
  });
});
