import type { Browser, BrowserContext, Page } from 'playwright-core';
import { type Plugboard, type PlugboardOptions, startPlugboard } from '../harness/plugboard.ts';
import { startChromium } from '../services/chromium.ts';

/** A browser before a Plugboard of its own. */
export interface Console {
  plugboard: Plugboard;
  browser: Browser;
  /** A new, empty browser profile; what the page throws or the policy refuses is in `faults`. */
  open(options?: TabOptions): Promise<Tab>;
  stop(): Promise<void>;
}

export interface TabOptions {
  width?: number;
  height?: number;
  colorScheme?: 'light' | 'dark';
}

export interface Tab {
  page: Page;
  context: BrowserContext;
  /** Uncaught errors, console errors, and requests that left for another origin. */
  faults: string[];
  /** Signs in by the page itself; as the administrator without a token. */
  signIn(token?: string): Promise<void>;
}

/** A new, empty browser profile before a Plugboard. */
export async function openTab(
  browser: Browser,
  { url, token }: { url: string; token: string },
  { width = 1280, height = 800, colorScheme = 'light' }: TabOptions = {},
): Promise<Tab> {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, baseURL: url });
  const page = await context.newPage();
  const faults: string[] = [];
  page.on('pageerror', (error) => faults.push(`uncaught: ${error.message}`));
  page.on('console', (message) => {
    // An answer of 4xx is the API's word, which the page shows.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      faults.push(`console: ${message.text()}`);
  });
  page.on('request', (request) => {
    const asked = request.url();
    if (!asked.startsWith(url) && !asked.startsWith('data:') && !asked.startsWith('blob:'))
      faults.push(`left for ${asked}`);
  });
  return {
    page,
    context,
    faults,
    async signIn(by = token) {
      await page.goto('/');
      await page.getByRole('textbox', { name: 'Token' }).fill(by);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByRole('navigation').waitFor();
    },
  };
}

/** Starts both, or throws ServerMissing where there is no Chromium; `stop` ends both. */
export async function startConsole(options: PlugboardOptions = {}): Promise<Console> {
  const browser = await startChromium();
  const plugboard = await startPlugboard(options);
  return {
    plugboard,
    browser,
    open: (tab) => openTab(browser, plugboard, tab),
    async stop() {
      await browser.close();
      await plugboard.stop();
    },
  };
}
