import { isIPv6, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import SMTPConnection, { type SMTPConnectionSendInfo } from 'nodemailer/lib/smtp-connection';
import { AppError } from '../../errors.ts';
import { abortError } from '../connector.ts';
import type { PooledSession } from '../transport/session-pool.ts';
import type { MailMessage } from './mail-message.ts';
import { classifySmtpError, refusedGreeting, tlsNotOffered } from './smtp-errors.ts';
import { exchange } from './smtp-reply.ts';
import type { SmtpSettings } from './smtp-settings.ts';

/** A TCP connection to the server, greeted when the server speaks first there. */
export interface Dialled {
  readonly socket: Socket;
  readonly greeting: string | undefined;
}

/** Connects; reads the greeting unless TLS comes before it. */
export async function dial(settings: SmtpSettings, signal: AbortSignal): Promise<Dialled> {
  const { host, port, network, connectTimeoutMs: timeoutMs } = settings;
  const socket = await network.connect({ host, port, timeoutMs, signal });
  if (settings.transport === 'implicit') return { socket, greeting: undefined };
  return { socket, greeting: await readGreeting(socket, settings, signal) };
}

/** Puts TLS over a dialled connection, after STARTTLS where that is the way. */
export async function upgrade(
  { socket, greeting }: Dialled,
  settings: SmtpSettings,
  signal: AbortSignal,
): Promise<{ socket: TLSSocket; greeting: string }> {
  const limits = { timeoutMs: settings.readTimeoutMs, signal };
  if (settings.transport === 'starttls') {
    const capabilities = await exchange(socket, `EHLO ${clientName(settings, socket)}`, limits);
    const offered =
      capabilities.code === 250 && capabilities.lines.some((line) => line.toUpperCase() === 'STARTTLS');
    const ready = offered ? await exchange(socket, 'STARTTLS', limits) : undefined;
    if (ready?.code !== 220) {
      socket.destroy();
      throw tlsNotOffered(settings, ready?.text);
    }
  }
  const secured = await settings.network.secure(socket, { ...settings.tls, host: settings.host, ...limits });
  return { socket: secured, greeting: greeting ?? (await readGreeting(secured, settings, signal)) };
}

/** The configured name, else our address as RFC 5321 4.1.4 asks of a client without a name. */
function clientName(settings: SmtpSettings, { localAddress = '127.0.0.1' }: Socket): string {
  return settings.clientName ?? (isIPv6(localAddress) ? `[IPv6:${localAddress}]` : `[${localAddress}]`);
}

async function readGreeting(socket: Socket, settings: SmtpSettings, signal: AbortSignal): Promise<string> {
  const greeting = await exchange(socket, undefined, { timeoutMs: settings.readTimeoutMs, signal });
  if (greeting.code === 220) return greeting.text;
  socket.destroy();
  throw refusedGreeting(greeting);
}

/** Servers limit the mails of one session; Postfix and Exchange allow at least this many. */
const maxMailsPerSession = 100;

/** An SMTP session over a ready socket. A session that failed is dead; only refused mails leave it usable. */
export class SmtpSession implements PooledSession {
  readonly settings: SmtpSettings;
  readonly #connection: SMTPConnection;
  readonly #socket: Socket;
  readonly #listeners = new Set<(error: unknown) => void>();
  #ended: unknown;
  /** Mails sent or refused so far. */
  #mails = 0;

  private constructor(settings: SmtpSettings, socket: Socket) {
    this.settings = settings;
    this.#socket = socket;
    const { readTimeoutMs } = settings;
    this.#connection = new SMTPConnection({
      host: settings.host,
      connection: socket,
      secure: settings.transport !== 'plain',
      secured: settings.transport !== 'plain',
      // Whether to encrypt is the configuration's choice; it was carried out before.
      ignoreTLS: true,
      name: clientName(settings, socket),
      connectionTimeout: readTimeoutMs,
      greetingTimeout: readTimeoutMs,
      socketTimeout: readTimeoutMs,
      socketCloseTimeout: 0,
    });
    this.#connection.on('error', (error) => this.#end(error));
    this.#connection.once('end', () => this.#end(new AppError('connection_lost')));
    socket.once('close', () => this.#end(new AppError('connection_lost')));
  }

  /** Greets the server back (EHLO). The socket is the session's from now on. */
  static async start(
    settings: SmtpSettings,
    { socket, greeting }: { socket: Socket; greeting: string },
    signal: AbortSignal,
  ): Promise<SmtpSession> {
    const session = new SmtpSession(settings, socket);
    // The greeting was read to choose what comes after it, yet nodemailer begins with it.
    socket.unshift(Buffer.from(`${greeting.replace(/\n/g, '\r\n')}\r\n`, 'latin1'));
    await session.#run<void>(signal, (done) => session.#connection.connect((error) => done(error)));
    return session;
  }

  get alive(): boolean {
    return this.#ended === undefined && !this.#socket.destroyed;
  }

  get spent(): boolean {
    return this.#mails >= maxMailsPerSession;
  }

  get socket(): Socket {
    return this.#socket;
  }

  /** What the server offers for logging in. */
  get offeredMechanisms(): string[] {
    const reply = this.#capabilities;
    const offered = [...reply.matchAll(/^250[ -]AUTH[ =]+(.*)$/gim)].flatMap((match) =>
      match[1]!.split(/[\s=]+/),
    );
    return [...new Set(offered.filter(Boolean).map((name) => name.toUpperCase()))];
  }

  /** Whether the server offers STARTTLS on this session. */
  get offersStartTls(): boolean {
    return this.#offers('STARTTLS');
  }

  #offers(extension: string): boolean {
    return new RegExp(`^250[ -]${extension}\\b`, 'im').test(this.#capabilities);
  }

  #capabilities = '';

  /** Logs in by the first listed mechanism that the server offers; answers its name. */
  async logIn(signal: AbortSignal): Promise<string> {
    const { credentials } = this.settings;
    if (!credentials) throw new Error('logIn without credentials');
    const offered = this.offeredMechanisms;
    const method = credentials.mechanisms.find((name) => offered.includes(name));
    if (!method) {
      this.destroy();
      throw new AppError(
        'authentication_failed',
        offered.length > 0
          ? `The server offers ${offered.join(', ')}, none of ${credentials.mechanisms.join(', ')}`
          : 'The server does not offer to log in here',
        {
          details: {
            hint:
              offered.length > 0
                ? 'Check mail.smtp.auth.mechanisms.'
                : this.settings.transport === 'plain'
                  ? 'Many servers offer it only after TLS: turn on enableStartTls, or useSsl on port 465.'
                  : 'Turn auth off, or use the port for submission (587 or 465).',
          },
        },
      );
    }
    const { user, password } = credentials;
    await this.#run(signal, (done) =>
      // `credentials` beside user and pass, since nodemailer takes an empty password for a missing one.
      this.#connection.login({ method, user, pass: password, credentials: { user, pass: password } }, done),
    ).catch((error) => {
      this.destroy();
      const { code, message, details } = classifySmtpError(error);
      throw new AppError(code, `${message} (${method}; the server offers ${offered.join(', ')})`, {
        cause: error,
        details,
      });
    });
    return method;
  }

  /** One harmless round trip. */
  async reset(signal: AbortSignal): Promise<void> {
    await this.#run(signal, (done) => this.#connection.reset(done));
  }

  /** Sends one mail; `started` tells whether a byte of it was taken, when it fails. */
  async send(mail: MailMessage, signal: AbortSignal, onStart: () => void): Promise<SMTPConnectionSendInfo> {
    const { settings } = this;
    const addresses = [mail.envelope.from, ...mail.envelope.to];
    if (addresses.some((address) => /[^\x00-\x7f]/.test(address)) && !this.#offers('SMTPUTF8'))
      throw new AppError(
        'request_rejected',
        'The server takes no address with characters beyond ASCII (SMTPUTF8)',
      );
    this.#mails++;
    this.#socket.setTimeout(settings.readTimeoutMs);
    const content = Readable.from(slices(mail.bytes, onStart), { objectMode: false });
    // While the mail is written no reply is due, so silence is a stalled write; after it, a slow check.
    content.once('resume', () => this.#socket.setTimeout(settings.writeTimeoutMs));
    content.once('end', () => this.#socket.setTimeout(settings.deliveryTimeoutMs));
    const envelope = { ...mail.envelope, size: mail.bytes.length };
    try {
      return await this.#run<SMTPConnectionSendInfo>(signal, (done) =>
        this.#connection.send(envelope, content, done),
      );
    } finally {
      content.destroy();
    }
  }

  /** Waits without the timeout of a conversation until the next mail. */
  rest(): void {
    this.#socket.setTimeout(0);
  }

  /** Says QUIT and closes, by force after a second. */
  async quit(): Promise<void> {
    if (!this.alive) return this.destroy();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 1000);
      this.#listeners.add(() => {
        clearTimeout(timer);
        resolve();
      });
      this.#connection.quit();
    });
    this.destroy();
  }

  /** Closes at once. */
  destroy(): void {
    this.#connection.close();
    this.#socket.destroy();
    this.#end(new AppError('connection_lost'));
  }

  /** Calls `listener` when the session ends by itself; answers how to stop listening. */
  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #end(error: unknown): void {
    this.#ended ??= error;
    for (const listener of this.#listeners) listener(this.#ended);
    this.#listeners.clear();
  }

  /** Runs one step of nodemailer's, which answers by callback or, when the connection dies, by event. */
  #run<T>(signal: AbortSignal, step: (done: (error?: Error | null, value?: T) => void) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const finish = (error: unknown, value?: T) => {
        signal.removeEventListener('abort', onAbort);
        this.#listeners.delete(finish);
        if (error) reject(error);
        else resolve(value as T);
      };
      const onAbort = () => {
        finish(abortError(signal.reason));
        this.destroy();
      };
      if (this.#ended !== undefined) return reject(this.#ended);
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      this.#listeners.add(finish);
      step((error, value) => finish(error, value));
    }).then((value) => {
      // The reply to EHLO is the last one that connect() saw.
      if (this.#capabilities === '') this.#capabilities = this.#connection.lastServerResponse || '';
      return value;
    });
  }
}

const sliceBytes = 64 * 1024;

function* slices(bytes: Buffer, onStart: () => void): Generator<Buffer> {
  onStart();
  for (let at = 0; at < bytes.length; at += sliceBytes) yield bytes.subarray(at, at + sliceBytes);
}
