import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DesiredConnection } from '../contract/worker-protocol.ts';
import { type LiveState, type Operation, plan } from './plan.ts';

const revision = (number: number) => ({ revision: number, config: { host: `host-${number}` } });
const item = (number: number, more: Partial<DesiredConnection> = {}): DesiredConnection => ({
  connection: 'c',
  project: 'p',
  name: 'n',
  type: 't',
  ...revision(number),
  ...more,
});

const objects = { keystores: {}, certificates: { ca: 'PEM' } };
const withObjects = { ...revision(2), objects };

const liveStates: Record<string, LiveState> = {
  none: { state: 'none' },
  'live 1': { state: 'live', serving: revision(1) },
  'live 2': { state: 'live', serving: revision(2) },
  'live 2 with objects': { state: 'live', serving: withObjects },
  'live 2, stale': { state: 'live', serving: revision(2), isStale: true },
  'refused 2, serves 1': { state: 'refused', refused: revision(2), serving: revision(1) },
  'refused 2, serves 2, stale': {
    state: 'refused',
    refused: revision(2),
    serving: revision(2),
    isStale: true,
  },
  'refused 2, serves nothing': { state: 'refused', refused: revision(2) },
};

const desiredStates: Record<string, DesiredConnection | undefined> = {
  absent: undefined,
  disabled: item(2, { config: { enabled: false } }),
  undeployed: item(2, { config: { deployToWorker: false } }),
  '1': item(1),
  '2': item(2),
  '2 with last good 1': item(2, { lastGood: revision(1) }),
  '2 with other values': item(2, { config: { host: 'changed' } }),
  '2 with objects': item(2, { objects }),
};

const open = (target = revision(2)): Operation => ({ op: 'open', connection: 'c', target });
const replace = (target = revision(2)): Operation => ({ op: 'replace', connection: 'c', target });
const close = (number: number): Operation => ({ op: 'close', connection: 'c', revision: number });
const keep = (number: number): Operation => ({ op: 'keep', connection: 'c', revision: number });
const withFallback: Operation = { op: 'open', connection: 'c', target: revision(2), fallback: revision(1) };
const changed = { revision: 2, config: { host: 'changed' } };

/** Secret references lead to other values by now: opened anew, whatever is wanted. */
const stale = {
  absent: close(2),
  disabled: close(2),
  undeployed: close(2),
  '1': replace(revision(1)),
  '2': replace(),
  '2 with last good 1': replace(),
  '2 with other values': replace(changed),
  '2 with objects': replace(withObjects),
};

/** Rows: what is held. Columns: what is wanted. */
const expected: Record<string, Record<string, Operation | undefined>> = {
  none: {
    absent: undefined,
    disabled: undefined,
    undeployed: undefined,
    '1': open(revision(1)),
    '2': open(),
    '2 with last good 1': withFallback,
    '2 with other values': open(changed),
    '2 with objects': open(withObjects),
  },
  'live 1': {
    absent: close(1),
    disabled: close(1),
    undeployed: close(1),
    '1': keep(1),
    '2': replace(),
    '2 with last good 1': replace(),
    '2 with other values': replace(changed),
    '2 with objects': replace(withObjects),
  },
  'live 2': {
    absent: close(2),
    disabled: close(2),
    undeployed: close(2),
    '1': replace(revision(1)),
    '2': keep(2),
    '2 with last good 1': keep(2),
    '2 with other values': replace(changed),
    '2 with objects': replace(withObjects),
  },
  'live 2 with objects': {
    absent: close(2),
    disabled: close(2),
    undeployed: close(2),
    '1': replace(revision(1)),
    '2': replace(),
    '2 with last good 1': replace(),
    '2 with other values': replace(changed),
    '2 with objects': keep(2),
  },
  'live 2, stale': stale,
  'refused 2, serves 2, stale': stale,
  'refused 2, serves 1': {
    absent: close(2),
    disabled: close(2),
    undeployed: close(2),
    '1': keep(1),
    '2': replace(),
    '2 with last good 1': replace(),
    '2 with other values': replace(changed),
    '2 with objects': replace(withObjects),
  },
  'refused 2, serves nothing': {
    absent: close(2),
    disabled: close(2),
    undeployed: close(2),
    '1': open(revision(1)),
    '2': open(),
    '2 with last good 1': withFallback,
    '2 with other values': open(changed),
    '2 with objects': open(withObjects),
  },
};

for (const [held, live] of Object.entries(liveStates))
  for (const [wanted, desired] of Object.entries(desiredStates))
    test(`holds ${held}, wants ${wanted}`, () => {
      const operation = expected[held]![wanted];
      assert.deepEqual(
        plan(desired ? new Map([['c', desired]]) : new Map(), new Map([['c', live]])),
        operation ? [operation] : [],
      );
    });

test('each connection is planned on its own, also those that are held but not wanted', () => {
  const operations = plan(
    new Map([
      ['new', { ...item(1), connection: 'new' }],
      ['kept', { ...item(2), connection: 'kept' }],
    ]),
    new Map<string, LiveState>([
      ['kept', { state: 'live', serving: revision(2) }],
      ['gone', { state: 'live', serving: revision(1) }],
    ]),
  );
  assert.deepEqual(operations.map(({ op, connection }) => `${op} ${connection}`).sort(), [
    'close gone',
    'keep kept',
    'open new',
  ]);
});

test('a last good revision that is the wanted one is no fallback', () => {
  const [operation] = plan(new Map([['c', item(2, { lastGood: revision(2) })]]), new Map());
  assert.deepEqual(operation, open());
});

test('the last good revision has objects of its own, or those of the wanted one', () => {
  const fallbackOf = (lastGood: DesiredConnection['lastGood']) => {
    const [operation] = plan(new Map([['c', item(2, { objects, lastGood: lastGood! })]]), new Map());
    return operation?.op === 'open' ? operation.fallback : undefined;
  };
  const own = { keystores: {}, certificates: { ca: 'older PEM' } };
  assert.deepEqual(fallbackOf(revision(1)), { ...revision(1), objects });
  assert.deepEqual(fallbackOf({ ...revision(1), objects: own }), { ...revision(1), objects: own });
});
