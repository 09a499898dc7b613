import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { isIP } from 'node:net';
import { Transform } from 'node:stream';
import { text as readText } from 'node:stream/consumers';
import type { Logger, Network } from '../../connectors/connector.ts';
import { AppError } from '../../errors.ts';

export interface VaultOptions {
  /** `https://vault.example.com:8200`. */
  address: string;
  token?: string;
  /** Read anew whenever Vault refuses what it held. */
  tokenFile?: string;
  appRole?: { roleId: string; secretIdFile: string };
}

interface Session {
  token: string;
  /** ms since the epoch. */
  expiresAt: number;
  renewAt: number;
}

interface Answer {
  status: number;
  body: Record<string, unknown>;
}

const requestTimeoutMs = 5_000;
const maxAnswerBytes = 4 * 1024 * 1024;
/** Within this time one answer serves everybody who asks for the same path. */
const sharedMs = 1_000;
const maxTimerMs = 2 ** 31 - 1;

/**
 * Reads the key-value engines (versions 1 and 2) of Vault and OpenBao, logged in by a token or AppRole;
 * what it logged in with is renewed before it ends. Dials through the worker's egress policy.
 */
export class Vault {
  readonly #url: URL;
  readonly #options: VaultOptions;
  readonly #network: Network;
  readonly #log: Logger;
  readonly #mounts = new Map<string, Promise<1 | 2>>();
  readonly #reads = new Map<string, { at: number; secret: Promise<Record<string, unknown>> }>();
  #session: Promise<Session> | undefined;
  #renewal: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: VaultOptions, network: Network, log: Logger) {
    this.#url = new URL(options.address);
    this.#options = options;
    this.#network = network;
    this.#log = log;
  }

  /**
   * One key of a secret. Fails with `unavailable` when Vault cannot be reached or is sealed,
   * `missing_reference` when it has no such secret or key, `invalid_configuration` when it refuses us.
   */
  async read(mount: string, path: string, key: string): Promise<string> {
    const where = `${mount}/${path}`;
    const known = this.#reads.get(where);
    let secret = known && Date.now() - known.at < sharedMs ? known.secret : undefined;
    if (!secret) {
      secret = this.#readSecret(mount, path);
      secret.catch(() => {});
      this.#reads.set(where, { at: Date.now(), secret });
      if (this.#reads.size > 1_000) this.#reads.delete(this.#reads.keys().next().value!);
    }
    const data = await secret;
    const value = Object.hasOwn(data, key) ? data[key] : undefined;
    if (value === undefined || value === null)
      throw new AppError('missing_reference', `Vault has no key '${key}' at '${where}'`);
    if (typeof value !== 'string')
      throw new AppError('invalid_configuration', `key '${key}' at '${where}' in Vault is no text`);
    return value;
  }

  /** Lets the next read ask anew. */
  forgetReads(): void {
    this.#reads.clear();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#renewal);
    this.#reads.clear();
    this.#session = undefined;
  }

  async #readSecret(mount: string, path: string): Promise<Record<string, unknown>> {
    const where = `${mount}/${path}`;
    const version = await this.#versionOf(mount);
    const { status, body } = await this.#ask(
      'GET',
      encodePath(version === 2 ? `${mount}/data/${path}` : where),
    );
    if (status === 404) throw new AppError('missing_reference', `Vault has no secret at '${where}'`);
    if (status !== 200) throw refusal(status, where);
    const data = record(body['data']);
    return version === 2 ? record(data['data']) : data;
  }

  /** As the official client finds it out; a token that may not ask is taken to read version 2. */
  #versionOf(mount: string): Promise<1 | 2> {
    const known = this.#mounts.get(mount);
    if (known) return known;
    const asking = (async () => {
      const { status, body } = await this.#ask('GET', `sys/internal/ui/mounts/${encodePath(mount)}`);
      if (status !== 200) {
        this.#mounts.delete(mount);
        return 2;
      }
      return record(record(body['data'])['options'])['version'] === '2' ? 2 : 1;
    })();
    asking.catch(() => this.#mounts.delete(mount));
    this.#mounts.set(mount, asking);
    return asking;
  }

  /** A request in our session; where Vault does not know the token any more, once in a new one. */
  async #ask(method: 'GET' | 'POST', path: string): Promise<Answer> {
    const asked = this.#session;
    const { token } = await this.#loggedIn();
    const answer = await this.#send(method, path, token);
    const canLogInAgain = this.#options.appRole ?? this.#options.tokenFile;
    if (answer.status !== 403 || !canLogInAgain || !asked) return answer;
    if (this.#session === asked && !(await this.#isAlive(token))) this.#session = undefined;
    if (this.#session === asked) return answer;
    return this.#send(method, path, (await this.#loggedIn()).token);
  }

  async #isAlive(token: string): Promise<boolean> {
    return (await this.#send('GET', 'auth/token/lookup-self', token)).status === 200;
  }

  async #loggedIn(): Promise<Session> {
    const session = this.#session && (await this.#session);
    if (session && session.expiresAt > Date.now()) return session;
    const logIn = this.#logIn();
    this.#session = logIn;
    logIn.then(
      (made) => this.#planRenewal(logIn, made),
      () => {
        if (this.#session === logIn) this.#session = undefined;
      },
    );
    return logIn;
  }

  async #logIn(): Promise<Session> {
    const { appRole, token, tokenFile } = this.#options;
    if (appRole) {
      const body = { role_id: appRole.roleId, secret_id: await fileText(appRole.secretIdFile) };
      const answer = await this.#send('POST', 'auth/approle/login', undefined, body);
      if (answer.status !== 200) throw refusal(answer.status, 'auth/approle/login');
      return sessionOf(record(answer.body['auth']), undefined);
    }
    const own = token ?? (await fileText(tokenFile ?? ''));
    const answer = await this.#send('GET', 'auth/token/lookup-self', own);
    if (answer.status !== 200) throw refusal(answer.status, 'auth/token/lookup-self');
    const { ttl, renewable } = record(answer.body['data']);
    return sessionOf({ lease_duration: ttl, renewable }, own);
  }

  #planRenewal(session: Promise<Session>, { renewAt }: Session): void {
    clearTimeout(this.#renewal);
    if (this.#isClosed || this.#session !== session || renewAt === Number.POSITIVE_INFINITY) return;
    const delayMs = Math.min(maxTimerMs, Math.max(0, renewAt - Date.now()));
    this.#renewal = setTimeout(() => void this.#renew(session), delayMs);
    this.#renewal.unref();
  }

  async #renew(old: Promise<Session>): Promise<void> {
    if (this.#isClosed || this.#session !== old) return;
    const { token, expiresAt } = await old;
    const retry = () => {
      const pauseMs = Math.max(1_000, (expiresAt - Date.now()) / 4);
      this.#planRenewal(old, { token, expiresAt, renewAt: Date.now() + pauseMs });
    };
    try {
      const { status, body } = await this.#send('POST', 'auth/token/renew-self', token, {});
      if (status === 200) {
        const renewed = sessionOf(record(body['auth']), token);
        if (this.#session !== old) return;
        this.#session = Promise.resolve(renewed);
        this.#planRenewal(this.#session, renewed);
        return;
      }
      this.#log.warn({ status }, 'the Vault token could not be renewed');
      // Its longest life is over, or it was revoked: the next read logs in anew.
      if (status === 400 || status === 403) this.#session = this.#session === old ? undefined : this.#session;
      else retry();
    } catch (error) {
      this.#log.warn({ reason: (error as Error).message }, 'the Vault token could not be renewed');
      retry();
    }
  }

  /** One request on a connection of its own; an error says nothing of what was sent or answered. */
  async #send(method: string, path: string, token?: string, body?: object): Promise<Answer> {
    const signal = AbortSignal.timeout(requestTimeoutMs);
    try {
      const socket = await this.#connect(signal);
      try {
        const content = body ? JSON.stringify(body) : undefined;
        const answer = await new Promise<Answer>((resolve, reject) => {
          const outgoing = request({
            createConnection: () => socket,
            method,
            host: this.#url.hostname,
            path: `${this.#url.pathname.replace(/\/$/, '')}/v1/${path}`,
            headers: {
              host: this.#url.host,
              'x-vault-request': 'true',
              connection: 'close',
              ...(token ? { 'x-vault-token': token } : {}),
              ...(content
                ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(content) }
                : {}),
            },
            signal,
          });
          outgoing.on('error', reject);
          outgoing.on('response', (incoming) => {
            readText(incoming.pipe(atMost(maxAnswerBytes))).then(
              (text) => resolve({ status: incoming.statusCode ?? 0, body: parsed(text) }),
              reject,
            );
            incoming.on('error', reject);
          });
          outgoing.end(content);
        });
        if (answer.status >= 500 || answer.status === 429) throw refusal(answer.status, path);
        return answer;
      } finally {
        socket.destroy();
      }
    } catch (error) {
      if (error instanceof AppError && error.code === 'unavailable') throw error;
      const why = error instanceof AppError ? error.message : 'the connection was lost or is too slow';
      throw new AppError('unavailable', `Vault cannot be reached: ${why}`);
    }
  }

  async #connect(signal: AbortSignal) {
    const isTls = this.#url.protocol === 'https:';
    const host = this.#url.hostname.replace(/^\[(.*)\]$/, '$1');
    const port = Number(this.#url.port || (isTls ? 443 : 80));
    const socket = await this.#network.connect({ host, port, timeoutMs: requestTimeoutMs, signal });
    if (!isTls) return socket;
    const servername = isIP(host) ? {} : { servername: host };
    return this.#network.secure(socket, { host, ...servername, timeoutMs: requestTimeoutMs, signal });
  }
}

