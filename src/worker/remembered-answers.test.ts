import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { RememberedAnswers } from './remembered-answers.ts';

test('an answer is remembered for 24 h', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: 1_000_000 });
  t.after(() => mock.timers.reset());
  const answers = new RememberedAnswers();
  let runs = 0;
  const once = () => answers.once('id', 'hash', async () => ({ status: 200, body: String(++runs) }));
  await once();
  mock.timers.tick(24 * 60 * 60 * 1000 - 1);
  assert.deepEqual(await once(), { answer: { status: 200, body: '1' }, replayed: true });
  mock.timers.tick(1);
  assert.deepEqual(await once(), { answer: { status: 200, body: '2' }, replayed: false });
});

test('the memory is bounded by count and by size; the oldest make room', async () => {
  const answers = new RememberedAnswers({ entries: 3, chars: 100 });
  const isKept = async (id: string) => {
    let ran = false;
    await answers.once(id, 'hash', async () => {
      ran = true;
      return { status: 503, body: '' };
    });
    return !ran;
  };
  const keep = (id: string, chars: number) =>
    answers.once(id, 'hash', async () => ({ status: 200, body: 'x'.repeat(chars) }));
  for (const id of ['a', 'b', 'c', 'd']) await keep(id, 10);
  assert.deepEqual([await isKept('a'), await isKept('b'), await isKept('d')], [false, true, true]);
  await keep('e', 85);
  assert.deepEqual(
    [await isKept('b'), await isKept('c'), await isKept('d'), await isKept('e')],
    [false, false, true, true],
  );
});

test('an answer too large is remembered as done', async () => {
  const answers = new RememberedAnswers();
  const once = () => answers.once('id', 'hash', async () => ({ status: 200, body: 'x'.repeat(300_000) }));
  assert.equal((await once()).answer.body.length, 300_000);
  assert.match((await once()).answer.body, /too large to be kept/);
});

test('a failure of ours lets the next one try', async () => {
  const answers = new RememberedAnswers();
  const failing = () =>
    answers.once('id', 'hash', async () => {
      throw new Error('bug');
    });
  const both = await Promise.allSettled([failing(), failing()]);
  assert.deepEqual(
    both.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  assert.equal((await answers.once('id', 'hash', async () => ({ status: 200, body: '' }))).replayed, false);
});
