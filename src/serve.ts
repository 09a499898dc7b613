import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { pino } from 'pino';
import {
  ConfigError,
  type ControlPlaneConfig,
  controlPlaneConfig,
  misspeltSettings,
  remoteWorkerConfig,
  type WorkerConfig,
  workerConfig,
} from './config.ts';
import { createChannelPair } from './contract/channel.ts';
import type { ControlPlane } from './control-plane/server/build-server.ts';
import type { Demo } from './control-plane/server/demo.routes.ts';
import { AppError } from './errors.ts';
import { loggableError } from './loggable-error.ts';
import type { Worker, WorkerOptions } from './worker/worker.ts';

export type ProcessKind = 'start' | 'server' | 'worker';

const packageFile = join(dirname(import.meta.dirname), 'package.json');

/** Runs a process until it is told to end: the all-in-one, the control plane alone, or a worker alone. */
export async function serve(kind: ProcessKind): Promise<void> {
  await orExit(() => (kind === 'worker' ? serveWorker() : serveControlPlane(kind)));
}

/** Runs the all-in-one of the demo, on settings of its own; answers when it listens. */
export async function serveDemo(demo: Demo, environment: NodeJS.ProcessEnv): Promise<void> {
  await orExit(() => serveControlPlane('start', environment, demo));
}

async function orExit(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    // What is the operator's to mend is said in a sentence; anything else with its stack.
    const isPlain =
      error instanceof ConfigError || error instanceof AppError || !(error instanceof TypeError);
    process.stderr.write(`plugboard: ${isPlain ? (error as Error).message : (error as Error).stack}\n`);
    process.exit(1);
  }
}

async function serveControlPlane(
  kind: 'start' | 'server',
  environment: NodeJS.ProcessEnv = process.env,
  demo?: Demo,
): Promise<void> {
  const { config, worker } = await bothConfigs(kind, environment);
  const log = createLog(config.logLevel);
  for (const remark of misspeltSettings(environment)) log.warn({}, remark);
  const controlPlane = await openControlPlane(config, log, demo);
  const url = await orNamed(config, ['PLUGBOARD_HOST', 'PLUGBOARD_PORT'], () => controlPlane.listen(config));
  const own = [{ host: config.host, port: Number(new URL(url).port) }, ...databaseAddress(config)];
  const embedded = worker && (await startEmbedded(worker, controlPlane, own, log));
  if (controlPlane.adminTokenPath)
    log.info(
      { path: controlPlane.adminTokenPath },
      `the first admin token was written to ${controlPlane.adminTokenPath}`,
    );
  log.info({ url }, `listening on ${url}`);
  endOnSignal(log, async () => {
    await controlPlane.close();
    await embedded?.stop();
  });
}

/** Reads the settings of both halves, so that all faults are said at once and before anything listens. */
async function bothConfigs(
  kind: 'start' | 'server',
  environment: NodeJS.ProcessEnv,
): Promise<{ config: ControlPlaneConfig; worker: WorkerConfig | undefined }> {
  const faults: string[] = [];
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ConfigError || error instanceof AppError)) throw error;
      faults.push(...error.message.split('\n'));
      return undefined;
    }
  };
  const config = attempt(() => controlPlaneConfig(environment));
  const hasWorker = kind === 'start' && (config?.embeddedWorker ?? true);
  const worker = hasWorker ? attempt(() => workerConfig(true, environment)) : undefined;
  if (worker) {
    const [{ createEgressPolicy }, { parseSecretRule }] = await Promise.all([
      import('./worker/egress-policy.ts'),
      import('./worker/secrets/secret-policy.ts'),
    ]);
    attempt(() => createEgressPolicy({ allow: worker.egressAllow, deny: worker.egressDeny }));
    for (const entry of worker.secretSources) attempt(() => parseSecretRule(entry));
  }
  if (!config || faults.length > 0) throw new ConfigError([...new Set(faults)]);
  return { config, worker };
}

