import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Database } from '../store/database.ts';
import { createLogIn } from './log-in.service.ts';
import { startTestApp } from './test-app.ts';
import { purgeLogIns } from './tokens.service.ts';

const ann = {
  username: 'ann',
  password: 'correct horse battery',
  grants: [{ project: 'A', permissions: ['CONNECTIONS:VIEW' as const] }],
};
const form = { 'content-type': 'application/x-www-form-urlencoded' };

test('a password becomes a token of one hour with what its user may', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/users/', { body: ann });
  const answer = await app.logIn('Ann', ann.password);
  assert.equal(answer.status, 200);
  assert.deepEqual(Object.keys(answer.body), ['access_token', 'token_type', 'expires_in']);
  assert.equal(answer.body.token_type, 'Bearer');
  assert.equal(answer.body.expires_in, 3600);
  assert.equal(answer.headers['cache-control'], 'no-store');
  const principal = app.access.authenticate(`Bearer ${answer.body.access_token}`);
  assert.ok(app.access.allows(principal, 'CONNECTIONS:REVEAL', { project: 'A' }));
  assert.ok(Math.abs(principal.expiresAt! - Date.now() - 3_600_000) < 60_000);
  const audit = await app.call('GET', '/apiops/audit/?action=user.login');
  assert.equal(audit.body.resultList[0].actor, 'user:ann');
  assert.ok(!audit.text.includes(answer.body.access_token));
});

test('wrong password, unknown user and disabled user are told alike with as many queries', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/users/', { body: ann });
  await app.call('POST', '/apiops/users/', { body: { ...ann, username: 'off', disabled: true } });
  const before = app.statements();
  const answers = [];
  for (const [username, password] of [
    ['ann', 'wrong horse'],
    ['nobody', ann.password],
    ['off', ann.password],
  ] as const) {
    answers.push(await app.logIn(username, password));
  }
  for (const answer of answers) {
    assert.equal(answer.status, 401);
    assert.equal(answer.body.error, 'unauthorized_client');
    assert.equal(answer.body.error_description, 'Bad credentials');
  }
  assert.equal(app.statements(), before);
});

test('only client_credentials, as a form, each field once', async () => {
  await using app = await startTestApp();
  const post = (body: unknown, headers: Record<string, string> = form) =>
    app.call('POST', '/apiops/auth/token', { token: '', headers, body });
  const password = await post('grant_type=password&username=a&password=b');
  assert.equal(password.status, 400);
  assert.equal(password.body.error, 'unsupported_grant_type');
  assert.equal((await post('client_id=a&client_secret=b')).body.validation_errors[0].field, 'grant_type');
  assert.equal((await post('grant_type=client_credentials&client_id=a')).status, 400);
  assert.equal(
    (await post('grant_type=client_credentials&client_id=a&client_id=b&client_secret=c')).status,
    400,
  );
  assert.equal((await post({ grant_type: 'client_credentials' }, {})).status, 415);
  assert.equal((await post(`grant_type=client_credentials&client_id=${'x'.repeat(20_000)}`)).status, 413);
  const long = await post(`grant_type=client_credentials&client_id=${'x'.repeat(2000)}&client_secret=b`);
  assert.equal(long.status, 401);
  const odd = await post('__proto__=1&grant_type=client_credentials&client_id=a&client_secret=b');
  assert.equal(odd.status, 401);
});

test('guessing one account is limited whatever the address, and one address whatever the account', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/users/', { body: ann });
  let time = Date.now();
  const { logIn } = createLogIn(app.db, app.access, () => time);
  const attempt = (username: string, password: string, address: string) =>
    logIn({ username, password, address }).then(
      () => 'in',
      (error: { code: string }) => error.code,
    );

  const guesses = await Promise.all(
    Array.from({ length: 14 }, (_, index) => attempt('ann', `guess ${index}`, `192.0.2.${index}`)),
  );
  assert.equal(guesses.filter((outcome) => outcome === 'unauthorized_client').length, 10);
  assert.equal(guesses.filter((outcome) => outcome === 'rate_limit_exceeded').length, 4);
  assert.equal(await attempt('ANN', ann.password, '192.0.2.99'), 'rate_limit_exceeded');
  time += 60_000;
  assert.equal(await attempt('ann', ann.password, '192.0.2.99'), 'in');

  const spray = await Promise.all(
    Array.from({ length: 33 }, (_, index) => attempt(`user-${index}`, 'guess', '198.51.100.1')),
  );
  assert.equal(spray.filter((outcome) => outcome === 'rate_limit_exceeded').length, 3);
  assert.equal(await attempt('ann', ann.password, '192.0.2.98'), 'in');
});

test('who is disabled or gets another password while logging in is not in', async () => {
  await using app = await startTestApp();
  const change = (body: object) => app.call('PUT', '/apiops/users/ann/', { body });
  for (const [index, changed] of [{ disabled: true }, { password: 'another horse battery' }].entries()) {
    const before: Database['write'] = async (job, options) => {
      assert.equal((await change(changed)).status, 200);
      return app.db.write(job, options);
    };
    const after: Database['write'] = async (job, options) => {
      const written = await app.db.write(job, options);
      assert.equal((await change(changed)).status, 200);
      return written;
    };
    for (const write of [before, after]) {
      await app.call('POST', '/apiops/users/', { body: ann });
      await assert.rejects(
        createLogIn({ ...app.db, write }, app.access).logIn({
          username: 'ann',
          password: ann.password,
          address: `192.0.2.${index}`,
        }),
        { code: 'unauthorized_client', message: 'Bad credentials' },
      );
      const kinds = [...app.access.directory.tokens()].map(({ kind }) => kind);
      assert.ok(!kinds.includes('access'), 'no token of it is known');
      assert.deepEqual(await app.db.all("select id from tokens where kind = 'access'"), []);
      await app.call('DELETE', '/apiops/users/ann/');
    }
  }
});

test('log-ins that succeed are not limited', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/users/', { body: ann });
  for (let round = 0; round < 12; round++) assert.equal((await app.logIn('ann', ann.password)).status, 200);
});

test('the limit is told with retry_after', async () => {
  await using app = await startTestApp();
  let answer = await app.logIn('nobody', 'guess');
  // On a slow machine the allowance grows again meanwhile.
  for (let round = 0; round < 60 && answer.status !== 429; round++)
    answer = await app.logIn('nobody', 'guess');
  assert.equal(answer.status, 429);
  assert.equal(answer.body.error, 'rate_limit_exceeded');
  assert.ok(answer.body.retry_after >= 1);
});

test('expired log-ins are purged, other tokens stay', async () => {
  await using app = await startTestApp();
  await app.call('POST', '/apiops/users/', { body: ann });
  const logIn = (await app.logIn('ann', ann.password)).body.access_token as string;
  const { token } = await app.token([]);
  assert.equal(await purgeLogIns(app.db, app.access), 0);
  assert.equal(await purgeLogIns(app.db, app.access, Date.now() + 3_601_000), 1);
  assert.throws(() => app.access.authenticate(`Bearer ${logIn}`));
  assert.ok(app.access.authenticate(`Bearer ${token}`));
});
