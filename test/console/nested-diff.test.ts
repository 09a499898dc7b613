import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { differences } from '../../console/src/connection/nested-diff.ts';

const hosts = Array.from({ length: 50 }, (_, index) => ({ host: `db-${index}`, port: 5432 }));

describe('the differences within a field', () => {
  it('names the one member that changed in a list of fifty', () => {
    const after = hosts.map((one, index) => (index === 30 ? { ...one, port: 5433 } : one));
    assert.deepEqual(differences('hosts', hosts, after), [
      { path: 'hosts[30].port', before: 5432, after: 5433 },
    ]);
  });

  it('tells of an item that was taken out or put in, and not of those behind it', () => {
    assert.deepEqual(differences('hosts', hosts, hosts.toSpliced(10, 1)), [
      { path: 'hosts[10]', before: hosts[10], after: null },
    ]);
    assert.deepEqual(differences('hosts', hosts, [{ host: 'new', port: 1 }, ...hosts]), [
      { path: 'hosts[0]', before: null, after: { host: 'new', port: 1 } },
    ]);
  });

  it('goes into objects, and does not tell unset from null', () => {
    assert.deepEqual(differences('labels', { a: '1', b: '2', c: null }, { a: '1', b: '3', d: '4' }), [
      { path: 'labels.b', before: '2', after: '3' },
      { path: 'labels.d', before: null, after: '4' },
    ]);
  });

  it('shows a value whole where it became something else', () => {
    assert.deepEqual(differences('x', ['a'], 'a'), [{ path: 'x', before: ['a'], after: 'a' }]);
    assert.deepEqual(differences('x', null, []), [{ path: 'x', before: null, after: [] }]);
    assert.deepEqual(differences('x', 'same', 'same'), []);
  });
});