/** Says in a sentence, with the variables to change, why a port cannot be listened on. */
async function orNamed<T>(
  { host, port }: { host: string; port: number },
  [hostName, portName]: readonly [string, string],
  listen: () => Promise<T>,
): Promise<T> {
  try {
    return await listen();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE')
      throw new ConfigError([
        `Another process listens on ${host} port ${port} already: end it, or set ${portName} to another port`,
      ]);
    if (code === 'EACCES')
      throw new ConfigError([`${portName}=${port} is not open to this user: set a port from 1024 on`]);
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN')
      throw new ConfigError([`${hostName}=${host} is no address of this machine`]);
    throw error;
  }
}

function readTls({ certFile, keyFile }: NonNullable<ControlPlaneConfig['tls']>): {
  cert: Buffer;
  key: Buffer;
} {
  const faults: string[] = [];
  const read = (variable: string, file: string): Buffer => {
    try {
      return readFileSync(file);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const why = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
      faults.push(`${variable} names ${file}, which ${why}`);
      return Buffer.alloc(0);
    }
  };
  const tls = { cert: read('PLUGBOARD_TLS_CERT', certFile), key: read('PLUGBOARD_TLS_KEY', keyFile) };
  if (faults.length > 0) throw new ConfigError(faults);
  try {
    createSecureContext(tls);
  } catch (error) {
    const why = (error as { reason?: string }).reason ?? (error as Error).message;
    throw new ConfigError([
      `PLUGBOARD_TLS_CERT and PLUGBOARD_TLS_KEY cannot be used (${why}): they must be a certificate in PEM and its own key, without a passphrase`,
    ]);
  }
  return tls;
}

/** What no connection may lead to: the product's own database. */
function databaseAddress({ databaseUrl }: ControlPlaneConfig): { host: string; port: number }[] {
  if (!databaseUrl) return [];
  const { hostname, port } = new URL(databaseUrl);
  return [{ host: hostname, port: Number(port || 5432) }];
}

async function openControlPlane(
  config: ControlPlaneConfig,
  log: pino.Logger,
  demo: Demo | undefined,
): Promise<ControlPlane> {
  const tls = config.tls && readTls(config.tls);
  const [{ openDatabase }, { loadMasterKeys }, { buildControlPlane }] = await Promise.all([
    import('./control-plane/store/open-database.ts'),
    import('./control-plane/store/master-key.ts'),
    import('./control-plane/server/build-server.ts'),
  ]);
  const masterKeys = await loadMasterKeys({
    ...(config.masterKey ? { value: config.masterKey } : {}),
    ...(config.masterKeyFile ? { file: config.masterKeyFile } : {}),
    secretsDirectory: config.secretsDirectory,
  });
  const db = await openDatabase(
    config.databaseUrl ? { url: config.databaseUrl } : { dataDirectory: config.dataDirectory },
  );
  return buildControlPlane({
    db,
    masterKeys,
    secretsDirectory: config.secretsDirectory,
    ...(config.adminToken ? { adminToken: config.adminToken } : {}),
    bootstrapProjects: config.bootstrapProjects,
    auditDays: config.auditDays,
    ...(tls ? { tls } : {}),
    behindProxy: config.insecure,
    ...(demo ? { demo } : {}),
    version: version(),
    log,
  });
}

/** The worker in this process: the same protocol, over a pair of channels in memory. */
async function startEmbedded(
  config: WorkerConfig,
  controlPlane: ControlPlane,
  own: { host: string; port: number }[],
  log: pino.Logger,
): Promise<RunningWorker> {
  return runWorker(config, log, {
    egress: { allow: config.egressAllow, deny: config.egressDeny, own },
    connect: async () => {
      const [ours, theirs] = createChannelPair({ direct: true });
      controlPlane.attachEmbedded(theirs, 'production');
      return ours;
    },
  });
}

