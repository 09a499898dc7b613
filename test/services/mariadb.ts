import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { programVersion } from './proof.ts';
import {
  type Daemon,
  freePort,
  needProgram,
  privateDirectory,
  type Service,
  startDaemon,
  waitUntil,
} from './service.ts';

const run = promisify(execFile);

export interface MariadbOptions {
  /** PEM files; with them the server offers TLS, and still accepts clear connections. */
  tls?: { certFile: string; keyFile: string; caFile?: string };
  /** Further accounts with SELECT on the database and nothing else. */
  users?: { user: string; password: string }[];
  /** Further options of the server, such as `--max-connections=20`. */
  arguments?: string[];
}

export interface MariadbService extends Service {
  /** An account with every privilege. */
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** Ends the server and its connections, and keeps port and data for `restart`. */
  shutDown(): Promise<void>;
  /** Starts it again on the same port and data, after shutting it down where it runs. */
  restart(): Promise<void>;
  /** Ends the server and removes its data. */
  stop(): Promise<void>;
}

/** Starts a MariaDB of the caller's own, with password log-in; throws `ServerMissing` without one. */
export async function startMariadb(options: MariadbOptions = {}): Promise<MariadbService> {
  const install = needProgram('MariaDB', 'mariadb-install-db');
  const mariadbd = needProgram('MariaDB', 'mariadbd');
  const directory = await privateDirectory('mariadb');
  const data = join(directory.path, 'data');
  const initFile = join(directory.path, 'init.sql');
  const host = '127.0.0.1';
  const port = await freePort();
  const user = 'test';
  const password = 'test-password';
  const database = 'test';
  // As root the server insists on being told that this is meant.
  const account = process.getuid?.() === 0 ? ['--user=root'] : [];
  let daemon: Daemon | undefined;

  const start = async () => {
    const tls = options.tls
      ? [
          `--ssl-cert=${options.tls.certFile}`,
          `--ssl-key=${options.tls.keyFile}`,
          ...(options.tls.caFile ? [`--ssl-ca=${options.tls.caFile}`] : []),
        ]
      : [];
    const started = startDaemon(mariadbd, [
      '--no-defaults',
      ...account,
      `--datadir=${data}`,
      `--socket=${join(directory.path, 's.sock')}`,
      `--pid-file=${join(directory.path, 'pid')}`,
      `--bind-address=${host}`,
      `--port=${port}`,
      '--skip-name-resolve',
      '--innodb-buffer-pool-size=16M',
      '--innodb-log-file-size=8M',
      `--init-file=${initFile}`,
      ...tls,
      ...(options.arguments ?? []),
    ]);
    daemon = started;
    // The port opens before init-file is done, the greeting comes after.
    await waitUntil(started, () => greets(host, port), `port ${port}`);
  };
  // SIGTERM ends connections by itself.
  const shutDown = async () => {
    await daemon?.stop();
    daemon = undefined;
  };
  const stop = async () => {
    await shutDown();
    await directory.remove();
  };

  try {
    await run(install, [
      '--no-defaults',
      ...account,
      `--datadir=${data}`,
      '--auth-root-authentication-method=normal',
      '--skip-test-db',
    ]);
    await writeFile(initFile, initSql({ user, password, database, users: options.users ?? [] }));
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    host,
    server: { name: 'MariaDB', version: () => programVersion(mariadbd, '--version') },
    port,
    user,
    password,
    database,
    shutDown,
    async restart() {
      await shutDown();
      await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Run at every start, so each line may be run again. */
function initSql(accounts: {
  user: string;
  password: string;
  database: string;
  users: { user: string; password: string }[];
}): string {
  const quote = (text: string) => `'${text.replace(/\\/g, '\\\\').replace(/'/g, "''")}'`;
  const { user, password, database, users } = accounts;
  return [
    `create database if not exists ${database} character set utf8mb4;`,
    `create user if not exists ${quote(user)}@'%' identified by ${quote(password)};`,
    `grant all on *.* to ${quote(user)}@'%';`,
    ...users.flatMap((each) => [
      `create user if not exists ${quote(each.user)}@'%' identified by ${quote(each.password)};`,
      `grant select on ${database}.* to ${quote(each.user)}@'%';`,
    ]),
    '',
  ].join('\n');
}

function greets(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(2000, () => finish(false));
    socket.once('data', () => finish(true));
    socket.once('error', () => finish(false));
    socket.once('close', () => finish(false));
  });
}
