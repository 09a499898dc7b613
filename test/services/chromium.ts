import { type Browser, chromium } from 'playwright-core';
import { needProgram } from './service.ts';

/** Starts the installed Chromium without a window; it asks the internet for nothing. */
export function startChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: needProgram('The console', 'chromium'),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
