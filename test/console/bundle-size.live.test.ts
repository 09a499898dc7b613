import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, it, type TestContext } from 'node:test';
import { startOrSkip } from '../services/service.ts';
import { type Console, startConsole } from './console.ts';

const assets = join(import.meta.dirname, '../../console/dist/assets');
const limitKilobytes = 300;
let console: Console | undefined;

before(async (test) => {
  console = await startOrSkip(test as TestContext, startConsole);
});
after(() => console?.stop());

it('the first page needs less than 300 kB of compressed JavaScript', async (test) => {
  if (!console) return test.skip('no Chromium');
  const { page, signIn } = await console.open();
  const scripts = new Set<string>();
  page.on('response', (response) => {
    const name = /\/assets\/(.+\.js)$/.exec(response.url())?.[1];
    if (!name) return;
    assert.equal(response.headers()['content-encoding'], 'gzip');
    scripts.add(name);
  });
  await signIn();
  await page.getByText('No connection yet').waitFor();
  const bytes = [...scripts].reduce((sum, name) => sum + statSync(join(assets, `${name}.gz`)).size, 0);
  const kilobytes = Math.round(bytes / 1000);
  test.diagnostic(`${kilobytes} kB gzipped in ${scripts.size} files, of at most ${limitKilobytes}`);
  assert.ok(scripts.size > 1);
  assert.ok(kilobytes < limitKilobytes, `${kilobytes} kB`);
});
