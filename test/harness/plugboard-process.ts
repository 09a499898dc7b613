import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Answer, RequestExtras } from './plugboard.ts';

const mainFile = join(dirname(dirname(import.meta.dirname)), 'src', 'main.ts');
const readyWithinMs = 60_000;

/** How a process ended, with all that it printed. */
export interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
  output: string;
}

/** A process of the product that listens. */
export interface PlugboardProcess {
  readonly child: ChildProcess;
  readonly url: string;
  readonly ended: Promise<Ending>;
  output(): string;
  /** Sends the signal and waits for the end. */
  end(signal?: NodeJS.Signals): Promise<Ending>;
}

type Command = 'start' | 'server' | 'worker';

/** Directories and token of processes that share their data. */
export interface Site {
  directory: string;
  token: string;
  env: NodeJS.ProcessEnv;
  remove(): Promise<void>;
}

/** A fresh data directory with the settings of a process on it. */
export async function newSite(): Promise<Site> {
  const directory = await mkdtemp(join(tmpdir(), 'plugboard-process-'));
  const token = randomBytes(24).toString('base64url');
  return {
    directory,
    token,
    env: {
      PATH: process.env['PATH'],
      PLUGBOARD_PORT: '0',
      PLUGBOARD_DATA_DIR: join(directory, 'data'),
      PLUGBOARD_SECRETS_DIR: join(directory, 'secrets'),
      PLUGBOARD_ADMIN_TOKEN: token,
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

function run(command: Command, env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, [mainFile, command], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      printed += chunk.toString();
      child.emit('printed');
    });
  const ended = once(child, 'close').then(([code, signal]): Ending => ({ code, signal, output: printed }));
  return { child, ended, output: () => printed };
}

/** Runs a process that is expected to end by itself; it is killed when it does not. */
export async function runToEnd(command: Command, env: NodeJS.ProcessEnv): Promise<Ending> {
  const { child, ended } = run(command, env);
  const timer = setTimeout(() => child.kill('SIGKILL'), readyWithinMs);
  try {
    return await ended;
  } finally {
    clearTimeout(timer);
  }
}

/** Starts a process and waits for the URL that its log names; `listening` is the message before it. */
export async function startProcess(
  command: Command,
  env: NodeJS.ProcessEnv,
  listening = command === 'worker' ? 'worker API listening on ' : 'listening on ',
): Promise<PlugboardProcess> {
  const { child, ended, output } = run(command, env);
  const url = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`did not listen in time:\n${output()}`));
    }, readyWithinMs);
    const look = () => {
      const found = logLines(output()).find(({ msg }) => msg.startsWith(listening));
      if (!found) return;
      clearTimeout(timer);
      child.off('printed', look);
      resolve(found.url!);
    };
    child.on('printed', look);
    void ended.then(({ code, signal }) => {
      clearTimeout(timer);
      reject(new Error(`ended with ${code ?? signal} before it listened:\n${output()}`));
    });
  });
  return {
    child,
    url,
    ended,
    output,
    async end(signal = 'SIGTERM') {
      child.kill(signal);
      // What hangs must not hang the test: its ending shows the signal.
      const timer = setTimeout(() => child.kill('SIGKILL'), readyWithinMs);
      const ending = await ended;
      clearTimeout(timer);
      return ending;
    },
  };
}

interface LogLine {
  msg: string;
  level: number;
  url?: string;
}

/** The JSON lines of a log; what is cut off at the end is left out. */
export function logLines(output: string): LogLine[] {
  return output.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as LogLine];
    } catch {
      return [];
    }
  });
}

/** One request to a process. */
export async function callUrl(
  url: string,
  token: string | null,
  method: string,
  path: string,
  body?: unknown,
  { headers = {} }: Pick<RequestExtras, 'headers'> = {},
): Promise<Answer> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    redirect: 'manual',
  });
  const text = await response.text();
  let parsed: unknown = text;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Some answers are texts.
  }
  return { status: response.status, body: parsed, text, headers: response.headers };
}