/** A life of 0 seconds means that the token does not end. */
function sessionOf(auth: Record<string, unknown>, token: string | undefined): Session {
  const made = token ?? auth['client_token'];
  if (typeof made !== 'string')
    throw new AppError('unavailable', 'Vault answered in a way that is not understood');
  const lifeMs = Number(auth['lease_duration'] ?? 0) * 1_000;
  const now = Date.now();
  return {
    token: made,
    expiresAt: lifeMs > 0 ? now + lifeMs : Number.POSITIVE_INFINITY,
    renewAt: lifeMs > 0 && auth['renewable'] === true ? now + lifeMs * (2 / 3) : Number.POSITIVE_INFINITY,
  };
}

function refusal(status: number, where: string): AppError {
  if (status >= 500 || status === 429)
    return new AppError(
      'unavailable',
      `Vault is not able to answer (${status}${status === 503 ? ': sealed' : ''})`,
    );
  return new AppError('invalid_configuration', `Vault refuses the worker '${where}' (${status})`);
}

async function fileText(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    throw new AppError('unavailable', `the file '${path}' with what Vault is asked with cannot be read`);
  }
}

function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function parsed(text: string): Record<string, unknown> {
  try {
    return record(JSON.parse(text));
  } catch {
    return {};
  }
}

function atMost(bytes: number): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seen += chunk.length;
      if (seen > bytes) done(new Error('too long'));
      else done(null, chunk);
    },
  });
}
