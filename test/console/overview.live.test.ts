import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { Worker } from '../../src/worker/worker.ts';
import { startOrSkip } from '../services/service.ts';
import { type Console, startConsole } from './console.ts';
import { goTo } from './go-to.ts';
import { assertAccessible, assertFitsWidth } from './page-checks.ts';

describe('the overview', () => {
  let console: Console | undefined;
  const target = createServer((_request, response) => response.end('ok'));
  let url = '';
  const api = (name: string) => `/apiops/projects/MyProject/connections/${encodeURIComponent(name)}/`;
  const create = async (body: { name: string } & Record<string, unknown>) => {
    const answer = await console!.plugboard.call('POST', `${api(body.name)}?prove=true`, body);
    assert.equal(answer.status, 200, answer.text);
  };
  const webhook = (name: string, fullUrl = url, more: object = {}) => ({
    type: 'webhook',
    name,
    fullUrl,
    httpMethod: 'POST',
    ...more,
  });

  before(async (test) => {
    console = await startOrSkip(test as TestContext, () =>
      startConsole({ projects: ['MyProject', 'Empty'] }),
    );
    await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(target.address() as AddressInfo).port}/`;
    if (!console) return;
    await create(webhook('works'));
    await create(webhook('closed port', 'http://127.0.0.1:1/'));
    await create(webhook('off', url, { enabled: false, description: '<img src=x onerror=alert(1)>' }));
  });
  after(async () => {
    await console?.stop();
    target.close();
  });

  it('shows at a glance what works and what does not, in both themes and on a small screen', async (test) => {
    if (!console) return test.skip('no Chromium');
    for (const options of [
      { colorScheme: 'light' },
      { colorScheme: 'dark', width: 360, height: 740 },
    ] as const) {
      const { page, faults, signIn, context } = await console.open(options);
      await signIn();
      const row = (name: string) =>
        page.getByRole('listitem').filter({ has: page.getByRole('link', { name, exact: true }) });
      await row('works').getByText('works', { exact: true }).last().waitFor();
      await row('closed port').getByText('failing').waitFor();
      await row('off').getByText('disabled').waitFor();
      await row('off').getByText('<img src=x onerror=alert(1)>').waitFor();
      await assertAccessible(page);
      await assertFitsWidth(page);
      assert.deepEqual(faults, []);
      await context.close();
    }
  });

  it('filters by text and state, keeps the filter in the address, and clears it', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.getByRole('searchbox', { name: 'Search by name or description' }).fill('port');
    await page.waitForURL(/[?]q=port$/);
    await page.getByText('1 connection', { exact: true }).waitFor();
    await page.getByRole('searchbox').fill('no such thing');
    await page.getByRole('button', { name: 'Clear the filters' }).click();
    await page.getByText('3 connections').waitFor();
    await page.getByRole('combobox', { name: 'State' }).click();
    await page.getByRole('option', { name: 'disabled (1)' }).click();
    await page.getByText('1 connection', { exact: true }).waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('follows what others do, and a worker that dies, without a reload', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { plugboard } = console;
    await plugboard.call('POST', '/apiops/environments/', { name: 'staging', type: 'TEST' });
    await plugboard.call('POST', '/apiops/projects/', { name: 'Watched', environments: ['staging'] });
    const worker: Worker = await plugboard.addWorker('staging', 'w-1');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.goto('/ui/p/Watched');
    await page.getByRole('textbox', { name: 'Token' }).fill(plugboard.token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('No connection yet').waitFor();
    const path = '/apiops/projects/Watched/connections/seen%20live/';
    const made = await plugboard.call('POST', `${path}?prove=true`, webhook('seen live'));
    assert.equal(made.status, 200, made.text);
    await page.getByRole('link', { name: 'seen live' }).waitFor();
    await page.getByRole('listitem').getByText('works').waitFor();
    await worker.stop();
    await page.getByRole('listitem').getByText('no worker').waitFor();
    await plugboard.call('DELETE', path);
    await page.getByText('No connection yet').waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('scrolls through ten thousand connections, drawing only what is on the screen', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { plugboard } = console;
    await plugboard.call('POST', '/apiops/projects/', { name: 'Large', environments: ['production'] });
    const bodies = Array.from({ length: 10_000 }, (_, index) =>
      webhook(`hook-${String(index).padStart(5, '0')}`, 'http://127.0.0.1:1/', { deployToWorker: false }),
    );
    for (let at = 0; at < bodies.length; at += 200)
      await Promise.all(
        bodies.slice(at, at + 200).map(async (body) => {
          const answer = await plugboard.call(
            'POST',
            `/apiops/projects/Large/connections/${body.name}/`,
            body,
          );
          assert.equal(answer.status, 200, answer.text);
        }),
      );
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.getByRole('combobox', { name: 'Project' }).click();
    await page.getByRole('option', { name: 'Large' }).click();
    await page.getByText('10,000 connections').waitFor();
    for (let step = 0; step < 40; step++)
      await page.mouse.wheel(0, 2_000).then(() => page.waitForTimeout(60));
    const drawn = await page.getByRole('listitem').count();
    assert.ok(drawn < 100, `${drawn} rows are drawn`);
    const first = await page.getByRole('listitem').first().getByRole('link').textContent();
    assert.ok(first! > 'hook-00200', `scrolled to ${first}`);
    await page.getByRole('searchbox').fill('hook-09999');
    await page.getByRole('link', { name: 'hook-09999' }).waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it("comes back to the place in the list that was left, with the focus on each page's heading", async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await goTo(page, '/ui/p/Large');
    await page.getByText('10,000 connections').waitFor();
    // As one drags the bar: nothing before it has to be read.
    await page.evaluate('window.scrollTo(0, document.documentElement.scrollHeight * 0.7)');
    const row = page.getByRole('link', { name: 'hook-07000' });
    await row.waitFor();
    const place = () => page.evaluate('window.scrollY');
    const left = await place();
    await row.click();
    const heading = page.getByRole('heading', { name: 'hook-07000', level: 1 });
    await heading.waitFor();
    await page.waitForFunction("document.activeElement?.textContent === 'hook-07000'");
    assert.equal(await place(), 0);
    await page.goBack();
    await row.waitFor();
    assert.equal(await place(), left);
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('says that there is no such project or page', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await goTo(page, '/ui/p/Nowhere/c/nothing');
    await page.getByText('There is no such project').waitFor();
    await goTo(page, '/ui/nothing');
    await page.getByRole('heading', { name: 'There is no such page' }).waitFor();
    // Made by somebody else meanwhile: seen without signing in again.
    await console.plugboard.call('POST', '/apiops/projects/', {
      name: 'Brand new',
      environments: ['production'],
    });
    await goTo(page, '/ui/p/Brand%20new');
    await page.getByText('No connection yet').waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('tests a connection from the palette', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.getByText('3 connections').waitFor();
    await page.keyboard.press('Control+k');
    await page.getByRole('textbox', { name: 'Commands' }).fill('test closed');
    await page.getByRole('dialog').getByText('Test closed port').waitFor();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.getByText('Fails on 1 worker').waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('shows a token that may only look what it may, and nothing to change', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { plugboard } = console;
    const made = await plugboard.call('POST', '/apiops/tokens/', {
      name: 'looker',
      expiresAt: null,
      grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'] }],
    });
    const { page, faults, signIn, context } = await console.open();
    await signIn(made.body.token);
    await page.getByText('3 connections').waitFor();
    assert.ok(await page.getByRole('button', { name: 'New connection' }).isDisabled());
    assert.equal(await page.getByRole('link', { name: 'Users' }).count(), 0);
    await page.getByRole('link', { name: 'works', exact: true }).click();
    assert.ok(await page.getByRole('button', { name: 'Edit' }).isDisabled());
    await page.getByRole('tab', { name: 'Settings' }).click();
    assert.ok(await page.getByRole('button', { name: 'Delete' }).isDisabled());
    await page.getByRole('tab', { name: 'Test' }).click();
    assert.ok(await page.getByRole('button', { name: 'Run the test' }).isDisabled());
    assert.equal(await page.getByRole('tab', { name: 'Audit' }).count(), 0);
    assert.deepEqual(faults, []);

    // Revoked in mid-work: the page says so, and shows nothing of it until the same one signs in again.
    await plugboard.call('DELETE', `/apiops/tokens/${made.body.id}/`);
    await page.getByText('Your session has ended').waitFor();
    assert.equal(await page.getByRole('tab').count(), 0);
    await context.close();
  });

  it('says that the API does not answer, and recovers by itself', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, signIn, context } = await console.open();
    await signIn();
    await page.getByText('3 connections').waitFor();
    await context.setOffline(true);
    // An open stream outlives being offline in Chromium: what ends it is a new page of it.
    await page.getByRole('searchbox').fill('wor');
    await page.getByRole('alert').filter({ hasText: 'No answer from' }).waitFor({ timeout: 60_000 });
    await context.setOffline(false);
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByText('1 connection', { exact: true }).waitFor();
    await context.close();
  });

  it('is reached and left by the keyboard alone', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, signIn, context, faults } = await console.open();
    await signIn();
    await page.getByText('3 connections').waitFor();
    await page.keyboard.press('Control+k');
    await page.getByRole('textbox', { name: 'Commands' }).fill('closed');
    await page.getByRole('dialog').getByRole('button', { name: 'closed port webhook' }).waitFor();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/c\/closed%20port$/);
    await page.getByRole('tab', { name: 'Health' }).focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Run the test' }).waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });
});
