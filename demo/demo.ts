/**
 * Shows the product at work: starts targets that need no installation, Plugboard on a directory of its
 * own, and makes a connection to each target. Nothing of it is left when it ends.
 *
 * Usage: npm run demo [-- [--empty] [--port PORT]], default 8080, or any free one where that is taken.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type ChangeAnswer, type Connection, Plugboard, PlugboardError } from '../client/plugboard.ts';
import { serveDemo } from '../src/serve.ts';
import { brokenOnPurpose, host, type TargetsReady } from './target.ts';

const project = 'demo';
const usualPort = 8080;

const options = readOptions();
const directory = mkdtempSync(join(tmpdir(), 'plugboard-demo-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
// Until the server is there and drains by itself.
const endAtOnce = () => process.exit(130);
process.on('SIGINT', endAtOnce).on('SIGTERM', endAtOnce);

say('starting the targets: mail, HTTP, SFTP and SSH, LDAP, syslog, GELF, PostgreSQL …');
const { child, ready } = await startTargets();
const { connections, pages } = ready;
const port = options.port ?? String(await freePort());
const secretsDirectory = join(directory, 'secrets');
const adminTokenFile = join(secretsDirectory, 'admin-token');
process.off('SIGINT', endAtOnce).off('SIGTERM', endAtOnce);
// Not one setting of whoever starts it: the demo must not touch a database that is in use.
await serveDemo(ready, {
  PLUGBOARD_HOST: host,
  PLUGBOARD_PORT: port,
  PLUGBOARD_DATA_DIR: join(directory, 'data'),
  PLUGBOARD_SECRETS_DIR: secretsDirectory,
  PLUGBOARD_BOOTSTRAP_PROJECTS: project,
  PLUGBOARD_LOG_LEVEL: 'error',
});
let isEnding = false;
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => {
    isEnding = true;
    say('ending …');
  });
child.once('exit', () => {
  // A signal to the whole group ends the targets too; a second one here would cut off the draining.
  if (isEnding) return;
  process.stderr.write('demo: the process of the targets has ended\n');
  process.kill(process.pid, 'SIGTERM');
});

const url = `http://${host}:${port}`;
say(`Console        ${url}/`);
say(`Admin token    ${adminTokenFile}`);
for (const page of pages) say(`${page.title.padEnd(15)}${page.url}`);
say('');
if (options.empty)
  say(`project ${project} is empty: the console offers to load ${connections.length} connections into it`);
else {
  const plugboard = new Plugboard({ url, token: readFileSync(adminTokenFile, 'utf8').trim() });
  await Promise.all(connections.map((connection) => create(plugboard, connection)));
  say('');
  say(`${brokenOnPurpose} is broken on purpose: its test shows at which stage, and why`);
}
say('');
say('Ctrl-C ends everything and removes it; the next demo starts afresh');

function readOptions(): { empty?: boolean; port?: string } {
  try {
    return parseArgs({ options: { empty: { type: 'boolean' }, port: { type: 'string' } } }).values;
  } catch (error) {
    process.stderr.write(
      `demo: ${(error as Error).message}\nusage: npm run demo [-- [--empty] [--port PORT]]\n`,
    );
    process.exit(2);
  }
}

/** Starts the process of the targets; it ends when this one does, however that comes about. */
async function startTargets(): Promise<{ child: ChildProcess; ready: TargetsReady }> {
  const child = fork(join(import.meta.dirname, 'targets.ts'), [directory], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // The embedded database is WebAssembly: optimising it costs twice the time and memory of all its queries here.
    execArgv: [...process.execArgv, '--liftoff-only'],
  });
  const failed = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`the process of the targets ended with ${code ?? signal}`);
  });
  const [ready] = (await Promise.race([once(child, 'message'), failed])) as [TargetsReady];
  failed.catch(() => {});
  return { child, ready };
}

/** Creates a connection, waits until the worker has used it, and says what came of it. */
async function create(plugboard: Plugboard, connection: Connection): Promise<void> {
  const { type, name } = connection;
  const line = `${name.padEnd(22)}${type.padEnd(14)}`;
  try {
    const path = `/apiops/projects/${project}/connections/${name}/`;
    const { deploymentResult } = await plugboard.request<ChangeAnswer>('POST', path, {
      body: connection,
      query: { prove: true, deployTimeoutMs: 30_000 },
    });
    const [verdict] = deploymentResult?.deploymentResults ?? [];
    const message = verdict?.workers.find(({ success }) => !success)?.message ?? verdict?.message;
    say(`${deploymentResult?.success ? '✓' : '✗'} ${line}${deploymentResult?.success ? 'works' : message}`);
  } catch (error) {
    if (!(error instanceof PlugboardError)) throw error;
    say(`✗ ${line}${error.message}`);
  }
}

/** The usual port, or any other where that is taken. */
async function freePort(): Promise<number> {
  for (const wanted of [usualPort, 0]) {
    const server = createServer().listen(wanted, host);
    const port = await once(server, 'listening').then(
      () => (server.address() as { port: number }).port,
      () => undefined,
    );
    if (port === undefined) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
  throw new Error('there is no free port');
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
