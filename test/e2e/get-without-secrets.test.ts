import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';

const path = '/apiops/projects/MyProject/connections/mail/';

describe('Get with reveal=false', () => {
  let plugboard: Plugboard;
  before(async () => {
    plugboard = await startPlugboard({ withWorker: false });
    const body = {
      type: 'email',
      name: 'mail',
      host: 'smtp.example.com',
      auth: true,
      username: 'me',
      password: 'swordfish-8',
      additionalProperties: [{ name: 'the.password', value: 'tuna-fish-9' }],
    };
    assert.equal((await plugboard.call('POST', path, body)).status, 200);
  });
  after(() => plugboard.stop());

  it('shows no secret to whoever might see it, says where they are, and is no revelation in the audit', async () => {
    const full = await plugboard.call('GET', path);
    assert.equal(full.body.resultList[0].password, 'swordfish-8');
    assert.ok(!('storedSecrets' in full.body));
    const reveals = async () => {
      const { body } = await plugboard.call('GET', '/apiops/audit/?project=MyProject');
      return body.resultList.filter(({ action }: { action: string }) => /reveal|read/.test(action)).length;
    };
    const before = await reveals();
    assert.ok(before > 0);
    const masked = await plugboard.call('GET', `${path}?reveal=false`);
    assert.equal(masked.status, 200);
    assert.ok(!/swordfish|tuna/.test(masked.text));
    assert.deepEqual(masked.body.resultList[0], {
      ...full.body.resultList[0],
      password: null,
      additionalProperties: [{ name: 'the.password', value: null }],
    });
    assert.deepEqual(masked.body.storedSecrets, ['/password', '/additionalProperties/0/value']);
    assert.equal(masked.headers.get('etag'), full.headers.get('etag'));
    assert.equal(await reveals(), before);
  });

  it('takes nothing but true and false, and is sent back as an Update that changes nothing', async () => {
    assert.equal((await plugboard.call('GET', `${path}?reveal=maybe`)).status, 400);
    const masked = await plugboard.call('GET', `${path}?reveal=false`);
    assert.equal((await plugboard.call('PUT', path, masked.body.resultList[0])).status, 200);
    const full = await plugboard.call('GET', `${path}?reveal=true`);
    assert.equal(full.body.resultList[0].password, 'swordfish-8');
    assert.equal(full.body.resultList[0].additionalProperties[0].value, 'tuna-fish-9');
  });
});
