/**
 * Takes a picture of every page in both themes, of the demo as it runs, for docs/console/.
 *
 * Usage: npm run docs:console
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Page } from 'playwright-core';
import type { Connection } from '../../client/plugboard.ts';
import { brokenOnPurpose } from '../../demo/target.ts';
import { startDemo } from '../harness/demo-process.ts';
import { startChromium } from '../services/chromium.ts';
import { openTab } from './console.ts';

const directory = join(dirname(dirname(import.meta.dirname)), 'docs', 'console');
const themes = ['light', 'dark'] as const;

interface Picture {
  name: string;
  title: string;
  take(page: Page): Promise<void>;
}

const settled = async (page: Page) => {
  await page.locator('.mantine-Skeleton-root').first().waitFor({ state: 'detached' });
  // Charts and accordions move into their place.
  await page.waitForTimeout(700);
};
const nav = (page: Page, name: string) =>
  page.getByRole('navigation').getByRole('link', { name, exact: true }).click();
const connection = async (page: Page, name: string, tab: string) => {
  await nav(page, 'Connections');
  await page.getByRole('link', { name, exact: true }).click();
  await page.getByRole('tab', { name: tab }).click();
};

const pictures: readonly Picture[] = [
  {
    name: 'overview',
    title: 'Every connection, and whether it works',
    take: (page) => nav(page, 'Connections'),
  },
  {
    name: 'gallery',
    title: 'Choosing a type',
    async take(page) {
      await nav(page, 'Connections');
      await page.getByRole('link', { name: 'New connection' }).click();
    },
  },
  {
    name: 'create',
    title: 'The form, from the definition of the type',
    async take(page) {
      await page.goto('/ui/p/demo/new/database');
      await page.getByRole('textbox', { name: 'Name', exact: true }).waitFor();
    },
  },
  {
    name: 'ladder',
    title: 'The test finds a wrong password',
    async take(page) {
      await connection(page, brokenOnPurpose, 'Test');
      await page.getByRole('button', { name: 'Run the test' }).click();
      await page.getByText('Does not work').waitFor();
    },
  },
  {
    name: 'health',
    title: 'Health and latency',
    take: (page) => connection(page, 'orders-database', 'Health'),
  },
  {
    name: 'try-it',
    title: 'An operation for real',
    async take(page) {
      await connection(page, 'orders-database', 'Try it');
      await page.getByRole('textbox', { name: /^SQL|^sql/ }).fill('select 6 * 7 as answer');
      await page.getByRole('button', { name: 'Run', exact: true }).click();
      await page.getByText('Result ·').waitFor();
    },
  },
  {
    name: 'deployments',
    title: 'What each worker has',
    take: (page) => connection(page, 'orders-database', 'Deployments'),
  },
  {
    name: 'revisions',
    title: 'What changed, and bringing it back',
    async take(page) {
      await connection(page, 'orders-database', 'Revisions');
      await page.getByRole('button', { name: /^2 updated/ }).click();
    },
  },
  {
    name: 'settings',
    title: 'Switching off and deleting',
    take: (page) => connection(page, 'orders-database', 'Settings'),
  },
  { name: 'keys', title: 'Keystores and certificates', take: (page) => nav(page, 'Keys') },
  { name: 'variables', title: 'Variables', take: (page) => nav(page, 'Variables') },
  { name: 'audit', title: 'Who did what', take: (page) => nav(page, 'Audit') },
  { name: 'fleet', title: 'Environments and workers', take: (page) => nav(page, 'Fleet') },
  { name: 'tokens', title: 'Tokens', take: (page) => nav(page, 'Tokens') },
  { name: 'users', title: 'Users', take: (page) => nav(page, 'Users') },
  { name: 'projects', title: 'Projects', take: (page) => nav(page, 'Projects') },
  { name: 'expiring', title: 'What ends soon', take: (page) => nav(page, 'Expiring') },
];

const demo = await startDemo();
await furnish();
const browser = await startChromium();
try {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  for (const colorScheme of themes) {
    const { page, context } = await openTab(browser, demo, { colorScheme });
    await page.goto('/');
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    await page.screenshot({ path: join(directory, `sign-in-${colorScheme}.png`) });
    await page.getByRole('checkbox').check();
    await page.getByRole('textbox', { name: 'Token' }).fill(demo.token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation').waitFor();
    for (const { name, take } of pictures) {
      await take(page);
      await settled(page);
      await page.screenshot({ path: join(directory, `${name}-${colorScheme}.png`) });
    }
    await context.close();
  }
  await writeFile(join(directory, 'README.md'), index());
} finally {
  await browser.close();
  demo.child.kill('SIGTERM');
  await demo.ended;
}

/** Something to see on every page. */
async function furnish(): Promise<void> {
  const { plugboard } = demo;
  const post = (path: string, body: object) => plugboard.request('POST', path, { body });
  const inDays = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString();
  await post('/apiops/environments/', { name: 'staging', type: 'TEST', description: 'Before production' });
  await post('/apiops/projects/', {
    name: 'warehouse',
    description: 'Stock and picking',
    environments: ['production', 'staging'],
  });
  const grants = [{ project: 'demo', permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:USE'] }];
  await post('/apiops/users/', { username: 'ada', password: 'a long enough one', admin: false, grants });
  await plugboard.createToken({ name: 'nightly report', expiresAt: inDays(5), grants });
  const variables = '/apiops/projects/demo/environmentVariables/';
  await post(variables, {
    name: 'SMTP_HOST',
    description: 'Of each environment',
    environmentValueList: [{ environmentName: 'production', value: 'smtp.example.com', visible: true }],
  });
  await post(variables, {
    name: 'SMTP_PASSWORD',
    global: true,
    globalValue: 'kept out of sight',
    globalVisible: false,
  });
  const [orders] = (
    await plugboard.request<{ resultList: [Connection] }>(
      'GET',
      '/apiops/projects/demo/connections/orders-database/',
    )
  ).resultList;
  await plugboard.updateConnection('demo', orders.name, {
    ...orders,
    description: 'Orders of the shop',
    labels: { team: 'shop' },
  });
  for (let call = 0; call < 40; call++)
    await plugboard.call('demo', orders.name, 'query', { sql: 'select count(*) from orders' });
}

function index(): string {
  const all = [{ name: 'sign-in', title: 'Signing in' }, ...pictures];
  return [
    '# The console',
    '',
    'Every page in both themes, of `npm run demo`. Taken by `npm run docs:console`; do not edit.',
    '',
    ...all.flatMap(({ name, title }) => [
      `## ${title}`,
      '',
      themes.map((theme) => `![${title}, ${theme}](${name}-${theme}.png)`).join(' '),
      '',
    ]),
  ].join('\n');
}
