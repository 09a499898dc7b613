import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
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
});
