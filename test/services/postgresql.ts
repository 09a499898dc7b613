import { execFile } from 'node:child_process';
import { chmod, chown, copyFile, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { programVersion } from './proof.ts';
import {
  type Daemon,
  findProgram,
  freePort,
  needProgram,
  privateDirectory,
  type Service,
  startDaemon,
  waitUntil,
} from './service.ts';

const run = promisify(execFile);

export interface PostgresqlOptions {
  /** PEM files; with them the server offers TLS, and still accepts clear connections. */
  tls?: {
    certFile: string;
    keyFile: string;
    /** Authority of client certificates, which `certificateUser` needs beside its password, its name in it. */
    clientCaFile?: string;
    certificateUser?: string;
  };
  /** Further log-in roles without any privilege of their own. */
  users?: { user: string; password: string }[];
}

export interface PostgresqlService extends Service {
  /** A superuser. */
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** `postgres://` URL of that user and database, or of another database of this server. */
  url(database?: string): string;
  /** Makes an empty database; with `locale`, one whose default text order is that ICU locale's. */
  createDatabase(name: string, locale?: string): Promise<void>;
  /** Ends the server and its connections, and keeps port and data for `restart`. */
  shutDown(): Promise<void>;
  /** Starts it again on the same port and data, after shutting it down where it runs. */
  restart(): Promise<void>;
  /** Ends the server and removes its data. */
  stop(): Promise<void>;
}

/** Starts a PostgreSQL of the caller's own, with password log-in; throws `ServerMissing` without one. */
export async function startPostgresql(options: PostgresqlOptions = {}): Promise<PostgresqlService> {
  const programs = await debianPrograms();
  const initdb = needProgram('PostgreSQL', 'initdb', programs);
  const postgres = needProgram('PostgreSQL', 'postgres', programs);
  const directory = await privateDirectory('postgresql');
  const host = '127.0.0.1';
  const port = await freePort();
  const user = 'test';
  const password = 'test-password';
  let daemon: Daemon | undefined;

  const account = await unprivilegedAccount();
  const give = async (path: string) => {
    if (account) await chown(path, account.uid, account.gid);
  };
  const command = (program: string, args: string[]): [string, string[]] =>
    account
      ? [
          account.setpriv,
          [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups', program, ...args],
        ]
      : [program, args];
  const environment = { PATH: process.env['PATH'], HOME: directory.path, LC_ALL: 'C' };

  const start = async () => {
    const tls = options.tls
      ? ['-c', 'ssl=on', '-c', `ssl_cert_file=${certFile}`, '-c', `ssl_key_file=${keyFile}`]
      : [];
    if (options.tls?.clientCaFile) tls.push('-c', `ssl_ca_file=${clientCaFile}`);
    // Processes end in tests, machines do not: without fsync, databases are made and shut down fast.
    const settings = ['-c', 'fsync=off', '-h', host, '-p', String(port), '-k', directory.path, ...tls];
    const started = startDaemon(...command(postgres, ['-D', join(directory.path, 'data'), ...settings]), {
      env: environment,
      cwd: directory.path,
    });
    daemon = started;
    await waitUntil(started, () => accepts(url('postgres')), `port ${port}`);
  };
  // SIGINT is the fast shutdown; SIGTERM would wait for every client to leave by itself.
  const shutDown = async () => {
    await daemon?.stop('SIGINT');
    daemon = undefined;
  };
  const stop = async () => {
    await shutDown();
    await directory.remove();
  };
  const url = (database: string) => `postgres://${user}:${password}@${host}:${port}/${database}`;

  const certFile = join(directory.path, 'server.crt');
  const keyFile = join(directory.path, 'server.key');
  const clientCaFile = join(directory.path, 'client-ca.crt');
  try {
    await give(directory.path);
    const passwordFile = join(directory.path, 'password');
    await writeFile(passwordFile, password, { mode: 0o600 });
    await give(passwordFile);
    if (options.tls) {
      await copyFile(options.tls.certFile, certFile);
      await copyFile(options.tls.keyFile, keyFile);
      await chmod(keyFile, 0o600);
      await give(certFile);
      await give(keyFile);
    }
    const data = join(directory.path, 'data');
    const init = ['-D', data, '-U', user, `--pwfile=${passwordFile}`, '-A', 'scram-sha-256'];
    await run(...command(initdb, [...init, '--encoding=UTF8', '--no-sync']), {
      env: environment,
      cwd: directory.path,
    });
    if (options.tls?.clientCaFile && options.tls.certificateUser) {
      await copyFile(options.tls.clientCaFile, clientCaFile);
      await give(clientCaFile);
      const rules = join(data, 'pg_hba.conf');
      const { certificateUser } = options.tls;
      const demanded = `hostssl all ${certificateUser} all scram-sha-256 clientcert=verify-full\n`;
      await writeFile(
        rules,
        `${demanded}host all ${certificateUser} all reject\n${await readFile(rules, 'utf8')}`,
      );
    }
    await start();
    const roles = (options.users ?? []).map(
      (role) => `create role ${quoted(role.user)} login password ${literal(role.password)}`,
    );
    await execute(url('postgres'), [...roles, 'create database test']);
  } catch (error) {
    await stop();
    throw error;
  }

  return {
    host,
    server: { name: 'PostgreSQL', version: () => programVersion(postgres, '--version') },
    port,
    user,
    password,
    database: 'test',
    url: (database = 'test') => url(database),
    async createDatabase(name, locale) {
      const icu = locale ? ` template template0 locale_provider icu icu_locale ${literal(locale)}` : '';
      await execute(url('postgres'), [`create database ${quoted(name)}${icu}`]);
    },
    shutDown,
    async restart() {
      await shutDown();
      await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Debian keeps the server's programs out of PATH, newest version last by name. */
async function debianPrograms(): Promise<string[]> {
  const root = '/usr/lib/postgresql';
  const versions = await readdir(root).catch(() => []);
  return versions.sort((a, b) => Number(b) - Number(a)).map((version) => join(root, version, 'bin'));
}

/** PostgreSQL refuses to run as root: there it runs as nobody. */
async function unprivilegedAccount() {
  if (process.getuid?.() !== 0) return undefined;
  const setpriv = needProgram('PostgreSQL', 'setpriv');
  const id = findProgram('id') ?? 'id';
  const [uid, gid] = await Promise.all(
    ['-u', '-g'].map(async (flag) => Number((await run(id, [flag, 'nobody'])).stdout)),
  );
  return { setpriv, uid: uid!, gid: gid! };
}

async function execute(url: string, statements: string[]): Promise<void> {
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

async function accepts(url: string): Promise<boolean> {
  try {
    await execute(url, ['select 1']);
    return true;
  } catch {
    return false;
  }
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
