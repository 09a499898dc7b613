import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Plugboard, startPlugboard } from '../../../test/harness/plugboard.ts';
import { createAuthority } from '../../../test/services/certificates.ts';

const base = '/apiops/projects/MyProject';
const variables = `${base}/environmentVariables/`;

/** A connection that nothing has to be there for: its client connects only when it is used. */
const mail = (more: Record<string, unknown> = {}) => ({
  type: 'email',
  host: '127.0.0.1',
  port: 2525,
  auth: true,
  username: 'app',
  password: 'a-password-of-tests',
  ...more,
});

describe('environment variables', () => {
  let app: Plugboard;
  before(async () => {
    app = await startPlugboard({ projects: ['MyProject', 'Other'], deployTimeoutMs: 5000 });
    await app.call('POST', '/apiops/environments/', { name: 'test', type: 'TEST' });
    await app.call('PUT', `${base}/`, { environments: ['production', 'test'] });
  });
  after(() => app.stop());

  const tokenFor = async (...permissions: string[]) =>
    (await app.ok('POST', '/apiops/tokens/', { name: 't', grants: [{ project: 'MyProject', permissions }] }))
      .token as string;

  it('come back as stored, those that are not visible without their value, which null keeps', async () => {
    await app.ok('POST', variables, {
      name: 'SHAPE',
      description: 'of things',
      global: true,
      globalValue: 'round',
      environmentValueList: [{ environmentName: 'test', value: 'canary-hidden-value', visible: false }],
      allowedHosts: ['*.corp.example'],
    });
    const got = await app.call('GET', `${variables}SHAPE/`);
    const view = {
      name: 'SHAPE',
      description: 'of things',
      global: true,
      globalValue: 'round',
      globalVisible: true,
      allowedHosts: ['*.corp.example'],
      environmentValueList: [{ environmentName: 'test', value: null, visible: false }],
    };
    assert.deepEqual(got.body, { success: true, resultList: [view], resultCount: 1 });
    assert.ok(got.headers.get('etag'));

    assert.deepEqual(await app.ok('PUT', `${variables}SHAPE/`, view), { success: true });
    const rows = await app.db.all<{ sealed: string | null; value: string | null }>(
      "select v.* from variable_values v join variables o on o.id = v.variable_id where o.name = 'SHAPE' and v.visible = 0",
    );
    assert.equal(rows.length, 1);
    assert.equal(rows[0]!.value, null);
    assert.match(rows[0]!.sealed!, /^v1\./);

    const shown = await app.call('PUT', `${variables}SHAPE/`, {
      ...view,
      environmentValueList: [{ environmentName: 'test', value: null, visible: true }],
    });
    assert.equal(shown.status, 400);
    assert.match(shown.text, /must be given again to become visible/);
    for (const text of [...app.log, got.text]) assert.ok(!text.includes('canary-hidden-value'));
    await app.ok('DELETE', `${variables}SHAPE/`);
    assert.equal((await app.call('GET', `${variables}SHAPE/`)).status, 404);
  });

  it('refuse bad bodies, each field by its name', async () => {
    const refused = async (body: unknown, field: string) => {
      const answer = await app.call('POST', variables, body);
      assert.equal(answer.status, 400, answer.text);
      assert.ok(
        answer.body.validation_errors.some((fault: { field: string }) => fault.field === field),
        answer.text,
      );
    };
    await refused({ globalValue: 'x' }, 'name');
    await refused({ name: '1X' }, 'name');
    await refused({ name: 'A', unknown: 1 }, 'unknown');
    await refused({ name: 'A', global: true }, 'globalValue');
    await refused({ name: 'A', globalValue: 'x' }, 'globalValue');
    await refused(
      { name: 'A', environmentValueList: [{ environmentName: 'mars', value: '' }] },
      'environmentValueList[0].environmentName',
    );
    await refused(
      { name: 'A', environmentValueList: [{ environmentName: 'test' }] },
      'environmentValueList[0].value',
    );
    const tooLarge = await app.call('POST', variables, {
      name: 'A',
      global: true,
      globalValue: 'x'.repeat(1024 * 1024),
    });
    assert.equal(tooLarge.status, 413);
    const twice = { name: 'TWICE', global: true, globalValue: '' };
    await app.ok('POST', variables, twice);
    assert.match((await app.call('POST', `${variables}TWICE/`, twice)).text, /already exists!/);
    assert.match((await app.call('POST', `${variables}OTHER/`, twice)).text, /must match the name/);
  });

  it('resolve in each environment; one without a value is refused by name and the last good one goes on', async () => {
    await app.ok('POST', `${variables}PORT/`, {
      environmentValueList: [
        { environmentName: 'production', value: '2525' },
        { environmentName: 'test', value: '2626' },
      ],
    });
    const created = await app.ok(
      'POST',
      `${base}/connections/by-variable/`,
      mail({ name: 'by-variable', port: '${PORT}' }),
    );
    const [production] = created.deploymentResult.deploymentResults;
    assert.deepEqual(
      [production.environmentName, production.success, production.message],
      ['production', true, 'applied by 1 of 1 worker'],
    );

    const unknown = await app.call(
      'POST',
      `${base}/connections/nothing/`,
      mail({ name: 'nothing', port: '${NOTHING}' }),
    );
    assert.equal(unknown.status, 400);
    assert.match(unknown.text, /refers to the variable NOTHING/);

    const without = await app.ok('PUT', `${variables}PORT/`, {
      environmentValueList: [{ environmentName: 'test', value: '2626' }],
    });
    assert.deepEqual(without.redeployedConnections, ['by-variable']);
    const refusal = without.deploymentResult.deploymentResults.find(
      (one: { environmentName: string }) => one.environmentName === 'production',
    );
    assert.equal(refusal.success, false);
    assert.match(refusal.message, /the variable PORT has no value in environment 'production'/);
    const status = await app.ok('GET', `${base}/connections/by-variable/deployments/`);
    const inProduction = status.resultList.find(
      (one: { environmentName: string }) => one.environmentName === 'production',
    );
    assert.equal(inProduction.step, 'refused');
    assert.equal(inProduction.lastGoodRevision, 1);
    assert.equal(inProduction.workers[0].step === 'refused', false);

    const later = await app.ok(
      'PUT',
      `${base}/connections/by-variable/`,
      mail({ name: 'by-variable', port: '${PORT}', from: 'a@b.example' }),
    );
    assert.match(JSON.stringify(later.deploymentResult), /variable PORT has no value/);
    const back = await app.ok('PUT', `${variables}PORT/`, { global: true, globalValue: '2525' });
    assert.equal(
      back.deploymentResult.deploymentResults.find(
        (one: { environmentName: string }) => one.environmentName === 'production',
      ).success,
      true,
      JSON.stringify(back),
    );
    const test = await app.ok('POST', `${base}/connections/by-variable/test/?environment=production`);
    assert.match(JSON.stringify(test.results[0].stages), /127\.0\.0\.1/);
  });

  it('are not deleted while a connection refers to them, and take it along when they are renamed', async () => {
    await app.ok('POST', variables, { name: 'HOST', global: true, globalValue: '127.0.0.1' });
    await app.ok(
      'POST',
      `${base}/connections/follower/`,
      mail({ name: 'follower', host: '${HOST}', password: '$${HOST}-as-is' }),
    );
    const refused = await app.call('DELETE', `${variables}HOST/`);
    assert.equal(refused.status, 409);
    assert.match(refused.text, /'follower'/);

    const newName = { name: 'MAIL_HOST', global: true, globalValue: '127.0.0.1' };
    const writer = await tokenFor('VARIABLES:VIEW', 'VARIABLES:MANAGE', 'CONNECTIONS:VIEW');
    const forbidden = await app.call('PUT', `${variables}HOST/?rename=true`, newName, { token: writer });
    assert.equal(forbidden.status, 403);
    assert.match(forbidden.text, /'follower'.*CONNECTIONS:MANAGE/);
    assert.equal((await app.ok('GET', `${base}/connections/follower/`)).resultList[0].host, '${HOST}');

    await app.ok(
      'POST',
      `${base}/connections/asleep/`,
      mail({ name: 'asleep', host: '${HOST}', enabled: false }),
    );
    const renamed = await app.ok('PUT', `${variables}HOST/?rename=true`, newName);
    assert.deepEqual(renamed.redeployedConnections, ['follower']);
    const got = await app.ok('GET', `${base}/connections/follower/`);
    assert.equal(got.resultList[0].host, '${MAIL_HOST}');
    const asleep = await app.ok('GET', `${base}/connections/asleep/`);
    assert.equal(asleep.resultList[0].host, '${MAIL_HOST}', 'what is off takes it along, and stays off');
    await app.ok('DELETE', `${base}/connections/asleep/`);
    assert.equal(got.resultList[0].password, '$${HOST}-as-is');
    assert.equal((await app.ok('GET', `${base}/connections/follower/revisions/`)).resultCount, 2);
    assert.equal((await app.call('GET', `${variables}HOST/`)).status, 404);
    const restored = await app.call('POST', `${base}/connections/follower/revisions/1/restore/`);
    assert.equal(restored.status, 409);
    await app.ok('DELETE', `${base}/connections/follower/`);
    await app.ok('DELETE', `${variables}MAIL_HOST/`);
  });

  it('move a connection only by the hand of one who may reveal it', async () => {
    await app.ok('POST', variables, { name: 'TARGET', global: true, globalValue: '127.0.0.1' });
    await app.ok('POST', `${base}/connections/guarded/`, mail({ name: 'guarded', host: '${TARGET}' }));
    const writer = await tokenFor('VARIABLES:VIEW', 'VARIABLES:MANAGE');
    const evil = { global: true, globalValue: 'evil.example' };
    const refused = await app.call('PUT', `${variables}TARGET/`, evil, { token: writer });
    assert.equal(refused.status, 403);
    assert.match(refused.text, /'guarded'.*CONNECTIONS:REVEAL/);
    await app.ok(
      'PUT',
      `${variables}TARGET/`,
      { global: true, globalValue: '127.0.0.1', description: 'same' },
      { token: writer },
    );

    const revealer = await tokenFor('VARIABLES:MANAGE', 'CONNECTIONS:REVEAL');
    await app.ok(
      'PUT',
      `${variables}TARGET/`,
      { global: true, globalValue: '127.0.0.2' },
      { token: revealer },
    );

    const editor = await tokenFor('CONNECTIONS:VIEW', 'CONNECTIONS:MANAGE');
    const kept = (host: string) =>
      app.call('PUT', `${base}/connections/guarded/`, mail({ name: 'guarded', host, password: null }), {
        token: editor,
      });
    assert.equal((await kept('127.0.0.2')).status, 200, 'the same place by another text is no move');
    assert.equal((await kept('${TARGET}')).status, 200);
    const moved = await kept('127.0.0.1');
    assert.equal(moved.status, 400);
    assert.match(moved.text, /password must be given again, because host changed/);

    await app.ok('PUT', `${base}/connections/guarded/`, mail({ name: 'guarded', host: 'localhost' }));
    await app.ok(
      'PUT',
      `${variables}TARGET/`,
      { global: true, globalValue: '127.0.0.1' },
      { token: revealer },
    );
    const restored = await app.call('POST', `${base}/connections/guarded/revisions/1/restore/`, undefined, {
      token: editor,
    });
    assert.equal(restored.status, 403, restored.text);
  });

  it('that are not visible are whole secrets only, and go where they are allowed to', async () => {
    await app.ok('POST', variables, {
      name: 'MAIL_PASSWORD',
      global: true,
      globalValue: 'canary-mail-password',
      globalVisible: false,
      allowedHosts: ['127.0.0.*'],
    });
    const editor = await tokenFor(
      'CONNECTIONS:VIEW',
      'CONNECTIONS:REVEAL',
      'CONNECTIONS:MANAGE',
      'CONNECTIONS:TEST',
    );
    const put = (body: Record<string, unknown>, method = 'POST') =>
      app.call(method, `${base}/connections/hidden/`, mail({ name: 'hidden', ...body }), { token: editor });
    const inText = await put({ username: '${MAIL_PASSWORD}' });
    assert.equal(inText.status, 400);
    assert.match(inText.text, /not visible and may only be a whole secret/);
    const elsewhere = await put({ host: 'evil.example', password: '${MAIL_PASSWORD}' });
    assert.equal(elsewhere.status, 403);
    assert.match(elsewhere.text, /MAIL_PASSWORD/);
    const tested = await app.call(
      'POST',
      `${base}/connection-test/`,
      mail({ name: 'x', host: 'evil.example', password: '${MAIL_PASSWORD}' }),
      { token: editor },
    );
    assert.equal(tested.status, 403);
    assert.equal((await put({ password: '${MAIL_PASSWORD}' })).status, 200);
    assert.equal((await put({ password: '${MAIL_PASSWORD}', host: '127.0.0.9' }, 'PUT')).status, 200);
    assert.equal((await put({ password: '${MAIL_PASSWORD}', host: 'evil.example' }, 'PUT')).status, 403);
    const got = await app.call('GET', `${base}/connections/hidden/`, undefined, { token: editor });
    assert.equal(got.body.resultList[0].password, '${MAIL_PASSWORD}');
    for (const line of app.log) assert.ok(!line.includes('canary-mail-password'));

    await app.ok('POST', variables, { name: 'OPEN', global: true, globalValue: 'app' });
    await app.ok('POST', `${base}/connections/open/`, mail({ name: 'open', username: '${OPEN}' }));
    const hide = await app.call('PUT', `${variables}OPEN/`, {
      global: true,
      globalValue: 'app',
      globalVisible: false,
    });
    assert.equal(hide.status, 409);
    assert.match(hide.text, /'open' refers to it outside of secrets/);
  });

  it('without a value leave the last good revision to workers that come later, too', async () => {
    const body = (port: unknown) => mail({ name: 'late', port, environments: ['production'] });
    await app.ok('POST', `${base}/connections/late/`, body(2525));
    await app.ok('POST', variables, {
      name: 'ELSEWHERE',
      environmentValueList: [{ environmentName: 'test', value: '1' }],
    });
    const changed = await app.ok('PUT', `${base}/connections/late/`, body('${ELSEWHERE}'));
    assert.match(JSON.stringify(changed.deploymentResult), /variable ELSEWHERE has no value/);
    const worker = await app.addWorker('production', 'late-worker');
    const seen = async () => {
      const { resultList } = await app.ok('GET', `${base}/connections/late/deployments/`);
      return resultList[0].workers.find((one: { worker: string }) => one.worker === 'late-worker');
    };
    const deadline = Date.now() + 20_000;
    while (!(await seen()) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
    const verdict = await seen();
    assert.equal(verdict.revision, 1, JSON.stringify(verdict));
    assert.ok(['valid', 'connected', 'unreachable'].includes(verdict.step), verdict.step);
    await worker.stop(0);
  });

  it('of another project are not there', async () => {
    await app.ok('POST', variables, { name: 'MINE', global: true, globalValue: 'x' });
    const stranger = (
      await app.ok('POST', '/apiops/tokens/', {
        name: 's',
        grants: [
          { project: 'Other', permissions: ['VARIABLES:MANAGE', 'VARIABLES:VIEW', 'CONNECTIONS:MANAGE'] },
        ],
      })
    ).token;
    const asStranger = (method: string, path: string, body?: unknown) =>
      app.call(method, path, body, { token: stranger });
    assert.equal((await asStranger('GET', `${variables}MINE/`)).status, 404);
    assert.equal((await asStranger('GET', '/apiops/projects/Other/environmentVariables/MINE/')).status, 404);
    assert.equal(
      (await asStranger('GET', '/apiops/projects/Other/environmentVariables/')).body.resultCount,
      0,
    );
    const refers = await asStranger(
      'POST',
      '/apiops/projects/Other/connections/c/',
      mail({ name: 'c', host: '${MINE}' }),
    );
    assert.equal(refers.status, 400);
    const viewer = await tokenFor('CONNECTIONS:VIEW');
    const lacks = await app.call('GET', variables, undefined, { token: viewer });
    assert.equal(lacks.status, 403);
    assert.match(lacks.text, /VARIABLES:VIEW/);
  });

  it('that are not visible go nowhere else by a keystore or a new environment either', async () => {
    await app.ok('POST', variables, {
      name: 'GUARDED_SECRET',
      global: true,
      globalValue: 'canary-guarded',
      globalVisible: false,
    });
    await app.ok('POST', `${base}/connections/sender/`, {
      ...mail({ name: 'sender', password: '${GUARDED_SECRET}' }),
      certificateName: 'roots',
    });
    const keeper = await tokenFor('KEYS:MANAGE', 'CONNECTIONS:REVEAL', 'PROJECT:MANAGE');
    const pem = createAuthority().caPem;
    const store = () =>
      app.call('POST', `${base}/certificates/`, { name: 'roots', pemEncodedFile: pem }, { token: keeper });
    const refused = await store();
    assert.equal(refused.status, 403);
    assert.match(refused.text, /'sender'.*VARIABLES:MANAGE/);
    const placed = await app.call('PUT', `${base}/`, { environments: ['production'] }, { token: keeper });
    assert.equal(placed.status, 403);
    assert.match(placed.text, /VARIABLES:MANAGE/);
    await app.ok('PUT', `${variables}GUARDED_SECRET/`, {
      global: true,
      globalVisible: false,
      allowedHosts: ['127.0.0.1'],
    });
    assert.equal((await store()).status, 200);
  });

  it('are changed by a narrowed grant in its environments alone, and by If-Match only as they were read', async () => {
    const values = (production: string, test: string) => ({
      environmentValueList: [
        { environmentName: 'production', value: production },
        { environmentName: 'test', value: test },
      ],
    });
    await app.ok('POST', `${variables}NARROW/`, values('a', 'b'));
    const narrow = (
      await app.ok('POST', '/apiops/tokens/', {
        name: 'narrow',
        grants: [
          {
            project: 'MyProject',
            permissions: ['VARIABLES:VIEW', 'VARIABLES:MANAGE'],
            environments: ['test'],
          },
        ],
      })
    ).token as string;
    const got = await app.ok('GET', `${variables}NARROW/`, undefined, { token: narrow });
    assert.deepEqual(
      got.resultList[0].environmentValueList.map(({ value }: { value: string | null }) => value),
      [null, 'b'],
    );
    await app.ok('PUT', `${variables}NARROW/`, values('a', 'c'), { token: narrow });
    const beyond = await app.call('PUT', `${variables}NARROW/`, values('x', 'c'), { token: narrow });
    assert.equal(beyond.status, 403);
    assert.match(beyond.text, /for environment 'production'/);

    const read = await app.call('GET', `${variables}NARROW/`);
    const headers = { 'if-match': read.headers.get('etag')! };
    const both = await Promise.all(
      ['d', 'e'].map((value) => app.call('PUT', `${variables}NARROW/`, values('a', value), { headers })),
    );
    assert.deepEqual(both.map(({ status }) => status).sort(), [200, 412]);
  });
});
