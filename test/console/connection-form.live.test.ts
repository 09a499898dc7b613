import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Locator, Page } from 'playwright-core';
import { startOrSkip } from '../services/service.ts';
import { type SmtpService, startSmtp } from '../services/smtp.ts';
import { type Console, startConsole } from './console.ts';
import { assertAccessible, assertFitsWidth } from './page-checks.ts';

const base = '/apiops/projects/MyProject';
const canary = 'canary-7Hx2-secret';

/** Goes to a page as a link would: a reload would forget the token. */
async function visit(page: Page, path: string): Promise<void> {
  const to = JSON.stringify(path);
  await page.evaluate(`history.pushState(null, '', ${to}); dispatchEvent(new PopStateEvent('popstate'));`);
}

const section = (page: Page, name: string) => page.getByRole('button', { name, exact: true });
const fieldOf = (page: Page, path: string) => page.locator(`[data-field="${path}"]`);
const input = (page: Page, path: string) => fieldOf(page, path).getByRole('textbox');
const modeOf = (page: Page, secret: string, mode: string) =>
  page.getByRole('radiogroup', { name: `${secret}: what to do` }).getByText(mode, { exact: true });

const isFocused = (element: { ownerDocument: { activeElement: unknown } }) =>
  element === element.ownerDocument.activeElement;

/** Presses Tab until an element has the focus. */
async function tabTo(page: Page, wanted: Locator): Promise<void> {
  for (let presses = 0; presses < 80; presses++) {
    if (await wanted.evaluate(isFocused)) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`Tab does not lead to ${wanted}`);
}

