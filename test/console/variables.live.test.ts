import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { startOrSkip } from '../services/service.ts';
import { type Console, startConsole } from './console.ts';
import { goTo } from './go-to.ts';
import { assertSoundPage } from './sound-page.ts';

const path = '/ui/p/MyProject/variables';
const api = '/apiops/projects/MyProject';
const secret = 'Hidden-value-7731';

describe('the page of variables', () => {
  let console: Console | undefined;
  const ok = async (method: string, url: string, body?: unknown) => {
    const answer = await console!.plugboard.call(method, url, body);
    assert.equal(answer.status, 200, answer.text);
    return answer.body;
  };
  const stored = async (name: string) =>
    (await ok('GET', `${api}/environmentVariables/${name}/`)).resultList[0];

  before(async (test) => {
    console = await startOrSkip(test as TestContext, () => startConsole());
    if (!console) return;
    await ok('POST', '/apiops/environments/', { name: 'staging', type: 'TEST' });
    await ok('PUT', `${api}/`, { environments: ['production', 'staging'] });
  });
  after(() => console?.stop());

  it('stores a value for all, another for one environment, and never shows again what is hidden', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.getByRole('link', { name: 'Variables' }).click();
    await page.getByText('No variable yet').waitFor();
    await page.getByRole('button', { name: 'New variable' }).click();
    const dialog = page.getByRole('dialog', { name: 'New variable' });
    await dialog.getByRole('textbox', { name: 'Name' }).fill('not a name');
    await dialog.getByRole('textbox', { name: 'Value: Everywhere' }).fill('for-all');
    await dialog.getByRole('switch', { name: 'A value of its own in production' }).click();
    await dialog.getByRole('textbox', { name: 'Value: production' }).fill(secret);
    await dialog.getByRole('checkbox', { name: 'Hidden: production' }).check();
    await dialog.getByRole('button', { name: 'Save' }).click();
    await dialog.getByRole('alert').waitFor();
    const name = dialog.getByRole('textbox', { name: 'Name' });
    assert.equal(await name.getAttribute('aria-invalid'), 'true');
    await name.fill('API_KEY');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('status').filter({ hasText: 'API_KEY is saved' }).waitFor();
    const row = page.getByRole('listitem').filter({ hasText: 'API_KEY' });
    await row.getByText('everywhere else: for-all').waitFor();
    await row.getByText('production: hidden').waitFor();
    assert.ok(!(await page.content()).includes(secret));

    // Changed in everything but the hidden value, which stays.
    await page.getByRole('button', { name: 'Edit API_KEY' }).click();
    const edit = page.getByRole('dialog', { name: 'Edit API_KEY' });
    const value = edit.getByRole('textbox', { name: 'Value: production' });
    assert.equal(await value.inputValue(), '');
    assert.equal(await value.getAttribute('placeholder'), 'Stored and hidden; leave empty to keep it');
    await edit.getByRole('textbox', { name: 'Value: Everywhere' }).fill('for-all-others');
    await edit.getByLabel('Hosts it may be sent to').fill('*.example.com, 10.0.0.1');
    await edit.getByRole('button', { name: 'Save' }).click();
    await row.getByText('for-all-others').waitFor();
    assert.deepEqual((await stored('API_KEY')).allowedHosts, ['*.example.com', '10.0.0.1']);
    const { resultList } = await ok('GET', '/apiops/audit/?action=variable.update');
    assert.deepEqual(resultList[0].details.values, ['(global)']);

    // It cannot become visible without being typed again.
    await page.getByRole('button', { name: 'Edit API_KEY' }).click();
    await edit.getByRole('checkbox', { name: 'Hidden: production' }).uncheck();
    await edit.getByRole('button', { name: 'Save' }).click();
    await edit.getByText('must be given again to become visible').waitFor();
    assert.equal(await value.getAttribute('aria-invalid'), 'true');
    await edit.getByRole('button', { name: 'Cancel' }).click();
    await row.getByText('production: hidden').waitFor();
    assert.ok(!(await page.content()).includes(secret));
    assert.ok(!console.plugboard.log.some((line) => line.includes(secret)));
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('says which connections took a change up, and which keep it from being deleted', async (test) => {
    if (!console) return test.skip('no Chromium');
    await ok('POST', `${api}/environmentVariables/`, {
      name: 'MAIL_HOST',
      global: true,
      globalValue: '127.0.0.1',
    });
    await ok('POST', `${api}/connections/mail/`, { type: 'email', name: 'mail', host: '${MAIL_HOST}' });
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await goTo(page, path);
    await page.getByRole('button', { name: 'Edit MAIL_HOST' }).click();
    const edit = page.getByRole('dialog', { name: 'Edit MAIL_HOST' });
    await edit.getByRole('textbox', { name: 'Value: Everywhere' }).fill('localhost');
    await edit.getByRole('button', { name: 'Save' }).click();
    const outcome = page.getByRole('status').filter({ hasText: 'MAIL_HOST is saved' });
    await outcome.getByText('The connection mail refers to it').waitFor();
    await outcome.getByText('production: 1 of 1 connection applied').waitFor();

    // Two people: the second is told, and overwrites nothing.
    await page.getByRole('button', { name: 'Edit MAIL_HOST' }).click();
    await edit.getByRole('textbox', { name: 'Value: Everywhere' }).fill('mine');
    await ok('PUT', `${api}/environmentVariables/MAIL_HOST/`, { global: true, globalValue: 'theirs' });
    await edit.getByRole('button', { name: 'Save' }).click();
    await edit.getByText('Somebody else changed it').waitFor();
    await edit.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('listitem').filter({ hasText: 'MAIL_HOST' }).getByText('theirs').waitFor();

    await page.getByRole('button', { name: 'Delete MAIL_HOST' }).click();
    const asking = page.getByRole('dialog', { name: 'Delete MAIL_HOST' });
    await asking.getByRole('button', { name: 'Delete' }).click();
    await asking.getByRole('alert').getByText("is used by the connection 'mail'").waitFor();
    await ok('DELETE', `${api}/connections/mail/`);
    await asking.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('button', { name: 'Delete MAIL_HOST' }).waitFor({ state: 'detached' });
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('is sound in both themes and on a small screen', async (test) => {
    if (!console) return test.skip('no Chromium');
    await assertSoundPage(
      console,
      path,
      (page) => page.getByRole('button', { name: 'Edit API_KEY' }).waitFor(),
      ['New variable', 'Edit API_KEY'],
    );
  });

  it('stays quick and narrow with many and large values, and finds one of them', async (test) => {
    if (!console) return test.skip('no Chromium');
    await ok('POST', `${api}/environmentVariables/`, {
      name: 'LARGE',
      global: true,
      globalValue: 'x'.repeat(65_000),
    });
    for (let index = 0; index < 150; index++)
      await ok('POST', `${api}/environmentVariables/`, {
        name: `MANY_${index}`,
        global: true,
        globalValue: `<i>${index}</i>`,
      });
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await goTo(page, path);
    await page.getByText('… 65,000 characters').waitFor();
    assert.ok((await page.content()).length < 2_000_000);
    await page.getByRole('button', { name: 'Show more' }).click();
    await page.getByText('<i>149</i>').waitFor();
    await page.getByRole('searchbox', { name: 'Filter Variables' }).fill('MANY_77');
    await page.getByText('<i>77</i>').waitFor();
    await page.getByRole('listitem').nth(1).waitFor({ state: 'detached' });
    await page.getByRole('searchbox').fill('LARGE');
    await page.getByRole('button', { name: 'Edit LARGE' }).click();
    const edit = page.getByRole('dialog', { name: 'Edit LARGE' });
    await edit.getByRole('textbox', { name: 'Description' }).fill('large');
    await edit.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('status').filter({ hasText: 'LARGE is saved' }).waitFor();
    assert.equal((await stored('LARGE')).globalValue.length, 65_000);
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('has nothing to change for who may only look, and says what is lacking to who may not', async (test) => {
    if (!console) return test.skip('no Chromium');
    for (const permission of ['VARIABLES:VIEW', 'CONNECTIONS:VIEW']) {
      const { token } = await ok('POST', '/apiops/tokens/', {
        name: permission,
        grants: [{ project: 'MyProject', permissions: [permission] }],
      });
      const { page, faults, signIn, context } = await console.open();
      await signIn(token);
      await goTo(page, path);
      if (permission === 'VARIABLES:VIEW')
        for (const name of ['New variable', 'Edit API_KEY', 'Delete API_KEY']) {
          const button = page.getByRole('button', { name });
          await button.waitFor();
          assert.ok(await button.isDisabled(), name);
          assert.equal(await button.getAttribute('title'), 'Your token lacks VARIABLES:MANAGE');
        }
      else await page.getByText('Your token lacks VARIABLES:VIEW').waitFor();
      assert.deepEqual(faults, []);
      await context.close();
    }
  });
});
