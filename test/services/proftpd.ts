import { execFile } from 'node:child_process';
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Certificate } from './certificates.ts';
import { descendants, endProcess } from './processes.ts';
import { programVersion } from './proof.ts';
import {
  type Daemon,
  freePort,
  needProgram,
  privateDirectory,
  type Service,
  startDaemon,
  waitForPort,
} from './service.ts';

const run = promisify(execFile);

export interface ProftpdOptions {
  certificate: Certificate;
  /** Authorities in PEM; with them both ports demand a client certificate of theirs. */
  clientCaPem?: string;
  /** Further lines of the configuration, for both ports. */
  config?: string[];
  /** Bytes that the account may upload; with it there is SFTP, too, on `sftpPort`. */
  quotaBytes?: number;
}

export interface ProftpdService extends Service {
  /** Speaks FTP, plain and with AUTH TLS, on `port`; this one speaks TLS from the first byte. */
  readonly implicitPort: number;
  /** Of SFTP, where there is a quota. */
  readonly sftpPort: number;
  readonly user: string;
  readonly password: string;
  /** What the account takes for its root. */
  readonly home: string;
  /** Ends the server and every session, and starts it again on the same ports. */
  restart(): Promise<void>;
}

/** proftpd with an account of its own file on ports of its own; throws `ServerMissing` without it. */
export async function startProftpd(options: ProftpdOptions): Promise<ProftpdService> {
  const proftpd = needProgram('proftpd', 'proftpd');
  const ftpasswd = needProgram('proftpd', 'ftpasswd');
  const directory = await privateDirectory('proftpd');
  const at = (name: string) => join(directory.path, name);
  const [port, implicitPort, sftpPort] = [await freePort(), await freePort(), await freePort()];
  const user = 'transfer';
  const password = 'Canary-p4ss/w+rd=ftp';
  const { quotaBytes } = options;
  const isRoot = process.getuid?.() === 0;
  const uid = isRoot ? 65534 : process.getuid!();
  const gid = isRoot ? 65534 : process.getgid!();
  let daemon: Daemon | undefined;

  const start = async () => {
    daemon = startDaemon(proftpd, ['-n', '-c', at('proftpd.conf')]);
    for (const each of [port, implicitPort, ...(quotaBytes === undefined ? [] : [sftpPort])])
      await waitForPort(daemon, each);
  };
  const shutDown = async () => {
    if (!daemon) return;
    const sessions = await descendants(daemon.process.pid!);
    const stopping = daemon.stop();
    daemon = undefined;
    for (const pid of sessions) endProcess(pid);
    await stopping;
  };
  const stop = async () => {
    await shutDown();
    await directory.remove();
  };

  try {
    await chmod(directory.path, 0o755);
    const home = at('home');
    await mkdir(home);
    await chown(home, uid, gid);
    await writeFile(at('cert.pem'), options.certificate.certPem);
    await writeFile(at('key.pem'), options.certificate.keyPem, { mode: 0o600 });
    if (options.clientCaPem !== undefined) await writeFile(at('client-ca.pem'), options.clientCaPem);
    const creating = run(ftpasswd, [
      '--passwd',
      `--file=${at('passwd')}`,
      `--name=${user}`,
      `--uid=${uid}`,
      `--gid=${gid}`,
      `--home=${home}`,
      '--shell=/bin/sh',
      '--stdin',
      '--sha512',
    ]);
    creating.child.stdin!.end(`${password}\n`);
    await creating;
    await chmod(at('passwd'), 0o600);
    const quota = quotaBytes === undefined ? [] : await makeQuota(directory.path, user, quotaBytes);
    const everywhere = [
      `AuthUserFile ${at('passwd')}`,
      'RequireValidShell off',
      'AllowOverwrite on',
      'DefaultRoot ~',
      ...quota,
    ];
    const shared = [
      ...everywhere,
      'TLSEngine on',
      `TLSRSACertificateFile ${at('cert.pem')}`,
      `TLSRSACertificateKeyFile ${at('key.pem')}`,
      'TLSProtocol TLSv1.2 TLSv1.3',
      ...(options.clientCaPem === undefined
        ? ['TLSVerifyClient off']
        : [`TLSCACertificateFile ${at('client-ca.pem')}`, 'TLSVerifyClient on']),
      `TLSLog ${at('tls.log')}`,
      ...(options.config ?? []),
    ];
    await writeFile(
      at('proftpd.conf'),
      [
        'LoadModule mod_tls.c',
        ...(quotaBytes === undefined
          ? []
          : ['quotatab', 'quotatab_file', 'sftp'].map((name) => `LoadModule mod_${name}.c`)),
        'ServerType standalone',
        'ServerName test',
        `Port ${port}`,
        'DefaultAddress 127.0.0.1',
        'SocketBindTight on',
        'UseIPv6 off',
        'UseReverseDNS off',
        'AuthOrder mod_auth_file.c',
        'WtmpLog off',
        `PidFile ${at('pid')}`,
        `ScoreboardFile ${at('scoreboard')}`,
        `DelayTable none`,
        `SystemLog ${at('log')}`,
        'TransferLog none',
        ...(isRoot ? ['User nobody', 'Group nogroup'] : []),
        ...shared,
        '<VirtualHost 127.0.0.1>',
        `  Port ${implicitPort}`,
        ...shared.map((line) => `  ${line}`),
        '  TLSOptions UseImplicitSSL',
        '</VirtualHost>',
        ...(quotaBytes === undefined
          ? []
          : [
              '<VirtualHost 127.0.0.1>',
              `  Port ${sftpPort}`,
              ...everywhere.map((line) => `  ${line}`),
              '  SFTPEngine on',
              // As servers other than OpenSSH: what is there must go before a rename.
              '  SFTPExtensions -posixRename',
              `  SFTPHostKey ${at('host_key')}`,
              '</VirtualHost>',
            ]),
        '',
      ].join('\n'),
    );
    await start();
    return {
      host: '127.0.0.1',
      server: { name: 'ProFTPD', version: () => programVersion(proftpd, '-v') },
      port,
      implicitPort,
      sftpPort,
      user,
      password,
      home,
      async restart() {
        await shutDown();
        await start();
      },
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The tables of a quota of uploaded bytes, and a host key for SFTP; answers the lines that go with them. */
async function makeQuota(directory: string, user: string, bytes: number): Promise<string[]> {
  const [limits, tallies] = [join(directory, 'limits'), join(directory, 'tallies')];
  const ftpquota = needProgram('proftpd', 'ftpquota');
  await run(ftpquota, ['--create-table', '--type=limit', `--table-path=${limits}`]);
  await run(ftpquota, ['--create-table', '--type=tally', `--table-path=${tallies}`]);
  await run(ftpquota, [
    '--add-record',
    '--type=limit',
    `--table-path=${limits}`,
    `--name=${user}`,
    '--quota-type=user',
    '--limit-type=hard',
    `--bytes-upload=${bytes}`,
  ]);
  const keygen = needProgram('OpenSSH', 'ssh-keygen');
  await run(keygen, ['-q', '-t', 'ed25519', '-N', '', '-f', join(directory, 'host_key')]);
  return ['QuotaEngine on', `QuotaLimitTable file:${limits}`, `QuotaTallyTable file:${tallies}`];
}
