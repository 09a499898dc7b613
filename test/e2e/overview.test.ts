import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';

describe('the overview of a project', () => {
  let plugboard: Plugboard;
  const target = createServer((_request, response) => response.end('ok'));
  const path = '/apiops/projects/MyProject/overview/';
  const webhook = (name: string, fullUrl: string, more: object = {}) => ({
    type: 'webhook',
    name,
    fullUrl,
    httpMethod: 'POST',
    ...more,
  });
  const create = async (body: { name: string }) => {
    const answer = await plugboard.call(
      'POST',
      `/apiops/projects/MyProject/connections/${body.name}/?prove=true`,
      body,
    );
    assert.equal(answer.status, 200, answer.text);
  };

  before(async () => {
    plugboard = await startPlugboard();
    const variable = { name: 'NOWHERE', global: false, environmentValueList: [] };
    const made = await plugboard.call('POST', '/apiops/projects/MyProject/environmentVariables/', variable);
    assert.equal(made.status, 200, made.text);
    await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(target.address() as AddressInfo).port}/`;
    await create(webhook('works', url, { description: 'Orders go here' }));
    await create(webhook('fails', 'http://127.0.0.1:1/'));
    await create(webhook('off', url, { enabled: false }));
    await create(webhook('kept', url, { deployToWorker: false }));
    await create(
      webhook('lacking', url, {
        description: 'lacks a variable',
        headerList: [{ name: 'X-Tenant', value: '${NOWHERE}' }],
      }),
    );
  });
  after(async () => {
    await plugboard.stop();
    target.close();
  });

  const stateOf = async (name: string) => {
    const { body } = await plugboard.call('GET', path);
    return body.resultList.find((one: { name: string }) => one.name === name).environments[0];
  };

  it('tells how each connection does, and why not', async () => {
    assert.equal((await stateOf('works')).state, 'works');
    const failing = await stateOf('fails');
    assert.equal(failing.state, 'failing');
    assert.equal(failing.code, 'connection_refused');
    assert.equal((await stateOf('off')).state, 'disabled');
    assert.equal((await stateOf('kept')).state, 'notDeployed');
    const lacking = await stateOf('lacking');
    assert.equal(lacking.state, 'refused');
    assert.match(lacking.message, /NOWHERE/);
  });

  it('filters by state, type, environment and text, and counts the states of all', async () => {
    const names = async (query: string) => {
      const { body } = await plugboard.call('GET', `${path}?${query}`);
      return body.resultList.map((one: { name: string }) => one.name);
    };
    assert.deepEqual(await names('state=failing'), ['fails']);
    assert.deepEqual(await names('q=ORDERS'), ['works']);
    assert.deepEqual(await names('type=email'), []);
    assert.deepEqual(await names('environment=elsewhere'), []);
    assert.deepEqual(await names('page=2&size=2'), ['lacking', 'off']);
    const { body } = await plugboard.call('GET', `${path}?state=failing`);
    assert.equal(body.resultCount, 1);
    assert.equal(body.states.works, 1);
    assert.equal(body.states.disabled, 1);
  });

  it('says where a connection points, and shows no secret', async () => {
    const { body, text } = await plugboard.call('GET', `${path}?q=lacking`);
    assert.match(body.resultList[0].target, /^http:\/\/127\.0\.0\.1:\d+\/$/);
    assert.ok(!text.includes('X-Tenant'));
  });

  it('shows a narrowed token only its connections', async () => {
    const made = await plugboard.call('POST', '/apiops/tokens/', {
      name: 'narrow',
      expiresAt: null,
      grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'], connections: ['work*'] }],
    });
    const { body } = await plugboard.call('GET', path, undefined, { token: made.body.token });
    assert.deepEqual(
      body.resultList.map((one: { name: string }) => one.name),
      ['works'],
    );
    assert.equal(body.states.failing, 0);
  });
});
