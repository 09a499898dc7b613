import { execFile, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { descendants, endProcess } from './processes.ts';
import { programVersion } from './proof.ts';
import {
  type Daemon,
  findProgram,
  freePort,
  needProgram,
  privateDirectory,
  type Service,
  startDaemon,
  waitForPort,
} from './service.ts';

const run = promisify(execFile);

export interface SshdOptions {
  /** Further lines of sshd_config, such as `MaxSessions 1`. */
  config?: string[];
}

export interface SshdService extends Service {
  readonly user: string;
  /** Undefined when the test does not run as root: then only the key logs in, as the current user. */
  readonly password: string | undefined;
  /** Unencrypted, OpenSSH format; in authorized_keys of the account. */
  readonly privateKey: string;
  /** Of the host key, as `ssh-keygen -lf` prints it. */
  readonly fingerprint: string;
  /** Directory that the account may write to. */
  readonly home: string;
  /** Ends the server and every session, and starts it again on the same port. */
  restart(): Promise<void>;
  /** The same with another host key. */
  restartWithNewHostKey(): Promise<void>;
  /** Process ids of the account's processes whose command line holds the text. */
  processes(text: string): Promise<number[]>;
}

/** OpenSSH on a port of its own, with an account of its own that `stop` removes. */
export async function startSshd(options: SshdOptions = {}): Promise<SshdService> {
  const sshd = needProgram('OpenSSH', 'sshd');
  const keygen = needProgram('OpenSSH', 'ssh-keygen');
  const directory = await privateDirectory('sshd');
  const at = (name: string) => join(directory.path, name);
  const port = await freePort();
  const isRoot = process.getuid?.() === 0;
  let daemon: Daemon | undefined;
  let account: Account | undefined;

  const makeKey = async (name: string) => {
    await run('rm', ['-f', at(name), at(`${name}.pub`)]);
    await run(keygen, ['-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', at(name)]);
  };
  const start = async () => {
    daemon = startDaemon(sshd, ['-D', '-e', '-f', at('sshd_config')]);
    await waitForPort(daemon, port);
  };
  const shutDown = async () => {
    if (!daemon) return;
    // Sessions outlive the listener; all of them are its descendants.
    const sessions = await descendants(daemon.process.pid!);
    const stopping = daemon.stop();
    daemon = undefined;
    // They hold the listener's standard error, so it does not end before them.
    for (const pid of sessions) endProcess(pid);
    await stopping;
  };
  const stop = async () => {
    await shutDown();
    await account?.remove();
    await directory.remove();
  };

  try {
    // The account must be able to pass through to its home.
    await chmod(directory.path, 0o755);
    const home = at('home');
    await mkdir(home, { mode: 0o755 });
    await makeKey('host_key');
    await makeKey('user_key');
    account = isRoot ? await createAccount(home) : currentUser();
    await writeFile(at('authorized_keys'), await readFile(at('user_key.pub')), { mode: 0o644 });
    if (account.uid !== undefined) await chown(home, account.uid, account.gid!);
    if (isRoot) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
    await writeFile(
      at('sshd_config'),
      [
        ...(options.config ?? []),
        `Port ${port}`,
        'ListenAddress 127.0.0.1',
        `HostKey ${at('host_key')}`,
        `PidFile ${at('pid')}`,
        `AuthorizedKeysFile ${at('authorized_keys')}`,
        'StrictModes no',
        'UsePAM no',
        'UseDNS no',
        'PasswordAuthentication yes',
        'MaxStartups 100',
        'MaxSessions 10',
        'Subsystem sftp internal-sftp',
        '',
      ].join('\n'),
    );
    await start();
    let fingerprint = await fingerprintOf(keygen, at('host_key.pub'));
    const { user, password } = account;
    return {
      host: '127.0.0.1',
      server: { name: 'OpenSSH', version: () => programVersion(sshd, '-V') },
      port,
      user,
      password,
      privateKey: await readFile(at('user_key'), 'utf8'),
      get fingerprint() {
        return fingerprint;
      },
      home,
      async restart() {
        await shutDown();
        await start();
      },
      async restartWithNewHostKey() {
        await shutDown();
        await makeKey('host_key');
        fingerprint = await fingerprintOf(keygen, at('host_key.pub'));
        await start();
      },
      async processes(text) {
        // It fails where the account has no process at all.
        const listed = await run('ps', ['-u', user, '-o', 'pid=,stat=,args=']).catch(() => ({ stdout: '' }));
        return listed.stdout
          .split('\n')
          .filter((line) => line.includes(text) && !/^\s*\d+\s+Z/.test(line))
          .map((line) => Number.parseInt(line, 10));
      },
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Account {
  user: string;
  password: string | undefined;
  uid: number | undefined;
  gid: number | undefined;
  remove(): Promise<void>;
}

function currentUser(): Account {
  const { username } = userInfo();
  return { user: username, password: undefined, uid: undefined, gid: undefined, async remove() {} };
}

async function createAccount(home: string): Promise<Account> {
  const useradd = needProgram('OpenSSH with an account of its own', 'useradd');
  const user = `pbtest${randomBytes(5).toString('hex')}`;
  const password = `Canary-${randomBytes(12).toString('base64url')}`;
  const userdel = findProgram('userdel')!;
  const removeNow = () => {
    spawnSync(userdel, ['-f', user]);
  };
  // Also when the test ends without having stopped the service.
  const onTerminate = () => {
    removeNow();
    process.exit(143);
  };
  process.once('exit', removeNow);
  process.once('SIGTERM', onTerminate);
  const remove = async () => {
    // Commands may outlive their session, and an account in use is not removed cleanly.
    const { stdout } = await run('ps', ['-u', user, '-o', 'pid=']).catch(() => ({ stdout: '' }));
    for (const pid of stdout.split('\n').map(Number)) if (pid > 1) endProcess(pid);
    await run(userdel, ['-f', user]);
    process.off('exit', removeNow);
    process.off('SIGTERM', onTerminate);
  };
  await run(useradd, [
    '--no-create-home',
    '--no-user-group',
    '--gid',
    'nogroup',
    '--home-dir',
    home,
    '--shell',
    '/bin/sh',
    user,
  ]);
  try {
    const chpasswd = spawn(needProgram('OpenSSH with an account of its own', 'chpasswd'), [], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    chpasswd.stdin.end(`${user}:${password}\n`);
    const status = await new Promise((resolve) => chpasswd.once('close', resolve));
    if (status !== 0) throw new Error(`chpasswd ended with ${status}`);
    const [uid, gid] = await Promise.all(
      ['-u', '-g'].map(async (flag) => Number((await run('id', [flag, user])).stdout)),
    );
    return { user, password, uid, gid, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function fingerprintOf(keygen: string, publicKeyFile: string): Promise<string> {
  const { stdout } = await run(keygen, ['-l', '-E', 'sha256', '-f', publicKeyFile]);
  return stdout.split(' ')[1]!;
}
