import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Plugboard } from '../../client/plugboard.ts';
import { freePort } from '../services/service.ts';

const root = dirname(dirname(import.meta.dirname));
const readyWithinMs = 120_000;

/** A process of `npm run demo` that is ready. */
export interface Demo {
  child: ChildProcess;
  plugboard: Plugboard;
  url: string;
  token: string;
  tokenFile: string;
  output(): string;
  ended: Promise<[code: number | null, signal: string | null]>;
}

/** Starts the demo with settings of another installation around it, which it must not touch. */
export async function startDemo(...options: string[]): Promise<Demo> {
  const port = await freePort();
  const child = spawn(process.execPath, ['demo/demo.ts', '--port', String(port), ...options], {
    cwd: root,
    env: {
      ...process.env,
      PLUGBOARD_DATABASE_URL: 'postgres://nobody@127.0.0.1:1/in-use',
      PLUGBOARD_DATA_DIR: join(root, 'not-for-the-demo'),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  const ended = new Promise<[number | null, string | null]>((resolve) =>
    child.once('close', (code, signal) => resolve([code, signal])),
  );
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`was not ready in time:\n${printed}`));
    }, readyWithinMs);
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        printed += chunk.toString();
        if (printed.includes('Ctrl-C ends everything')) resolve();
      });
    void ended.then(([code]) => reject(new Error(`ended with ${code} before it was ready:\n${printed}`)));
    void ended.finally(() => clearTimeout(timer));
    child.stdout.once('close', () => clearTimeout(timer));
  });
  const tokenFile = /^Admin token +(.+)$/m.exec(printed)![1]!;
  const token = (await readFile(tokenFile, 'utf8')).trim();
  const url = `http://127.0.0.1:${port}`;
  return {
    child,
    plugboard: new Plugboard({ url, token }),
    url,
    token,
    tokenFile,
    output: () => printed,
    ended,
  };
}
