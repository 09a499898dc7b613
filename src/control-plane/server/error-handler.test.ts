import assert from 'node:assert/strict';
import { test } from 'node:test';
import Fastify from 'fastify';
import { AppError } from '../../errors.ts';
import { registerErrorHandler } from './error-handler.ts';

const canary = 'Canary-b0dy/p4ss+word';

test('a fault of ours is logged under the id of its request, with its places and nothing of the body', async () => {
  const lines: string[] = [];
  const app = Fastify({ logger: { stream: { write: (line: string) => lines.push(line) } } });
  registerErrorHandler(app);
  const failing: Record<string, (body: unknown) => unknown> = {
    parser: (body) => JSON.parse(`{"sent": ${(body as { password: string }).password}`),
    statement: (body) => {
      throw Object.assign(new Error(`invalid input for type json: ${JSON.stringify(body)}`), {
        code: '22P02',
        detail: JSON.stringify(body),
        parameters: [body],
      });
    },
    caused: (body) => {
      throw new AppError('internal_error', 'The revision could not be read', {
        cause: new TypeError(JSON.stringify(body), { cause: new Error(JSON.stringify(body)) }),
      });
    },
  };
  for (const [name, fail] of Object.entries(failing))
    app.post(`/${name}`, async (request) => fail(request.body));
  for (const name of Object.keys(failing)) {
    const answer = await app.inject({ method: 'POST', url: `/${name}`, payload: { password: canary } });
    assert.equal(answer.statusCode, 500);
    assert.doesNotMatch(answer.body, /Canary/);
    const logged = lines.map((line) => JSON.parse(line)).findLast(({ msg }) => msg === 'internal error');
    assert.equal(logged.reqId, answer.json().request_id);
    assert.match(JSON.stringify(logged.err), /error-handler\.test\.ts:\d+:\d+/);
  }
  assert.match(lines.join(''), /22P02/);
  assert.match(lines.join(''), /The revision could not be read/);
  assert.doesNotMatch(lines.join(''), /Canary/);
  await app.close();
});
