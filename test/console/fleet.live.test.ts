import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { type PlugboardProcess, startProcess } from '../harness/plugboard-process.ts';
import { startOrSkip } from '../services/service.ts';
import { type Console, startConsole } from './console.ts';
import { goTo } from './go-to.ts';
import { assertSoundPage } from './sound-page.ts';

describe('the pages of the fleet and of the audit', () => {
  let console: Console | undefined;
  let worker: PlugboardProcess | undefined;
  let directory = '';

  before(async (test) => {
    directory = await mkdtemp(join(tmpdir(), 'plugboard-worker-'));
    console = await startOrSkip(test as TestContext, () => startConsole());
  });
  after(async () => {
    await worker?.end();
    await console?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  it('makes an environment, enrols a worker by its command line, sees it come, and go', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.getByRole('link', { name: 'Fleet' }).click();
    await page.getByRole('region', { name: 'production' }).getByText('connected', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'New environment' }).click();
    const making = page.getByRole('dialog', { name: 'New environment' });
    await making.getByRole('textbox', { name: 'Name' }).fill('cellar');
    await making.getByRole('button', { name: 'Save' }).click();
    const cellar = page.getByRole('region', { name: 'cellar' });
    await cellar.getByText('No worker has ever connected').waitFor();

    await cellar.getByRole('button', { name: 'Enrol a worker' }).click();
    const dialog = page.getByRole('dialog', { name: 'Enrol a worker' });
    await dialog.getByRole('textbox', { name: 'Name of the credential' }).fill('rack 3');
    await dialog.getByRole('button', { name: 'Make the credential' }).click();
    const command = (await dialog.locator('pre').textContent())!;
    const settings = Object.fromEntries(
      [...command.matchAll(/(PLUGBOARD_\w+)='([^']*)'/g)].map(([, name, value]) => [name, value]),
    );
    assert.equal(settings['PLUGBOARD_URL'], console.plugboard.url);
    worker = await startProcess('worker', {
      PATH: process.env['PATH'],
      PLUGBOARD_PORT: '0',
      PLUGBOARD_DATA_DIR: join(directory, 'data'),
      PLUGBOARD_SECRETS_DIR: join(directory, 'secrets'),
      ...settings,
    });
    await dialog.getByText('rack-3 is connected').waitFor();
    await dialog.getByRole('button', { name: 'Done' }).click();
    assert.ok(!(await page.content()).includes(settings['PLUGBOARD_WORKER_TOKEN']!));
    const row = cellar.getByRole('row').filter({ hasText: 'rack-3' });
    await row.getByText('connected', { exact: true }).waitFor();
    await row.getByText('up to date').waitFor();

    // The environment is not deleted while it is in use.
    await cellar.getByRole('button', { name: 'Edit cellar' }).click();
    await page.getByRole('menuitem', { name: 'Delete' }).click();
    const asking = page.getByRole('dialog', { name: 'Delete cellar' });
    await asking.getByRole('textbox').fill('cellar');
    await asking.getByRole('button', { name: 'Delete' }).click();
    await asking.getByRole('alert').waitFor();
    await asking.getByRole('button', { name: 'Cancel' }).click();

    await cellar.getByText('Credentials of workers (1)').click();
    await cellar.getByRole('button', { name: 'Revoke' }).click();
    await page.getByRole('dialog', { name: 'Revoke rack 3' }).getByRole('button', { name: 'Revoke' }).click();
    await row.getByText('away').waitFor();
    await cellar.getByText('Credentials of workers (0)').waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('shows a worker that ends as away, without a reload', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { plugboard } = console;
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await goTo(page, '/ui/fleet');
    const cellar = page.getByRole('region', { name: 'cellar' });
    await cellar.waitFor();
    const guest = await plugboard.addWorker('cellar', 'guest');
    const row = cellar.getByRole('row').filter({ hasText: 'guest' });
    await row.getByText('connected', { exact: true }).waitFor();
    await guest.stop(100);
    await row.getByText('away').waitFor();
    await row.getByText('last seen').waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('tells in the audit who did it, filtered by what is asked for', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { plugboard } = console;
    await plugboard.call('POST', '/apiops/projects/MyProject/environmentVariables/', {
      name: 'SEEN',
      description: '<img src=x onerror=alert(1)>',
      global: true,
      globalValue: '1',
    });
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.getByRole('link', { name: 'Audit' }).click();
    const table = page.getByRole('table', { name: 'Audit entries' });
    await table.getByRole('row').filter({ hasText: 'variable.create' }).getByText('SEEN').waitFor();
    assert.equal(await table.getByText('environment.create').count(), 0);
    await page.getByText('everything', { exact: true }).click();
    await table.getByText('environment.create').first().waitFor();
    await table.getByText('enrollment.create').first().waitFor();
    await page
      .getByRole('textbox', { name: 'What' })
      .and(page.getByPlaceholder('such as'))
      .fill('enrollment.revoke');
    await table.getByText('environment.create').first().waitFor({ state: 'detached' });
    const row = table.getByRole('row').filter({ hasText: 'enrollment.revoke' });
    await row.getByText('token:admin').waitFor();
    await row.getByText('rack 3').waitFor();
    await page.getByRole('textbox', { name: 'Who' }).fill('user:nobody');
    await page.getByText('Nothing is recorded that matches').waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('is sound in both themes and on a small screen', async (test) => {
    if (!console) return test.skip('no Chromium');
    await assertSoundPage(console, '/ui/fleet', (page) => page.getByText('away').first().waitFor(), [
      'New environment',
    ]);
    await assertSoundPage(console, '/ui/p/MyProject/audit', (page) => page.getByText('SEEN').waitFor());
  });
});
