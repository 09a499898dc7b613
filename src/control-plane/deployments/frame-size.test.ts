import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AcceptedForm } from '../../contract/accepted-form.ts';
import type { DesiredConnection } from '../../contract/worker-protocol.ts';
import { charsOf } from './frame-size.ts';

test('a connection counts for about as much as its JSON is long', () => {
  const file = 'x'.repeat(100_000);
  const objects = {
    keystores: { k: { type: 'JKS' as const, file, password: 'p' } },
    certificates: { c: 'y'.repeat(50_000) },
  };
  const config = {
    list: Array.from({ length: 500 }, (_, index) => ({ host: `host-${index}`, port: index, tls: true })),
  };
  const common = { connection: 'c', project: 'p', name: 'n', type: 't', revision: 1 };
  const cases: DesiredConnection[] = [
    { ...common, config },
    { ...common, config: {}, objects },
    { ...common, config: {}, lastGood: { revision: 1, config, objects } },
    { ...common, config, accepted: new AcceptedForm({ file }, []) },
  ];
  for (const item of cases) {
    const exact = JSON.stringify(item).length;
    assert.ok(Math.abs(charsOf(item) - exact) < exact / 5 + 100, `${charsOf(item)} for ${exact}`);
  }
});
