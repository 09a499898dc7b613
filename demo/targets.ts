/**
 * The process of the targets: tells its parent when all of them listen, and ends when the parent does,
 * with the directory of the demo.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Arrivals } from './arrivals.ts';
import { startDatabase } from './database.ts';
import { startDirectory } from './directory.ts';
import { startEcho } from './echo.ts';
import { startGelf, startSyslog } from './log-listeners.ts';
import { startMail } from './mail.ts';
import { startPages } from './pages.ts';
import { startRemoteMachine } from './remote-machine.ts';
import type { TargetsReady } from './target.ts';

const [directory] = process.argv.slice(2) as [string];

// Ctrl-C reaches the whole group: the targets stay until the server has drained.
process.on('SIGINT', () => {});

const machineDirectory = join(directory, 'machine');
await mkdir(machineDirectory);

const mails = new Arrivals();
const requests = new Arrivals();
const logs = new Arrivals();

const targets = await Promise.all([
  startMail(mails),
  startEcho(requests),
  startDatabase(),
  startRemoteMachine(machineDirectory),
  startDirectory(),
  startSyslog(logs),
  startGelf(logs),
]);
const pages = await startPages([
  { path: '/inbox', title: 'Inbox', empty: 'No mail yet: call send of order-mail.', arrivals: mails },
  { path: '/logs', title: 'Logs', empty: 'No log lines yet: call log of audit-log.', arrivals: logs },
  {
    path: '/requests',
    title: 'HTTP requests',
    empty: 'No request yet: call order-hook.',
    arrivals: requests,
  },
]);

async function stop(): Promise<void> {
  // Whatever hangs, the process ends.
  setTimeout(() => process.exit(1), 3000).unref();
  await Promise.allSettled([...targets, pages].map((one) => one.stop()));
  // The parent does so too, unless it was killed.
  await rm(directory, { recursive: true, force: true });
  process.exit(0);
}
process.once('disconnect', stop);
process.once('SIGTERM', stop);
if (!process.connected) await stop();

const ready: TargetsReady = {
  connections: targets.flatMap(({ connections }) => connections),
  pages: pages.pages,
};
process.send?.(ready);
