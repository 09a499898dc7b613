import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import {
  ConfigError,
  type ControlPlaneConfig,
  controlPlaneConfig,
  remoteWorkerConfig,
  type WorkerConfig,
  workerConfig,
} from './config.ts';
import { createChannelPair } from './contract/channel.ts';
import { AppError } from './errors.ts';

export type ProcessKind = 'start' | 'server' | 'worker';

const packageFile = join(dirname(import.meta.dirname), 'package.json');

/** Runs a process until it is told to end: the all-in-one, the control plane alone, or a worker alone. */
export async function serve(kind: ProcessKind): Promise<void> {
  try {
    await { start: serveControlPlane, server: serveControlPlane, worker: serveWorker }[kind](kind);
  } catch (error) {
    // What is the operator's to mend is said in a sentence; anything else with its stack.
    const isPlain = error instanceof ConfigError || error instanceof AppError || !(error instanceof TypeError);
    process.stderr.write(`plugboard: ${isPlain ? (error as Error).message : (error as Error).stack}\n`);
    process.exit(1);
  }
}

async function serveControlPlane(kind: ProcessKind): Promise<void> {
  const config = controlPlaneConfig();
  const log = createLog(config.logLevel);
  const withWorker = kind === 'start' && config.embeddedWorker;
  const worker = withWorker ? workerConfig(true) : undefined;
  const controlPlane = await openControlPlane(config, log);
  const url = await controlPlane.listen(config);
  const embedded = worker && (await startEmbedded(worker, config, controlPlane, log));
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

async function openControlPlane(config: ControlPlaneConfig, log: pino.Logger) {
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
    ...(config.tls ? { tls: { cert: readFileSync(config.tls.certFile), key: readFileSync(config.tls.keyFile) } } : {}),
    version: version(),
    log,
  });
}

function createLog(level: string): pino.Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime });
}

function version(): string {
  return (JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }).version;
}
