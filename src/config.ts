import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { nearest } from './contract/fault-words.ts';
import { isLoopback } from './contract/host.ts';

/** What the control plane is told by its environment. */
export interface ControlPlaneConfig {
  host: string;
  port: number;
  tls?: { certFile: string; keyFile: string };
  /** A proxy in front ends TLS. */
  insecure: boolean;
  dataDirectory: string;
  secretsDirectory: string;
  databaseUrl?: string;
  masterKey?: string;
  masterKeyFile?: string;
  adminToken?: string;
  bootstrapProjects: string[];
  embeddedWorker: boolean;
  auditDays: number;
  logLevel: string;
}

/** What a worker is told by its environment. */
export interface WorkerConfig {
  name: string;
  /** Absent: the worker serves no HTTP port. */
  api?: { host: string; port: number };
  offlineMaxMs: number;
  egressAllow: string[];
  egressDeny: string[];
  logRoots: string[];
  /** Which secret references are resolved, for whom and for where. */
  secretSources: string[];
  vault?: {
    address: string;
    token?: string;
    tokenFile?: string;
    appRole?: { roleId: string; secretIdFile: string };
  };
  logLevel: string;
}

/** What a worker in a process of its own needs beyond that. */
export interface RemoteWorkerConfig extends WorkerConfig {
  url: string;
  token: string;
  insecure: boolean;
  dataDirectory: string;
}

