import type { Socket } from 'node:net';
import { AppError, type ErrorCode } from '../../errors.ts';
import { abortError, type Stages } from '../connector.ts';
import { adopt, end, type HttpConnection } from '../http/http-connections.ts';
import { classifyHttpError } from '../http/http-errors.ts';
import { type Answer, exchange, type HeaderLines } from '../http/http-exchange.ts';
import {
  type DialectSettings,
  dialInTurn,
  type ExecuteAnswer,
  type Host,
  type QueryAnswer,
  type QueryLimits,
  type SqlDialect,
  type SqlSession,
  type Statement,
  secure,
  unreported,
} from './dialect.ts';
import { converterOf, parsePage, statementText, type TrinoPage } from './trino-values.ts';

/** A coordinator answers a poll within about a second, however long the statement takes. */
const LEAST_POLL_TIMEOUT_MS = 30_000;
const CANCEL_TIMEOUT_MS = 2_000;
const MOST_PAGE_BYTES = 64 * 1024 * 1024;
/** Answers that ask for a little patience, as the protocol has it. */
const BUSY_STATUSES = [429, 502, 503, 504];
const BUSY_ATTEMPTS = 20;
const BUSY_PAUSE_MS = 100;

/** Trino by its client protocol over HTTP/1.1: one statement at a time on one connection. */
export function trinoDialect(settings: DialectSettings): SqlDialect {
  const headers = headersOf(settings);
  return {
    async connect(request) {
      const { socket: plain, host } = await dialInTurn(settings, request);
      plain.on('error', () => {});
      let connection: HttpConnection | undefined;
      try {
        const socket = await protect(settings, plain, host, request);
        return await request.stages.run('authenticate', async (note) => {
          const origin = originOf(settings, host);
          connection = await adopt(origin, socket, request.lost);
          const session = new TrinoSession(settings, connection, origin, host, headers);
          await session.enter(request.signal);
          const { user, password } = settings;
          note.detail(
            password === undefined ? `user ${user ?? 'plugboard'}, no password` : `user ${user}, Basic`,
          );
          return session;
        });
      } catch (error) {
        if (connection) void end(connection, new AppError('cancelled'));
        plain.destroy();
        throw error;
      }
    },
  };
}

async function protect(
  settings: DialectSettings,
  socket: Socket,
  host: Host,
  { stages, signal }: { stages: Stages; signal: AbortSignal },
): Promise<Socket> {
  if (settings.tls.demand !== 'none')
    return stages.run('tls', (note) => secure(settings, socket, host, signal, note));
  stages.skip('tls', 'TLS is not asked for: nothing is encrypted; SSL=true in jdbcUrl encrypts and verifies');
  return socket;
}

function originOf({ tls }: DialectSettings, { host, port }: Host): URL {
  return new URL(
    `${tls.demand === 'none' ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`,
  );
}

/** What every request says of the session; a value that no header can hold is refused. */
function headersOf({ user, password, database, parameters, tls }: DialectSettings): HeaderLines {
  if (password !== undefined && tls.demand === 'none')
    throw new AppError(
      'invalid_configuration',
      'Trino takes passwords over TLS only: set SSL=true in jdbcUrl, or useCredentials to false and user=… in jdbcUrl',
    );
  if (password !== undefined && (user ?? '').includes(':'))
    throw new AppError('invalid_configuration', 'username must not contain a colon');
  const [catalog, schema] = (database ?? '').split('/');
  const properties = (parameters['sessionProperties'] ?? '').split(';').filter((pair) => pair !== '');
  const lines: HeaderLines = [
    ['X-Trino-User', user ?? 'plugboard'],
    ['X-Trino-Source', parameters['source'] ?? 'plugboard'],
    ['X-Trino-Time-Zone', parameters['timezone'] ?? 'UTC'],
    ['X-Trino-Client-Capabilities', 'PARAMETRIC_DATETIME'],
    ['User-Agent', 'plugboard'],
  ];
  if (catalog) lines.push(['X-Trino-Catalog', catalog]);
  if (schema) lines.push(['X-Trino-Schema', schema]);
  if (parameters['clientTags']) lines.push(['X-Trino-Client-Tags', parameters['clientTags']]);
  if (properties.length > 0) lines.push(['X-Trino-Session', properties.map(sessionProperty).join(',')]);
  for (const [name, value] of lines)
    if (!/^[\x20-\x7e]*$/.test(value))
      throw new AppError('invalid_configuration', `${name} can only be sent as ASCII`);
  if (password !== undefined)
    lines.push(['Authorization', `Basic ${Buffer.from(`${user ?? ''}:${password}`).toString('base64')}`]);
  return lines;
}

