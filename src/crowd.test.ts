import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Crowd, type CrowdMember } from './crowd.ts';

test('holds what a set would, whatever comes and goes', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(9))), (steps) => {
      const all: CrowdMember[] = Array.from({ length: 10 }, () => ({ place: 0 }));
      const crowd = new Crowd();
      const model = new Set<CrowdMember>();
      for (const [comes, index] of steps) {
        const member = all[index]!;
        if (comes && !model.has(member)) {
          crowd.add(member);
          model.add(member);
        } else if (!comes) {
          crowd.delete(member);
          model.delete(member);
        }
        assert.equal(crowd.size, model.size);
        for (const one of all) assert.equal(crowd.has(one), model.has(one));
      }
      assert.deepEqual(new Set(crowd), model);
    }),
  );
});

test('may change while somebody goes through it', () => {
  const crowd = new Crowd();
  const members = Array.from({ length: 5 }, () => ({ place: 0 }));
  for (const member of members) crowd.add(member);
  let seen = 0;
  for (const member of crowd) {
    seen += 1;
    crowd.delete(member);
  }
  assert.equal(seen, 5);
  assert.equal(crowd.size, 0);
});
