import { isUtf8 } from 'node:buffer';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionOptions } from 'node:tls';
import type { ConfigOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import { abortError, type ConnectorContext, defineConnector, type Stages } from '../connector.ts';
import { describeTls } from '../transport/describe-tls.ts';
import { SessionPool } from '../transport/session-pool.ts';
import { classifySshError } from '../transport/ssh-errors.ts';
import { readSshSettings, SshSession, type SshSettings } from '../transport/ssh-session.ts';
import { isHandshakeCutOff } from '../transport/tls-errors.ts';
import { asideName, type FileSession } from './file-session.ts';
import { effectivePort, ftp } from './ftp.definition.ts';
import { classifyFtpError } from './ftp-errors.ts';
import { FtpSession, type FtpSettings } from './ftp-session.ts';
import { entryPath, relativePath } from './remote-path.ts';
import { SftpSession } from './sftp-session.ts';

type FtpConfig = ConfigOf<typeof ftp>;
type Settings = { kind: 'ftp'; ftp: FtpSettings } | { kind: 'sftp'; ssh: SshSettings; workingDir: string };

interface LiveFtp {
  readonly pool: SessionPool<FileSession>;
  readonly retries: number;
  /** Aborted by close and by the worker. */
  readonly signal: AbortSignal;
  readonly closing: AbortController;
}

const maxSessions = 5;
/** Shorter than the minutes after which servers end an idle session. */
const idleMs = 30_000;
const longestMs = 2_147_483_647;
const defaultMaxEntries = 10_000;
const defaultMaxBytes = 16 * 1024 * 1024;
/** How long what an upload left behind is tried to be removed. */
const clearingMs = 10_000;

/** Lists, reads and writes files over FTP, FTPS and SFTP. */
export const ftpConnector = defineConnector<typeof ftp, LiveFtp>(ftp, {
  open(config, ctx) {
    const settings = readSettings(config, ctx);
    const closing = new AbortController();
    return {
      pool: new SessionPool((signal) => openSession(settings, signal), { maxSessions, idleMs }),
      retries: config.retryCount,
      signal: AbortSignal.any([ctx.signal, closing.signal]),
      closing,
    };
  },

  async prove(live, { signal }) {
    const either = AbortSignal.any([live.signal, signal]);
    await live.pool.use(either, (session) => session.prove(either));
  },

  async test(config, stages, ctx) {
    const settings = readSettings(config, ctx);
    const host = settings.kind === 'ftp' ? settings.ftp.host : settings.ssh.host;
    await stages.run('resolve', async (note) => {
      const addresses = await ctx.network.resolve(host, ctx.signal);
      note.detail(`${host} → ${addresses.map(({ address }) => address).join(', ')}`);
    });
    if (settings.kind === 'ftp') await testFtp(settings.ftp, stages, ctx.signal);
    else await testSftp(settings.ssh, settings.workingDir, stages, ctx.signal);
  },

  operations: {
    async list(live, input, { signal }) {
      const path = relativePath(input.path ?? '');
      return transfer(live, signal, (session, either) =>
        session.list(path, input.maxEntries ?? defaultMaxEntries, either),
      );
    },
    async upload(live, input, { signal }) {
      const path = entryPath(input.path);
      const content = decode(input.content, input.encoding ?? 'base64');
      const { overwrite = true, makeDirectories = false } = input;
      await transfer(live, signal, async (session, either) => {
        try {
          await session.upload(path, content, { overwrite, makeDirectories }, either);
        } catch (error) {
          if (session.leftover !== undefined) void clearAway(live, path, session.leftover);
          throw error;
        }
      });
      return { path, size: content.length };
    },
    async download(live, input, { signal }) {
      const path = entryPath(input.path);
      const encoding = input.encoding ?? 'base64';
      const content = await transfer(live, signal, (session, either) =>
        session.download(path, input.maxBytes ?? defaultMaxBytes, either),
      );
      return { path, size: content.length, content: textOf(content, encoding), encoding };
    },
    async delete(live, input, { signal }) {
      const path = entryPath(input.path);
      await once(live, signal, (session, either) => session.delete(path, input.directory ?? false, either));
      return { path };
    },
    async rename(live, input, { signal }) {
      const [from, to] = [entryPath(input.from), entryPath(input.to)];
      await once(live, signal, (session, either) => session.rename(from, to, either));
      return { from, to };
    },
    async mkdir(live, input, { signal }) {
      const path = entryPath(input.path);
      await once(live, signal, (session, either) =>
        session.makeDirectory(path, input.parents ?? false, either),
      );
      return { path };
    },
  },

  figures: ({ pool }) => pool.figures,

  async close(live) {
    live.closing.abort(new AppError('cancelled', 'The connection was closed'));
    await live.pool.close();
  },

  classify,
});

function classify(error: unknown): AppError {
  return (
    classifyFtpError(error) ??
    classifySshError(error) ??
    new AppError('internal_error', undefined, { cause: error })
  );
}

type Work<T> = (session: FileSession, signal: AbortSignal) => Promise<T>;

/** Changes of names are not repeated by themselves: the first attempt may have been carried out. */
function once<T>(live: LiveFtp, signal: AbortSignal, work: Work<T>): Promise<T> {
  const either = AbortSignal.any([live.signal, signal]);
  return live.pool.use(either, (session) => work(session, either));
}

/** Tries a transfer again when the connection broke; an upload starts with a new temporary file. */
async function transfer<T>(
  live: LiveFtp,
  signal: AbortSignal,
  work: Work<T>,
  retries = live.retries,
): Promise<T> {
  const either = AbortSignal.any([live.signal, signal]);
  for (let attempt = 0; ; attempt++) {
    try {
      return await live.pool.use(either, (session) => work(session, either));
    } catch (error) {
      const { code } = classify(error);
      const isBroken = code === 'connection_lost' || code === 'target_busy';
      if (!isBroken || attempt >= retries || either.aborted) throw error;
      await sleep(Math.min(100 * 2 ** attempt, 2000), undefined, { signal: either }).catch(() => {
        throw abortError(either.reason);
      });
    }
  }
}

/**
 * Removes what an upload left whose session ended, over another session of the pool; what had stepped
 * aside for it comes back where nothing took its place.
 */
async function clearAway(live: LiveFtp, path: string, temporary: string): Promise<void> {
  const aside = asideName(temporary);
  const clear: Work<void> = async (session, signal) => {
    await session.delete(temporary, false, signal).catch((error) => {
      if (!session.alive) throw error;
    });
    if (!(await session.exists(aside, signal))) return;
    if (await session.exists(path, signal)) await session.delete(aside, false, signal);
    else await session.rename(aside, path, signal);
  };
  await transfer(live, AbortSignal.timeout(clearingMs), clear, Number.POSITIVE_INFINITY).catch(() => {});
}

function decode(content: string, encoding: 'base64' | 'utf8'): Buffer {
  if (encoding === 'utf8') return Buffer.from(content);
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(content) || content.length % 4 !== 0)
    throw new AppError('request_rejected', 'content is not base64', {
      details: { hint: 'Set encoding to utf8 to send text as it is.' },
    });
  return Buffer.from(content, 'base64');
}

