import type { Socket } from 'node:net';
import ssh2, {
  type AuthenticationType,
  type Client,
  type KeyboardInteractiveAuthMethod,
  type NegotiatedAlgorithms,
  type NextAuthHandler,
} from 'ssh2';
import { AppError } from '../../errors.ts';
import { abortError, type ConnectorContext, type Network } from '../connector.ts';
import type { PooledSession } from './session-pool.ts';
import { classifySshError } from './ssh-errors.ts';
import { fingerprintOf, HostKeyPin } from './ssh-host-key.ts';
import { readPrivateKey } from './ssh-key.ts';

/** How to reach, recognise and log in to an SSH server. */
export interface SshSettings {
  readonly network: Network;
  readonly host: string;
  readonly port: number;
  /** Bounds TCP with key exchange, and the log-in, each. */
  readonly timeoutMs: number;
  readonly username: string;
  readonly password: string | undefined;
  /** In a form that ssh2 reads; encrypted ones with `passphrase`. */
  readonly privateKey: string | undefined;
  readonly passphrase: string | undefined;
  readonly hostKey: HostKeyPin;
}

export interface SshFields {
  host: string;
  port: number;
  /** 0: no limit. */
  timeoutMs: number;
  username: string;
  password?: string | undefined;
  privateKey?: string | undefined;
  passphrase?: string | undefined;
  hostKeyFingerprint?: string | undefined;
}

const longestMs = 2_147_483_647;

/** Reads the fields that every SSH connection has; fails with `invalid_configuration` on a key that cannot be used. */
export function readSshSettings(fields: SshFields, ctx: ConnectorContext): SshSettings {
  const { privateKey, passphrase, hostKeyFingerprint } = fields;
  if (hostKeyFingerprint === undefined)
    ctx.warn(
      'hostKeyFingerprint: is not set, so the first host key that each environment sees is trusted and pinned; the test tells its fingerprint',
    );
  const key = privateKey ? readPrivateKey(privateKey, passphrase) : undefined;
  return {
    network: ctx.network,
    host: fields.host,
    port: fields.port,
    timeoutMs: fields.timeoutMs === 0 ? longestMs : fields.timeoutMs,
    username: fields.username,
    password: fields.password,
    privateKey: key,
    // A converted key is no longer encrypted.
    passphrase: key === privateKey ? passphrase : undefined,
    // An empty one is none.
    hostKey: new HostKeyPin(hostKeyFingerprint || undefined, fields.host, fields.port, ctx),
  };
}

/** What the server showed of itself. */
export interface SshServer {
  /** Such as `SSH-2.0-OpenSSH_9.2p1`. */
  readonly identification: string;
  readonly hostKeyType: string;
  readonly fingerprint: string;
  readonly cipher: string;
}

const keepaliveMs = 15_000;
const maxGreetingBytes = 64 * 1024;

/** An SSH connection, made in two steps: key exchange, then log-in. */
export class SshSession implements PooledSession {
  readonly client: Client = new ssh2.Client();
  readonly #settings: SshSettings;
  readonly #socket: Socket;
  readonly #listeners = new Set<(error: unknown) => void>();
  #server: SshServer | undefined;
  #hostKey: Buffer = Buffer.alloc(0);
  #greeting = '';
  #identification: string | undefined;
  #ended: unknown;
  #wantsLogIn = false;
  #startLogIn: (() => void) | undefined;
  #offered: readonly string[] = [];
  readonly #tried: string[] = [];

  private constructor(settings: SshSettings, socket: Socket) {
    this.#settings = settings;
    this.#socket = socket;
  }

  /** Connects and exchanges keys; the server has then proven that the host key is its own. */
  static async connect(settings: SshSettings, signal: AbortSignal): Promise<SshSession> {
    const { network, host, port, timeoutMs } = settings;
    const startedAt = performance.now();
    const socket = await network.connect({ host, port, timeoutMs, signal });
    const session = new SshSession(settings, socket);
    const leftMs = Math.max(1, timeoutMs - (performance.now() - startedAt));
    await session.#wait<void>(signal, leftMs, () => session.#silence(), session.#exchangeKeys.bind(session));
    return session;
  }

  get server(): SshServer {
    return this.#server!;
  }

