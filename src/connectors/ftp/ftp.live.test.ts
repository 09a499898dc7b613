import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { type ProftpdOptions, startProftpd } from '../../../test/services/proftpd.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { startSshd } from '../../../test/services/sshd.ts';
import type { ConfigOf, InputOf } from '../../contract/connection-type.ts';
import type { StageName, StageResult } from '../../contract/worker-protocol.ts';
import { ftpConnector } from './ftp.connector.ts';
import type { ftp } from './ftp.definition.ts';

type Config = ConfigOf<typeof ftp>;
type Operations = (typeof ftp)['operations'];
type Inputs = { [K in keyof Operations]: InputOf<Operations[K]> };

const authority = createAuthority();
const certificate = authority.issue({ commonName: 'files.test', names: ['localhost'], ips: ['127.0.0.1'] });
const trust = trustIn(authority.caPem);
const wrongPassword = 'Canary-wr0ng-passw0rd';

/** A server with what all protocols need to be told of it. */
interface Server {
  settings: Partial<Config>;
  /** The working directory, as this machine sees it. */
  directory: string;
  secrets: string[];
  restart(): Promise<void>;
}

const base: Config = {
  type: 'ftp',
  name: 'files',
  deployToWorker: true,
  enabled: true,
  environments: [],
  labels: {},
  circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
  host: '127.0.0.1',
  protocol: 'FTP',
  useImplicit: false,
  useExplicit: false,
  sslProtocol: 'TLS',
  verifyCertificate: true,
  username: 'nobody',
  workingDir: '/',
  timeout: 20_000,
  retryCount: 0,
};

async function serveFtp(
  t: TestContext,
  transport: 'plain' | 'explicit' | 'implicit',
  options: Partial<ProftpdOptions> = {},
): Promise<Server | undefined> {
  const service = await startOrSkip(t, () => startProftpd({ certificate, ...options }));
  if (!service) return undefined;
  t.after(() => service.stop());
  const directory = join(service.home, 'work dir');
  await mkdir(directory, { mode: 0o777 });
  await chmod(directory, 0o777);
  return {
    settings: {
      port: transport === 'implicit' ? service.implicitPort : service.port,
      protocol: transport === 'plain' ? 'FTP' : 'FTPS',
      useImplicit: transport === 'implicit',
      useExplicit: transport === 'explicit',
      username: service.user,
      password: service.password,
      workingDir: '/work dir',
    },
    directory,
    secrets: [service.password],
    restart: () => service.restart(),
  };
}

async function serveSftp(t: TestContext): Promise<Server | undefined> {
  const service = await startOrSkip(t, () => startSshd());
  if (!service) return undefined;
  t.after(() => service.stop());
  const directory = join(service.home, 'work dir');
  await mkdir(directory, { mode: 0o777 });
  await chmod(directory, 0o777);
  const { password, privateKey, user, port, fingerprint } = service;
  return {
    settings: {
      port,
      protocol: 'SFTP',
      username: user,
      ...(password === undefined ? { privateKey } : { password }),
      hostKeyFingerprint: fingerprint,
      workingDir: directory,
    },
    directory,
    secrets: [password ?? privateKey],
    restart: () => service.restart(),
  };
}

const protocols = [
  { title: 'FTP', serve: (t: TestContext) => serveFtp(t, 'plain'), tls: false, silentAt: 'connect' },
  {
    title: 'FTPS explicit',
    serve: (t: TestContext) => serveFtp(t, 'explicit'),
    tls: true,
    silentAt: 'connect',
  },
  { title: 'FTPS implicit', serve: (t: TestContext) => serveFtp(t, 'implicit'), tls: true, silentAt: 'tls' },
  { title: 'SFTP', serve: (t: TestContext) => serveSftp(t), tls: false, silentAt: 'connect' },
] as const;

