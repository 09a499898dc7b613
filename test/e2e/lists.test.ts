import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';

const list = '/apiops/projects/MyProject/connections/';

describe('lists of connections', () => {
  let plugboard: Plugboard;
  before(async () => {
    plugboard = await startPlugboard({ withWorker: false });
    const make = (name: string, more: object) =>
      plugboard.call('POST', `${list}${encodeURIComponent(name)}/?async=true`, { name, ...more });
    await make('beta', { type: 'email', host: 'b.example.com', labels: { team: 'ops', tier: '1' } });
    await make('Alpha', { type: 'email', host: 'a.example.com', description: 'Payments of the SHOP' });
    await make('gamma', { type: 'webhook', fullUrl: 'https://example.com/?q=1', labels: { team: 'ops' } });
    await make('Ölmühle 7', { type: 'email', host: 'o.example.com' });
  });
  after(() => plugboard.stop());

  const names = async (query: string) => {
    const { status, body } = await plugboard.call('GET', `${list}?${query}`);
    assert.equal(status, 200, JSON.stringify(body));
    return body.resultList.map(({ name }: { name: string }) => name);
  };

  test('of one type, of several, of all; in order of name without regard to case', async () => {
    assert.deepEqual(await names('type=email'), ['Alpha', 'beta', 'Ölmühle 7']);
    assert.deepEqual(await names('type=webhook,email'), ['Alpha', 'beta', 'gamma', 'Ölmühle 7']);
    assert.deepEqual(await names('type=*'), ['Alpha', 'beta', 'gamma', 'Ölmühle 7']);
    assert.deepEqual(await names('type=kafka'), []);
  });

  test('an unknown type is refused, naming those there are', async () => {
    const { status, body } = await plugboard.call('GET', `${list}?type=emial`);
    assert.equal(status, 400);
    assert.match(body.error_description, /emial.*email/);
  });

  test('a page without a size ends as any other', async () => {
    assert.deepEqual(await names('type=*&page=2'), []);
    const { status, body } = await plugboard.call('GET', `${list}?type=*&size=100001`);
    assert.deepEqual([status, body.validation_errors?.[0]?.field], [400, 'size']);
  });

  test('pages count everything', async () => {
    const { body } = await plugboard.call('GET', `${list}?type=*&size=2&page=2`);
    assert.deepEqual(
      body.resultList.map(({ name }: { name: string }) => name),
      ['gamma', 'Ölmühle 7'],
    );
    assert.equal(body.resultCount, 4);
    assert.deepEqual(await names('type=*&size=2&page=9'), []);
  });

  test('sorted by name downwards, or by type', async () => {
    assert.deepEqual(await names('type=*&sort=name,desc'), ['Ölmühle 7', 'gamma', 'beta', 'Alpha']);
    assert.deepEqual(await names('type=*&sort=type'), ['Alpha', 'beta', 'Ölmühle 7', 'gamma']);
  });

  test('by part of name or description, and by labels', async () => {
    assert.deepEqual(await names('type=*&q=shop'), ['Alpha']);
    assert.deepEqual(await names(`type=*&q=${encodeURIComponent('ÖLM')}`), ['Ölmühle 7']);
    assert.deepEqual(await names('type=*&labels=team=ops'), ['beta', 'gamma']);
    assert.deepEqual(await names('type=*&labels=team=ops,tier=1'), ['beta']);
    assert.deepEqual(await names('type=*&labels=tier'), ['beta']);
    assert.deepEqual(await names('type=*&labels=team=dev'), []);
  });

  test('a token narrowed to names sees these alone', async () => {
    const { body } = await plugboard.call('POST', '/apiops/tokens/', {
      name: 'narrow',
      expiresAt: null,
      grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'], connections: ['*a'] }],
    });
    const seen = await plugboard.call('GET', `${list}?type=*`, undefined, { token: body.token });
    assert.deepEqual(
      seen.body.resultList.map(({ name }: { name: string }) => name),
      ['Alpha', 'beta', 'gamma'],
    );
    assert.equal(seen.body.resultCount, 3);
  });

  test('faulty parameters are named', async () => {
    for (const query of ['type=*&page=0', 'type=*&size=-1', 'type=*&sort=secret', 'type=email&type=kafka']) {
      const { status, body } = await plugboard.call('GET', `${list}?${query}`);
      assert.equal(status, 400, query);
      assert.ok(body.validation_errors.length > 0, query);
    }
  });
});
