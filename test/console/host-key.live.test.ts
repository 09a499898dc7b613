import assert from 'node:assert/strict';
import { it } from 'node:test';
import { startOrSkip } from '../services/service.ts';
import { startSshd } from '../services/sshd.ts';
import { startConsole } from './console.ts';
import { assertAccessible } from './page-checks.ts';

it('a changed SSH host key is shown where it was refused, and accepted by one who compared it', async (test) => {
  const console = await startOrSkip(test, () => startConsole({ deployTimeoutMs: 60_000 }));
  if (!console) return;
  test.after(() => console.stop());
  const sshd = await startOrSkip(test, () => startSshd());
  if (!sshd) return;
  test.after(() => sshd.stop());
  const { plugboard } = console;
  const path = '/apiops/projects/MyProject/connections/server/';
  const { user, password, privateKey } = sshd;
  const made = await plugboard.call('POST', `${path}?prove=true`, {
    type: 'linux-script',
    name: 'server',
    hostName: '127.0.0.1',
    sshPort: sshd.port,
    username: user,
    ...(password === undefined ? { privateKey } : { password }),
  });
  assert.equal(made.body.deploymentResult.success, true, made.text);
  const run = () => plugboard.call('POST', `${path}operations/run/`, { script: 'echo done' });
  assert.equal((await run()).status, 200);

  const { page, signIn, faults } = await console.open();
  await signIn();
  await page.getByRole('link', { name: 'server', exact: true }).click();
  await page.getByRole('tab', { name: 'Deployments' }).click();
  await page.getByText('Host key trusted for').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Trust this key' }).count(), 0);

  await sshd.restartWithNewHostKey();
  assert.equal((await run()).status, 502);
  await page.getByText('The server showed another host key').waitFor({ timeout: 30_000 });
  await assertAccessible(page);
  await page.getByRole('button', { name: 'Trust this key' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Trust this key' }).click();
  await page.getByText('The server showed another host key').waitFor({ state: 'detached' });
  const answer = await run();
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(faults, []);
});
