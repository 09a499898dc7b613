import type { Page } from 'playwright-core';

/** Goes to another page of the console as a link in it does, so that the session stays. */
export async function goTo(page: Page, path: string): Promise<void> {
  await page.evaluate(
    `history.pushState({}, '', ${JSON.stringify(path)}); dispatchEvent(new PopStateEvent('popstate'))`,
  );
}
