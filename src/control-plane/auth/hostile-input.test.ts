import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PERMISSIONS } from './permissions.ts';
import { startTestApp } from './test-app.ts';

const odd = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(
    '',
    'A',
    'production',
    'ann',
    '*',
    '..',
    '%2e%2e',
    '\u0000',
    '\ud800',
    '__proto__',
    "' or 1=1 --",
  ),
);
const anything = fc.anything({
  maxDepth: 2,
  withNullPrototype: false,
  values: [odd, fc.integer(), fc.constant(null)],
});
const grant = fc.record(
  {
    project: fc.oneof(odd, fc.constant('*')),
    permissions: fc.array(fc.constantFrom<unknown>(...PERMISSIONS, 'X', 1), { maxLength: 3 }),
    environments: fc.oneof(fc.array(odd, { maxLength: 2 }), anything),
    connections: fc.array(odd, { maxLength: 2 }),
  },
  { requiredKeys: [] },
);
const good = fc.oneof(
  fc.record({ name: fc.constantFrom('A', 'B', 'C', 'test') }),
  fc.record({ name: fc.constantFrom('ci', 'é', '\ud800'), grants: fc.constant([]) }),
  fc.record({ description: odd }),
  fc.constant({}),
);
const body = fc.oneof(
  anything,
  { weight: 3, arbitrary: good },
  fc.record(
    {
      name: fc.oneof(odd, anything),
      username: odd,
      description: fc.oneof(odd, anything),
      environments: fc.oneof(fc.array(odd, { maxLength: 3 }), anything),
      type: odd,
      expiresAt: fc.oneof(odd, fc.constant('2099-01-01T00:00:00Z')),
      grants: fc.array(grant, { maxLength: 2 }),
      disabled: fc.oneof(fc.boolean(), anything),
    },
    { requiredKeys: [] },
  ),
);
const path = fc
  .tuple(
    fc.constantFrom(
      'tokens',
      'users',
      'projects',
      'environments',
      'audit',
      'environments/production/enrollment-tokens',
    ),
    fc.option(odd, { freq: 1 }),
    fc.array(
      fc.tuple(fc.constantFrom('page', 'size', 'sort', 'q', 'project', 'target', 'from', 'force'), odd),
      { maxLength: 2 },
    ),
  )
  .map(([folder, id, query]) => {
    const segment = id === null ? '' : `${encodeURIComponent(id.toWellFormed())}/`;
    const search = query
      .map(([name, value]) => `${name}=${encodeURIComponent(value.toWellFormed())}`)
      .join('&');
    return `/apiops/${folder}/${segment}?${search}`;
  });

test('nothing sent makes a fault of ours', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  let refused = 0;
  let done = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('GET', 'POST', 'PUT', 'DELETE'),
      path,
      body,
      odd,
      async (method, url, sent, key) => {
        const answer = await app.call(method as 'GET', url, {
          headers: {
            ...(method === 'GET' ? {} : { 'content-type': 'application/json' }),
            ...(/^[\x20-\x7e]+$/.test(key) ? { [key.length > 3 ? 'if-match' : 'idempotency-key']: key } : {}),
          },
          ...(method === 'GET' ? {} : { body: JSON.stringify(sent) ?? '' }),
        });
        assert.ok(answer.status < 500, `${method} ${url} ${JSON.stringify(sent)}: ${answer.text}`);
        assert.notEqual(answer.status, 401);
        if (answer.status === 200) done++;
        else refused++;
      },
    ),
    { seed: 5, numRuns: 1500 },
  );
  assert.ok(done > 50 && refused > 500, `${done} done, ${refused} refused`);
});
