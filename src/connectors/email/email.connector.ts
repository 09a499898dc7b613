import { AppError } from '../../errors.ts';
import { type ConnectorContext, defineConnector, type StageNote, type Stages } from '../connector.ts';
import { describeTls } from '../transport/describe-tls.ts';
import { SessionPool } from '../transport/session-pool.ts';
import { email } from './email.definition.ts';
import { composeMail, type MailInput } from './mail-message.ts';
import { advised, classifySmtpError } from './smtp-errors.ts';
import { dial, SmtpSession, upgrade } from './smtp-session.ts';
import { type EmailConfig, readSettings, type SmtpSettings } from './smtp-settings.ts';

interface LiveEmail {
  readonly settings: SmtpSettings;
  readonly sender: string | undefined;
  readonly pool: SessionPool<SmtpSession>;
  /** Aborted by close and by the worker. */
  readonly signal: AbortSignal;
  readonly closing: AbortController;
}

const maxSessions = 5;
/** Shorter than the five minutes that servers wait at least (RFC 5321 4.5.3.2.7). */
const idleMs = 60_000;

/** Sends mail by nodemailer over sockets of the worker's network. */
export const emailConnector = defineConnector<typeof email, LiveEmail>(email, {
  open(config, ctx) {
    const settings = readSettings(config, ctx);
    const closing = new AbortController();
    const pool = new SessionPool((signal) => openSession(settings, signal), { maxSessions, idleMs });
    const signal = AbortSignal.any([ctx.signal, closing.signal]);
    return { settings, sender: defaultSender(config), pool, signal, closing };
  },

  async prove(live, { signal }) {
    const either = AbortSignal.any([live.signal, signal]);
    const session = await openSession(live.settings, either);
    try {
      await session.reset(either);
      await session.quit();
    } finally {
      session.destroy();
    }
  },

  async test(config, stages, ctx) {
    const settings = readSettings(config, ctx);
    await testStages(config, settings, stages, ctx);
  },

  operations: {
    send: (live, input, { signal }) => send(live, input, AbortSignal.any([live.signal, signal])),
  },

  figures: ({ pool }) => pool.figures,

  async close(live) {
    live.closing.abort(new AppError('cancelled', 'The connection was closed'));
    await live.pool.close();
  },

  classify: classifySmtpError,
});

/** Connects, secures and logs in, as the settings say. */
async function openSession(settings: SmtpSettings, signal: AbortSignal): Promise<SmtpSession> {
  const dialled = await dial(settings, signal);
  const session = await SmtpSession.start(
    settings,
    settings.transport === 'plain'
      ? { socket: dialled.socket, greeting: dialled.greeting! }
      : await upgrade(dialled, settings, signal),
    signal,
  );
  if (settings.credentials) await session.logIn(signal);
  return session;
}

async function send(live: LiveEmail, input: MailInput, signal: AbortSignal) {
  const mail = await composeMail(input, { sender: live.sender, charset: live.settings.charset });
  for (let attempt = 1; ; attempt++) {
    const sent = await live.pool.use(signal, async (session, isReused) => {
      let started = false;
      try {
        return await session.send(mail, signal, () => {
          started = true;
        });
      } catch (error) {
        const failure = classifySmtpError(error);
        // nodemailer leaves the transaction of a refused mail open.
        if (session.alive) await session.reset(signal).catch(() => session.destroy());
        // The server ended a session that had been idle; nothing of the mail was sent, so it cannot arrive twice.
        const isStale =
          isReused && !started && (failure.code === 'connection_lost' || failure.code === 'target_busy');
        if (!isStale || session.alive || attempt > 5) throw advised(failure, live.settings);
        return undefined;
      }
    });
    if (!sent) continue;
    const { accepted, rejected, response } = sent;
    return { messageId: mail.messageId, accepted, rejected, response };
  }
}

async function testStages(
  config: EmailConfig,
  settings: SmtpSettings,
  stages: Stages,
  ctx: ConnectorContext,
): Promise<void> {
  const { signal } = ctx;
  const { host, port, transport } = settings;
  const sockets: { destroy(): void }[] = [];
  const stage = <T>(name: Parameters<Stages['run']>[0], work: (note: StageNote) => Promise<T>) =>
    stages.run(name, async (note) => {
      try {
        return await work(note);
      } catch (error) {
        throw advised(error, settings);
      }
    });

  try {
    await stage('resolve', async (note) => {
      const addresses = await ctx.network.resolve(host, signal);
      note.detail(`${host} → ${addresses.map(({ address }) => address).join(', ')}`);
    });

    const connected = await stage('connect', async (note) => {
      const dialled = await dial(settings, signal);
      sockets.push(dialled.socket);
      const peer = `${dialled.socket.remoteAddress} port ${port}`;
      note.detail(dialled.greeting === undefined ? peer : `${peer}: ${dialled.greeting}`);
      if (transport !== 'plain') return dialled;
      return SmtpSession.start(settings, { socket: dialled.socket, greeting: dialled.greeting! }, signal);
    });

    let session: SmtpSession;
    if (connected instanceof SmtpSession) {
      session = connected;
      stages.skip(
        'tls',
        session.offersStartTls
          ? 'plain, as configured; the server offers STARTTLS: turn on enableStartTls'
          : 'plain, as configured',
      );
    } else {
      session = await stage('tls', async (note) => {
        const secured = await upgrade(connected, settings, signal);
        sockets.push(secured.socket);
        note.detail(describeTls(secured.socket, transport === 'starttls' ? 'STARTTLS' : 'implicit'));
        return SmtpSession.start(settings, secured, signal);
      });
    }
    sockets.push(session);

    if (settings.credentials)
      await stage('authenticate', async (note) => {
        const mechanism = await session.logIn(signal);
        note.detail(`${mechanism} as ${settings.credentials?.user}`);
      });
    else stages.skip('authenticate', 'auth is off');

    await stage('operate', async (note) => {
      const { addressToTest } = config;
      if (addressToTest === undefined) {
        await session.reset(signal);
        note.detail('the session answers; set addressToTest and the test sends a real mail');
      } else {
        const mail = await composeMail(testMail(ctx, addressToTest), {
          sender: defaultSender(config) ?? addressToTest,
          charset: settings.charset,
        });
        const { response } = await session.send(mail, signal, () => {});
        note.detail(`a mail to ${addressToTest} was accepted: ${response}`);
      }
      await session.quit();
    });
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

function testMail({ project, name, environment }: ConnectorContext, addressToTest: string): MailInput {
  return {
    to: [addressToTest],
    subject: `Test of the connection ${name}`,
    text: `The connection ${name} of the project ${project} works from the environment ${environment}.\n`,
  };
}

function defaultSender({ from, username }: EmailConfig): string | undefined {
  return from ?? (username && /^[^\s@<>,;:]+@[^\s@<>,;:]+$/.test(username) ? username : undefined);
}