/** Opens a connection for one test; it is closed behind it. */
function open(t: TestContext, settings: Partial<Config>) {
  const ctx = createContext({ signal: new AbortController().signal, trust });
  const live = ftpConnector.open({ ...base, ...settings }, ctx);
  assert.ok(!(live instanceof Promise));
  t.after(() => ftpConnector.close(live));
  const call = () => ({ signal: AbortSignal.timeout(60_000) });
  const { operations } = ftpConnector;
  return {
    live,
    ctx,
    list: (input: Inputs['list'] = {}) => operations.list(live, input, call()),
    upload: (input: Inputs['upload']) => operations.upload(live, input, call()),
    download: (input: Inputs['download']) => operations.download(live, input, call()),
    remove: (input: Inputs['delete']) => operations.delete(live, input, call()),
    rename: (input: Inputs['rename']) => operations.rename(live, input, call()),
    mkdir: (input: Inputs['mkdir']) => operations.mkdir(live, input, call()),
  };
}

async function stagesOf(settings: Partial<Config>, trusted = trust) {
  const ctx = createContext({ signal: AbortSignal.timeout(60_000), trust: trusted });
  const { stages, warnings = [] } = await testConnection(ftpConnector, { ...base, ...settings }, ctx);
  const byName = Object.fromEntries(stages.map((stage) => [stage.stage, stage])) as Record<
    StageName,
    StageResult
  >;
  return { ...byName, warnings };
}

const code = (expected: string) => (error: unknown) => {
  const failure = ftpConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  return true;
};

