import assert from 'node:assert/strict';
import { test } from 'node:test';
import { definitions } from '../../connectors/definitions.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { diffRevisions } from './revision-diff.ts';

const email = definitions.email as unknown as ConnectionType;
const before = { host: 'a.example.com', port: 25, username: 'u', password: 'first-secret' };

test('names changed fields with both values, secrets by what became of them', () => {
  const after = { ...before, port: 587, username: undefined, password: 'second-secret' };
  const diff = diffRevisions(email, before, after);
  assert.deepEqual(diff, [
    { field: 'port', before: 25, after: 587 },
    { field: 'username', before: 'u', after: null },
    { field: 'password', secret: 'changed' },
  ]);
  assert.doesNotMatch(JSON.stringify(diff), /secret-|first-|second-/);
});

test('a secret that comes or goes', () => {
  const { password: _gone, ...without } = before;
  assert.deepEqual(diffRevisions(email, before, without), [{ field: 'password', secret: 'cleared' }]);
  assert.deepEqual(diffRevisions(email, without, before), [{ field: 'password', secret: 'set' }]);
});

test('nothing changed, nothing said; the first revision differs from nothing', () => {
  assert.deepEqual(diffRevisions(email, before, { ...before }), []);
  assert.deepEqual(diffRevisions(email, undefined, before), []);
});
