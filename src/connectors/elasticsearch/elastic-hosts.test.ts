import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostRotation } from './elastic-hosts.ts';

function rotating() {
  const clock = { ms: 0 };
  const urls = ['a', 'b', 'c'].map((name) => new URL(`http://${name}:9200`));
  const rotation = new HostRotation(urls, () => clock.ms);
  return {
    clock,
    rotation,
    names: () =>
      rotation
        .order()
        .map(({ url }) => url.hostname)
        .join(''),
  };
}

test('requests go round the hosts', () => {
  const { names } = rotating();
  assert.deepEqual([names(), names(), names(), names()], ['abc', 'bca', 'cab', 'abc']);
});

test('a host that failed comes last until its rest is over, each time twice as long', () => {
  const { clock, rotation, names } = rotating();
  const [a] = rotation.order();
  rotation.failed(a!);
  assert.deepEqual([names(), names(), names()], ['bca', 'cba', 'bca']);
  assert.deepEqual(rotation.figures(), { hosts: 3, deadHosts: 1 });
  clock.ms = 1000;
  assert.equal(rotation.figures().deadHosts, 0);
  rotation.failed(a!);
  clock.ms = 2999;
  assert.equal(rotation.figures().deadHosts, 1);
  clock.ms = 3000;
  assert.equal(rotation.figures().deadHosts, 0);
  for (let n = 0; n < 40; n++) rotation.failed(a!);
  clock.ms += 30_000;
  assert.equal(rotation.figures().deadHosts, 0);
  rotation.failed(a!);
  rotation.worked(a!);
  assert.equal(rotation.figures().deadHosts, 0);
});

test('when all are dead, the one to be revived first is tried first', () => {
  const { clock, rotation, names } = rotating();
  const [a, b, c] = rotation.order();
  rotation.failed(b!);
  clock.ms = 100;
  rotation.failed(c!);
  rotation.failed(a!);
  rotation.failed(a!);
  assert.equal(names(), 'bca');
});
