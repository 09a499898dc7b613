import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ConnectionState } from '../../client/plugboard.ts';
import { byState, reasonOf, textOf } from '../../console/src/overview/state-groups.ts';

const environments = (...states: ConnectionState[]) =>
  states.map((state, index) => ({
    environmentName: `region-${index}`,
    state,
    since: null,
    code: null,
    message: state === 'failing' ? `refused in region-${index}` : null,
  }));
const said = (...states: ConnectionState[]) =>
  byState(environments(...states)).map((group) => textOf(group, states.length));

describe('what a row says of its environments', () => {
  it('is one word where all do the same', () => {
    assert.deepEqual(said('works'), ['works']);
    assert.deepEqual(said(...Array.from({ length: 12 }, () => 'disabled' as const)), ['disabled']);
  });

  it('counts each environment where it belongs, the worst first', () => {
    assert.deepEqual(
      said('works', 'failing', 'noWorker', 'failing', 'works', 'failing', 'failing', 'noWorker', 'works'),
      ['failing in 4 of 9', 'no worker in 2 of 9', 'works in 3 of 9'],
    );
    assert.deepEqual(said('works', 'refused'), ['region-1: refused', 'region-0: works']);
  });

  it('gives the reason of the worst', () => {
    assert.equal(reasonOf(byState(environments('works', 'failing'))), 'refused in region-1');
    assert.equal(reasonOf(byState(environments('works', 'noWorker'))), null);
  });
});