for (const { title, serve, tls, silentAt } of protocols) {
  test(`ftp contract, ${title}`, async (t) => {
    const server = await serve(t);
    if (!server) return;
    const config = (settings: Partial<Config> = {}) => ({ ...base, ...server.settings, ...settings });
    const hasPassword = server.settings.password !== undefined;
    await connectorContract(t, title, {
      connector: ftpConnector,
      config: () => config(),
      configAt: ({ host, port, timeoutMs }) => config({ host, port, timeout: timeoutMs, retryCount: 1 }),
      badCredentials: hasPassword ? () => config({ password: wrongPassword }) : undefined,
      operate: (live, call) => ftpConnector.operations.list(live, {}, call),
      restart: () => server.restart(),
      trust,
      silentAt,
      garbledAt: silentAt,
      secrets: [...server.secrets, wrongPassword],
      tls,
    });
  });

  test(`files over ${title}`, async (t) => {
    const server = await serve(t);
    if (!server) return;
    const files = open(t, server.settings);
    const { directory } = server;

    await t.test('a file comes back byte for byte', async () => {
      for (const size of [0, 1, 32_768, 1_000_003]) {
        const content = Buffer.alloc(size, 'ab\0\r\n\xff', 'latin1').toString('base64');
        assert.deepEqual(await files.upload({ path: 'data.bin', content }), { path: 'data.bin', size });
        assert.equal((await readFile(join(directory, 'data.bin'))).toString('base64'), content);
        assert.deepEqual(await files.download({ path: './data.bin' }), {
          path: 'data.bin',
          size,
          content,
          encoding: 'base64',
        });
      }
      await files.upload({ path: 'text ü.txt', content: 'Grüße', encoding: 'utf8' });
      assert.equal((await files.download({ path: 'text ü.txt', encoding: 'utf8' })).content, 'Grüße');
      assert.deepEqual(
        (await readdir(directory)).toSorted(),
        ['data.bin', 'text ü.txt'],
        'no temporary file',
      );
    });
    await t.test('lists with type, size and time', async () => {
      await mkdir(join(directory, 'sub'));
      const { entries, truncated } = await files.list();
      const byName = Object.fromEntries(entries.map((entry) => [entry.name, entry]));
      assert.deepEqual(Object.keys(byName).toSorted(), ['data.bin', 'sub', 'text ü.txt']);
      assert.equal(byName['data.bin']?.type, 'file');
      assert.equal(byName['data.bin']?.size, 1_000_003);
      assert.match(byName['data.bin']?.modifiedAt ?? '', /^\d{4}-\d\d-\d\dT/);
      assert.match(byName['data.bin']?.permissions ?? '', /^rw-/);
      assert.equal(byName['sub']?.type, 'directory');
      assert.equal(truncated, false);
      const first = await files.list({ path: '.', maxEntries: 2 });
      assert.equal(first.entries.length, 2);
      assert.equal(first.truncated, true);
      assert.deepEqual(await files.list({ path: 'sub' }), { entries: [], truncated: false });
    });
    await t.test('what is no text is not repaired', async () => {
      await files.upload({ path: 'no-text.bin', content: '//4=' });
      await assert.rejects(
        files.download({ path: 'no-text.bin', encoding: 'utf8' }),
        code('request_rejected'),
      );
      assert.equal((await files.download({ path: 'no-text.bin' })).content, '//4=');
      await rm(join(directory, 'no-text.bin'), { force: true });
    });
    await t.test('a file that is there is replaced, or not', async () => {
      await files.upload({ path: 'a.txt', content: 'one', encoding: 'utf8' });
      await files.upload({ path: 'a.txt', content: 'two', encoding: 'utf8' });
      await assert.rejects(
        files.upload({ path: 'a.txt', content: 'three', encoding: 'utf8', overwrite: false }),
        code('request_rejected'),
      );
      assert.equal(await readFile(join(directory, 'a.txt'), 'utf8'), 'two');
    });
    await t.test('makes directories, renames, deletes', async () => {
      await files.upload({ path: 'x/y/z.txt', content: 'z', encoding: 'utf8', makeDirectories: true });
      await files.mkdir({ path: 'x/y/w', parents: true });
      await files.mkdir({ path: 'x/y/w', parents: true });
      await assert.rejects(files.mkdir({ path: 'x/y/w' }), code('request_rejected'));
      await assert.rejects(files.mkdir({ path: 'none/sub' }), code('request_rejected'));
      assert.deepEqual(await files.rename({ from: 'x/y/z.txt', to: 'x/moved.txt' }), {
        from: 'x/y/z.txt',
        to: 'x/moved.txt',
      });
      await assert.rejects(files.rename({ from: 'x/moved.txt', to: 'a.txt' }), code('request_rejected'));
      assert.equal(await readFile(join(directory, 'a.txt'), 'utf8'), 'two');
      await assert.rejects(files.remove({ path: 'x', directory: true }), code('request_rejected'));
      await files.remove({ path: 'x/moved.txt' });
      await files.remove({ path: 'x/y/w', directory: true });
      await files.remove({ path: 'x/y', directory: true });
      await files.remove({ path: 'x', directory: true });
      assert.ok(!(await readdir(directory)).includes('x'));
    });
    await t.test('what is missing or too large is an error', async () => {
      await assert.rejects(files.download({ path: 'none.txt' }), code('request_rejected'));
      await assert.rejects(files.list({ path: 'none' }), code('request_rejected'));
      await assert.rejects(files.download({ path: 'data.bin', maxBytes: 1000 }), code('message_too_large'));
      await assert.rejects(files.upload({ path: 'none/a.txt', content: '' }), code('request_rejected'));
      assert.equal((await files.download({ path: 'a.txt', encoding: 'utf8' })).content, 'two');
    });
    await t.test('security 11: paths stay in the working directory', async () => {
      await writeFile(join(directory, '..', 'outside.txt'), 'outside');
      for (const path of [
        '../outside.txt',
        'a/../../outside.txt',
        '/outside.txt',
        'a\r\nDELE a.txt',
        'a\0',
        '..\\x',
      ])
        for (const attempt of [
          files.download({ path }),
          files.upload({ path, content: '' }),
          files.remove({ path }),
          files.rename({ from: path, to: 'b' }),
          files.rename({ from: 'a.txt', to: path }),
          files.mkdir({ path }),
          files.list({ path }),
        ])
          await assert.rejects(attempt, code('request_rejected'));
      await symlink('..', join(directory, 'up'));
      await assert.rejects(files.list({ path: 'up' }), code('permission_denied'));
      await assert.rejects(files.download({ path: 'up/outside.txt' }), code('permission_denied'));
      await assert.rejects(files.remove({ path: 'up/outside.txt' }), code('permission_denied'));
      await assert.rejects(files.upload({ path: 'up/new.txt', content: '' }), code('permission_denied'));
      assert.equal(await readFile(join(directory, '..', 'outside.txt'), 'utf8'), 'outside');
    });
    await t.test('a directory without the right to write says so', async () => {
      await mkdir(join(directory, 'locked'), { mode: 0o555 });
      if (process.getuid?.() !== 0) return;
      await assert.rejects(
        files.upload({ path: 'locked/a.txt', content: 'YQ==' }),
        code('permission_denied'),
      );
      assert.deepEqual(await readdir(join(directory, 'locked')), []);
    });
  });
}

