import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { Page } from 'playwright-core';
import { createAuthority } from '../services/certificates.ts';
import { type KeystoreTools, openKeystoreTools } from '../services/keystore-tools.ts';
import { startOrSkip } from '../services/service.ts';
import { type Console, startConsole } from './console.ts';
import { goTo } from './go-to.ts';
import { assertSoundPage } from './sound-page.ts';

const password = 'k3y-store-Pass-wörd';
const path = '/ui/p/MyProject/keys';
const api = '/apiops/projects/MyProject';

describe('the page of keys', () => {
  let console: Console | undefined;
  let tools: KeystoreTools | undefined;
  const authority = createAuthority();
  const client = authority.issue({ commonName: 'gateway.example.com', client: true });
  const old = authority.issue({ commonName: 'old.example.com', expired: true });
  const skip = (test: TestContext) => test.skip('no Chromium, keytool or openssl');
  const ok = async (method: string, url: string, body?: unknown) => {
    const answer = await console!.plugboard.call(method, url, body);
    assert.equal(answer.status, 200, answer.text);
    return answer.body;
  };
  const saved = (page: Page, name: string) =>
    page.getByRole('status').filter({ hasText: `${name} is saved` });

  before(async (test) => {
    tools = await startOrSkip(test as TestContext, openKeystoreTools);
    if (!tools) return;
    console = await startOrSkip(test as TestContext, () => startConsole());
    if (!console) return;
    await ok('POST', '/apiops/environments/', { name: 'staging', type: 'TEST' });
    await ok('PUT', `${api}/`, { environments: ['production', 'staging'] });
    await tools.write('client.pem', client.certPem + client.keyPem);
    await tools.write('ca.pem', authority.caPem);
    await tools.openssl(
      'pkcs12',
      '-export',
      '-in',
      'client.pem',
      '-name',
      'gateway',
      '-out',
      'client.p12',
      '-passout',
      `pass:${password}`,
    );
    await tools.keytool(
      '-importcert',
      '-noprompt',
      '-file',
      'ca.pem',
      '-alias',
      'the-ca',
      '-keystore',
      'trust.jks',
      '-storetype',
      'JKS',
      '-storepass',
      password,
    );
    await tools.openssl('x509', '-in', 'ca.pem', '-outform', 'der', '-out', 'ca.cer');
  });
  after(async () => {
    await console?.stop();
    await tools?.[Symbol.asyncDispose]();
  });

  it('stores files of openssl and keytool, shows a wrong password at its field, and shows what they hold', async (test) => {
    if (!console || !tools) return skip(test);
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await page.getByRole('link', { name: 'Keys' }).click();
    await page.getByText('No keystore yet').waitFor();
    await page.getByRole('button', { name: 'New keystore' }).click();
    const dialog = page.getByRole('dialog', { name: 'New keystore' });
    await dialog.getByRole('textbox', { name: 'Name' }).fill('gateway-keys');
    const production = dialog.getByRole('group', { name: 'production' });
    await production.locator('input[type=file]').setInputFiles(tools.path('client.p12'));
    await production.getByRole('combobox', { name: 'Type' }).and(page.locator('[value=PKCS12]')).waitFor();
    await dialog.getByRole('combobox', { name: 'Add an environment' }).click();
    await page.getByRole('option', { name: 'staging' }).click();
    const staging = dialog.getByRole('group', { name: 'staging' });
    await staging.locator('input[type=file]').setInputFiles(tools.path('trust.jks'));
    await staging.getByRole('combobox', { name: 'Type' }).and(page.locator('[value=JKS]')).waitFor();
    await production.getByLabel('Password', { exact: true }).fill(password);
    await staging.getByLabel('Password', { exact: true }).fill('not this one');
    await dialog.getByRole('button', { name: 'Save' }).click();

    await dialog.getByRole('alert').getByText('see the marked fields').waitFor();
    const wrong = staging.getByLabel('Password', { exact: true });
    assert.equal(await wrong.getAttribute('aria-invalid'), 'true');
    assert.ok(await staging.getByText(/password/i).count());
    assert.equal(await production.locator('[aria-invalid=true]').count(), 0);
    await wrong.and(page.locator(':focus')).waitFor();
    await wrong.fill(password);
    await dialog.getByRole('button', { name: 'Save' }).click();

    await saved(page, 'gateway-keys').getByText('no private key').waitFor();
    const card = page.getByRole('region', { name: 'gateway-keys' });
    await card.getByText('CN=gateway.example.com').waitFor();
    await card.getByText('the-ca').waitFor();
    const html = await page.content();
    assert.ok(!html.includes(password));
    assert.ok(!html.includes((await tools.read('client.p12')).toString('base64').slice(100, 160)));
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('changes a keystore without its file or password, renames it, and refuses to overwrite what another changed', async (test) => {
    if (!console || !tools) return skip(test);
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await goTo(page, path);
    await page.getByRole('button', { name: 'Edit gateway-keys' }).click();
    const dialog = page.getByRole('dialog', { name: 'Edit gateway-keys' });
    await dialog.getByRole('textbox', { name: 'Name' }).fill('gateway-store');
    await dialog.getByRole('textbox', { name: 'Description' }).fill('Seen by <b>nobody</b>');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await saved(page, 'gateway-store').waitFor();
    const card = page.getByRole('region', { name: 'gateway-store' });
    await card.getByText('Seen by <b>nobody</b>').waitFor();
    await card.getByText('CN=gateway.example.com').waitFor();

    await page.getByRole('button', { name: 'Edit gateway-store' }).click();
    const again = page.getByRole('dialog', { name: 'Edit gateway-store' });
    await again.getByRole('textbox', { name: 'Description' }).fill('mine');
    const { resultList } = await ok('GET', `${api}/keystores/gateway-store/`);
    const stripped = resultList[0].keyStoreEnvironmentList.map(
      ({ environmentName }: { environmentName: string }) => ({ environmentName }),
    );
    await ok('PUT', `${api}/keystores/gateway-store/`, {
      description: 'theirs',
      keyStoreEnvironmentList: stripped,
    });
    await again.getByRole('button', { name: 'Save' }).click();
    await again.getByText('Somebody else changed it').waitFor();
    assert.equal((await ok('GET', `${api}/keystores/gateway-store/`)).resultList[0].description, 'theirs');
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('takes certificates by paste and as DER, shows a private key at its field, and flags what has ended', async (test) => {
    if (!console || !tools) return skip(test);
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await goTo(page, path);
    await page.getByRole('button', { name: 'New certificate' }).click();
    const dialog = page.getByRole('dialog', { name: 'New certificate' });
    await dialog.getByRole('textbox', { name: 'Name' }).fill('old');
    const pem = dialog.getByRole('textbox', { name: 'Certificates in PEM form' });
    await pem.fill(old.certPem + old.keyPem);
    await dialog.getByRole('button', { name: 'Save' }).click();
    await dialog.getByText('The text holds a private key').waitFor();
    assert.equal(await pem.getAttribute('aria-invalid'), 'true');
    await pem.fill(old.certPem);
    await dialog.getByRole('button', { name: 'Save' }).click();
    await saved(page, 'old').getByText('expired on').waitFor();
    await page.getByRole('region', { name: 'old' }).getByText('ended').waitFor();

    await page.getByRole('button', { name: 'New certificate' }).click();
    await dialog.getByRole('textbox', { name: 'Name' }).fill('authority');
    await dialog.locator('input[type=file]').setInputFiles(tools.path('ca.cer'));
    await page.waitForFunction(
      "document.querySelector('[role=dialog] textarea').value.includes('BEGIN CERT')",
    );
    await dialog.getByRole('button', { name: 'Save' }).click();
    const card = page.getByRole('region', { name: 'authority' });
    await card.getByText('CN=Plugboard Test CA').waitFor();
    await card.getByText('ends soon').waitFor();

    await page.getByRole('link', { name: 'Expiring' }).click();
    const row = page.getByRole('row').filter({ has: page.getByRole('link', { name: 'old', exact: true }) });
    await row.getByText('ended').waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('says which connections took a change up, and which of them keep it from being deleted', async (test) => {
    if (!console || !tools) return skip(test);
    const { page, faults, signIn, context } = await console.open();
    await ok('POST', `${api}/connections/mail/`, {
      type: 'email',
      name: 'mail',
      host: '127.0.0.1',
      useSsl: true,
      certificateName: 'authority',
    });
    await signIn();
    await goTo(page, path);
    await page.getByRole('button', { name: 'Edit authority' }).click();
    const dialog = page.getByRole('dialog', { name: 'Edit authority' });
    const pem = dialog.getByRole('textbox', { name: 'Certificates in PEM form' });
    await pem.fill(createAuthority('Another').caPem);
    await dialog.getByRole('button', { name: 'Save' }).click();
    await saved(page, 'authority')
      .getByText('The connection mail refers to it and was deployed again')
      .waitFor();
    await saved(page, 'authority').getByText('production: 1 of 1 connection applied').waitFor();

    await page.getByRole('button', { name: 'Delete authority' }).click();
    const asking = page.getByRole('dialog', { name: 'Delete authority' });
    await asking.getByRole('button', { name: 'Delete' }).click();
    await asking.getByRole('alert').getByText("is used by the connection 'mail'").waitFor();
    await ok('DELETE', `${api}/connections/mail/`);
    await asking.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('region', { name: 'authority' }).waitFor({ state: 'detached' });
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('seals everything anew for an administrator', async (test) => {
    if (!console) return skip(test);
    const { page, faults, signIn, context } = await console.open();
    await signIn();
    await goTo(page, path);
    const section = page.getByRole('region', { name: 'Master keys' });
    await section.getByText('newest').waitFor();
    await section.getByRole('button', { name: 'Rotate' }).click();
    await section.getByText(/sealed by the newest key|are sealed anew/).waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it('has nothing to change for who may only look, and says what is lacking to who may not', async (test) => {
    if (!console) return skip(test);
    for (const permission of ['KEYS:VIEW', 'CONNECTIONS:VIEW']) {
      const { token } = await ok('POST', '/apiops/tokens/', {
        name: permission,
        grants: [{ project: 'MyProject', permissions: [permission] }],
      });
      const { page, faults, signIn, context } = await console.open();
      await signIn(token);
      await goTo(page, path);
      if (permission === 'KEYS:VIEW') {
        await page.getByRole('region', { name: 'gateway-store' }).waitFor();
        for (const name of ['New keystore', 'New certificate', 'Edit old', 'Delete gateway-store']) {
          const button = page.getByRole('button', { name });
          assert.ok(await button.isDisabled(), name);
          assert.equal(await button.getAttribute('title'), 'Your token lacks KEYS:MANAGE');
        }
        assert.equal(await page.getByRole('region', { name: 'Master keys' }).count(), 0);
      } else await page.getByText('Your token lacks KEYS:VIEW').waitFor();
      assert.deepEqual(faults, []);
      await context.close();
    }
  });

  it('is sound in both themes and on a small screen', async (test) => {
    if (!console) return skip(test);
    await assertSoundPage(
      console,
      path,
      (page) => page.getByRole('region', { name: 'old', exact: true }).getByText('ended').waitFor(),
      ['New keystore', 'Edit gateway-store', 'New certificate'],
    );
    await assertSoundPage(console, '/ui/expiring', (page) => page.getByText('ended').first().waitFor());
  });
});
