import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { connectors } from '../../src/connectors/connectors.ts';
import { definitions } from '../../src/connectors/definitions.ts';
import { createChannelPair } from '../../src/contract/channel.ts';
import { buildControlPlane, type ControlPlane } from '../../src/control-plane/server/build-server.ts';
import type { Database } from '../../src/control-plane/store/database.ts';
import { loadMasterKeys } from '../../src/control-plane/store/master-key.ts';
import { openDatabase } from '../../src/control-plane/store/open-database.ts';
import { startWorker, type Worker, type WorkerOptions } from '../../src/worker/worker.ts';

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  body: any;
  text: string;
  headers: Headers;
}

export interface RequestExtras {
  token?: string | null;
  headers?: Record<string, string>;
}

/** The all-in-one in this process, on a database and a port of its own. */
export interface Plugboard {
  url: string;
  /** Of an administrator. */
  token: string;
  directory: string;
  controlPlane: ControlPlane;
  db: Database;
  /** Every log line of both halves. */
  log: string[];
  call(method: string, path: string, body?: unknown, extras?: RequestExtras): Promise<Answer>;
  /** As `call`, but fails on any status but 200, and answers the body. */
  ok(method: string, path: string, body?: unknown, extras?: RequestExtras): Promise<Answer['body']>;
  /** Starts one more worker in this process, over a channel in memory. */
  addWorker(environment: string, name: string, options?: Partial<WorkerOptions>): Promise<Worker>;
  stop(): Promise<void>;
}

export interface PlugboardOptions {
  projects?: string[];
  /** Default: one named `embedded`, for production. */
  withWorker?: boolean;
  /** PostgreSQL in place of the embedded database. */
  databaseUrl?: string;
  workerOptions?: Partial<WorkerOptions>;
  deployTimeoutMs?: number;
}

/** Starts it; `stop` ends everything and removes the directory. */
export async function startPlugboard(options: PlugboardOptions = {}): Promise<Plugboard> {
  const directory = await mkdtemp(join(tmpdir(), 'plugboard-test-'));
  const token = randomBytes(24).toString('base64url');
  const lines: string[] = [];
  const log = pino({ level: 'debug', base: null }, { write: (line: string) => void lines.push(line) });
  const db = await openDatabase(
    options.databaseUrl ? { url: options.databaseUrl } : { dataDirectory: join(directory, 'data') },
  );
  const controlPlane = await buildControlPlane({
    db,
    masterKeys: await loadMasterKeys({ secretsDirectory: join(directory, 'secrets') }),
    secretsDirectory: join(directory, 'secrets'),
    adminToken: token,
    bootstrapProjects: options.projects ?? ['MyProject'],
    auditDays: 365,
    ...(options.deployTimeoutMs === undefined ? {} : { deployTimeoutMs: options.deployTimeoutMs }),
    version: 'test',
    log,
  });
  const url = await controlPlane.listen({ host: '127.0.0.1', port: 0 });
  const workers: Worker[] = [];

  const addWorker = async (environment: string, name: string, more: Partial<WorkerOptions> = {}) => {
    const worker = await startWorker({
      name,
      version: 'test',
      definitions,
      connectors,
      log,
      connect: async () => {
        const [ours, theirs] = createChannelPair({ direct: true });
        controlPlane.attachEmbedded(theirs, environment);
        return ours;
      },
      ...more,
    });
    workers.push(worker);
    return worker;
  };
  if (options.withWorker !== false) {
    const worker = await addWorker('production', 'embedded', options.workerOptions);
    while (!worker.isConnected) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  const call: Plugboard['call'] = async (method, path, body, extras = {}) => {
    const bearer = extras.token === undefined ? token : extras.token;
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...extras.headers,
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
  };

  return {
    url,
    token,
    directory,
    controlPlane,
    db,
    log: lines,
    addWorker,
    async ok(method, path, body, extras) {
      const answer = await call(method, path, body, extras);
      assert.equal(answer.status, 200, answer.text);
      return answer.body;
    },
    call,
    async stop() {
      await Promise.all(workers.map((worker) => worker.stop(100)));
      await controlPlane.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