function sessionProperty(pair: string): string {
  const colon = pair.indexOf(':');
  if (colon < 1 || !/^[\w.]+$/.test(pair.slice(0, colon)))
    throw new AppError('invalid_configuration', 'jdbcUrl: sessionProperties must be name:value;name:value');
  return `${pair.slice(0, colon)}=${encodeURIComponent(pair.slice(colon + 1))}`;
}

class TrinoSession implements SqlSession {
  server = 'Trino';
  readonly #settings: DialectSettings;
  readonly #connection: HttpConnection;
  readonly #origin: URL;
  readonly #host: Host;
  readonly #headers: HeaderLines;
  readonly #ended = new AbortController();
  #pollTimeoutMs: number;
  /** Where the statement that runs goes on, and where it is ended. */
  #next: URL | undefined;

  constructor(
    settings: DialectSettings,
    connection: HttpConnection,
    origin: URL,
    host: Host,
    headers: HeaderLines,
  ) {
    this.#settings = settings;
    this.#connection = connection;
    this.#origin = origin;
    this.#host = host;
    this.#headers = headers;
    this.#pollTimeoutMs = settings.timeoutMs;
  }

  get reusable(): boolean {
    return !this.#ended.signal.aborted && !this.#connection.socket.destroyed;
  }

  /** Asks for the version, and whether we are let in. */
  async enter(signal: AbortSignal): Promise<void> {
    const onAbort = () => this.#ended.abort(abortError(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const { status, body } = await this.#ask('GET', new URL('/v1/info', this.#origin));
      const version = status === 200 ? versionIn(body) : undefined;
      if (version === undefined)
        throw new AppError('protocol_error', `what answers there is not Trino (HTTP ${status})`);
      this.server = `Trino ${version}`;
      await this.ping();
    } catch (error) {
      throw classifyTrinoFailure(error);
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#pollTimeoutMs = Math.max(this.#settings.timeoutMs, LEAST_POLL_TIMEOUT_MS);
    }
  }

  async ping(): Promise<void> {
    await this.query({ sql: 'select 1', parameters: [] }, { maxRows: 1, maxBytes: 65_536 });
  }

  async query(statement: Statement, limits: QueryLimits): Promise<QueryAnswer> {
    const answer: QueryAnswer = { columns: [], rows: [], truncated: false };
    let bytes = 0;
    let converters: ((value: unknown) => unknown)[] | undefined;
    for await (const { page, bytes: pageBytes } of this.#pages(statement)) {
      if (page.columns && !converters) {
        answer.columns = page.columns.map(({ name, type }) => ({ name, type }));
        converters = page.columns.map(({ type }) => converterOf(type));
      }
      for (const row of page.data ?? []) {
        const isEnough =
          answer.rows.length >= limits.maxRows || (answer.rows.length > 0 && bytes > limits.maxBytes);
        if (isEnough) return { ...answer, truncated: true };
        answer.rows.push(row.map((value, at) => (value === null ? null : converters![at]!(value))));
      }
      bytes += pageBytes;
    }
    return answer;
  }

  async execute(statement: Statement): Promise<ExecuteAnswer> {
    let affectedRows = 0;
    for await (const { page } of this.#pages(statement)) affectedRows = page.updateCount ?? affectedRows;
    return { affectedRows };
  }

  async cancel(abandoned: AbortSignal): Promise<void> {
    const next = this.#next;
    this.#ended.abort(new AppError('cancelled'));
    if (!next) return;
    const signal = AbortSignal.any([abandoned, AbortSignal.timeout(CANCEL_TIMEOUT_MS)]);
    const hurried = { ...this.#settings, timeoutMs: CANCEL_TIMEOUT_MS };
    let socket: Socket | undefined;
    try {
      socket = await hurried.network.connect({ ...this.#host, timeoutMs: CANCEL_TIMEOUT_MS, signal });
      socket.on('error', () => {});
      const secured = await protect(hurried, socket, this.#host, { stages: unreported, signal });
      const connection = await adopt(this.#origin, secured, () => {});
      await this.#endStatement(connection, next, signal);
      await end(connection, new AppError('cancelled'));
    } catch {
      // Best effort: a coordinator ends by itself what nobody asks for any more.
    } finally {
      socket?.destroy();
    }
  }

  end(_force: boolean): void {
    this.#ended.abort(new AppError('cancelled', 'The connection was closed'));
    void end(this.#connection, new AppError('cancelled', 'The connection was closed'));
  }

  /** The answers to a statement in turn; ends it on the server when not all are taken. */
  async *#pages(statement: Statement): AsyncGenerator<{ page: TrinoPage; bytes: number }> {
    try {
      let answer = await this.#ask('POST', new URL('/v1/statement', this.#origin), statementText(statement));
      for (;;) {
        const page = this.#read(answer);
        this.#next = page.nextUri === undefined ? undefined : this.#within(page.nextUri);
        if (page.error) {
          this.#next = undefined;
          throw trinoError(page.error);
        }
        yield { page, bytes: answer.body.length };
        if (!this.#next) return;
        answer = await this.#ask('GET', this.#next);
      }
    } catch (error) {
      throw classifyTrinoFailure(error);
    } finally {
      const left = this.#next;
      if (left && this.reusable) {
        this.#next = undefined;
        const signal = AbortSignal.any([this.#ended.signal, AbortSignal.timeout(CANCEL_TIMEOUT_MS)]);
        // A connection on which this fails is closed, and thereby not used again.
        await this.#endStatement(this.#connection, left, signal).catch(() => {});
      }
    }
  }

  async #endStatement(connection: HttpConnection, next: URL, signal: AbortSignal): Promise<void> {
    await exchange(
      connection,
      { url: next, method: 'DELETE', headers: this.#headers },
      { timeoutMs: CANCEL_TIMEOUT_MS, maxBodyBytes: 65_536 },
      signal,
    );
  }

  /** A place that the coordinator names; secrets go nowhere else. */
  #within(uri: string): URL {
    const next = URL.parse(uri);
    if (!next || next.origin !== this.#origin.origin)
      throw new AppError(
        'protocol_error',
        'the coordinator sends us to another origin than the one of the connection',
        { details: { hint: 'behind a proxy, set http-server.process-forwarded=true on the coordinator' } },
      );
    return next;
  }

  async #ask(method: string, url: URL, body?: string): Promise<Answer> {
    for (let attempt = 1; ; attempt++) {
      if (!this.reusable) throw this.#ended.signal.reason ?? new AppError('connection_lost');
      const answer = await exchange(
        this.#connection,
        { url, method, headers: this.#headers, ...(body === undefined ? {} : { body: Buffer.from(body) }) },
        { timeoutMs: this.#pollTimeoutMs, maxBodyBytes: MOST_PAGE_BYTES },
        this.#ended.signal,
      );
      if (answer.truncated) throw new AppError('protocol_error', 'an answer of the coordinator is too large');
      if (!BUSY_STATUSES.includes(answer.status)) return answer;
      if (attempt === BUSY_ATTEMPTS)
        throw new AppError('target_busy', `the coordinator answers HTTP ${answer.status}`);
      await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE_MS));
    }
  }

  #read({ status, body }: Answer): TrinoPage {
    if (status === 200) return parsePage(body);
    const text = body.toString('utf8', 0, 200).replace(/\s+/g, ' ').trim();
    if (status === 401)
      throw new AppError(
        'authentication_failed',
        `the coordinator refuses the log-in: ${text || 'HTTP 401'}`,
      );
    if (status === 403) throw new AppError('permission_denied', text || undefined);
    // A coordinator that is about to start answers so, until its authenticators are loaded.
    if (status >= 500)
      throw new AppError('target_busy', `the coordinator answers HTTP ${status}: ${text || 'nothing'}`);
    throw new AppError('protocol_error', `the coordinator answers HTTP ${status}`);
  }
}

function versionIn(body: Buffer): string | undefined {
  try {
    const { nodeVersion } = JSON.parse(body.toString()) as { nodeVersion?: { version?: unknown } };
    return typeof nodeVersion?.version === 'string' ? nodeVersion.version : undefined;
  } catch {
    return undefined;
  }
}

const errorNames: Readonly<Record<string, ErrorCode>> = {
  PERMISSION_DENIED: 'permission_denied',
  EXCEEDED_TIME_LIMIT: 'target_timeout',
  EXCEEDED_CPU_LIMIT: 'target_timeout',
  ABANDONED_QUERY: 'target_timeout',
  USER_CANCELED: 'target_timeout',
  ADMINISTRATIVELY_KILLED: 'target_timeout',
  ADMINISTRATIVELY_PREEMPTED: 'target_busy',
  QUERY_QUEUE_FULL: 'target_busy',
  QUERY_REJECTED: 'target_busy',
  SERVER_STARTING_UP: 'target_busy',
  SERVER_SHUTTING_DOWN: 'target_busy',
  NO_NODES_AVAILABLE: 'target_busy',
};

/** What a statement failed with, as an error of ours; the text quotes the coordinator. */
export function trinoError({ message, errorName, errorType }: NonNullable<TrinoPage['error']>): AppError {
  const byType: ErrorCode =
    errorType === 'USER_ERROR'
      ? 'request_rejected'
      : errorType === 'INSUFFICIENT_RESOURCES'
        ? 'target_busy'
        : 'target_error';
  const code = errorNames[errorName ?? ''] ?? byType;
  return new AppError(code, `${message ?? 'it failed'} (${errorName ?? 'unknown error'})`);
}

function classifyTrinoFailure(error: unknown): AppError {
  return error instanceof AppError ? error : classifyHttpError(error);
}
