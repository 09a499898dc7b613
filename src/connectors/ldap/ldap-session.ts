import type { Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { Client, type Entry, PasswordPolicyControl, type PasswordPolicyValue } from 'ldapts';
import { AppError } from '../../errors.ts';
import { abortError, type Network } from '../connector.ts';
import type { PooledSession } from '../transport/session-pool.ts';
import { resultCodeOf } from './ldap-errors.ts';
import { notLdap, startTls } from './start-tls.ts';

export interface LdapSettings {
  readonly network: Network;
  readonly host: string;
  readonly port: number;
  readonly transport: 'plain' | 'starttls' | 'ldaps';
  readonly tls: ConnectionOptions;
  readonly timeoutMs: number;
}

export interface Search {
  baseDn: string;
  filter: string;
  scope: 'base' | 'one' | 'sub';
  attributes: string[] | undefined;
  sizeLimit: number;
  timeLimitSeconds: number;
}

const pageSize = 500;

/** Makes ldapts answer every value as bytes, so that we decide what is text. */
class EveryAttribute extends Array<string> {
  override includes(): boolean {
    return true;
  }
}

/** An LDAP connection over a socket of the worker's network. */
export class LdapSession implements PooledSession {
  readonly #client: Client;
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #listeners = new Set<(error?: AppError) => void>();
  #ended: AppError | undefined;

  private constructor(settings: LdapSettings, socket: Socket) {
    this.#socket = socket;
    this.#timeoutMs = settings.timeoutMs;
    let isTaken = false;
    this.#client = new Client({
      url: 'ldap://connected',
      strictDN: false,
      createConnection: () => {
        // ldapts would connect again by itself, without TLS and log-in.
        if (isTaken) throw new AppError('connection_lost', 'The server closed the connection');
        isTaken = true;
        return socket;
      },
    });
    // Every message of LDAP is a SEQUENCE (RFC 4511 4.1.1).
    socket.once('data', (chunk: Buffer) => {
      if (chunk[0] !== 0x30) this.#end(notLdap());
    });
    // It was paused for others to take over; listeners alone do not undo that.
    socket.resume();
    socket.on('error', () => {});
    socket.once('close', () =>
      this.#end(new AppError('connection_lost', 'The server closed the connection')),
    );
  }

  /** Connects by TCP. */
  static connect({ network, host, port, timeoutMs }: LdapSettings, signal: AbortSignal): Promise<Socket> {
    return network.connect({ host, port, timeoutMs, signal });
  }

  /** Puts TLS over a connected socket, after StartTLS where that is the way. */
  static async secure(socket: Socket, settings: LdapSettings, signal: AbortSignal): Promise<TLSSocket> {
    const { network, host, tls, transport, timeoutMs } = settings;
    if (transport === 'starttls') await startTls(socket, { timeoutMs, signal });
    return network.secure(socket, { ...tls, host, timeoutMs, signal });
  }

  /** Speaks LDAP over a socket that is ready for it. */
  static over(socket: Socket, settings: LdapSettings): LdapSession {
    return new LdapSession(settings, socket);
  }

  static async open(settings: LdapSettings, signal: AbortSignal): Promise<LdapSession> {
    const socket = await LdapSession.connect(settings, signal);
    return LdapSession.over(
      settings.transport === 'plain' ? socket : await LdapSession.secure(socket, settings, signal),
      settings,
    );
  }

  get alive(): boolean {
    return this.#ended === undefined && !this.#socket.destroyed;
  }

  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async quit(): Promise<void> {
    if (this.alive && this.#client.isConnected)
      // Unbind has no answer; it is done when it is written.
      await this.#run(AbortSignal.timeout(1000), 1000, () => this.#client.unbind()).catch(() => {});
    this.destroy();
  }

  destroy(): void {
    this.#end(new AppError('connection_lost', 'The session was ended'));
  }

  /**
   * Simple bind; answers what the password policy of the server says of it. The caller sees to it that
   * neither name nor password is empty.
   */
  async bind(dn: string, password: string, signal: AbortSignal): Promise<PasswordPolicyValue | undefined> {
    const policy = new PasswordPolicyControl();
    try {
      await this.#run(signal, this.#timeoutMs, () => this.#client.bind(dn, password, [policy]));
      return policy.value;
    } catch (error) {
      // A locked account is refused like a wrong password, and told apart by the policy alone.
      if (resultCodeOf(error) !== undefined) Object.assign(error as Error, { passwordPolicy: policy.value });
      throw error;
    }
  }

  /** Searches page by page; `truncated` when there are more entries than the limit, or than the server tells. */
  async search(search: Search, signal: AbortSignal): Promise<{ entries: Entry[]; truncated: boolean }> {
    const { sizeLimit } = search;
    const entries: Entry[] = [];
    try {
      const pages = this.#client.searchPaginated(search.baseDn, {
        ...options(search),
        paged: { pageSize: Math.min(pageSize, sizeLimit + 1) },
      });
      for (;;) {
        const page = await this.#run(signal, timeOf(search, this.#timeoutMs), () => pages.next());
        if (page.done) break;
        entries.push(...page.value.searchEntries);
        if (entries.length > sizeLimit) return { entries: entries.slice(0, sizeLimit), truncated: true };
      }
      return { entries, truncated: false };
    } catch (error) {
      if (resultCodeOf(error) !== sizeLimitExceeded) throw error;
      // The server's own limit is lower: it answers what it may when it is asked for no more than that.
      const result = await this.#run(signal, timeOf(search, this.#timeoutMs), () =>
        this.#client.search(search.baseDn, { ...options(search), sizeLimit }),
      );
      return { entries: result.searchEntries.slice(0, sizeLimit), truncated: true };
    }
  }

  #run<T>(signal: AbortSignal, timeoutMs: number, work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#listeners.delete(onEnded);
      };
      const onAbort = () => {
        settle();
        reject(abortError(signal.reason));
        this.destroy();
      };
      const onEnded = () => {
        settle();
        reject(this.#ended);
      };
      const timer = setTimeout(() => {
        settle();
        reject(new AppError('target_timeout', `The server was silent for ${timeoutMs} ms`));
        this.destroy();
      }, timeoutMs);
      if (this.#ended) return onEnded();
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      this.#listeners.add(onEnded);
      (async () => work())().then(
        (value) => {
          settle();
          resolve(value);
        },
        (error) => {
          settle();
          // A refusal leaves the connection usable; anything else does not.
          if (resultCodeOf(error) === undefined && !(error instanceof AppError)) {
            reject(this.#ended ?? error);
            this.destroy();
          } else reject(error);
        },
      );
    });
  }

  #end(reason: AppError): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.#socket.destroy();
    for (const listener of this.#listeners) listener(reason);
    this.#listeners.clear();
  }
}

const sizeLimitExceeded = 4;

function options({ filter, scope, attributes, timeLimitSeconds }: Search) {
  return {
    filter,
    scope,
    derefAliases: 'never' as const,
    timeLimit: timeLimitSeconds,
    ...(attributes ? { attributes } : {}),
    explicitBufferAttributes: new EveryAttribute(),
  };
}

/** The server gets its time limit, and a little to tell about it. */
function timeOf({ timeLimitSeconds }: Search, timeoutMs: number): number {
  return Math.max(timeoutMs, timeLimitSeconds * 1000 + 1000);
}
