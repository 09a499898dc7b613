import assert from 'node:assert/strict';
import { it } from 'node:test';
import { brokenOnPurpose } from '../../demo/target.ts';
import { startDemo } from '../harness/demo-process.ts';
import { startChromium } from '../services/chromium.ts';
import { startOrSkip } from '../services/service.ts';
import { openTab } from './console.ts';

it('an empty project offers the demo, and shows all of it working but what is broken on purpose', async (test) => {
  const browser = await startOrSkip(test, startChromium);
  if (!browser) return;
  test.after(() => browser.close());
  const demo = await startDemo('--empty');
  test.after(async () => {
    demo.child.kill('SIGTERM');
    await demo.ended;
  });
  const { page, faults, signIn } = await openTab(browser, demo);
  await signIn();
  await page.getByRole('button', { name: 'Load the demo' }).click();
  const rows = page.getByRole('list', { name: 'Connections with their state' }).getByRole('listitem');
  const broken = rows.filter({ has: page.getByRole('link', { name: brokenOnPurpose, exact: true }) });
  await broken.getByText('failing').waitFor({ timeout: 60_000 });
  const all = 9;
  await rows.nth(all - 1).waitFor();
  assert.equal(await rows.count(), all);
  for (let index = 0; index < all; index++) {
    const row = rows.nth(index);
    if ((await row.getByRole('link').textContent()) === brokenOnPurpose) continue;
    await row.getByText('works', { exact: true }).waitFor({ timeout: 60_000 });
  }
  assert.deepEqual(faults, []);
});