function readSettings(config: FtpConfig, ctx: ConnectorContext): Settings {
  const { host, protocol, workingDir, username, timeout } = config;
  const port = effectivePort(config);
  if (protocol === 'SFTP') {
    const ssh = readSshSettings({ ...config, host, port, timeoutMs: timeout }, ctx);
    return { kind: 'sftp', ssh, workingDir };
  }
  if (config.password === undefined) throw new AppError('invalid_configuration', 'password is not set');
  if (/[\r\n\0]/.test(config.password + username + workingDir))
    throw new AppError(
      'invalid_configuration',
      'username, password and workingDir cannot hold line breaks: they would end the command of FTP',
    );
  const transport = protocol === 'FTP' ? 'plain' : config.useImplicit ? 'implicit' : 'explicit';
  return {
    kind: 'ftp',
    ftp: {
      network: ctx.network,
      host,
      port,
      timeoutMs: timeout === 0 ? longestMs : timeout,
      transport,
      tls: transport === 'plain' ? {} : { ...ctx.trust.tls(config), ...tlsVersions(config) },
      username,
      password: config.password,
      workingDir,
    },
  };
}

function tlsVersions({ sslProtocol }: FtpConfig): ConnectionOptions {
  if (sslProtocol === 'TLSv1.2' || sslProtocol === 'TLSv1.3')
    return { minVersion: sslProtocol, maxVersion: sslProtocol };
  return { minVersion: 'TLSv1.2' };
}