/** What the command line is told: where the control plane is, and with which token. */
export interface ClientConfig {
  url: string;
  token?: string;
  /** Where a local control plane has written its first admin token. */
  adminTokenFile: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const settings = [
  'PLUGBOARD_ADMIN_TOKEN',
  'PLUGBOARD_AUDIT_DAYS',
  'PLUGBOARD_BOOTSTRAP_PROJECTS',
  'PLUGBOARD_DATABASE_URL',
  'PLUGBOARD_DATA_DIR',
  'PLUGBOARD_HOST',
  'PLUGBOARD_INSECURE',
  'PLUGBOARD_LOG_LEVEL',
  'PLUGBOARD_MASTER_KEY',
  'PLUGBOARD_MASTER_KEY_FILE',
  'PLUGBOARD_PORT',
  'PLUGBOARD_SECRETS_DIR',
  'PLUGBOARD_TLS_CERT',
  'PLUGBOARD_TLS_KEY',
  'PLUGBOARD_TOKEN',
  'PLUGBOARD_URL',
  'PLUGBOARD_WORKER',
  'PLUGBOARD_WORKER_API_HOST',
  'PLUGBOARD_WORKER_API_PORT',
  'PLUGBOARD_WORKER_EGRESS_ALLOW',
  'PLUGBOARD_WORKER_EGRESS_DENY',
  'PLUGBOARD_WORKER_LOG_ROOTS',
  'PLUGBOARD_WORKER_NAME',
  'PLUGBOARD_WORKER_OFFLINE_MAX',
  'PLUGBOARD_WORKER_SECRET_SOURCES',
  'PLUGBOARD_WORKER_TOKEN',
  'PLUGBOARD_WORKER_VAULT_ADDR',
  'PLUGBOARD_WORKER_VAULT_ROLE_ID',
  'PLUGBOARD_WORKER_VAULT_SECRET_ID_FILE',
  'PLUGBOARD_WORKER_VAULT_TOKEN',
  'PLUGBOARD_WORKER_VAULT_TOKEN_FILE',
] as const;

type Setting = (typeof settings)[number];

/** Environment variables that cannot be used; the message has a line for each, with the fix. */
export class ConfigError extends Error {
  constructor(faults: string[]) {
    super(faults.join('\n'));
    this.name = 'ConfigError';
  }
}

/** Reads the control plane's variables; throws `ConfigError` naming every faulty one. */
export function controlPlaneConfig(environment: Environment = process.env): ControlPlaneConfig {
  const read = reader(environment);
  const host = read.text('PLUGBOARD_HOST') ?? '127.0.0.1';
  const certFile = read.text('PLUGBOARD_TLS_CERT');
  const keyFile = read.text('PLUGBOARD_TLS_KEY');
  if ((certFile === undefined) !== (keyFile === undefined))
    read.fault('PLUGBOARD_TLS_CERT and PLUGBOARD_TLS_KEY belong together: set both or none');
  const insecure = read.flag('PLUGBOARD_INSECURE');
  if (!isLoopback(host) && !certFile && !insecure)
    read.fault(
      `PLUGBOARD_HOST=${host} is reachable from other machines, and secrets would travel in clear: set PLUGBOARD_TLS_CERT and PLUGBOARD_TLS_KEY, or PLUGBOARD_INSECURE=1 when a proxy in front ends TLS`,
    );
  const databaseUrl = read.text('PLUGBOARD_DATABASE_URL');
  if (databaseUrl !== undefined && !/^postgres(ql)?:\/\//.test(databaseUrl))
    read.fault('PLUGBOARD_DATABASE_URL must start with postgres://; leave it out for the embedded database');
  const worker = read.text('PLUGBOARD_WORKER') ?? 'embedded';
  if (worker !== 'embedded' && worker !== 'none') read.fault('PLUGBOARD_WORKER must be embedded or none');
  const bootstrapProjects = read.list('PLUGBOARD_BOOTSTRAP_PROJECTS', ['default']);
  for (const name of bootstrapProjects)
    if (!/^[A-Za-z0-9][A-Za-z0-9._ -]{0,254}$/.test(name))
      read.fault(
        `PLUGBOARD_BOOTSTRAP_PROJECTS: '${name}' is no name of a project: it must start with a letter or digit and consist of letters, digits, space, '.', '_' and '-'`,
      );
  const adminToken = read.text('PLUGBOARD_ADMIN_TOKEN');
  const masterKey = read.text('PLUGBOARD_MASTER_KEY');
  const masterKeyFile = read.text('PLUGBOARD_MASTER_KEY_FILE');
  const dataDirectory = resolve(read.text('PLUGBOARD_DATA_DIR') ?? './plugboard-data');
  return read.done({
    host,
    port: read.integer('PLUGBOARD_PORT', 8080, 0, 65535),
    ...(certFile && keyFile ? { tls: { certFile, keyFile } } : {}),
    insecure,
    dataDirectory,
    secretsDirectory: resolve(read.text('PLUGBOARD_SECRETS_DIR') ?? `${dataDirectory}-secrets`),
    ...(databaseUrl ? { databaseUrl } : {}),
    ...(masterKey ? { masterKey } : {}),
    ...(masterKeyFile ? { masterKeyFile } : {}),
    ...(adminToken ? { adminToken } : {}),
    bootstrapProjects,
    embeddedWorker: worker === 'embedded',
    auditDays: read.integer('PLUGBOARD_AUDIT_DAYS', 365, 1, 36_500),
    logLevel: read.logLevel(),
  });
}

/** Reads a worker's variables; `embedded` workers serve no HTTP port unless one is set. */
export function workerConfig(embedded: boolean, environment: Environment = process.env): WorkerConfig {
  const read = reader(environment);
  const config = workerSettings(read, embedded);
  return read.done(config);
}

/** Reads the variables of a worker in a process of its own. */
export function remoteWorkerConfig(environment: Environment = process.env): RemoteWorkerConfig {
  const read = reader(environment);
  const url = read.text('PLUGBOARD_URL');
  const token = read.text('PLUGBOARD_WORKER_TOKEN');
  const insecure = read.flag('PLUGBOARD_INSECURE');
  if (!url)
    read.fault(
      'PLUGBOARD_URL is required: the URL of the control plane, such as https://plugboard.example.com',
    );
  else if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    read.fault('PLUGBOARD_URL must be an http:// or https:// URL');
  else if (new URL(url).protocol === 'http:' && !isLoopback(new URL(url).hostname) && !insecure)
    read.fault(
      'PLUGBOARD_URL must be https:// for a host that is not this machine: secrets would travel in clear',
    );
  if (!token)
    read.fault(
      'PLUGBOARD_WORKER_TOKEN is required: make one with `plugboard worker enroll ENVIRONMENT NAME`',
    );
  return read.done({
    ...workerSettings(read, false),
    url: url ?? '',
    token: token ?? '',
    insecure,
    dataDirectory: resolve(read.text('PLUGBOARD_DATA_DIR') ?? './plugboard-worker-data'),
  });
}

/** Reads what the command line needs to reach a control plane. */
export function clientConfig(environment: Environment = process.env): ClientConfig {
  const read = reader(environment);
  const token = read.text('PLUGBOARD_TOKEN');
  const host = read.text('PLUGBOARD_HOST') ?? '127.0.0.1';
  const port = read.integer('PLUGBOARD_PORT', 8080, 1, 65535);
  const dataDirectory = resolve(read.text('PLUGBOARD_DATA_DIR') ?? './plugboard-data');
  const secretsDirectory = resolve(read.text('PLUGBOARD_SECRETS_DIR') ?? `${dataDirectory}-secrets`);
  return read.done({
    url: read.text('PLUGBOARD_URL') ?? `http://${host}:${port}`,
    ...(token ? { token } : {}),
    adminTokenFile: resolve(secretsDirectory, 'admin-token'),
  });
}

/** A remark on each variable that looks like a misspelt one of ours, which would be missed in silence. */
export function misspeltSettings(environment: Environment = process.env): string[] {
  const known: readonly string[] = settings;
  return Object.keys(environment).flatMap((name) => {
    if (!name.startsWith('PLUGBOARD_') || known.includes(name)) return [];
    const meant = nearest(name, known);
    return meant === undefined ? [] : [`${name} is no setting, and is ignored; did you mean ${meant}?`];
  });
}

function workerSettings(read: Reader, embedded: boolean): WorkerConfig {
  const apiPort = read.text('PLUGBOARD_WORKER_API_PORT');
  const host = read.text('PLUGBOARD_WORKER_API_HOST') ?? '127.0.0.1';
  if (!isLoopback(host) && !read.flag('PLUGBOARD_INSECURE'))
    read.fault(
      `PLUGBOARD_WORKER_API_HOST=${host} is reachable from other machines without TLS: set PLUGBOARD_INSECURE=1 when a proxy in front ends TLS`,
    );
  return {
    name: read.text('PLUGBOARD_WORKER_NAME') ?? (embedded ? 'embedded' : hostname()),
    ...(embedded && apiPort === undefined
      ? {}
      : { api: { host, port: read.integer('PLUGBOARD_WORKER_API_PORT', 8081, 0, 65535) } }),
    offlineMaxMs: read.duration('PLUGBOARD_WORKER_OFFLINE_MAX', 7 * 24 * 60 * 60 * 1000),
    egressAllow: read.list('PLUGBOARD_WORKER_EGRESS_ALLOW', []),
    egressDeny: read.list('PLUGBOARD_WORKER_EGRESS_DENY', []),
    logRoots: read.list('PLUGBOARD_WORKER_LOG_ROOTS', []),
    secretSources: (read.text('PLUGBOARD_WORKER_SECRET_SOURCES') ?? '')
      .split(/[;\r\n]+/)
      .map((entry) => entry.trim())
      .filter((entry) => entry !== ''),
    ...vaultSettings(read),
    logLevel: read.logLevel(),
  };
}

function vaultSettings(read: Reader): Pick<WorkerConfig, 'vault'> {
  const address = read.text('PLUGBOARD_WORKER_VAULT_ADDR');
  const token = read.text('PLUGBOARD_WORKER_VAULT_TOKEN');
  const tokenFile = read.text('PLUGBOARD_WORKER_VAULT_TOKEN_FILE');
  const roleId = read.text('PLUGBOARD_WORKER_VAULT_ROLE_ID');
  const secretIdFile = read.text('PLUGBOARD_WORKER_VAULT_SECRET_ID_FILE');
  if (!address) {
    if (token ?? tokenFile ?? roleId ?? secretIdFile)
      read.fault('PLUGBOARD_WORKER_VAULT_ADDR is required with the other variables of Vault');
    return {};
  }
  const url = URL.parse(address);
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.search)
    read.fault(
      'PLUGBOARD_WORKER_VAULT_ADDR must be an http:// or https:// URL such as https://vault.example.com:8200',
    );
  else if (url.protocol === 'http:' && !isLoopback(url.hostname) && !read.flag('PLUGBOARD_INSECURE'))
    read.fault(
      'PLUGBOARD_WORKER_VAULT_ADDR must be https:// for a host that is not this machine: secrets would travel in clear',
    );
  if ((roleId === undefined) !== (secretIdFile === undefined))
    read.fault(
      'PLUGBOARD_WORKER_VAULT_ROLE_ID and PLUGBOARD_WORKER_VAULT_SECRET_ID_FILE belong together: set both or none',
    );
  if ([token, tokenFile, roleId].filter((way) => way !== undefined).length !== 1)
    read.fault(
      'PLUGBOARD_WORKER_VAULT_ADDR needs one way to log in: PLUGBOARD_WORKER_VAULT_TOKEN, PLUGBOARD_WORKER_VAULT_TOKEN_FILE, or PLUGBOARD_WORKER_VAULT_ROLE_ID with PLUGBOARD_WORKER_VAULT_SECRET_ID_FILE',
    );
  return {
    vault: {
      address,
      ...(token ? { token } : {}),
      ...(tokenFile ? { tokenFile } : {}),
      ...(roleId && secretIdFile ? { appRole: { roleId, secretIdFile } } : {}),
    },
  };
}

type Reader = ReturnType<typeof reader>;

const unitsMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'];

function reader(environment: Environment) {
  const faults: string[] = [];
  const text = (name: Setting) => {
    const value = environment[name]?.trim();
    return value === '' ? undefined : value;
  };
  return {
    text,
    fault: (message: string) => void faults.push(message),
    flag(name: Setting): boolean {
      const value = text(name) ?? '0';
      if (!['0', '1', 'true', 'false'].includes(value)) faults.push(`${name} must be 1 or 0`);
      return value === '1' || value === 'true';
    },
    integer(name: Setting, preset: number, least: number, most: number): number {
      const value = text(name);
      if (value === undefined) return preset;
      const number = Number(value);
      if (/^\d+$/.test(value) && number >= least && number <= most) return number;
      faults.push(`${name} must be a whole number from ${least} to ${most}`);
      return preset;
    },
    /** A number with a unit: 500ms, 30s, 15m, 12h, 7d. */
    duration(name: Setting, presetMs: number): number {
      const value = text(name);
      if (value === undefined) return presetMs;
      const match = /^(\d{1,9})\s*(ms|s|m|h|d|days?)$/.exec(value);
      if (match) return Number(match[1]) * unitsMs[match[2]!.startsWith('day') ? 'd' : match[2]!]!;
      faults.push(`${name} must be a number with a unit, such as 30s, 12h or 7d`);
      return presetMs;
    },
    list(name: Setting, preset: string[]): string[] {
      const value = text(name);
      if (value === undefined) return preset;
      return value
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== '');
    },
    logLevel(): string {
      const level = text('PLUGBOARD_LOG_LEVEL') ?? 'info';
      if (!logLevels.includes(level))
        faults.push(`PLUGBOARD_LOG_LEVEL must be one of ${logLevels.join(', ')}`);
      return level;
    },
    done<T>(config: T): T {
      if (faults.length > 0) throw new ConfigError([...new Set(faults)]);
      return config;
    },
  };
}
