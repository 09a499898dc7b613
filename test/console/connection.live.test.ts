import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { Page } from 'playwright-core';
import { createChannelPair } from '../../src/contract/channel.ts';
import { type PostgresqlService, startPostgresql } from '../services/postgresql.ts';
import { startOrSkip } from '../services/service.ts';
import { type SmtpService, startSmtp } from '../services/smtp.ts';
import { type Console, startConsole } from './console.ts';
import { assertAccessible, assertFitsWidth } from './page-checks.ts';

const tabs = ['Health', 'Test', 'Try it', 'Deployments', 'Revisions', 'Audit', 'Settings'] as const;

describe("a connection's page", () => {
  let console: Console | undefined;
  let smtp: SmtpService;
  let postgres: PostgresqlService | undefined;
  const account = { user: 'orders@example.com', password: 'right horse' };

  const api = (name: string) => `/apiops/projects/MyProject/connections/${encodeURIComponent(name)}/`;
  const mail = (name: string, more: object = {}) => ({
    type: 'email',
    name,
    host: '127.0.0.1',
    port: smtp.port,
    auth: true,
    username: account.user,
    password: account.password,
    from: account.user,
    ...more,
  });
  const store = async (body: { name: string }, method = 'POST') => {
    const answer = await console!.plugboard.call(method, `${api(body.name)}?prove=true`, body);
    assert.equal(answer.status, 200, answer.text);
  };
  const show = async (page: Page, name: string, tab: (typeof tabs)[number]) => {
    await page.getByRole('link', { name: 'Connections' }).click();
    await page.getByRole('link', { name, exact: true }).click();
    await page.getByRole('tab', { name: tab }).click();
  };

  before(async (test) => {
    console = await startOrSkip(test as TestContext, startConsole);
    if (!console) return;
    smtp = await startSmtp({ account, tls: 'none' });
    postgres = await startOrSkip(test as TestContext, () => startPostgresql());
  });
  after(async () => {
    await console?.stop();
    await smtp?.stop();
    await postgres?.stop();
  });

  it('is accessible and fits, every section in both themes, on a small screen too', async (test) => {
    if (!console) return test.skip('no Chromium');
    await store(mail('all sections'));
    for (const options of [{}, { colorScheme: 'dark', width: 360, height: 740 }] as const) {
      const { page, faults, signIn, context } = await console.open(options);
      await signIn();
      await page.getByRole('link', { name: 'all sections' }).click();
      for (const tab of tabs) {
        await page.getByRole('tab', { name: tab }).click();
        await page.getByRole('tabpanel').waitFor();
        await page.locator('.mantine-Skeleton-root').waitFor({ state: 'detached' });
        await assertAccessible(page);
        await assertFitsWidth(page);
      }
      assert.deepEqual(faults, []);
      await context.close();
    }
  });

  it('finds a wrong password by the ladder, at the stage and with a hint', async (test) => {
    if (!console) return test.skip('no Chromium');
    await store(mail('wrong password', { password: 'wrong horse' }));
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await show(page, 'wrong password', 'Test');
    await page.getByRole('button', { name: 'Run the test' }).click();
    const ladder = page.getByRole('region', { name: 'production worker embedded' });
    await ladder.getByText('Does not work').waitFor();
    const rung = (name: string) => ladder.getByRole('listitem').filter({ hasText: name });
    await rung('Connect')
      .getByText(/^passed · /)
      .waitFor();
    await rung('Authenticate')
      .getByText(/^failed · /)
      .waitFor();
    await rung('Authenticate').getByRole('alert').waitFor();
    await rung('Operate').getByText('not reached').waitFor();
    const text = await ladder.innerText();
    assert.ok(!text.includes('wrong horse'));
    await assertAccessible(page);

    // Repaired: the same page finds it working.
    await store(mail('wrong password'), 'PUT');
    await page.getByRole('button', { name: 'Run again' }).click();
    await ladder.getByText('Works', { exact: false }).first().waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('fills in while the test runs, and stops it on the worker', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { createServer } = await import('node:net');
    let closed = 0;
    // Accepts and says nothing, as a hung server does.
    const silent = createServer((socket) =>
      socket
        .on('error', () => {})
        .on('close', () => (closed += 1))
        .resume(),
    );
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    const answer = await console.plugboard.call('POST', api('silent'), mail('silent', { port }));
    assert.equal(answer.status, 200, answer.text);
    const { page, signIn, context } = await console.open();
    await signIn();
    await show(page, 'silent', 'Test');
    await page.getByRole('button', { name: 'Run the test' }).click();
    const ladder = page.getByRole('region', { name: 'production worker embedded' });
    await ladder.getByText('running …').waitFor();
    await ladder
      .getByRole('listitem')
      .filter({ hasText: 'Resolve' })
      .getByText(/^passed · /)
      .waitFor();
    const before = closed;
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByText('Stopped: the workers').waitFor();
    await ladder.getByText('stopped', { exact: true }).waitFor();
    assert.equal(await ladder.getByText('running …').count(), 0);
    for (let waited = 0; closed === before && waited < 10_000; waited += 50) await page.waitForTimeout(50);
    assert.ok(closed > before, 'the socket of the test is closed');
    await context.close();
    silent.close();
  });

  it('shows where it was when a worker dies in the midst of a test, and that it is away', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { plugboard } = console;
    const { createServer } = await import('node:net');
    const silent = createServer((socket) => socket.on('error', () => {}).resume());
    test.after(() => silent.close());
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    // Its line is cut, as by a killed process, and it does not come back.
    let cut: (() => void) | undefined;
    await plugboard.addWorker('production', 'mortal', {
      connect: async () => {
        if (cut) throw new Error('killed');
        const [ours, theirs] = createChannelPair({ direct: true });
        cut = () => ours.close();
        plugboard.controlPlane.attachEmbedded(theirs, 'production');
        return ours;
      },
    });
    const answer = await plugboard.call('POST', api('watched'), mail('watched', { port }));
    assert.equal(answer.status, 200, answer.text);
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await show(page, 'watched', 'Test');
    await page.getByRole('button', { name: 'Run the test' }).click();
    const ladder = page.getByRole('region', { name: 'production worker mortal' });
    await ladder.getByText('running …').waitFor();
    cut!();
    await ladder.getByText("Worker 'mortal' disconnected before it answered").waitFor();
    await ladder.getByRole('listitem').filter({ hasText: 'Connect' }).getByText('stopped').waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByRole('tab', { name: 'Deployments' }).click();
    await page
      .getByRole('row', { name: /^mortal/ })
      .getByText('away')
      .waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('asks for an operation by its fields, and shows what is wrong at the field', async (test) => {
    if (!console) return test.skip('no Chromium');
    await store(mail('by form'));
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await show(page, 'by form', 'Try it');
    const panel = page.getByRole('tabpanel');
    const field = (name: string) => panel.getByRole('textbox', { name });
    await field('to').fill('not an address');
    await field('subject').fill("It's a form");
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    await panel.locator('[aria-invalid="true"]').first().waitFor();
    await field('to').fill('one@example.com\ntwo@example.com');
    await panel.getByText('Optional fields').click();
    await field('headers').fill('{ "X-Test": ');
    assert.ok(await page.getByRole('button', { name: 'Run', exact: true }).isDisabled());
    await field('headers').fill('{ "X-Test": "yes" }');
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    await page.getByText('Result ·').waitFor();
    const sent = smtp.mails.at(-1)!.content.toString();
    assert.match(sent, /^Subject: It's a form/m);
    assert.match(sent, /^X-Test: yes/m);
    assert.match(sent, /^To: .*one@example.com.*two@example.com/ms);
    await panel.getByText('JSON', { exact: true }).click();
    assert.deepEqual(JSON.parse(await field('Input (JSON)').inputValue()).to, [
      'one@example.com',
      'two@example.com',
    ]);
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('sends a mail and asks a database by "try it", through the real servers', async (test) => {
    if (!console) return test.skip('no Chromium');
    if (!postgres) return test.skip('no PostgreSQL');
    await store(mail('sender'));
    await store({
      type: 'database',
      name: 'orders',
      dbType: 'POSTGRES',
      jdbcUrl: `jdbc:postgresql://127.0.0.1:${postgres.port}/${postgres.database}`,
      username: postgres.user,
      password: postgres.password,
    } as never);
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await show(page, 'sender', 'Try it');
    const input = page.getByRole('textbox', { name: 'Input (JSON)' });
    const asJson = () => page.getByText('JSON', { exact: true }).click();
    await asJson();
    await input.fill(JSON.stringify({ to: ['you@example.com'], subject: 'From the console', text: 'hello' }));
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    await page.getByText('Result ·').waitFor();
    assert.match(smtp.mails.at(-1)!.content.toString(), /Subject: From the console/);

    await show(page, 'orders', 'Try it');
    await asJson();
    await input.fill('{ not json');
    await page.getByText('Not valid JSON').waitFor();
    assert.ok(await page.getByRole('button', { name: 'Run', exact: true }).isDisabled());
    await input.fill(JSON.stringify({ sql: "select 6 * 7 as answer, 'x' as letter" }));
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    await page.locator('pre', { hasText: /\b42\b/ }).waitFor();
    await input.fill(JSON.stringify({ sql: 'select from nowhere' }));
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    await page.getByRole('alert').filter({ hasText: 'That did not work' }).waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('shows what a revision changed without its secrets, and restores one', async (test) => {
    if (!console) return test.skip('no Chromium');
    await store(mail('revised', { description: 'first' }));
    await store(mail('revised', { description: 'second <i>x</i>', password: account.password }), 'PUT');
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await show(page, 'revised', 'Revisions');
    await page.getByRole('button', { name: /^2 updated/ }).click();
    await page.getByText('second <i>x</i>').last().waitFor();
    assert.ok(!(await page.content()).includes(account.password));
    await page.getByRole('button', { name: 'Restore' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Restore' }).click();
    await page.getByText('Revision 1 was restored').waitFor();
    await page.getByRole('button', { name: /^3 restored/ }).waitFor();
    const { body } = await console.plugboard.call('GET', api('revised'));
    assert.equal(body.resultList[0].description, 'first');
    assert.equal(body.resultList[0].password, account.password);
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('undeploys and deploys by hand, disables, and deletes only what was typed', async (test) => {
    if (!console) return test.skip('no Chromium');
    await store(mail('going'));
    await console.plugboard.call('POST', `${api('going')}operations/send/`, {
      to: ['you@example.com'],
      subject: 'in use',
      text: 'x',
    });
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await show(page, 'going', 'Deployments');
    await page.getByRole('button', { name: 'Undeploy' }).click();
    await page.getByText('Undeployed by hand').waitFor();
    await page.getByRole('button', { name: 'Deploy', exact: true }).click();
    await page.getByText('connected', { exact: true }).waitFor();

    await page.getByRole('tab', { name: 'Settings' }).click();
    await page.getByRole('button', { name: 'Disable' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click();
    await page.getByText('production: disabled').waitFor();
    const refused = await console.plugboard.call('POST', `${api('going')}operations/send/`, {});
    assert.equal(refused.status, 409);
    // The password was kept through it all, though the page never had it.
    const { body } = await console.plugboard.call('GET', api('going'));
    assert.equal(body.resultList[0].password, account.password);

    await page.getByRole('button', { name: 'Delete' }).click();
    const dialog = page.getByRole('dialog');
    assert.ok(await dialog.getByRole('button', { name: 'Delete' }).isDisabled());
    await dialog.getByRole('textbox').fill('going');
    await dialog.getByRole('button', { name: 'Delete' }).click();
    await page.getByText('going was deleted').waitFor();
    assert.equal((await console.plugboard.call('GET', api('going'))).status, 404);
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('says that somebody else changed it in the meantime instead of overwriting that', async (test) => {
    if (!console) return test.skip('no Chromium');
    await store(mail('contended'));
    const { page, signIn, context } = await console.open();
    await signIn();
    // The stream would tell of the change at once: this page misses it.
    await page.route('**/apiops/events/**', (route) => route.abort());
    await page.reload();
    await page.getByRole('textbox', { name: 'Token' }).fill(console.plugboard.token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await show(page, 'contended', 'Settings');
    await page.getByRole('button', { name: 'Disable' }).click();
    await store(mail('contended', { description: 'theirs' }), 'PUT');
    await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click();
    await page.getByText('Somebody changed it in the meantime').waitFor();
    const { body } = await console.plugboard.call('GET', api('contended'));
    assert.equal(body.resultList[0].description, 'theirs');
    assert.equal(body.resultList[0].enabled, true);
    await context.close();
  });
});
