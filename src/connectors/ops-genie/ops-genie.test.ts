import assert from 'node:assert/strict';
import { test } from 'node:test';
import { movedFields } from '../../contract/destination-binding.ts';
import { parseConnection } from '../../contract/validation.ts';
import { opsGenie } from './ops-genie.definition.ts';

const minimal = { type: 'ops-genie', name: 'alerts', apiKey: 'secret-1' };

function faultyFields(body: object): string[] {
  const result = parseConnection(opsGenie, { ...minimal, ...body });
  return result.ok ? [] : result.faults.map(({ field }) => field);
}

test('each responder is identified once, by what its type allows', () => {
  const responder = (item: object) => faultyFields({ responders: [{ type: 'team', name: 'ok' }, item] });
  assert.deepEqual(responder({ type: 'team', id: '1' }), []);
  assert.deepEqual(responder({ type: 'user', username: 'a@example.com' }), []);
  assert.deepEqual(responder({ type: 'schedule', name: 'x' }), []);
  assert.deepEqual(responder({ type: 'user', name: 'x' }), ['responders[1].name']);
  assert.deepEqual(responder({ type: 'escalation', username: 'x' }), ['responders[1].username']);
  assert.deepEqual(responder({ type: 'team' }), ['responders[1]']);
  assert.deepEqual(responder({ type: 'team', id: '1', name: 'x' }), ['responders[1]']);
  assert.deepEqual(responder({ type: 'group', id: '1' }), ['responders[1].type']);
});

test('the API URL holds no credentials', () => {
  for (const apiUrl of ['https://api.eu.opsgenie.com', 'http://localhost:8080/jsm'])
    assert.deepEqual(faultyFields({ apiUrl }), []);
  for (const apiUrl of ['https://user:pw@host', 'https://host?x=1', 'ftp://host', 'https://host\\@evil', 'x'])
    assert.deepEqual(faultyFields({ apiUrl }), ['apiUrl'], apiUrl);
});

test('another origin or path, or the loss of TLS, moves the API URL', () => {
  const moved = (before: string, after: string) =>
    movedFields(opsGenie, { apiUrl: before }, { apiUrl: after }).length > 0;
  assert.equal(moved('https://api.opsgenie.com', 'https://API.opsgenie.com:443/'), false);
  assert.equal(moved('http://h:8443', 'https://h:8443'), false);
  assert.equal(moved('https://h:8443', 'http://h:8443'), true);
  assert.equal(moved('https://api.opsgenie.com', 'https://api.eu.opsgenie.com'), true);
  assert.equal(moved('https://h/a', 'https://h/b'), true);
});
