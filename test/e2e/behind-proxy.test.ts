import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';

let app: Plugboard;
before(async () => {
  app = await startPlugboard({ withWorker: false });
});
after(() => app.stop());

const from = (address: string) => ({ 'x-forwarded-for': address });

test('metrics need a token where a proxy on this machine asks for somebody else', async () => {
  const ask = async (headers: Record<string, string>) =>
    (await fetch(`${app.url}/metrics`, { headers })).status;
  assert.equal(await ask({}), 200);
  assert.equal(await ask(from('203.0.113.7')), 401);
  assert.equal(await ask({ ...from('203.0.113.7'), authorization: `Bearer ${app.token}` }), 200);
});

test('who guesses behind a proxy keeps nobody else from logging in', async () => {
  const logIn = async (address: string, username: string) => {
    const form = { grant_type: 'client_credentials', client_id: username, client_secret: 'guess' };
    const answer = await fetch(`${app.url}/apiops/auth/token`, {
      method: 'POST',
      headers: from(address),
      body: new URLSearchParams(form),
    });
    return answer.status;
  };
  // On a slow machine the allowance grows again meanwhile.
  let guesses = 0;
  while (guesses < 90 && (await logIn('203.0.113.7', `guess-${guesses}`)) !== 429) guesses++;
  assert.ok(guesses < 90, 'limited by address');
  assert.equal(await logIn('203.0.113.8', 'somebody'), 401);
});
