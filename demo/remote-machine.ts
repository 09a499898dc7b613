import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import ssh2, { type ServerChannel, type Connection as SshConnection } from 'ssh2';
import { fingerprintOf } from '../src/connectors/transport/ssh-host-key.ts';
import { serveFiles } from './sftp-files.ts';
import { host, listen, newPassword, type Target } from './target.ts';

const { Server, utils } = ssh2;
const username = 'demo';

/**
 * A machine to be reached by SSH: files below a directory by SFTP, and commands that run there with the
 * rights of whoever started the demo. Its one account has a password that is made at each start.
 */
export async function startRemoteMachine(directory: string): Promise<Target> {
  const password = newPassword();
  await mkdir(join(directory, 'invoices'), { recursive: true });
  await writeFile(join(directory, 'invoices', '1001.txt'), 'Invoice 1001\nOne plugboard, 24 jacks: 480.00\n');
  const hostKey = utils.generateKeyPairSync('ed25519').private;
  const parsed = utils.parseKey(hostKey);
  if (parsed instanceof Error) throw parsed;
  const running = new Set<ChildProcess>();
  const clients = new Set<SshConnection>();

  const server = new Server({ hostKeys: [hostKey] }, (client) => {
    clients.add(client);
    client.on('error', () => {});
    client.on('close', () => clients.delete(client));
    client.on('authentication', (attempt) => {
      if (attempt.method === 'password' && attempt.username === username && attempt.password === password)
        attempt.accept();
      else attempt.reject(['password']);
    });
    client.on('session', (acceptSession) => {
      const session = acceptSession();
      let child: ChildProcess | undefined;
      session.on('sftp', (accept) => serveFiles(accept(), directory));
      session.on('exec', (accept, _reject, { command }) => {
        child = runCommand(command, directory, accept());
        running.add(child);
        child.once('close', () => running.delete(child!));
      });
      session.on('signal', (_accept, _reject, { name }) => killGroup(child, `SIG${name}` as NodeJS.Signals));
      session.on('close', () => killGroup(child, 'SIGKILL'));
    });
  });
  const port = await listen(server);
  const login = { username, password, hostKeyFingerprint: fingerprintOf(parsed.getPublicSSH()) };
  return {
    connections: [
      {
        type: 'ftp',
        name: 'invoice-files',
        description: 'Files over SFTP, in a directory of the demo that is gone when it ends.',
        protocol: 'SFTP',
        host,
        port,
        ...login,
      },
      {
        type: 'linux-script',
        name: 'maintenance',
        description: 'Runs commands on this machine over SSH, in the directory of invoice-files.',
        hostName: host,
        sshPort: port,
        ...login,
      },
    ],
    async stop() {
      for (const child of running) killGroup(child, 'SIGKILL');
      for (const client of clients) client.end();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function runCommand(command: string, directory: string, channel: ServerChannel): ChildProcess {
  const child = spawn('/bin/sh', ['-c', command], {
    cwd: directory,
    // No variable of whoever started the demo, which may be secrets.
    env: { PATH: process.env['PATH'], HOME: directory, LANG: 'C.UTF-8' },
    // A group of its own, to be ended with all that it starts.
    detached: true,
  });
  channel.on('error', () => {});
  child.stdin.on('error', () => {});
  channel.pipe(child.stdin);
  child.stdout.pipe(channel, { end: false });
  child.stderr.pipe(channel.stderr, { end: false });
  child.on('error', () => channel.exit(127));
  child.on('close', (code, signal) => {
    if (signal) channel.exit(signal.replace(/^SIG/, ''));
    else channel.exit(code ?? 0);
    channel.end();
  });
  return child;
}

function killGroup(child: ChildProcess | undefined, signal: NodeJS.Signals): void {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It is gone, or the signal is none that this system knows.
  }
}
