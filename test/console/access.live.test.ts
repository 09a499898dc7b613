import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { Page } from 'playwright-core';
import { startOrSkip } from '../services/service.ts';
import { type Console, startConsole } from './console.ts';
import { goTo } from './go-to.ts';
import { assertSoundPage } from './sound-page.ts';

const list = '/apiops/projects/MyProject/connections/?type=webhook';

describe('the pages of tokens, users and projects', () => {
  let console: Console | undefined;
  const ok = async (method: string, url: string, body?: unknown) => {
    const answer = await console!.plugboard.call(method, url, body);
    assert.equal(answer.status, 200, answer.text);
    return answer.body;
  };
  const choose = async (page: Page, field: string, option: string) => {
    await page.getByRole('dialog').getByRole('combobox', { name: field }).click();
    await page.getByRole('option', { name: option, exact: true }).click();
  };

  before(async (test) => {
    console = await startOrSkip(test as TestContext, () =>
      startConsole({ projects: ['MyProject', 'Other'] }),
    );
    if (!console) return;
    await ok('POST', '/apiops/environments/', { name: 'staging', type: 'TEST' });
  });
  after(() => console?.stop());

  it('makes a token that is shown once, does what was granted, and is refused once revoked', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { plugboard } = console;
    const { page, faults, signIn, context } = await console.open();
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await signIn();
    await page.getByRole('link', { name: 'Tokens' }).click();
    await page.getByRole('button', { name: 'New token' }).click();
    const dialog = page.getByRole('dialog', { name: 'New token' });
    await dialog.getByRole('textbox', { name: 'Name' }).fill('ci <b>job</b>');
    await choose(page, 'Ends', 'in 7 days');
    await choose(page, 'Project', 'MyProject');
    // Nothing is granted yet.
    await dialog.getByRole('button', { name: 'Make the token' }).click();
    await dialog.getByRole('alert').getByText('see the marked fields').waitFor();
    await dialog.getByRole('checkbox', { name: 'CONNECTIONS:VIEW' }).check();
    await dialog.getByRole('checkbox', { name: 'AUDIT:VIEW' }).check();
    await dialog.getByText('Narrow it').click();
    await dialog.getByLabel('Only these connections').fill('mail-*');
    await dialog.getByRole('button', { name: 'Make the token' }).click();
    await dialog.getByText('cannot narrow AUDIT:VIEW').waitFor();
    await dialog.getByRole('checkbox', { name: 'AUDIT:VIEW' }).uncheck();
    await dialog.getByRole('button', { name: 'Make the token' }).click();

    const shown = page.getByRole('dialog', { name: 'Copy the token now' });
    const token = (await shown.locator('pre').textContent())!;
    assert.match(token, /^pbt_/);
    await shown.getByRole('button', { name: 'Copy the token' }).click();
    assert.equal(await page.evaluate('navigator.clipboard.readText()'), token);
    await shown.getByRole('button', { name: 'Done' }).click();
    await shown.waitFor({ state: 'detached' });
    assert.ok(!(await page.content()).includes(token));
    assert.ok(
      !(await page.evaluate<string>('JSON.stringify({ ...sessionStorage, ...localStorage })')).includes(
        token,
      ),
    );

    const row = page.getByRole('listitem').filter({ hasText: 'ci <b>job</b>' });
    await row.getByText('MyProject: CONNECTIONS:VIEW · on mail-*').waitFor();
    await row.getByText('in 6 days').or(row.getByText('in 7 days')).waitFor();
    assert.equal((await plugboard.call('GET', list, undefined, { token })).status, 200);
    assert.equal((await plugboard.call('GET', '/apiops/users/', undefined, { token })).status, 403);
    assert.equal(
      (await plugboard.call('GET', list.replace('MyProject', 'Other'), undefined, { token })).status,
      404,
    );
    await page.getByRole('button', { name: 'Revoke ci <b>job</b>' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await row.waitFor({ state: 'detached' });
    assert.equal((await plugboard.call('GET', list, undefined, { token })).status, 401);
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('makes a user who signs in by password, sees what was granted alone, and is out when disabled', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.getByRole('link', { name: 'Users' }).click();
    await page.getByText('No user yet').waitFor();
    await page.getByRole('button', { name: 'New user' }).click();
    const dialog = page.getByRole('dialog', { name: 'New user' });
    await dialog.getByRole('textbox', { name: 'User name' }).fill('ann');
    await dialog.getByRole('textbox', { name: 'Password' }).fill('short');
    await dialog.getByRole('button', { name: 'Add a grant' }).click();
    await choose(page, 'Project', 'Other');
    await dialog.getByRole('checkbox', { name: 'CONNECTIONS:VIEW' }).check();
    await dialog.getByRole('checkbox', { name: 'KEYS:VIEW' }).check();
    await dialog.getByRole('button', { name: 'Save' }).click();
    const password = dialog.getByRole('textbox', { name: 'Password' });
    await dialog.getByRole('alert').waitFor();
    assert.equal(await password.getAttribute('aria-invalid'), 'true');
    await password.fill('long enough a password');
    await dialog.getByRole('button', { name: 'Save' }).click();
    const row = page.getByRole('listitem').filter({ hasText: 'ann' });
    await row.getByText('Other: CONNECTIONS:VIEW, KEYS:VIEW').waitFor();
    assert.ok(!(await page.content()).includes('long enough'));

    const ann = await console.open();
    await ann.page.goto('/');
    await ann.page.getByText('User and password').click();
    await ann.page.getByRole('textbox', { name: 'User name' }).fill('ann');
    await ann.page.getByRole('textbox', { name: 'Password' }).fill('long enough a password');
    await ann.page.getByRole('button', { name: 'Sign in' }).click();
    await ann.page.waitForURL('**/ui/p/Other');
    assert.ok(await ann.page.getByRole('button', { name: 'New connection' }).isDisabled());
    await ann.page.getByRole('combobox', { name: 'Project' }).click();
    assert.deepEqual(await ann.page.getByRole('option').allTextContents(), ['Other']);
    await ann.page.keyboard.press('Escape');
    for (const name of ['Users', 'Fleet', 'Projects'])
      assert.equal(await ann.page.getByRole('link', { name, exact: true }).count(), 0);
    await goTo(ann.page, '/ui/users');
    await ann.page.getByText('Only an administrator sees the users').waitFor();
    await goTo(ann.page, '/ui/fleet');
    await ann.page.getByText('Only an administrator sees the fleet').waitFor();
    await goTo(ann.page, '/ui/p/Other/audit');
    await ann.page.getByText('lacks AUDIT:VIEW').waitFor();
    await goTo(ann.page, '/ui/projects');
    for (const name of ['New project', 'Edit Other', 'Delete Other'])
      assert.ok(await ann.page.getByRole('button', { name }).isDisabled(), name);

    // A token of hers has no more than she has.
    await ann.page.getByRole('link', { name: 'Tokens' }).click();
    await ann.page.getByRole('button', { name: 'New token' }).click();
    const own = ann.page.getByRole('dialog', { name: 'New token' });
    assert.ok(await own.getByRole('checkbox', { name: 'CONNECTIONS:VIEW' }).isEnabled());
    assert.ok(await own.getByRole('checkbox', { name: 'KEYS:MANAGE' }).isDisabled());
    assert.ok(await own.getByRole('checkbox', { name: 'ADMIN' }).isDisabled());

    await page.getByRole('button', { name: 'Edit ann' }).click();
    const edit = page.getByRole('dialog', { name: 'Edit ann' });
    await edit.getByRole('switch', { name: 'Disabled' }).click();
    await edit.getByRole('button', { name: 'Save' }).click();
    await row.getByText('disabled').waitFor();
    await goTo(ann.page, '/ui/p/Other/keys');
    await ann.page.getByText('Your session has ended').waitFor();
    await page.getByRole('button', { name: 'Delete ann' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.getByText('No user yet').waitFor();
    assert.deepEqual([...faults, ...ann.faults], []);
    await ann.context.close();
    await context.close();
  });

  it('makes a project that can be chosen at once, and deletes it with its connections only by force', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.getByRole('link', { name: 'Projects' }).click();
    await page.getByRole('button', { name: 'New project' }).click();
    const dialog = page.getByRole('dialog', { name: 'New project' });
    await dialog.getByRole('textbox', { name: 'Name' }).fill('MyProject');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await dialog.getByRole('alert').getByText('already exists').waitFor();
    await dialog.getByRole('textbox', { name: 'Name' }).fill('Shop');
    await dialog.getByRole('textbox', { name: 'Description' }).fill('It sells');
    await dialog.getByLabel('Environments').click();
    await page.getByRole('option', { name: 'staging' }).click();
    await page.keyboard.press('Tab');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await dialog.waitFor({ state: 'detached' });
    const row = page.getByRole('listitem').filter({ hasText: 'Shop' });
    await row.getByText('production, staging').waitFor();
    await page.getByRole('combobox', { name: 'Project' }).click();
    await page.getByRole('option', { name: 'Shop' }).click();
    await page.waitForURL('**/ui/p/Shop');

    await ok('POST', '/apiops/projects/Shop/connections/c/', {
      type: 'webhook',
      name: 'c',
      fullUrl: 'http://127.0.0.1:1/',
      httpMethod: 'POST',
    });
    await page.getByRole('link', { name: 'Projects' }).click();
    await page.getByRole('button', { name: 'Edit Shop' }).click();
    const edit = page.getByRole('dialog', { name: 'Edit Shop' });
    await edit.getByRole('textbox', { name: 'Description' }).fill('It sells more');
    await edit.getByRole('button', { name: 'Save' }).click();
    await row.getByText('It sells more').waitFor();

    await page.getByRole('button', { name: 'Delete Shop' }).click();
    const asking = page.getByRole('dialog', { name: 'Delete Shop' });
    const remove = asking.getByRole('button', { name: 'Delete' });
    assert.ok(await remove.isDisabled());
    await asking.getByRole('textbox', { name: 'Type Shop to confirm' }).fill('Shop');
    await remove.click();
    await asking.getByRole('alert').getByText('has connections').waitFor();
    await asking.getByRole('checkbox', { name: 'Delete its connections too' }).check();
    await remove.click();
    await row.waitFor({ state: 'detached' });
    await page.getByRole('combobox', { name: 'Project' }).click();
    assert.deepEqual(await page.getByRole('option').allTextContents(), ['MyProject', 'Other']);
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('is sound in both themes and on a small screen', async (test) => {
    if (!console) return test.skip('no Chromium');
    await ok('POST', '/apiops/tokens/', {
      name: 'a-name-as-long-as-it-may-be-'.repeat(9),
      expiresAt: new Date(Date.now() + 86_400_000).toISOString(),
      grants: [{ project: '*', permissions: ['CONNECTIONS:VIEW'], connections: ['x'.repeat(255)] }],
    });
    await ok('POST', '/apiops/users/', {
      username: `u${'x'.repeat(200)}`,
      password: 'long enough',
      admin: true,
      disabled: true,
    });
    const row = (page: Page) => page.getByRole('listitem').first().waitFor();
    await assertSoundPage(console, '/ui/tokens', row, ['New token']);
    await assertSoundPage(console, '/ui/users', row, ['New user']);
    await assertSoundPage(console, '/ui/projects', row, ['New project', 'Delete Other']);
  });
});
