import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, type ErrorCode } from '../../errors.ts';
import { startTestApp } from '../auth/test-app.ts';
import { purgeIdempotency } from './idempotency.ts';

function withWork() {
  const work = { done: 0, fail: undefined as ErrorCode | undefined, delayMs: 0 };
  const start = () =>
    startTestApp({
      addRoutes: (app) => {
        app.post('/work/', { config: { access: 'token' } }, async (request) => {
          const number = ++work.done;
          await sleep(work.delayMs);
          if (work.fail) throw new AppError(work.fail);
          return { number, body: request.body };
        });
        app.post('/big/', { config: { access: 'token' } }, async () => ({
          big: 'x'.repeat(300_000),
          n: ++work.done,
        }));
        app.get('/work/', { config: { access: 'token' } }, async () => ({ number: ++work.done }));
        app.put('/empty/', { config: { access: 'token' } }, async (_request, reply) => {
          work.done++;
          return reply.code(204).send();
        });
      },
    });
  return { work, start };
}

const key = (value: string) => ({ headers: { 'idempotency-key': value } });

test('15: the same request under its key is done once and answered the same', async () => {
  const { work, start } = withWork();
  await using app = await start();
  const first = await app.call('POST', '/work/', { ...key('k'), body: { a: 1 } });
  const again = await app.call('POST', '/work/', { ...key('k'), body: { a: 1 } });
  assert.equal(first.headers['idempotency-replayed'], undefined);
  assert.equal(again.headers['idempotency-replayed'], 'true');
  assert.equal(again.status, first.status);
  assert.equal(again.text, first.text);
  assert.equal(again.headers['content-type'], first.headers['content-type']);
  assert.equal(work.done, 1);
  assert.equal((await app.call('PUT', '/empty/', key('k'))).status, 204);
  const empty = await app.call('PUT', '/empty/', key('k'));
  assert.deepEqual([empty.status, empty.text, empty.headers['idempotency-replayed']], [204, '', 'true']);
  assert.equal(work.done, 2);
});

test('15: another body under the key is refused, another key, path or no key is another request', async () => {
  const { work, start } = withWork();
  await using app = await start();
  await app.call('POST', '/work/', { ...key('k'), body: { a: 1 } });
  const other = await app.call('POST', '/work/', { ...key('k'), body: { a: 2 } });
  assert.equal(other.status, 422);
  assert.equal(other.body.error, 'unprocessable');
  assert.equal(work.done, 1);
  await app.call('POST', '/work/', { ...key('K'), body: { a: 1 } });
  await app.call('POST', '/work/?x=1', { ...key('k'), body: { a: 1 } });
  await app.call('POST', '/work/', { body: { a: 1 } });
  await app.call('GET', '/work/', key('k'));
  assert.equal(work.done, 5);
});

test("15: never another principal's answer, and nothing for a token that has ended", async () => {
  const { work, start } = withWork();
  await using app = await start();
  const one = await app.token([]);
  const two = await app.token([]);
  const call = (token: string) => app.call('POST', '/work/', { ...key('k'), token, body: {} });
  assert.equal((await call(one.token)).body.number, 1);
  assert.equal((await call(two.token)).body.number, 2);
  assert.equal((await call(one.token)).body.number, 1);
  await app.call('DELETE', `/apiops/tokens/${one.id}/`);
  assert.equal((await call(one.token)).status, 401);
  assert.equal(work.done, 2);
});

test('15: a repetition is authorised anew', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/projects/', { body: { name: 'A' } });
  const manage = [{ project: 'A', permissions: ['PROJECT:MANAGE'] }];
  await app.call('POST', '/apiops/users/', {
    body: { username: 'ann', password: 'correct horse', grants: manage },
  });
  const token = (await app.logIn('ann', 'correct horse')).body.access_token as string;
  const put = () =>
    app.call('PUT', '/apiops/projects/A/', { ...key('k'), token, body: { description: 'x' } });
  assert.equal((await put()).status, 200);
  assert.equal((await put()).headers['idempotency-replayed'], 'true');
  await app.call('PUT', '/apiops/users/ann/', {
    body: { grants: [{ project: 'A', permissions: ['CONNECTIONS:VIEW'] }] },
  });
  assert.equal((await put()).status, 403);
  await app.call('PUT', '/apiops/users/ann/', { body: { grants: [] } });
  assert.equal((await put()).status, 404);
});

