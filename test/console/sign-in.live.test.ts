import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { Page } from 'playwright-core';
import { startOrSkip } from '../services/service.ts';
import { type Console, startConsole } from './console.ts';

describe('signing in', () => {
  let console: Console | undefined;
  before(async (test) => {
    console = await startOrSkip(test as TestContext, startConsole);
  });
  after(() => console?.stop());

  it('takes a token, keeps it out of every storage, and shows the first project', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.waitForURL('**/ui/p/MyProject');
    const stored = await page.evaluate(() => JSON.stringify({ ...sessionStorage, ...localStorage }));
    assert.ok(!stored.includes(console.plugboard.token));
    assert.ok(!page.url().includes(console.plugboard.token));
    assert.deepEqual(await context.cookies(), []);
    assert.deepEqual(faults, []);
  });

  const credentials = { username: 'ada', password: 'a long enough one' };
  const asAda = async (page: Page) => {
    await page.getByText('User and password').click();
    await page.getByRole('textbox', { name: 'User name' }).fill(credentials.username);
    await page.getByRole('textbox', { name: 'Password' }).fill(credentials.password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  };
  const submitToken = async (page: Page, token: string) => {
    await page.getByRole('textbox', { name: 'Token' }).fill(token);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  };
  const makeToken = async (name: string) =>
    (
      await console!.plugboard.call('POST', '/apiops/tokens/', {
        name,
        expiresAt: null,
        grants: [
          { project: 'MyProject', permissions: ['CONNECTIONS:VIEW', 'VARIABLES:VIEW', 'VARIABLES:MANAGE'] },
        ],
      })
    ).body as { id: string; token: string };

  it('leads to the page that was asked for, by user and password, and shows nothing of it after sign-out', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { plugboard } = console;
    await plugboard.call('POST', '/apiops/users/', {
      ...credentials,
      admin: false,
      grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW', 'VARIABLES:VIEW'] }],
    });
    const { page, faults, context } = await console.open();
    await page.goto('/ui/p/MyProject/variables');
    assert.equal(await page.title(), 'Sign in · Plugboard');
    await page.getByText('User and password').click();
    await page.getByRole('textbox', { name: 'User name' }).fill('ada');
    await page.getByRole('textbox', { name: 'Password' }).fill('not this one');
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByText('User name or password is wrong').waitFor();
    await asAda(page);
    await page.getByRole('heading', { name: 'Variables', level: 1 }).waitFor();
    assert.match(page.url(), /\/ui\/p\/MyProject\/variables$/);
    assert.equal(await page.title(), 'Variables · Plugboard');
    await page.getByRole('link', { name: 'Connections' }).click();
    await page.getByRole('button', { name: 'Signed in as user:ada' }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Sign in', exact: true }).waitFor();
    await page.goBack();
    assert.equal(await page.getByRole('heading', { name: 'Variables' }).count(), 0);
    assert.equal(await page.getByRole('navigation').count(), 0);
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('keeps a remembered token while the API is away, and tries again', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, context } = await console.open();
    await page.goto('/ui/p/MyProject');
    await page.getByRole('checkbox').check();
    await submitToken(page, console.plugboard.token);
    await page.getByText('No connection yet').waitFor();
    await page.route('**/apiops/**', (route) => route.abort());
    await page.reload();
    await page.getByRole('alert').filter({ hasText: 'No answer from' }).waitFor();
    await page.unroute('**/apiops/**');
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByText('No connection yet').waitFor();
    await context.close();
  });

  it('says what is not an answer of Plugboard', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, context } = await console.open();
    await page.route('**/apiops/auth/token', (route) =>
      route.fulfill({ status: 502, body: '<h1>Bad gateway</h1>' }),
    );
    await page.goto('/');
    await asAda(page);
    await page.getByRole('alert').filter({ hasText: "answered 502 and no error of Plugboard's" }).waitFor();
    await context.close();
  });

  it('keeps what is being typed when the token ends, for its owner and for nobody else', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { plugboard } = console;
    const first = await makeToken('worker at forms');
    const { page, faults, context } = await console.open();
    await page.goto('/ui/p/MyProject/variables');
    await submitToken(page, first.token);
    await page.getByRole('button', { name: 'New variable' }).first().click();
    const name = page.getByRole('textbox', { name: 'Name', exact: true });
    await name.fill('HALF_TYPED');
    await plugboard.call('DELETE', `/apiops/tokens/${first.id}/`);
    await page.getByText('Your session has ended').waitFor();
    await page.getByText('is kept in this tab until token:worker at forms signs in again').waitFor();
    // Neither the dialog nor the page behind it is to be seen.
    assert.equal(await page.getByRole('dialog').count(), 0);
    assert.equal(await page.getByRole('navigation').count(), 0);
    const second = await makeToken('worker at forms');
    await submitToken(page, second.token);
    await name.waitFor();
    assert.equal(await name.inputValue(), 'HALF_TYPED');

    await plugboard.call('DELETE', `/apiops/tokens/${second.id}/`);
    await page.getByText('Your session has ended').waitFor();
    await submitToken(page, plugboard.token);
    await page.getByRole('heading', { name: 'Variables', level: 1 }).waitFor();
    assert.equal(await page.getByRole('dialog').count(), 0);
    assert.ok(!(await page.content()).includes('HALF_TYPED'));
    assert.deepEqual(faults, []);
    await context.close();
  });
});