  get remoteAddress(): string {
    return `${this.#socket.remoteAddress} port ${this.#settings.port}`;
  }

  get alive(): boolean {
    return this.#ended === undefined && !this.#socket.destroyed;
  }

  /** Logs in with the key, then the password; answers the method that the server took. */
  async logIn(signal: AbortSignal): Promise<string> {
    const { timeoutMs } = this.#settings;
    const late = () => new AppError('target_timeout', `The log-in took longer than ${timeoutMs} ms`);
    return this.#wait<string>(signal, timeoutMs, late, (resolve, reject) => {
      this.client.once('ready', () => resolve(this.#tried.at(-1) ?? 'none'));
      // The server wants another password before it lets the account in.
      this.client.once('change password', () =>
        reject(
          new AppError('authentication_failed', 'The password has expired and must be changed', {
            details: { hint: 'Log in by hand once and change the password.' },
          }),
        ),
      );
      // The server may not have asked yet who we are.
      this.#wantsLogIn = true;
      this.#startLogIn?.();
    });
  }

  /** Runs a step that may end the session when it fails by abort or by its time. */
  step<T>(
    signal: AbortSignal,
    timeoutMs: number,
    start: (resolve: (value: T) => void, reject: (error: unknown) => void) => void,
  ): Promise<T> {
    const late = () => new AppError('target_timeout', `The server was silent for ${timeoutMs} ms`);
    return this.#wait(signal, timeoutMs, late, start);
  }

  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async quit(): Promise<void> {
    if (this.alive)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#socket.once('close', () => {
          clearTimeout(timer);
          resolve();
        });
        this.client.end();
      });
    this.destroy();
  }

  destroy(): void {
    this.#end(new AppError('connection_lost', 'The session was ended'));
    this.client.destroy();
    this.#socket.destroy();
  }

  #exchangeKeys(resolve: () => void): void {
    const { client } = this;
    const { username, password, privateKey, passphrase, hostKey } = this.#settings;
    client.on('error', (error) => this.#end(this.#asFailure(error)));
    client.on('close', () => this.#end(this.#closedEarly()));
    client.on('handshake', (negotiated: NegotiatedAlgorithms) => {
      // The host key is pinned here, behind the proof that the server holds it; a re-key comes here too.
      hostKey.accept(this.#hostKey);
      this.#server ??= {
        identification: this.#identification ?? '',
        hostKeyType: negotiated.serverHostKey,
        fingerprint: fingerprintOf(this.#hostKey),
        cipher: negotiated.cs.cipher,
      };
      resolve();
    });
    this.#socket.pause();
    this.#socket.on('data', this.#watchIdentification);
    client.connect({
      sock: this.#socket,
      username,
      ...(password === undefined ? {} : { password }),
      ...(privateKey === undefined ? {} : { privateKey }),
      ...(passphrase === undefined ? {} : { passphrase }),
      readyTimeout: 0,
      keepaliveInterval: keepaliveMs,
      tryKeyboard: password !== undefined,
      hostVerifier: (key: Buffer) => {
        try {
          hostKey.check(key);
        } catch (error) {
          this.#end(error);
          return false;
        }
        this.#hostKey = key;
        return true;
      },
      authHandler: (methodsLeft, _partial, next) => this.#nextMethod(methodsLeft, next),
    });
  }

  /** A server may say a few lines before it identifies itself (RFC 4253 4.2), but not those of another protocol. */
  readonly #watchIdentification = (chunk: Buffer): void => {
    this.#greeting += chunk.toString('latin1');
    const identification = /^(?:.*\n)*?(SSH-[^\r\n]*)\r?\n/.exec(this.#greeting);
    if (identification) {
      this.#identification = identification[1]!;
      this.#socket.off('data', this.#watchIdentification);
      return;
    }
    const isForeign =
      /^(HTTP\/|220[ -]|\* OK|\+OK)/.test(this.#greeting) ||
      /[^\t\n\r\x20-\x7e\x80-\xff]/.test(this.#greeting) ||
      (this.#greeting.length >= 4 && Buffer.from(this.#greeting, 'latin1').toString().includes('\ufffd')) ||
      this.#greeting.length > maxGreetingBytes;
    if (isForeign) {
      this.#end(notSsh());
      this.destroy();
    }
  };

  #silence(): AppError {
    const { timeoutMs } = this.#settings;
    if (this.#identification === undefined && this.#greeting !== '') return notSsh();
    return new AppError(
      'target_timeout',
      `The server did not finish the key exchange within ${timeoutMs} ms`,
    );
  }

  #closedEarly(): AppError {
    if (this.#identification === undefined && this.#greeting !== '') {
      const said = this.#greeting.trim().slice(0, 200);
      return /MaxStartups|Not allowed at this time|too many/i.test(said)
        ? new AppError('target_busy', `The server refused the session: ${said}`)
        : notSsh();
    }
    return new AppError('connection_lost', 'The server closed the connection');
  }

  #nextMethod(methodsLeft: readonly string[] | null, next: NextAuthHandler): void {
    if (methodsLeft === null) {
      // Nothing is proven before the caller wants it; `none` asks what the server offers (RFC 4252 5.2).
      if (this.#wantsLogIn) next('none');
      else this.#startLogIn = () => next('none');
      return;
    }
    this.#offered = methodsLeft;
    const { password, privateKey } = this.#settings;
    const mine: AuthenticationType[] = [
      ...(privateKey === undefined ? [] : ['publickey' as const]),
      ...(password === undefined ? [] : ['password' as const, 'keyboard-interactive' as const]),
    ];
    const method = mine.find((name) => methodsLeft.includes(name) && !this.#tried.includes(name));
    if (method === undefined) {
      this.#end(this.#refused());
      next(false as unknown as AuthenticationType);
      return;
    }
    this.#tried.push(method);
    if (method === 'keyboard-interactive') next(this.#answerPrompts());
    else next(method);
  }

  #answerPrompts(): KeyboardInteractiveAuthMethod {
    const { username, password = '' } = this.#settings;
    return {
      type: 'keyboard-interactive',
      username,
      // A prompt that echoes asks for something else than the password.
      prompt: (_name, _instructions, _language, prompts, finish) =>
        finish(prompts.map(({ echo }) => (echo ? '' : password))),
    };
  }

  #refused(): AppError {
    const offered = this.#offered.join(', ') || 'nothing';
    const { password, privateKey } = this.#settings;
    const tried = this.#tried.length > 0 ? `by ${this.#tried.join(', then ')}` : 'with nothing that fits';
    const hint =
      this.#tried.length === 0
        ? privateKey === undefined && this.#offered.includes('publickey')
          ? 'The server takes no password: give a privateKey.'
          : 'The server takes none of what the connection has to offer.'
        : password !== undefined && privateKey === undefined
          ? 'Check user name and password, and that the account may log in by SSH.'
          : 'Check that the public key stands in authorized_keys of the account, and the permissions of that file.';
    return new AppError(
      'authentication_failed',
      `The server refused the log-in ${tried}; it offers ${offered}`,
      { details: { hint } },
    );
  }

  #asFailure(error: unknown): AppError {
    if (error instanceof Error && /before handshake/.test(error.message)) return this.#closedEarly();
    return (
      classifySshError(error) ??
      new AppError(
        'protocol_error',
        `The server does not follow the SSH protocol (${(error as Error).message})`,
        {
          cause: error,
        },
      )
    );
  }

  #end(error: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#socket.off('data', this.#watchIdentification);
    for (const listener of this.#listeners) listener(error);
    this.#listeners.clear();
  }

  #wait<T>(
    signal: AbortSignal,
    timeoutMs: number,
    late: () => AppError,
    start: (resolve: (value: T) => void, reject: (error: unknown) => void) => void,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#listeners.delete(fail);
      };
      const fail = (error: unknown) => {
        settle();
        reject(error);
        this.destroy();
      };
      const onAbort = () => fail(abortError(signal.reason));
      const timer = setTimeout(() => fail(late()), Math.min(timeoutMs, longestMs));
      if (this.#ended !== undefined) return fail(this.#ended);
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      this.#listeners.add(fail);
      start((value) => {
        settle();
        resolve(value);
      }, fail);
    });
  }
}

function notSsh(): AppError {
  return new AppError('protocol_error', 'The server does not speak SSH here', {
    details: { hint: 'Check the port: SSH usually listens on 22.' },
  });
}
