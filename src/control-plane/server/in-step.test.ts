import assert from 'node:assert/strict';
import { test } from 'node:test';
import Fastify from 'fastify';
import { registerInStep } from './in-step.ts';

/** What handlers of two requests did, of which the second is read a little later within the same turn. */
async function stepsOf(method: 'GET' | 'POST', isAlone: boolean): Promise<string[]> {
  const app = Fastify();
  app.addHook<{ Params: { id: string } }>('onRequest', async ({ params: { id } }) => {
    for (let later = 0; id === 'b' && later < 50; later++) await undefined;
  });
  registerInStep(app, () => isAlone);
  const steps: string[] = [];
  app.route<{ Params: { id: string } }>({
    method,
    url: '/:id',
    async handler({ params: { id } }) {
      steps.push(`check ${id}`);
      await undefined;
      steps.push(`store ${id}`);
      return id;
    },
  });
  await app.ready();
  const answers = await Promise.all(['a', 'b'].map((id) => app.inject({ method, url: `/${id}` })));
  assert.deepEqual(
    answers.map(({ body }) => body),
    ['a', 'b'],
  );
  await app.close();
  return steps;
}

const oneAfterTheOther = ['check a', 'store a', 'check b', 'store b'];

test('requests that change something go on in step when they came together', async () => {
  assert.deepEqual(await stepsOf('POST', false), ['check a', 'check b', 'store a', 'store b']);
});

test('one that is alone waits for nobody', async () => {
  assert.deepEqual(await stepsOf('POST', true), oneAfterTheOther);
});

test('one that only reads waits for nobody', async () => {
  assert.deepEqual(await stepsOf('GET', false), oneAfterTheOther);
});
