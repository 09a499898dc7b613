import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';

const one = '/apiops/projects/MyProject/connections/mail/';
const body = {
  type: 'email',
  name: 'mail',
  host: 'first.example.com',
  auth: true,
  username: 'u',
  password: 'first-password',
};

describe('revisions', () => {
  let plugboard: Plugboard;
  before(async () => {
    plugboard = await startPlugboard({ withWorker: false });
    await plugboard.call('POST', `${one}?async=true`, body);
    await plugboard.call('PUT', `${one}?async=true`, {
      ...body,
      host: 'second.example.com',
      password: 'second-password',
    });
    await plugboard.call('PUT', `${one}?async=true`, {
      ...body,
      host: 'second.example.com',
      description: 'third',
      password: null,
    });
  });
  after(() => plugboard.stop());

  const revisions = async () => (await plugboard.call('GET', `${one}revisions/`)).body.resultList;
  const current = async () => (await plugboard.call('GET', one)).body.resultList[0];

  test('newest first, with author, time and what changed, secrets by what became of them', async () => {
    const [third, second, first] = await revisions();
    assert.deepEqual(third.diff, [{ field: 'description', before: null, after: 'third' }]);
    assert.deepEqual(second.diff, [
      { field: 'host', before: 'first.example.com', after: 'second.example.com' },
      { field: 'password', secret: 'changed' },
    ]);
    assert.deepEqual([first.action, second.action, first.diff], ['create', 'update', []]);
    assert.equal(third.author, 'token:admin');
    assert.ok(Date.parse(third.at) <= Date.now());
  });

  test('page by page, the last one of a page with what it changed', async () => {
    const page = async (query: string) => (await plugboard.call('GET', `${one}revisions/?${query}`)).body;
    const all = await page('');
    const [first, second] = [await page('size=2'), await page('size=2&page=2')];
    assert.deepEqual([...first.resultList, ...second.resultList], all.resultList);
    assert.deepEqual(
      [first, second].map(({ resultList, resultCount }) => [resultList.length, resultCount]),
      [
        [2, 3],
        [1, 3],
      ],
    );
    assert.equal((await plugboard.call('GET', `${one}revisions/?size=0`)).status, 400);
  });

  test('one of them, secrets null, with the diff to the one before', async () => {
    const { body: answer, text } = await plugboard.call('GET', `${one}revisions/2/`);
    const [second] = answer.resultList;
    assert.equal(second.body.host, 'second.example.com');
    assert.equal(second.body.password, null);
    assert.equal(second.diff.length, 2);
    assert.doesNotMatch(text, /second-password|first-password/);
    assert.equal((await plugboard.call('GET', `${one}revisions/9/`)).status, 404);
    assert.equal((await plugboard.call('GET', `${one}revisions/zero/`)).status, 400);
  });

  test('restore brings a revision back with its own secrets, as a new revision', async () => {
    const answer = await plugboard.call('POST', `${one}revisions/1/restore/?async=true`);
    assert.equal(answer.status, 200, answer.text);
    const { host, port, password } = await current();
    assert.deepEqual([host, port, password], ['first.example.com', 587, 'first-password']);
    const [newest] = await revisions();
    assert.deepEqual([newest.revision, newest.action], [4, 'restore']);
  });

  test('security 16: of two writers with If-Match one wins, the other gets 412', async () => {
    const tag = (await plugboard.call('GET', one)).headers.get('etag')!;
    const write = (description: string) =>
      plugboard.call('PUT', `${one}?async=true`, { ...body, description }, { headers: { 'if-match': tag } });
    const answers = await Promise.all([write('a'), write('b'), write('c')]);
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 412, 412]);
    assert.equal(answers.find(({ status }) => status === 412)!.body.error, 'precondition_failed');
    const stale = await plugboard.call('DELETE', `${one}?async=true`, undefined, {
      headers: { 'if-match': tag },
    });
    assert.equal(stale.status, 412);
  });

  test('writers without If-Match all get through, one after the other', async () => {
    const before = (await revisions()).length;
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, n) =>
        plugboard.call('PUT', `${one}?async=true`, { ...body, description: `n${n}` }),
      ),
    );
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    const all = await revisions();
    assert.equal(all.length, before + 6);
    assert.deepEqual(
      all.map(({ revision }: { revision: number }) => revision),
      [...all.keys()].map((n) => all.length - n),
    );
  });

  test('a deleted connection keeps its history, and comes back by restore', async () => {
    await plugboard.call('DELETE', `${one}?async=true`);
    assert.equal((await plugboard.call('GET', one)).status, 404);
    assert.ok((await revisions()).length > 0);
    const answer = await plugboard.call('POST', `${one}revisions/2/restore/?async=true`);
    assert.equal(answer.status, 200, answer.text);
    assert.equal((await current()).password, 'second-password');
  });

  test('revisions are those of the connection that has the name now', async () => {
    await plugboard.call('DELETE', `${one}?async=true`);
    const hook = { type: 'webhook', name: 'mail', fullUrl: 'https://example.com/' };
    await plugboard.call('POST', `${one}?async=true`, hook);
    assert.equal((await revisions()).length, 1);
    assert.equal((await plugboard.call('POST', `${one}revisions/1/restore/?async=true`)).status, 200);
    assert.equal((await current()).type, 'webhook');
  });
});
