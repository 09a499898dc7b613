import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ended } from './process.ts';

export const root = dirname(dirname(import.meta.dirname));
const adminToken = 'bench-admin-token-0123456789';

/** `node src/main.ts start` as an operator runs it, on a directory of its own. */
export interface Product {
  readonly child: ChildProcess;
  readonly port: number;
  readonly token: string;
  /** From spawning the process to its log line that says `listening`, ms. */
  readonly startMs: number;
  /** Port of the worker's own HTTP API, where one was asked for. */
  readonly workerPort: number | undefined;
  call<Answer = Record<string, unknown>>(method: string, path: string, body?: unknown): Promise<Answer>;
  stop(): Promise<void>;
}

export interface ProductOptions {
  directory: string;
  environment?: NodeJS.ProcessEnv;
  /** Arguments for Node before the program. */
  nodeArguments?: string[];
}

/** Starts it, and waits until it listens. */
export async function startProduct(options: ProductOptions): Promise<Product> {
  const { directory, environment = {}, nodeArguments = [] } = options;
  await mkdir(directory, { recursive: true });
  const spawnedAt = performance.now();
  const child = spawn(process.execPath, [...nodeArguments, join(root, 'src/main.ts'), 'start'], {
    cwd: directory,
    env: {
      ...process.env,
      PLUGBOARD_PORT: '0',
      PLUGBOARD_DATA_DIR: join(directory, 'data'),
      PLUGBOARD_ADMIN_TOKEN: adminToken,
      PLUGBOARD_BOOTSTRAP_PROJECTS: 'Bench',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = await linesUntil(child, '"listening on');
  const startMs = performance.now() - spawnedAt;
  child.stdout!.resume();
  const portOf = (message: string) => {
    const line = lines.find((text) => text.includes(`"${message}`));
    return line === undefined ? undefined : Number(new URL((JSON.parse(line) as { url: string }).url).port);
  };
  const port = portOf('listening on')!;
  return {
    child,
    port,
    token: adminToken,
    startMs,
    workerPort: portOf('worker API listening on'),
    async call<Answer>(method: string, path: string, body?: unknown) {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${adminToken}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 400)}`);
      return JSON.parse(text) as Answer;
    },
    stop: () => ended(child),
  };
}

/** What a process prints, up to and including the line that contains `text`. */
export function linesUntil(child: ChildProcess, text: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    let printed = '';
    const onData = (chunk: Buffer) => {
      printed += chunk;
      const at = printed.indexOf(text);
      if (at < 0 || printed.indexOf('\n', at) < 0) return;
      child.stdout!.off('data', onData);
      child.off('exit', onExit);
      resolve(printed.split('\n'));
    };
    const onExit = (code: number | null) =>
      reject(new Error(`the process ended with code ${code} before it said ${text}: ${printed}`));
    child.stdout!.on('data', onData);
    child.once('exit', onExit);
  });
}
