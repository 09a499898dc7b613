import type { ConfigOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import { type ConnectorContext, defineConnector, type StageNote } from '../connector.ts';
import { SessionPool } from '../transport/session-pool.ts';
import { classifySshError } from '../transport/ssh-errors.ts';
import { readSshSettings, SshSession, type SshSettings } from '../transport/ssh-session.ts';
import { linuxScript } from './linux-script.definition.ts';
import { type RunLimits, runCommand } from './remote-command.ts';

type LinuxScriptConfig = ConfigOf<typeof linuxScript>;

interface LiveLinuxScript {
  readonly settings: SshSettings;
  readonly limits: RunLimits;
  readonly pool: SessionPool<SshSession>;
  /** Aborted by close and by the worker. */
  readonly signal: AbortSignal;
  readonly closing: AbortController;
}

/** OpenSSH drops log-ins at random beyond ten at a time (MaxStartups). */
const maxSessions = 8;
const idleMs = 60_000;

/** Runs commands over SSH, each on a session of its own while it runs. */
export const linuxScriptConnector = defineConnector<typeof linuxScript, LiveLinuxScript>(linuxScript, {
  open(config, ctx) {
    const settings = readSettings(config, ctx);
    const closing = new AbortController();
    return {
      settings,
      limits: readLimits(config),
      pool: new SessionPool((signal) => openSession(settings, signal), { maxSessions, idleMs }),
      signal: AbortSignal.any([ctx.signal, closing.signal]),
      closing,
    };
  },

  async prove(live, { signal }) {
    const either = AbortSignal.any([live.signal, signal]);
    await live.pool.use(either, (session) => prove(session, live.settings, either));
  },

  async test(config, stages, ctx) {
    const { signal } = ctx;
    const settings = readSettings(config, ctx);
    let session: SshSession | undefined;
    try {
      await stages.run('resolve', async (note) => {
        const addresses = await ctx.network.resolve(settings.host, signal);
        note.detail(`${settings.host} → ${addresses.map(({ address }) => address).join(', ')}`);
      });
      const connected = await stages.run('connect', async (note) => {
        session = await SshSession.connect(settings, signal);
        describeServer(session, settings, note);
        return session;
      });
      stages.skip('tls', 'SSH has its own encryption: see connect');
      await stages.run('authenticate', async (note) => {
        const method = await connected.logIn(signal);
        note.detail(`${method} as ${settings.username}`);
      });
      await stages.run('operate', async (note) => {
        note.detail(await prove(connected, settings, signal));
      });
      await connected.quit();
    } finally {
      session?.destroy();
    }
  },

  operations: {
    run(live, input, { signal }) {
      const either = AbortSignal.any([live.signal, signal]);
      const limits = { ...live.limits, timeoutMs: input.timeoutMs ?? live.limits.timeoutMs };
      return live.pool.use(either, (session) => runCommand(session, input, limits, either));
    },
  },

  figures: ({ pool }) => pool.figures,

  async close(live) {
    live.closing.abort(new AppError('cancelled', 'The connection was closed'));
    await live.pool.close();
  },

  classify: (error) => classifySshError(error) ?? new AppError('internal_error', undefined, { cause: error }),
});

function readSettings(config: LinuxScriptConfig, ctx: ConnectorContext): SshSettings {
  const { hostName: host, sshPort: port, connectTimeout: timeoutMs } = config;
  return readSshSettings({ ...config, host, port, timeoutMs }, ctx);
}

function readLimits({ commandTimeout, maxOutputBytes }: LinuxScriptConfig): RunLimits {
  return { timeoutMs: commandTimeout, maxOutputBytes };
}

async function openSession(settings: SshSettings, signal: AbortSignal): Promise<SshSession> {
  const session = await SshSession.connect(settings, signal);
  await session.logIn(signal);
  return session;
}

/** Runs a command that does nothing; answers what it told. */
async function prove(session: SshSession, settings: SshSettings, signal: AbortSignal): Promise<string> {
  const { timeoutMs } = settings;
  const { exitCode, stdout, stderr } = await runCommand(
    session,
    { script: 'uname -s -r' },
    { timeoutMs, maxOutputBytes: 1024 },
    signal,
  );
  if (exitCode !== 0)
    throw new AppError(
      'request_rejected',
      `The account cannot run a command (exit code ${exitCode}): ${stderr.trim() || stdout.trim()}`,
      { details: { hint: "Check the account's shell, and whether it is limited to one forced command." } },
    );
  return `a command ran on ${stdout.trim()}`;
}

function describeServer(session: SshSession, settings: SshSettings, note: StageNote): void {
  const { identification, hostKeyType, fingerprint, cipher } = session.server;
  note.detail(
    `${session.remoteAddress}: ${identification}, ${cipher}, host key ${hostKeyType} ${fingerprint}`,
  );
  const { advice } = settings.hostKey;
  if (advice) note.hint(advice);
}
