import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkGrants, grantsAllow, grantsCover, userGrants } from './grants.ts';
import { type Grant, PERMISSIONS, type Permission, type Scope } from './permissions.ts';

const projects = ['A', 'B'];
const environments = ['production', 'test'];
const names = ['mail', 'Mailer', 'db-1', 'db-22', 'x'];
const globs = ['*', 'mail*', 'MAIL', 'db-?', 'db-*', '?', '*-*', 'm*r', '??*'];
const operations = ['send', 'query'];

const some = <T>(items: readonly T[]) =>
  fc.uniqueArray(fc.constantFrom(...items), { minLength: 1, maxLength: 3 });
const optionally = <T>(key: string, items: readonly T[]) =>
  fc.option(some(items)).map((value) => (value ? { [key]: value } : {}));

const grant: fc.Arbitrary<Grant> = fc
  .tuple(
    fc.constantFrom('*', ...projects),
    some(PERMISSIONS),
    optionally('environments', environments),
    optionally('connections', globs),
    optionally('operations', operations),
  )
  .map(
    ([project, permissions, ...narrowed]) => Object.assign({ project, permissions }, ...narrowed) as Grant,
  );
const grants = fc.array(grant, { maxLength: 4 });

const scope: fc.Arbitrary<Scope> = fc.record(
  {
    project: fc.constantFrom(...projects),
    environment: fc.constantFrom(...environments),
    connection: fc.constantFrom(...names),
    operation: fc.constantFrom(...operations),
  },
  { requiredKeys: [] },
);
const permission = fc.constantFrom(...PERMISSIONS);

/** The rules once more, by other means: globs as regular expressions, rules as one condition each. */
function oracle(held: readonly Grant[], wanted: Permission, asked: Scope): boolean {
  return held.some((one) => {
    const listed = new Set<string>(one.permissions);
    if (listed.has('CONNECTIONS:MANAGE')) listed.add('CONNECTIONS:DEPLOY');
    if (listed.has('ADMIN')) for (const name of PERMISSIONS) listed.add(name);
    const regular = (glob: string) =>
      new RegExp(`^${glob.replaceAll('.', '\\.').replaceAll('*', '.*').replaceAll('?', '.')}$`, 'i');
    return [
      listed.has(wanted),
      one.project === '*' ||
        (asked.project === undefined
          ? !['ADMIN', 'METRICS:VIEW'].includes(wanted)
          : asked.project === one.project),
      asked.environment === undefined || !one.environments || one.environments.includes(asked.environment),
      asked.connection === undefined ||
        !one.connections ||
        one.connections.some((glob) => regular(glob).test(asked.connection!)),
      wanted !== 'CONNECTIONS:USE' ||
        asked.operation === undefined ||
        !one.operations ||
        one.operations.includes(asked.operation),
    ].every(Boolean);
  });
}

test('permissions: every combination of grants and scope agrees with the rules', () => {
  fc.assert(
    fc.property(grants, permission, scope, (held, wanted, asked) => {
      assert.equal(grantsAllow(held, wanted, asked), oracle(held, wanted, asked));
    }),
    { seed: 1, numRuns: 5000 },
  );
});

test('permissions: what may be given away is never more than what is held', () => {
  let covered = 0;
  fc.assert(
    fc.property(grants, grants, permission, scope, (held, given, wanted, asked) => {
      if (!grantsCover(held, given)) return;
      covered++;
      if (grantsAllow(given, wanted, asked)) assert.ok(grantsAllow(held, wanted, asked));
    }),
    { seed: 2, numRuns: 10_000 },
  );
  assert.ok(covered > 1000, `only ${covered} cases say anything`);
});

test('permissions: whatever is held may be given away as it is', () => {
  fc.assert(
    fc.property(grants, (held) => assert.ok(grantsCover(held, held))),
    { seed: 3, numRuns: 1000 },
  );
});

