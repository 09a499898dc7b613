import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext } from '../../../test/contract/connector-context.ts';
import { startTap } from '../../../test/contract/tap.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { startProftpd } from '../../../test/services/proftpd.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { startSshd } from '../../../test/services/sshd.ts';
import { parseConnection } from '../../contract/validation.ts';
import { ftpConnector } from './ftp.connector.ts';
import { ftp } from './ftp.definition.ts';
import { startPlainSftp } from './test-sftp-server.ts';
import { upload } from './test-upload.ts';

const certificate = createAuthority().issue({ commonName: 'files.test', names: ['localhost'] });
const large = 64 * 1024 * 1024;
const code = (expected: string) => (error: unknown) => {
  const failure = ftpConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  return true;
};

async function open(t: TestContext, settings: object) {
  const parsed = parseConnection(ftp, { type: 'ftp', name: 'files', host: '127.0.0.1', ...settings });
  assert.ok(parsed.ok, JSON.stringify(parsed));
  const live = await ftpConnector.open(
    parsed.config as never,
    createContext({ signal: new AbortController().signal }),
  );
  t.after(() => ftpConnector.close(live));
  return live;
}

async function until(what: string, holds: () => Promise<boolean>) {
  const deadline = Date.now() + 20_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `never: ${what}`);
    await sleep(1);
  }
}

interface Place {
  settings: object;
  directory: string;
}

const servers: Record<string, (t: TestContext) => Promise<Place | undefined>> = {
  async FTP(t) {
    const server = await startOrSkip(t, () => startProftpd({ certificate }));
    if (!server) return undefined;
    t.after(() => server.stop());
    const { port, user: username, password, home } = server;
    const directory = join(home, 'in');
    await mkdir(directory);
    await chmod(directory, 0o777);
    return { settings: { port, protocol: 'FTP', username, password, workingDir: '/in' }, directory };
  },
  async SFTP(t) {
    const server = await startOrSkip(t, () => startSshd());
    if (!server) return undefined;
    t.after(() => server.stop());
    const { port, user: username, password, privateKey, home } = server;
    const directory = join(home, 'in');
    await mkdir(directory);
    await chmod(directory, 0o777);
    const secret = password === undefined ? { privateKey } : { password };
    return { settings: { port, protocol: 'SFTP', username, ...secret, workingDir: directory }, directory };
  },
};

for (const [protocol, serve] of Object.entries(servers))
  test(`${protocol}: an upload that is cancelled is answered at once, and leaves no temporary file`, async (t) => {
    const server = await serve(t);
    if (!server) return;
    const live = await open(t, server.settings);
    await writeFile(join(server.directory, 'orders.csv'), 'old', { mode: 0o666 });
    const calling = new AbortController();
    const call = ftpConnector.operations.upload(
      live,
      { path: 'orders.csv', content: 'x'.repeat(large), encoding: 'utf8' },
      { signal: calling.signal },
    );
    const answered = assert.rejects(call, code('cancelled'));
    await until('the upload has begun', async () => (await readdir(server.directory)).length > 1);
    calling.abort();
    const isAtOnce = await Promise.race([answered.then(() => true), sleep(0, false)]);
    assert.equal(isAtOnce, true, 'the answer waits for nobody');
    await until('nothing is left', async () => (await readdir(server.directory)).length === 1);
    assert.equal(await readFile(join(server.directory, 'orders.csv'), 'utf8'), 'old');
    await upload(live, 'orders.csv', 3);
    assert.deepEqual(await readdir(server.directory), ['orders.csv']);
    await until('its places are free', async () => live.pool.figures.sessions === live.pool.figures.idle);
  });

function plainSettings(port: number, workingDir: string) {
  return { port, protocol: 'SFTP', username: 'u', password: 'Canary-1234', workingDir, retryCount: 0 };
}

/** A directory, and a connection to it over a server without posix-rename@openssh.com. */
async function openPlain(t: TestContext, behaviour: Parameters<typeof startPlainSftp>[1] = {}) {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'sftp-')));
  t.after(() => rm(directory, { recursive: true }));
  const { port } = await startPlainSftp(t, behaviour);
  return { directory, live: await open(t, plainSettings(port, directory)) };
}

test('SFTP: without posix-rename@openssh.com a file that is there steps aside, and goes once it is replaced', async (t) => {
  const { directory, live } = await openPlain(t);
  await upload(live, 'orders.csv', 3);
  await upload(live, 'orders.csv', 5);
  assert.equal(await readFile(join(directory, 'orders.csv'), 'utf8'), 'xxxxx');
  assert.deepEqual(await readdir(directory), ['orders.csv']);
});

test('SFTP: a file that stepped aside comes back when nothing can take its place', async (t) => {
  const { directory, live } = await openPlain(t, { refuseRename: (from) => from.endsWith('.part') });
  await writeFile(join(directory, 'orders.csv'), 'old');
  await assert.rejects(upload(live, 'orders.csv', 5), code('request_rejected'));
  assert.equal(await readFile(join(directory, 'orders.csv'), 'utf8'), 'old');
  assert.deepEqual(await readdir(directory), ['orders.csv']);
});

test('SFTP: a file that stepped aside comes back over another session when this one ends', async (t) => {
  const { directory, live } = await openPlain(t, { endAtRename: (_from, to) => to.endsWith('.before') });
  await writeFile(join(directory, 'orders.csv'), 'old');
  await assert.rejects(upload(live, 'orders.csv', 5), code('connection_lost'));
  await until('it is back', async () => (await readdir(directory)).join() === 'orders.csv');
  assert.equal(await readFile(join(directory, 'orders.csv'), 'utf8'), 'old');
});

test('SFTP: an upload whose connection breaks leaves no temporary file', async (t) => {
  const { directory, live } = await openPlain(t, { endAfterBytes: 1024 * 1024 });
  await assert.rejects(upload(live, 'orders.csv', 4 * 1024 * 1024), code('connection_lost'));
  await until('nothing is left', async () => (await readdir(directory)).length === 0);
});

test('SFTP: the close of a connection does not wait for what is still to be removed', async (t) => {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'sftp-')));
  t.after(() => rm(directory, { recursive: true }));
  const tap = await startTap(t, (await startPlainSftp(t)).port);
  const live = await open(t, plainSettings(tap.port, directory));
  const calling = new AbortController();
  const call = ftpConnector.operations.upload(
    live,
    { path: 'orders.csv', content: 'x'.repeat(large), encoding: 'utf8' },
    { signal: calling.signal },
  );
  const answered = assert.rejects(call, code('cancelled'));
  await until('the upload has begun', async () => (await readdir(directory)).length > 0);
  tap.mute();
  calling.abort();
  await answered;
  await until('another session is being opened', async () => live.pool.figures.sessions === 1);
  await ftpConnector.close(live);
  await sleep(1);
  assert.equal(live.pool.figures.sessions, 0);
});