async function serveWorker(): Promise<void> {
  const config = remoteWorkerConfig();
  const log = createLog(config.logLevel);
  for (const remark of misspeltSettings()) log.warn({}, remark);
  const { connectStream } = await import('./worker/connect-stream.ts');
  const { hostname, port, protocol } = new URL(config.url);
  const { worker, stop } = await runWorker(config, log, {
    egress: {
      allow: config.egressAllow,
      deny: config.egressDeny,
      own: [{ host: hostname, port: Number(port || (protocol === 'https:' ? 443 : 80)) }],
    },
    connect: () => connectStream({ url: config.url, token: config.token, insecure: config.insecure }),
    snapshot: { path: join(config.dataDirectory, 'worker-snapshot'), credential: config.token },
  });
  endOnSignal(log, stop);
  const end = await worker.ended;
  if (end === 'stopped') return;
  log.error(
    { end },
    end === 'revoked'
      ? 'the control plane does not accept PLUGBOARD_WORKER_TOKEN (any more); every connection was closed'
      : 'another worker took this name; give each worker a PLUGBOARD_WORKER_NAME of its own',
  );
  await stop();
  process.exit(1);
}

interface RunningWorker {
  worker: Worker;
  stop(): Promise<void>;
}

async function runWorker(
  config: WorkerConfig,
  log: pino.Logger,
  options: Pick<WorkerOptions, 'connect' | 'egress' | 'snapshot'>,
): Promise<RunningWorker> {
  const [{ startWorker }, { installProcessGuard }, { connectors }, { definitions }] = await Promise.all([
    import('./worker/worker.ts'),
    import('./worker/process-guard.ts'),
    import('./connectors/connectors.ts'),
    import('./connectors/definitions.ts'),
  ]);
  const own = [...(options.egress?.own ?? []), ...(config.api ? [config.api] : [])];
  const worker = await startWorker({
    ...options,
    egress: { ...options.egress, own },
    secretSources: {
      allow: config.secretSources,
      environment: process.env,
      ...(config.vault ? { vault: config.vault } : {}),
    },
    name: config.name,
    version: version(),
    definitions,
    connectors,
    logRoots: config.logRoots,
    offlineMaxMs: config.offlineMaxMs,
    log,
  });
  const removeGuard = installProcessGuard(log, (text) => worker.scrub(text));
  const api = config.api && (await startApi(worker, config.api, log));
  return {
    worker,
    async stop() {
      await api?.close();
      await worker.stop();
      removeGuard();
    },
  };
}

async function startApi(worker: Worker, address: { host: string; port: number }, log: pino.Logger) {
  const { buildWorkerApi } = await import('./worker/worker-api.ts');
  const api = buildWorkerApi(worker, log);
  const url = await orNamed(address, ['PLUGBOARD_WORKER_API_HOST', 'PLUGBOARD_WORKER_API_PORT'], () =>
    api.listen(address),
  );
  log.info({ url }, `worker API listening on ${url}`);
  return api;
}

/** npm passes on what the terminal has sent to it and to us: both are one wish to end. */
const sameSignalMs = 500;

/** SIGTERM and SIGINT drain and exit 0; a later one exits at once. */
function endOnSignal(log: pino.Logger, drain: () => Promise<void>): void {
  let endingSince: number | undefined;
  const end = (signal: string) => {
    if (endingSince !== undefined) {
      if (performance.now() - endingSince < sameSignalMs) return;
      process.exit(1);
    }
    endingSince = performance.now();
    log.info({ signal }, 'draining');
    drain().then(
      () => process.exit(0),
      (error) => {
        log.error({ err: loggableError(error) }, 'could not drain');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}

/** JSON lines, or one readable line each where a person watches. */
function createLog(level: string): pino.Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  return process.stdout.isTTY ? pino(options, { write: writeReadable }) : pino(options);
}

function writeReadable(line: string): void {
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const mark = Number(level) >= 50 ? 'ERROR ' : Number(level) >= 40 ? 'WARN ' : '';
  const rest = Object.keys(fields).length > 0 ? `  ${JSON.stringify(fields)}` : '';
  process.stdout.write(`${String(time).slice(11, 19)} ${mark}${msg}${rest}\n`);
}

function version(): string {
  return (JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }).version;
}