test('the test names server, certificate, log-in and working directory', async (t) => {
  const server = await serveFtp(t, 'explicit');
  if (!server) return;
  const seen = await stagesOf(server.settings);
  assert.match(seen.connect?.detail ?? '', /127\.0\.0\.1 port \d+: 220 /);
  assert.match(
    seen.tls?.detail ?? '',
    /^TLSv1\.3, .*explicit.*subject files\.test, issuer Plugboard Test CA, valid until/,
  );
  assert.equal(seen.authenticate?.detail, 'as transfer');
  assert.match(seen.operate?.detail ?? '', /\/work dir has 0 entries/);
  const missing = await stagesOf({ ...server.settings, workingDir: '/none' });
  assert.equal(missing.operate?.code, 'request_rejected');
  assert.match(missing.operate?.hint ?? '', /workingDir/);
  const untrusted = await stagesOf(server.settings, trustIn(createAuthority('Another CA').caPem));
  assert.equal(untrusted.tls?.code, 'certificate_untrusted');
  assert.equal(untrusted.authenticate?.status, 'skipped');
  const otherName = await stagesOf({ ...server.settings, host: '127.0.0.2' });
  assert.equal(otherName.connect?.status, 'failed');
  const unverified = await stagesOf(
    { ...server.settings, verifyCertificate: false },
    trustIn(createAuthority('Another CA').caPem),
  );
  assert.match(unverified.operate?.detail ?? '', /entries/);
  assert.match(unverified.tls?.detail ?? '', /NOT verified/);
  const plain = await stagesOf({ ...server.settings, protocol: 'FTP', useExplicit: false });
  assert.equal(plain.tls?.status, 'skipped');
  assert.match(plain.tls?.detail ?? '', /the server offers TLS: use protocol FTPS with useExplicit/);
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const)
  for (const transport of ['explicit', 'implicit'] as const)
    test(`${version} alone, ${transport}, with data connections that resume its session`, async (t) => {
      // proftpd refuses a data connection whose TLS session is not that of the control connection.
      const server = await serveFtp(t, transport);
      if (!server) return;
      const settings = { ...server.settings, sslProtocol: version };
      const { tls } = await stagesOf(settings);
      assert.ok(tls?.detail?.startsWith(version), tls?.detail);
      const files = open(t, settings);
      for (let round = 0; round < 3; round++) {
        await files.upload({ path: 'a.txt', content: 'one', encoding: 'utf8' });
        assert.equal((await files.download({ path: 'a.txt', encoding: 'utf8' })).content, 'one');
      }
    });

/** An FTP server of a few lines, to say what a real one does not. */
async function startScriptedFtp(t: TestContext, answer: (command: string, socket: Socket) => string) {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    socket.write('220 scripted\r\n');
    socket.on('data', (chunk) => {
      for (const command of chunk.toString().split('\r\n').filter(Boolean)) {
        seen.push(command);
        const reply = answer(command, socket);
        if (reply) socket.write(reply);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as { port: number }).port, seen };
}

const usual = (command: string): string => {
  if (command === 'PWD') return '257 "/" is it\r\n';
  if (command.startsWith('USER')) return '331 password\r\n';
  if (command.startsWith('PASS')) return '230 in\r\n';
  if (/^(EPSV|FEAT)/.test(command)) return '500 no\r\n';
  return '200 ok\r\n';
};

test('an address that the server names for data is never dialled', async (t) => {
  let dialled = 0;
  let control: Socket;
  const data = createServer((socket) => {
    dialled++;
    socket.end('-rw-r--r-- 1 a a 3 Jan 1 2020 seen.txt\r\n');
    control.write('226 done\r\n');
  });
  await new Promise<void>((resolve) => data.listen(0, '127.0.0.1', resolve));
  t.after(() => data.close());
  const { port: dataPort } = data.address() as { port: number };
  const { port } = await startScriptedFtp(t, (command, socket) => {
    control = socket;
    // The address of the clouds' metadata service.
    if (command === 'PASV')
      return `227 Entering Passive Mode (169,254,169,254,${dataPort >> 8},${dataPort & 255})\r\n`;
    return command.startsWith('LIST') ? '150 here\r\n' : usual(command);
  });
  const files = open(t, { port, username: 'u', password: 'Canary-1234' });
  const { entries } = await files.list();
  assert.deepEqual(
    entries.map(({ name }) => name),
    ['seen.txt'],
  );
  assert.equal(dialled, 1);
});

test('a broken transfer is tried again on a new connection, a refused one is not', async (t) => {
  let transfers = 0;
  const { port, seen } = await startScriptedFtp(t, (command, socket) => {
    if (command === 'PASV') {
      transfers++;
      socket.destroy();
      return '';
    }
    return usual(command);
  });
  const files = open(t, { port, username: 'u', password: 'Canary-1234', retryCount: 2 });
  await assert.rejects(files.list(), code('connection_lost'));
  assert.equal(transfers, 3);
  assert.equal(seen.filter((command) => command.startsWith('PASS')).length, 3);

  const refusing = await startScriptedFtp(t, (command) =>
    command.startsWith('PASS') ? '530 no\r\n' : usual(command),
  );
  const refused = open(t, { port: refusing.port, username: 'u', password: 'Canary-1234', retryCount: 5 });
  await assert.rejects(refused.list(), code('authentication_failed'));
  assert.equal(refusing.seen.filter((command) => command.startsWith('PASS')).length, 1);
});

test('a server without TLS is an error, not a fall-back', async (t) => {
  const { port, seen } = await startScriptedFtp(t, (command) =>
    command.startsWith('AUTH') ? '502 no\r\n' : usual(command),
  );
  const settings = {
    port,
    protocol: 'FTPS',
    useExplicit: true,
    username: 'u',
    password: 'Canary-1234',
  } as const;
  const { tls, authenticate } = await stagesOf(settings);
  assert.equal(tls?.code, 'tls_not_offered');
  assert.equal(authenticate?.status, 'skipped');
  assert.ok(!seen.some((command) => /^(USER|PASS)/.test(command)), seen.join());
});

test('FTP: an upload that may not be renamed leaves the file that was there', async (t) => {
  const server = await serveFtp(t, 'plain', { config: ['<Limit RNFR RNTO>', 'DenyAll', '</Limit>'] });
  if (!server) return;
  await writeFile(join(server.directory, 'orders.csv'), 'old', { mode: 0o666 });
  const live = await ftpConnector.open(
    { ...base, ...server.settings },
    createContext({ signal: new AbortController().signal }),
  );
  t.after(() => ftpConnector.close(live));
  await assert.rejects(
    ftpConnector.operations.upload(
      live,
      { path: 'orders.csv', content: 'new', encoding: 'utf8' },
      { signal: AbortSignal.timeout(20_000) },
    ),
    code('permission_denied'),
  );
  assert.equal(await readFile(join(server.directory, 'orders.csv'), 'utf8'), 'old');
  assert.deepEqual(await readdir(server.directory), ['orders.csv']);
});