test('15: concurrent duplicates wait for the first and are answered as it was', async () => {
  const { work, start } = withWork();
  await using app = await start();
  work.delayMs = 100;
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => app.call('POST', '/work/', { ...key('k'), body: {} })),
  );
  assert.equal(work.done, 1);
  assert.equal(new Set(answers.map((answer) => answer.text)).size, 1);
});

test('15: what failed and may be tried again is not remembered, what may have been done is', async () => {
  const { work, start } = withWork();
  await using app = await start();
  const outcome = async (fail: ErrorCode | undefined, name: string) => {
    work.fail = fail;
    return (await app.call('POST', '/work/', { ...key(name), body: {} })).status;
  };
  for (const fail of [
    'internal_error',
    'unavailable',
    'no_worker',
    'rate_limit_exceeded',
    'forbidden',
  ] as const) {
    assert.ok((await outcome(fail, fail)) >= 400);
    assert.equal(await outcome(undefined, fail), 200, fail);
  }
  for (const fail of ['conflict', 'bad_request', 'not_found', 'target_timeout'] as const) {
    const first = await outcome(fail, fail);
    assert.ok(first >= 400);
    assert.equal(await outcome(undefined, fail), first, fail);
  }
});

test('15: what may be stored although its commit was not answered is not done again', async () => {
  const { work, start } = withWork();
  await using app = await start();
  work.fail = 'outcome_unknown';
  const first = await app.call('POST', '/work/', { ...key('k'), body: {} });
  assert.deepEqual([first.status, first.body.error], [503, 'unavailable']);
  assert.equal(first.body.reason, 'outcome_unknown');
  work.fail = undefined;
  const again = await app.call('POST', '/work/', { ...key('k'), body: {} });
  assert.equal(again.status, 409);
  assert.match(again.body.error_description, /outcome .* is not known/);
  assert.equal(work.done, 1);
});

test('15: a one-time secret is not kept, and not answered again', async () => {
  await using app = await startTestApp();
  for (const [url, body] of [
    ['/apiops/tokens/', { name: 'ci', grants: [] }],
    ['/apiops/environments/production/enrollment-tokens/', { name: 'w' }],
  ] as const) {
    const first = await app.call('POST', url, { ...key('k'), body });
    const again = await app.call('POST', url, { ...key('k'), body });
    assert.ok(first.body.token);
    assert.deepEqual(again.body, { ...first.body, token: null });
    const stored = JSON.stringify(await app.db.all('select * from idempotency'));
    assert.ok(!stored.includes(first.body.token));
  }
});

test('15: a request whose outcome was lost with its process is not done again', async () => {
  const { work, start } = withWork();
  await using app = await start();
  await app.call('POST', '/work/', { ...key('k'), body: {} });
  await app.db.write((tx) => tx.run("update idempotency set status = 0, body = ''"));
  const answer = await app.call('POST', '/work/', { ...key('k'), body: {} });
  assert.equal(answer.status, 409);
  assert.equal(work.done, 1);
});

test('an answer too large to be kept is replayed as a remark', async () => {
  const { work, start } = withWork();
  await using app = await start();
  await app.call('POST', '/big/', { ...key('k'), body: {} });
  const again = await app.call('POST', '/big/', { ...key('k'), body: {} });
  assert.equal(again.status, 200);
  assert.equal(again.body.warnings.length, 1);
  assert.equal(work.done, 1);
});

test('a key is 1 to 255 visible characters', async () => {
  const { work, start } = withWork();
  await using app = await start();
  for (const bad of ['', 'with space', 'x'.repeat(256), 'é']) {
    assert.equal((await app.call('POST', '/work/', { ...key(bad), body: {} })).status, 400, bad);
  }
  assert.equal((await app.call('POST', '/work/', { ...key('!'.repeat(255)), body: {} })).status, 200);
  assert.equal(work.done, 1);
});

test('after 24 hours a key is forgotten', async () => {
  const { work, start } = withWork();
  await using app = await start();
  await app.call('POST', '/work/', { ...key('k'), body: {} });
  const age = (hours: number) =>
    app.db.write((tx) => tx.run('update idempotency set created_at = created_at - $1', [hours * 3_600_000]));
  await age(23.9);
  await app.call('POST', '/work/', { ...key('k'), body: {} });
  assert.equal(work.done, 1);
  await age(0.2);
  await app.call('POST', '/work/', { ...key('k'), body: {} });
  assert.equal(work.done, 2);
  assert.equal(await purgeIdempotency(app.db), 0);
  await age(25);
  assert.equal(await purgeIdempotency(app.db), 1);
});
