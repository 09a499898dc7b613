import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { noteServer, type ServerIdentity } from './proof.ts';

/** A real server of a test's own: private directory, free port, gone when disposed. */
export interface Service extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** What it is, for the record of what was proven. */
  readonly server?: ServerIdentity;
  stop(): Promise<void>;
}

/** Thrown by a service whose program is not on this machine. */
export class ServerMissing extends Error {
  constructor(server: string, needs: string) {
    super(`${server} was NOT exercised: ${needs} is not installed here`);
    this.name = 'ServerMissing';
  }
}

/** Whether a missing server is a failure (CI) instead of a loud skip. */
export const requireAllServices = process.env['REQUIRE_ALL_SERVICES'] === '1';

/**
 * Starts a service for a test or a suite, and notes what passes in it as proven against it; without its
 * program it is skipped loudly, or fails where all services are required. A suite cannot be skipped from its
 * `before`: each of its tests has to, when it finds that the service is undefined.
 */
export async function startOrSkip<S>(
  test: { skip?(message?: string): void; readonly fullName?: string },
  start: () => Promise<S>,
): Promise<S | undefined> {
  try {
    const started = await start();
    const { server } = (started ?? {}) as { server?: ServerIdentity };
    if (server) await noteServer(test.fullName ?? '', server);
    return started;
  } catch (error) {
    if (!(error instanceof ServerMissing) || requireAllServices) throw error;
    console.error(`\n  !!! ${error.message}\n`);
    test.skip?.(error.message);
    return undefined;
  }
}

const sbin = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** Full path of a program, looked for in PATH, the sbin directories and `extra`. */
export function findProgram(name: string, extra: string[] = []): string | undefined {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), ...sbin, ...extra];
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}

/** As `findProgram`, but throws `ServerMissing` in the name of the server. */
export function needProgram(server: string, name: string, extra: string[] = []): string {
  const program = findProgram(name, extra);
  if (!program) throw new ServerMissing(server, name);
  return program;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A directory of one service's own, removed by the disposer. */
export async function privateDirectory(prefix: string): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), `plugboard-${prefix}-`));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

const given = new Set<number>();

/**
 * A TCP port of the loopback interface that is free, and given once by this process. It lies below those that
 * systems give to outgoing connections, so that it is still free when a server takes long to start, or
 * comes back to it.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

export interface Daemon {
  readonly process: ChildProcess;
  /** What it printed so far, both streams. */
  output(): string;
  /** Ends it: SIGTERM, then SIGKILL after five seconds. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Starts a program in the foreground and collects what it prints. */
export function startDaemon(
  program: string,
  args: string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Daemon {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: options.env ?? process.env,
    ...(options.cwd ? { cwd: options.cwd } : {}),
  });
  let printed = '';
  const collect = (chunk: Buffer) => {
    printed = (printed + chunk.toString()).slice(-65536);
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  child.on('error', (error) => collect(Buffer.from(String(error))));
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    process: child,
    output: () => printed,
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** Waits until something accepts on the port; fails with the daemon's output when it exits first. */
export async function waitForPort(daemon: Daemon, port: number, timeoutMs = 60_000): Promise<void> {
  await waitUntil(daemon, () => accepts(port), `port ${port}`, timeoutMs);
}

/** Waits until `ready` answers true; fails with the daemon's output when it exits first. */
export async function waitUntil(
  daemon: Daemon,
  ready: () => Promise<boolean> | boolean,
  what: string,
  timeoutMs = 60_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await ready())) {
    const { exitCode, signalCode } = daemon.process;
    if (exitCode !== null || signalCode !== null)
      throw new Error(`ended before it was ready (${exitCode ?? signalCode}):\n${daemon.output()}`);
    if (Date.now() > deadline) {
      await daemon.stop();
      throw new Error(`not ready in time (${what}):\n${daemon.output()}`);
    }
    await sleep(25);
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
