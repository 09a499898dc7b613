import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import type { Console } from './console.ts';
import { goTo } from './go-to.ts';
import { assertAccessible, assertFitsWidth } from './page-checks.ts';

/** Looks at a page in both themes, on a wide and a narrow screen, with each of its dialogs; `settled` waits for its content. */
export async function assertSoundPage(
  console: Console,
  path: string,
  settled: (page: Page) => Promise<unknown>,
  dialogs: readonly string[] = [],
): Promise<void> {
  for (const options of [
    { colorScheme: 'light' },
    { colorScheme: 'dark', width: 360, height: 740 },
  ] as const) {
    const { page, faults, signIn, context } = await console.open(options);
    await signIn();
    await goTo(page, path);
    await settled(page);
    await assertAccessible(page);
    await assertFitsWidth(page);
    for (const button of dialogs) {
      await page.getByRole('button', { name: button, exact: true }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByRole('textbox').first().waitFor();
      // What is fading in has not its colours yet.
      await page.waitForTimeout(400);
      await assertAccessible(page);
      await assertFitsWidth(page);
      await page.keyboard.press('Escape');
      await dialog.waitFor({ state: 'detached' });
    }
    assert.deepEqual(faults, []);
    await context.close();
  }
}
