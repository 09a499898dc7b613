import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSecretReference } from '../../contract/reference-syntax.ts';
import { AppError } from '../../errors.ts';
import { parseSecretRule, rulesFor } from './secret-policy.ts';

const rules = [
  'MyProject vault/secret/myproject/* *.corp.example',
  '"Other Project" file/run/secrets/db-* db.example.com 10.0.0.5',
  '* env/SMTP_PASSWORD *',
  'MyProject vault/kv/one db.example.com',
  'MyProject vault/kv/two#password db.example.com',
  'MyProject env/PLUG* *',
].map(parseSecretRule);

const allowed = (project: string, reference: string, ...hosts: string[]) =>
  rulesFor(rules, project, parseSecretReference(reference)!, hosts).length > 0;

test('a source prefix is allowed to a project for destinations', () => {
  const reference = 'secret://vault/secret/myproject/db#password';
  assert.ok(allowed('MyProject', reference, 'db.corp.example'));
  assert.ok(!allowed('myproject', reference, 'db.corp.example'), 'projects are told apart as written');
  assert.ok(!allowed('Another', reference, 'db.corp.example'));
  assert.ok(!allowed('MyProject', reference, 'db.corp.example.evil.test'));
  assert.ok(!allowed('MyProject', reference, 'db.corp.example', 'evil.test'), 'every host counts');
  assert.ok(!allowed('MyProject', 'secret://vault/secret/myproject-2/db#password', 'db.corp.example'));
  assert.ok(!allowed('MyProject', 'secret://vault/other/myproject/db#password', 'db.corp.example'));
  assert.ok(!allowed('MyProject', reference), 'a destination that cannot be told');
});

test('names with spaces, several hosts, every project', () => {
  assert.ok(allowed('Other Project', 'secret://file/run/secrets/db-main', '10.0.0.5'));
  assert.ok(!allowed('Other Project', 'secret://file/run/secrets/mail', '10.0.0.5'));
  assert.ok(allowed('Any', 'secret://env/SMTP_PASSWORD', 'anywhere.example'));
  assert.ok(!allowed('Any', 'secret://env/SMTP_PASSWORD_2', 'anywhere.example'));
});

test('without a star an entry is one secret, or one path of Vault with its keys', () => {
  assert.ok(allowed('MyProject', 'secret://vault/kv/one#a', 'db.example.com'));
  assert.ok(!allowed('MyProject', 'secret://vault/kv/one/more#a', 'db.example.com'));
  assert.ok(allowed('MyProject', 'secret://vault/kv/two#password', 'db.example.com'));
  assert.ok(!allowed('MyProject', 'secret://vault/kv/two#other', 'db.example.com'));
});

test('nobody reads our own variables, or climbs out by dots', () => {
  const free = ['* env/* *', '* file/* *', '* vault/* *'].map(parseSecretRule);
  const isFree = (reference: string) =>
    rulesFor(free, 'P', parseSecretReference(reference)!, ['h']).length > 0;
  assert.ok(isFree('secret://env/HOME'));
  assert.ok(!isFree('secret://env/PLUGBOARD_MASTER_KEY'));
  assert.ok(!isFree('secret://env/plugboard_master_key'));
  assert.ok(!allowed('MyProject', 'secret://env/PLUGBOARD_WORKER_TOKEN', 'h'));
  assert.ok(isFree('secret://file/run/secrets/a'));
  for (const path of ['run/../etc/shadow', '../x', 'run//x', '/etc/shadow', './x', 'run/'])
    assert.ok(!isFree(`secret://file/${path}`), path);
  assert.ok(!isFree('secret://vault/kv/../sys/x#a'));
});

test('an entry that cannot be read is refused, naming it', () => {
  for (const entry of ['P', 'P env/X', 'P secret/x *', 'P vault/a*b h', 'P * *', ''])
    assert.throws(
      () => parseSecretRule(entry),
      (error) => error instanceof AppError && /PLUGBOARD_WORKER_SECRET_SOURCES/.test(error.message),
      entry,
    );
});