test('permissions: a given glob is covered only by one that matches all it matches', () => {
  const held = (glob: string): Grant[] => [
    { project: 'A', permissions: ['CONNECTIONS:VIEW'], connections: [glob] },
  ];
  const cases: [string, string, boolean][] = [
    ['mail*', 'mail-?', true],
    ['MAIL*', 'mailer', true],
    ['*', '*', true],
    ['mail-?', 'mail*', false],
    ['?', '*', false],
    ['m*', '*m', false],
    ['a?c', 'a*c', false],
    ['a*c', 'a?c', true],
    ['*a*', '*ba*', true],
  ];
  for (const [wide, narrow, expected] of cases) {
    assert.equal(grantsCover(held(wide), held(narrow)), expected, `${wide} covers ${narrow}`);
  }
  assert.equal(grantsCover(held('*'), [{ project: 'A', permissions: ['CONNECTIONS:VIEW'] }]), false);
});

test('permissions: two grants together cover what neither does alone', () => {
  const held: Grant[] = environments.map((name) => ({
    project: '*',
    permissions: ['CONNECTIONS:USE'],
    environments: [name],
  }));
  assert.ok(grantsCover(held, [{ project: 'A', permissions: ['CONNECTIONS:USE'], environments }]));
});

test("permissions: ADMIN of a project is none of the installation's", () => {
  const held: Grant[] = [{ project: 'A', permissions: ['ADMIN'] }];
  assert.ok(grantsAllow(held, 'ADMIN', { project: 'A' }));
  assert.ok(grantsAllow(held, 'CONNECTIONS:REVEAL', { project: 'A', connection: 'x' }));
  assert.ok(!grantsAllow(held, 'ADMIN', {}));
  assert.ok(!grantsAllow(held, 'CONNECTIONS:VIEW', { project: 'B' }));
});

test("permissions: a user's VIEW brings REVEAL, narrowed as the VIEW is", () => {
  const grant: Grant = { project: 'A', permissions: ['CONNECTIONS:VIEW'], connections: ['mail*'] };
  assert.ok(!grantsAllow([grant], 'CONNECTIONS:REVEAL', { project: 'A', connection: 'mail' }));
  const own = userGrants([grant], false);
  assert.ok(grantsAllow(own, 'CONNECTIONS:REVEAL', { project: 'A', connection: 'mail' }));
  assert.ok(!grantsAllow(own, 'CONNECTIONS:REVEAL', { project: 'A', connection: 'db' }));
  assert.ok(grantsAllow(userGrants([], true), 'ADMIN', {}));
});

test('a glob with many stars is matched in bounded time', () => {
  const glob = `${'*a'.repeat(120)}b`;
  const held: Grant[] = [{ project: 'A', permissions: ['CONNECTIONS:VIEW'], connections: [glob] }];
  assert.equal(grantsAllow(held, 'CONNECTIONS:VIEW', { project: 'A', connection: 'a'.repeat(255) }), false);
});

test('a narrowing that would mean nothing is refused, naming it', () => {
  const refused: Grant[] = [
    { project: 'A', permissions: ['ADMIN'], environments: ['test'] },
    { project: 'A', permissions: ['AUDIT:VIEW'], connections: ['x'] },
    { project: 'A', permissions: ['KEYS:MANAGE'], operations: ['x'] },
    { project: 'A', permissions: ['PROJECT:MANAGE'], environments: ['test'] },
    { project: 'A', permissions: ['METRICS:VIEW'] },
    { project: '*', permissions: ['METRICS:VIEW'], environments: ['test'] },
  ];
  for (const grant of refused) {
    assert.throws(
      () => checkGrants([grant]),
      (error: { code: string; message: string }) => {
        assert.equal(error.code, 'bad_request');
        return true;
      },
    );
  }
  checkGrants([
    {
      project: 'A',
      permissions: ['CONNECTIONS:USE'],
      environments: ['t'],
      connections: ['x'],
      operations: ['send'],
    },
    { project: 'A', permissions: ['KEYS:VIEW', 'VARIABLES:MANAGE'], environments: ['t'] },
  ]);
});