async function openSession(settings: Settings, signal: AbortSignal): Promise<FileSession> {
  if (settings.kind === 'sftp') return SftpSession.open(settings.ssh, settings.workingDir, signal);
  const session = await FtpSession.connect(settings.ftp, signal);
  try {
    if (settings.ftp.transport !== 'plain') await session.secure(signal);
    await session.logIn(signal);
    await session.enterWorkingDirectory(signal);
    return session;
  } catch (error) {
    session.destroy();
    throw error;
  }
}

async function testFtp(settings: FtpSettings, stages: Stages, signal: AbortSignal): Promise<void> {
  const { transport, username } = settings;
  let session: FtpSession | undefined;
  try {
    const connected = await stages.run('connect', async (note) => {
      session = await FtpSession.connect(settings, signal).catch((error: unknown) => {
        throw advised(error, settings);
      });
      note.detail([session.remoteAddress, session.greeting].filter(Boolean).join(': '));
      return session;
    });
    if (transport === 'plain') {
      const better = (await connected.offersTls(signal))
        ? '; the server offers TLS: use protocol FTPS with useExplicit'
        : '';
      stages.skip('tls', `plain, as configured: password and files travel in clear${better}`);
    } else
      await stages.run('tls', async (note) => {
        const secured = await connected.secure(signal).catch((error: unknown) => {
          throw advised(error, settings);
        });
        note.detail(describeTls(secured, transport));
      });
    await stages.run('authenticate', async (note) => {
      await connected.logIn(signal);
      note.detail(`as ${username}`);
    });
    await stages.run('operate', async (note) => {
      await connected.enterWorkingDirectory(signal);
      const { entries, truncated } = await connected.list('', 1000, signal);
      note.detail(
        `the working directory ${connected.root} has ${entries.length}${truncated ? ' and more' : ''} entries, listed over a data connection`,
      );
    });
    await connected.quit();
  } finally {
    session?.destroy();
  }
}

async function testSftp(
  settings: SshSettings,
  workingDir: string,
  stages: Stages,
  signal: AbortSignal,
): Promise<void> {
  let ssh: SshSession | undefined;
  try {
    const connected = await stages.run('connect', async (note) => {
      ssh = await SshSession.connect(settings, signal);
      const { identification, hostKeyType, fingerprint, cipher } = ssh.server;
      note.detail(
        `${ssh.remoteAddress}: ${identification}, ${cipher}, host key ${hostKeyType} ${fingerprint}`,
      );
      const { advice } = settings.hostKey;
      if (advice) note.hint(advice);
      return ssh;
    });
    stages.skip('tls', 'SSH has its own encryption: see connect');
    await stages.run('authenticate', async (note) => {
      note.detail(`${await connected.logIn(signal)} as ${settings.username}`);
    });
    await stages.run('operate', async (note) => {
      const session = await SftpSession.start(connected, settings.timeoutMs, workingDir, signal);
      note.detail(await session.prove(signal));
    });
    await connected.quit();
  } finally {
    ssh?.destroy();
  }
}

/** Any error as one of ours, with a hint that knows port and transport. */
function advised(error: unknown, { port, transport }: FtpSettings): AppError {
  const failure = classify(error);
  const hint = adviceFor(failure, port, transport);
  if (hint === undefined) return failure;
  return new AppError(failure.code, failure.message, { cause: error, details: { ...failure.details, hint } });
}

function adviceFor(failure: AppError, port: number, transport: FtpSettings['transport']): string | undefined {
  const { code } = failure;
  const withoutTls = code === 'tls_not_offered' || code === 'tls_failed' || isHandshakeCutOff(failure);
  if (transport === 'implicit' && withoutTls && port !== 990)
    return `Port ${port} may expect AUTH TLS: use useExplicit instead of useImplicit, or port 990.`;
  if (transport !== 'implicit' && code === 'target_timeout')
    return 'If the port speaks TLS from the first byte, use protocol FTPS with useImplicit.';
  return undefined;
}

/** The content as it is asked for; `request_rejected` where that would change it. */
function textOf(content: Buffer, encoding: 'utf8' | 'base64'): string {
  if (encoding === 'utf8' && !isUtf8(content))
    throw new AppError('request_rejected', 'The file is not text in UTF-8', {
      details: { hint: 'Download it with encoding base64.' },
    });
  return content.toString(encoding);
}