describe('the form of a connection', () => {
  let console: Console | undefined;
  let smtp: SmtpService | undefined;
  before(async (test) => {
    console = await startOrSkip(test as TestContext, () => startConsole());
    if (!console) return;
    smtp = await startSmtp({ tls: 'none' });
    const { plugboard } = console;
    const must = async (method: string, path: string, body: unknown) => {
      const { status, text } = await plugboard.call(method, path, body);
      assert.equal(status, 200, text);
    };
    await must('POST', '/apiops/environments/', { name: 'staging', description: '', type: 'TEST' });
    await must('PUT', '/apiops/projects/MyProject/', {
      name: 'MyProject',
      description: '',
      environments: ['production', 'staging'],
    });
    await must('POST', `${base}/environmentVariables/`, {
      name: 'SMTP_HOST',
      environmentValueList: [{ environmentName: 'production', value: 'smtp.prod.example', visible: true }],
    });
    await must('POST', `${base}/environmentVariables/`, {
      name: 'SMTP_PORT',
      global: true,
      globalValue: '2525',
    });
    await must('POST', `${base}/environmentVariables/`, {
      name: 'SMTP_PASSWORD',
      global: true,
      globalValue: 'hidden-value-9',
      globalVisible: false,
    });
  });
  after(async () => {
    await console?.stop();
    await smtp?.stop();
  });

  const mail = (name: string, more: object = {}) => ({
    type: 'email',
    name,
    host: 'smtp.example.com',
    environments: ['production'],
    auth: true,
    username: 'robot',
    password: canary,
    ...more,
  });
  async function store(name: string, more: object = {}): Promise<void> {
    const { status, text } = await console!.plugboard.call(
      'POST',
      `${base}/connections/${encodeURIComponent(name)}/`,
      mail(name, more),
    );
    assert.equal(status, 200, text);
  }
  async function stored(name: string) {
    const { body, status } = await console!.plugboard.call(
      'GET',
      `${base}/connections/${encodeURIComponent(name)}/`,
    );
    return status === 200 ? body.resultList[0] : undefined;
  }
  async function opened(path: string, options: Parameters<Console['open']>[0] = {}) {
    const tab = await console!.open(options);
    await tab.signIn();
    await visit(tab.page, path);
    return tab;
  }

  it('creates a connection from the gallery with the mouse, and shows where it was deployed', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults } = await opened('/ui/p/MyProject/new');
    await page.getByRole('link', { name: 'Kafka' }).waitFor();
    await assertAccessible(page);
    await page.getByRole('textbox', { name: 'Search types' }).fill('smtp');
    await page.getByRole('status').getByText('1 type', { exact: true }).waitFor();
    await page.getByRole('link', { name: 'Email (SMTP)' }).click();
    await page.getByRole('heading', { name: 'New Email (SMTP) connection' }).waitFor();
    await input(page, 'name').fill('by mouse');
    await input(page, 'host').fill('127.0.0.1');
    await input(page, 'port').fill(String(smtp!.port));
    await page.getByRole('switch', { name: 'Authenticate' }).check({ force: true });
    await input(page, 'username').fill('robot');
    await page.getByLabel('Password', { exact: true }).fill(canary);
    await assertAccessible(page);
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('heading', { name: 'Saved, but not deployed everywhere' }).waitFor();
    // Staging has no worker; production has.
    await page
      .getByRole('dialog')
      .getByText(/production: applied by 1 of 1/)
      .waitFor();
    await page
      .getByRole('dialog')
      .getByText(/staging:/)
      .waitFor();
    await page.getByRole('button', { name: 'To the connection' }).click();
    await page.waitForURL('**/ui/p/MyProject/c/by%20mouse');
    const made = await stored('by mouse');
    assert.equal(made.port, smtp!.port);
    assert.equal(made.auth, true);
    assert.equal(made.password, canary);
    assert.deepEqual(faults, []);
  });

  it('creates one with the keyboard alone', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults } = await opened('/ui/p/MyProject/new');
    const search = page.getByRole('textbox', { name: 'Search types' });
    await page.getByRole('link', { name: 'Kafka' }).waitFor();
    await tabTo(page, search);
    // Down into the cards, over and back, and out again at the top.
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.getByRole('link', { name: 'Kafka' }).evaluate(isFocused), true);
    await page.keyboard.press('ArrowUp');
    assert.equal(await search.evaluate(isFocused), true);
    await page.keyboard.type('mail');
    await page.keyboard.press('Enter');
    await input(page, 'name').waitFor();
    await tabTo(page, input(page, 'name'));
    await page.keyboard.type('by keyboard');
    await tabTo(page, input(page, 'host'));
    await page.keyboard.type('127.0.0.1');
    const environments = page.getByLabel('Environments').first();
    await tabTo(page, environments);
    await page.keyboard.type('produ');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Escape');
    await tabTo(page, page.getByRole('button', { name: 'Create' }));
    await page.keyboard.press('Enter');
    await page.waitForURL('**/ui/p/MyProject/c/by%20keyboard');
    await page.getByText('by keyboard is saved').waitFor();
    await page
      .getByText(/production: applied by 1 of 1/)
      .first()
      .waitFor();
    assert.deepEqual((await stored('by keyboard')).environments, ['production']);
    assert.deepEqual(faults, []);
  });

  it('says what is wrong at its field while one types, and the rest once one has tried to save', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults } = await opened('/ui/p/MyProject/new/email');
    await input(page, 'port').fill('70000');
    await fieldOf(page, 'port')
      .getByText(/Port must be .*65535/)
      .waitFor();
    assert.equal(await fieldOf(page, 'host').getByText('Host is required').count(), 0);
    assert.equal(
      await fieldOf(page, 'name')
        .getByText(/required$/)
        .count(),
      0,
    );
    await input(page, 'port').fill('25');
    await fieldOf(page, 'port')
      .getByText(/Port must be/)
      .waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Create' }).click();
    await fieldOf(page, 'host').getByText('Host is required').waitFor();
    await fieldOf(page, 'name').getByText('Name is required').waitFor();
    // The first one at fault has the focus.
    await page.locator('[data-field="name"] input:focus').waitFor();
    await store('taken name');
    await input(page, 'name').fill('Taken Name');
    await fieldOf(page, 'name')
      .getByText(/Name is taken/)
      .waitFor();
    // A fault in a folded section opens it.
    assert.equal(await section(page, 'Delivery').getAttribute('aria-expanded'), 'false');
    await section(page, 'Delivery').click();
    await input(page, 'from').fill('nobody');
    await fieldOf(page, 'from')
      .getByText(/Sender must/)
      .waitFor();
    assert.deepEqual(faults, []);
  });

  it('asks before unsaved work is left', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults } = await opened('/ui/p/MyProject/new/email');
    await input(page, 'host').click();
    await page.keyboard.type('half');
    await page.getByRole('link', { name: 'Keys' }).click();
    await page.getByRole('dialog', { name: 'Leave without saving?' }).waitFor();
    await page.getByRole('button', { name: 'Stay' }).click();
    assert.equal(await input(page, 'host').inputValue(), 'half');
    const asked = page.waitForEvent('dialog');
    await page.close({ runBeforeUnload: true });
    const dialog = await asked;
    assert.equal(dialog.type(), 'beforeunload');
    await dialog.dismiss();
    await page.getByRole('link', { name: 'Keys' }).click();
    await page.getByRole('button', { name: 'Leave' }).click();
    await page.waitForURL('**/ui/p/MyProject/keys');
    assert.deepEqual(faults, []);
  });

  it('is the same thing as JSON, both ways', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults } = await opened('/ui/p/MyProject/new/email');
    await input(page, 'host').fill('one.example');
    await page.getByRole('radiogroup', { name: 'View' }).getByText('JSON').click();
    const json = page.getByRole('textbox', { name: 'Body of the request' });
    const shown = JSON.parse(await json.inputValue());
    assert.deepEqual(shown, { type: 'email', host: 'one.example' });
    await json.fill('{\n  "type": "email",\n  "host": oops\n}');
    await page.getByText(/Not JSON, line 3/).waitFor();
    await page.getByRole('radiogroup', { name: 'View' }).getByText('Form').click();
    assert.ok(await json.isVisible());
    await json.fill('{"type":"kafka"}');
    await page.getByText('The type stays email').waitFor();
    await json.fill(
      JSON.stringify({
        type: 'email',
        name: 'from json',
        host: 'two.example',
        port: 26,
        labels: { team: 'a' },
        oddity: 1,
      }),
    );
    await page
      .getByText(/oddity/)
      .first()
      .waitFor();
    await assertAccessible(page);
    await page.getByRole('radiogroup', { name: 'View' }).getByText('Form').click();
    assert.equal(await input(page, 'host').inputValue(), 'two.example');
    assert.equal(await input(page, 'port').inputValue(), '26');
    assert.equal(await input(page, 'name').inputValue(), 'from json');
    await fieldOf(page, 'labels').getByRole('button', { name: 'Add: Labels' }).click();
    assert.deepEqual(faults, []);
  });

  it('completes variables, and shows what they stand for in each environment', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults } = await opened('/ui/p/MyProject/new/email');
    await input(page, 'name').fill('with variables');
    await input(page, 'host').click();
    await page.keyboard.type('a.${smtp_h');
    await page.getByRole('option', { name: 'SMTP_HOST' }).waitFor();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    assert.equal(await input(page, 'host').inputValue(), 'a.${SMTP_HOST}');
    await fieldOf(page, 'host').getByText('a.smtp.prod.example').waitFor();
    await fieldOf(page, 'host').getByText('nothing: SMTP_HOST has no value here').waitFor();
    await page.getByRole('button', { name: 'Use a variable for Port' }).click();
    await page.getByRole('combobox', { name: 'Port: variable' }).fill('SMTP_PORT');
    await fieldOf(page, 'port').getByText('2525').first().waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('switch', { name: 'Authenticate' }).check({ force: true });
    await input(page, 'username').fill('robot');
    await modeOf(page, 'Password', 'Reference').click();
    await page.getByLabel('Password: reference').fill('${SMTP_PASSWORD}');
    await page.keyboard.press('Escape');
    await fieldOf(page, 'password').getByText('a value that is not shown').first().waitFor();
    await page.getByText('No faults found').waitFor();
    await page.getByRole('button', { name: 'Create' }).click();
    await page
      .getByText(/^Saved, but|is saved$/)
      .first()
      .waitFor();
    const made = await stored('with variables');
    assert.equal(made.host, 'a.${SMTP_HOST}');
    assert.equal(made.port, '${SMTP_PORT}');
    assert.equal(made.password, '${SMTP_PASSWORD}');
    assert.deepEqual(faults, []);
  });

  it('keeps a secret that never reaches the page, and replaces it when told to', async (test) => {
    if (!console) return test.skip('no Chromium');
    await store('kept');
    const { page, faults } = await console.open();
    const seen: string[] = [];
    page.on('response', (response) => {
      if (response.url().includes('/apiops/'))
        response.text().then(
          (text) => seen.push(text),
          () => {},
        );
    });
    await page.goto('/');
    await page.getByRole('textbox', { name: 'Token' }).fill(console.plugboard.token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation').waitFor();
    await visit(page, '/ui/p/MyProject/c/kept/edit');
    await page.getByText('The stored one is kept.').waitFor();
    await assertAccessible(page);
    await input(page, 'description').fill('changed');
    await page.getByRole('radiogroup', { name: 'View' }).getByText('JSON').click();
    assert.equal(
      JSON.parse(await page.getByRole('textbox', { name: 'Body of the request' }).inputValue()).password,
      null,
    );
    await page.getByRole('radiogroup', { name: 'View' }).getByText('Form').click();
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.waitForURL('**/c/kept');
    assert.equal((await stored('kept')).password, canary);
    assert.equal((await stored('kept')).description, 'changed');
    assert.ok(seen.length > 3 && !seen.some((text) => text.includes(canary)));
    assert.ok(!(await page.content()).includes(canary));

    // A kept secret does not follow to another host: that is said where it can be mended.
    await visit(page, '/ui/p/MyProject/c/kept/edit');
    await page.getByText('The stored one is kept.').waitFor();
    await input(page, 'host').fill('elsewhere.example.com');
    await fieldOf(page, 'password')
      .getByText(/Password must be given again, because host changed.*Type it again/)
      .waitFor();
    await page.getByLabel('Password: new value').fill('another-secret-1');
    await page.getByText('No faults found').waitFor();
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.waitForURL('**/c/kept');
    assert.equal((await stored('kept')).password, 'another-secret-1');
    assert.equal((await stored('kept')).host, 'elsewhere.example.com');
    assert.deepEqual(faults, []);
  });

  const editTwice = '/ui/p/MyProject/c/twice/edit';
  for (const [when, leave] of Object.entries({
    'the last version is still being read again': async (page: Page, save: () => Promise<void>) => {
      await save();
      await page.waitForURL('**/c/twice');
      await visit(page, editTwice);
    },
    'one goes back at once': async (page: Page, save: () => Promise<void>) => {
      await page.evaluate(`{
        const push = history.pushState.bind(history);
        history.pushState = (state, title, to) => {
          push(state, title, to);
          history.pushState = push;
          queueMicrotask(() => {
            push(null, '', '${editTwice}');
            dispatchEvent(new PopStateEvent('popstate'));
          });
        };
      }`);
      await save();
      // The form's own page shows again as soon as it is saved.
      await page.getByText('twice is saved').waitFor();
    },
  }))
    it(`begins with what is stored, also where ${when}`, async (test) => {
      if (!console) return test.skip('no Chromium');
      await store('twice');
      test.after(() => console!.plugboard.call('DELETE', `${base}/connections/twice/`));
      const { page, faults } = await opened(editTwice);
      await input(page, 'description').fill('first');
      await page.route('**/connections/twice/?reveal=false', async (route) => {
        await sleep(500);
        await route.continue();
      });
      const save = page.getByRole('button', { name: 'Save', exact: true });
      await leave(page, () => save.click());
      await input(page, 'description').waitFor();
      assert.equal(await input(page, 'description').inputValue(), 'first');
      await input(page, 'description').fill('second');
      await save.click();
      await page.waitForURL('**/c/twice');
      assert.equal((await stored('twice')).description, 'second');
      assert.deepEqual(faults, []);
    });

  it('renames', async (test) => {
    if (!console) return test.skip('no Chromium');
    await store('old name');
    const { page, faults } = await opened('/ui/p/MyProject/c/old%20name/edit');
    await input(page, 'name').fill('<b>new</b>');
    await fieldOf(page, 'name')
      .getByText(/Name must start/)
      .waitFor();
    await input(page, 'name').fill('new name');
    await fieldOf(page, 'name')
      .getByText(/Name must start/)
      .waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.waitForURL('**/c/new%20name');
    assert.equal((await stored('new name')).password, canary);
    assert.equal(await stored('old name'), undefined);
    assert.deepEqual(faults, []);
  });

  it('shows both versions when somebody else was faster, and saves what is chosen', async (test) => {
    if (!console) return test.skip('no Chromium');
    await store('contested', { description: 'at first' });
    const { page, faults } = await opened('/ui/p/MyProject/c/contested/edit');
    await input(page, 'description').fill('mine');
    await input(page, 'username').fill('my-robot');
    const theirs = mail('contested', { description: 'theirs', labels: { team: 'them' } });
    const { status } = await console.plugboard.call('PUT', `${base}/connections/contested/`, theirs);
    assert.equal(status, 200);
    await page.getByText('Somebody else has changed this connection').waitFor();
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    const dialog = page.getByRole('dialog', { name: 'Two versions' });
    await dialog.waitFor();
    await dialog.getByRole('group', { name: 'Description' }).getByText('changed by both').waitFor();
    await dialog.getByRole('group', { name: 'User name' }).getByText('changed by you').waitFor();
    await dialog.getByRole('group', { name: 'Labels' }).getByText('changed by them').waitFor();
    assert.ok(await page.getByRole('button', { name: 'Save the merged one' }).isDisabled());
    await assertAccessible(page);
    await dialog.getByRole('radiogroup', { name: 'Which Description' }).getByText('Mine').click();
    await page.getByRole('button', { name: 'Save the merged one' }).click();
    await page.waitForURL('**/c/contested');
    const made = await stored('contested');
    assert.equal(made.description, 'mine');
    assert.equal(made.username, 'my-robot');
    assert.deepEqual(made.labels, { team: 'them' });
    assert.equal(made.password, canary);
    assert.deepEqual(faults, []);
  });

  it('is a text for curl without the secret', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults } = await opened('/ui/p/MyProject/new/email');
    await input(page, 'name').fill("it's");
    await input(page, 'host').fill('h.example');
    await page.getByRole('switch', { name: 'Authenticate' }).check({ force: true });
    await page.getByLabel('Password', { exact: true }).fill(canary);
    await page.getByRole('button', { name: 'As curl' }).click();
    const text = await page.locator('pre').innerText();
    assert.ok(!text.includes(canary) && !text.includes(console.plugboard.token));
    assert.match(text, /\$SECRET_PASSWORD/);
    assert.match(text, /\/connections\/it'\\''s\//);
    assert.deepEqual(faults, []);
  });

  it('tests what is not saved yet', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults } = await opened('/ui/p/MyProject/new/email');
    await input(page, 'name').fill('tried');
    await input(page, 'host').fill('127.0.0.1');
    await input(page, 'port').fill(String(smtp!.port));
    await page.getByRole('button', { name: 'Test' }).last().click();
    await page
      .getByRole('region', { name: /production/ })
      .getByText(/^Works/)
      .waitFor({ timeout: 30_000 });
    assert.equal(await stored('tried'), undefined);
    assert.deepEqual(faults, []);
  });

  it('takes a value of 100 kB', async (test) => {
    if (!console) return test.skip('no Chromium');
    const { page, faults } = await opened('/ui/p/MyProject/new/elasticsearch');
    await input(page, 'elasticHostList[0].host').fill('es.example');
    await input(page, 'name').fill('large');
    await page.getByRole('switch', { name: 'Own TLS material' }).check({ force: true });
    const kind = fieldOf(page, 'encryptCommunicationType').getByRole('combobox');
    await kind.selectOption('CA_IN_PEM_FILE');
    const large = 'A'.repeat(100_000);
    await input(page, 'caInPemFile').fill(large);
    await input(page, 'caInPemFile').press('End');
    await page.keyboard.type('B');
    await input(page, 'description').fill(large);
    await fieldOf(page, 'description')
      .getByText(/Description must .*1000/)
      .waitFor();
    assert.equal((await input(page, 'caInPemFile').inputValue()).length, 100_001);
    await assertFitsWidth(page);
    assert.deepEqual(faults, []);
  });

  it('is for looking only without the permission', async (test) => {
    if (!console) return test.skip('no Chromium');
    await store('looked at');
    const { body } = await console.plugboard.call('POST', '/apiops/tokens/', {
      name: 'viewer',
      expiresAt: null,
      grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'] }],
    });
    const { page, faults, signIn } = await console.open();
    await signIn(body.token);
    await visit(page, '/ui/p/MyProject/c/looked%20at/edit');
    await page.getByText(/lacks CONNECTIONS:MANAGE/).waitFor();
    assert.ok(await page.getByRole('button', { name: 'Save', exact: true }).isDisabled());
    assert.ok(await input(page, 'host').isDisabled());
    assert.deepEqual(faults, []);
  });

  for (const type of ['email', 'kafka', 'elasticsearch', 'webhook', 'snmp'])
    it(`works at 360 px and in the dark: ${type}`, async (test) => {
      if (!console) return test.skip('no Chromium');
      const { page, faults } = await opened(`/ui/p/MyProject/new/${type}`, {
        width: 360,
        height: 740,
        colorScheme: 'dark',
      });
      await input(page, 'name').waitFor();
      const folded = page.locator('button[aria-expanded=false][data-accordion-control]');
      while ((await folded.count()) > 0) await folded.first().click();
      await assertFitsWidth(page);
      await assertAccessible(page);
      assert.deepEqual(faults, []);
    });
});
