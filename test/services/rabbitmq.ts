import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Certificate } from './certificates.ts';
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

/** Debian's programs in /usr/sbin change to an account of their own; these are behind them. */
const debian = '/usr/lib/rabbitmq/bin';

export interface RabbitMqOptions {
  /** Of the TLS listener, with the authority that issued it. */
  certificate: Certificate;
  caPem: string;
  /** Further lines of rabbitmq.conf. */
  configuration?: string[];
}

export interface RabbitMqService extends Service {
  readonly tlsPort: number;
  /** An account with every right in the virtual hosts `/` and `orders`. */
  readonly user: string;
  readonly password: string;
  /** An account that may read and write nothing in `/`. */
  readonly stranger: { user: string; password: string };
  /** Runs one command of rabbitmqctl and answers what it printed. */
  control(...args: string[]): Promise<string>;
  /** Ends the node; what is durable stays for `restart`. */
  shutDown(): Promise<void>;
  /** Starts it again at the same ports, with what is durable. */
  restart(): Promise<void>;
}

/** Starts a RabbitMQ node of the caller's own, its epmd included; throws `ServerMissing` without one. */
export async function startRabbitMq(options: RabbitMqOptions): Promise<RabbitMqService> {
  const needed = (name: string) =>
    existsSync(join(debian, name)) ? join(debian, name) : needProgram('RabbitMQ', name);
  const [server, rabbitmqctl, epmd] = [needed('rabbitmq-server'), needed('rabbitmqctl'), needed('epmd')];
  const directory = await privateDirectory('rabbitmq');
  const at = (...names: string[]) => join(directory.path, ...names);
  const [port, tlsPort, epmdPort, distPort] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  const user = 'test';
  const password = 'Canary-r4bbit/p+ss';
  const stranger = { user: 'stranger', password: 'Canary-str4nger' };
  const node = `plugboard${port}@localhost`;
  const env: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    LANG: 'C.UTF-8',
    HOME: directory.path,
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: node,
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_DIST_PORT: String(distPort),
    RABBITMQ_CONFIG_FILE: at('rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: at('none'),
    RABBITMQ_MNESIA_BASE: at('data'),
    RABBITMQ_LOG_BASE: at('log'),
    RABBITMQ_PID_FILE: at('pid'),
    RABBITMQ_ENABLED_PLUGINS_FILE: at('plugins'),
    // Two cores for everybody: schedulers that spin would take both.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none',
  };
  let daemon: Daemon | undefined;
  const control = async (...args: string[]) => {
    const { stdout } = await run(rabbitmqctl, ['-q', '-n', node, ...args], { env, timeout: 60_000 });
    return stdout;
  };

  const start = async () => {
    const started = startDaemon(server, [], { env, cwd: directory.path });
    daemon = started;
    await waitUntil(
      started,
      () => /startup complete|\.\.\. completed/.test(started.output()),
      'the broker',
      120_000,
    );
  };
  // The signal reaches the shell in front only; the node ends itself.
  const shutDown = async () => {
    if (!daemon) return;
    const { process: child } = daemon;
    if (child.exitCode === null) await control('stop').catch(() => {});
    await daemon.stop();
    daemon = undefined;
  };
  const stop = async () => {
    await shutDown();
    await run(epmd, ['-port', String(epmdPort), '-kill'], { env }).catch(() => {});
    await directory.remove();
  };

  try {
    for (const name of ['data', 'log']) await mkdir(at(name));
    await writeFile(at('ca.pem'), options.caPem);
    await writeFile(at('cert.pem'), options.certificate.certPem);
    await writeFile(at('key.pem'), options.certificate.keyPem, { mode: 0o600 });
    await writeFile(at('plugins'), '[rabbitmq_amqp1_0].\n');
    await writeFile(
      at('rabbitmq.conf'),
      [
        `listeners.tcp.1 = 127.0.0.1:${port}`,
        `listeners.ssl.1 = 127.0.0.1:${tlsPort}`,
        `ssl_options.cacertfile = ${at('ca.pem')}`,
        `ssl_options.certfile = ${at('cert.pem')}`,
        `ssl_options.keyfile = ${at('key.pem')}`,
        'ssl_options.verify = verify_none',
        'log.console = true',
        'log.file = false',
        'vm_memory_high_watermark.absolute = 512MB',
        'disk_free_limit.absolute = 1MB',
        `default_user = ${user}`,
        `default_pass = ${password}`,
        ...(options.configuration ?? []),
        '',
      ].join('\n'),
    );
    await start();
    await control('add_vhost', 'orders');
    await control('set_permissions', '-p', 'orders', user, '.*', '.*', '.*');
    await control('add_user', stranger.user, stranger.password);
    await control('set_permissions', '-p', '/', stranger.user, '^$', '^$', '^$');
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    host: '127.0.0.1',
    server: { name: 'RabbitMQ', version: async () => (await control('version')).trim() },
    port,
    tlsPort,
    user,
    password,
    stranger,
    control,
    shutDown,
    async restart() {
      await shutDown();
      await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
