import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import pg from 'pg';
import { AppError } from '../../errors.ts';
import type { StageNote, Stages } from '../connector.ts';
import { within } from '../transport/deadline.ts';
import {
  type ConnectRequest,
  type DialectSettings,
  dialInTurn,
  type ExecuteAnswer,
  type Host,
  type QueryAnswer,
  type QueryLimits,
  readChunk,
  type SqlDialect,
  type SqlSession,
  type Statement,
  secure,
  unreported,
} from './dialect.ts';
import { classifyPostgresError } from './postgres-errors.ts';
import {
  PostgresQuery,
  type PreparedStatement,
  type RunAnswer,
  type RunLimits,
  type WireClient,
} from './postgres-query.ts';

const SSL_REQUEST = int32s(8, 80877103);
const CANCEL_REQUEST_CODE = 80877102;
/** How long the server has to take a cancel request. */
const CANCEL_TIMEOUT_MS = 2_000;
/** The protocol counts parameters in 16 bits. */
const MOST_PARAMETERS = 65_535;

/** PostgreSQL by its extended protocol alone: one statement a call, parameters always bound. */
export function postgresDialect(settings: DialectSettings): SqlDialect {
  if (!settings.user) throw new AppError('invalid_configuration', 'PostgreSQL needs a user name');
  return {
    async connect(request) {
      const { socket: plain, host } = await dialInTurn(settings, request);
      plain.on('error', () => {});
      let socket = plain;
      try {
        socket = await negotiateTls(settings, plain, host, request);
        return await request.stages.run('authenticate', (note) =>
          logIn(settings, socket, host, request, note),
        );
      } catch (error) {
        socket.destroy();
        plain.destroy();
        throw error;
      }
    },
  };
}

/** TLS as SSLRequest negotiates it; the socket itself where it is to stay in clear. */
async function negotiateTls(
  settings: DialectSettings,
  socket: Socket,
  host: Host,
  { stages, signal }: { stages: Stages; signal: AbortSignal },
): Promise<Socket | TLSSocket> {
  const { tls, timeoutMs } = settings;
  if (tls.demand === 'none') {
    stages.skip('tls', 'sslmode=disable: nothing is encrypted; sslmode=verify-full encrypts and verifies');
    return socket;
  }
  const offered = await (tls.demand === 'prefer'
    ? asksForTls(socket, { timeoutMs, signal }).catch((error) =>
        stages.run('tls', () => Promise.reject<boolean>(error)),
      )
    : true);
  if (!offered) {
    stages.skip(
      'tls',
      'the server offers no TLS, so nothing is encrypted; sslmode=verify-full in jdbcUrl would demand it',
    );
    return socket;
  }
  return stages.run('tls', async (note) => {
    if (tls.demand === 'demand' && !(await asksForTls(socket, { timeoutMs, signal })))
      throw new AppError('tls_not_offered', undefined, {
        details: {
          hint: 'turn on ssl in postgresql.conf, or set sslmode=disable where the network is trusted',
        },
      });
    return secure(settings, socket, host, signal, note);
  });
}

async function asksForTls(
  socket: Socket,
  limits: { timeoutMs: number; signal: AbortSignal },
): Promise<boolean> {
  socket.write(SSL_REQUEST);
  // More than the one byte could be slipped in before the handshake (CVE-2021-23222).
  const answer = await readChunk(socket, ({ length }) => length > 0, limits);
  if (answer.length === 1 && answer[0] === 0x53) return true;
  if (answer.length === 1 && answer[0] === 0x4e) return false;
  throw new AppError('protocol_error', 'the server answered the request for TLS as PostgreSQL never does');
}

async function logIn(
  settings: DialectSettings,
  socket: Socket,
  host: Host,
  { signal, lost }: ConnectRequest,
  note: StageNote,
): Promise<PostgresSession> {
  const { user, password, database, parameters, timeoutMs } = settings;
  let refusal: AppError | undefined;
  const client = new pg.Client({
    host: host.host,
    port: host.port,
    user: user!,
    database: database ?? user!,
    // A function, so that neither PGPASSWORD nor ~/.pgpass of the worker's account is sent to a target.
    password: () => {
      if (password !== undefined) return password;
      throw new AppError(
        'authentication_failed',
        'the server asks for a password and the connection has none',
      );
    },
    ssl: false,
    sslnegotiation: 'postgres',
    stream: () => dialled(socket),
    keepAlive: true,
  } as pg.ClientConfig) as unknown as WireClient;
  // Exactly these, so that no PG… variable of the worker's account has a say.
  client.getStartupConf = () => ({
    user: user!,
    database: database ?? user!,
    application_name: parameters['ApplicationName'] ?? 'plugboard',
    DateStyle: 'ISO',
    ...(parameters['currentSchema'] ? { search_path: parameters['currentSchema'] } : {}),
    ...(parameters['options'] ? { options: parameters['options'] } : {}),
  });
  client.on('error', () => {});
  const { connection } = client;
  let method = 'without a password (trust or certificate)';
  connection.on('authenticationSASL', () => {
    method = 'by SCRAM-SHA-256';
  });
  connection.on('authenticationMD5Password', () => {
    method = 'by MD5';
    note.hint('MD5 is weak: set password_encryption = scram-sha-256 on the server and the password anew');
  });
  connection.on('authenticationCleartextPassword', () => {
    method = 'by a password in clear';
    if (!('getCipher' in socket)) note.hint('the password crossed the network in clear: use TLS');
  });
  let version = '';
  connection.on('parameterStatus', (status: { parameterName?: string; parameterValue?: string }) => {
    if (status.parameterName === 'server_version') version = status.parameterValue ?? '';
  });
  socket.prependOnceListener('data', (chunk: Buffer) => {
    // Else something like "HTTP" would be taken for the length of a message that never ends.
    if (isLogInAnswer(chunk)) return;
    refusal = new AppError('protocol_error', 'what answers there is not PostgreSQL');
    socket.destroy(refusal);
  });
  try {
    await within(client.connect(), {
      timeoutMs,
      signal,
      late: () => new AppError('target_timeout', `the log-in was not answered within ${timeoutMs} ms`),
    });
  } catch (error) {
    socket.destroy();
    throw refusal ?? classifyPostgresError(error);
  }
  note.detail(`user ${user}, ${method}`);
  return new PostgresSession(settings, client, socket, host, version, lost);
}

/** Whether bytes can be the first answer to a start-up message: R, E, N or v, and a sane length. */
function isLogInAnswer(chunk: Buffer): boolean {
  if (!'RENv'.includes(String.fromCharCode(chunk[0] ?? 0))) return false;
  return chunk.length < 5 || chunk.readUInt32BE(1) <= 65_536;
}

/** A connected socket for a driver that insists on connecting it. */
function dialled(socket: Socket): Socket {
  return Object.assign(socket, {
    connect: () => {
      process.nextTick(() => socket.emit('connect'));
      return socket;
    },
  });
}

class PostgresSession implements SqlSession {
  readonly server: string;
  readonly #settings: DialectSettings;
  readonly #client: WireClient;
  readonly #socket: Socket;
  readonly #host: Host;
  readonly #statements: StatementCache;
  #ended = false;
  #cancelled = false;

  constructor(
    settings: DialectSettings,
    client: WireClient,
    socket: Socket,
    host: Host,
    version: string,
    lost: () => void,
  ) {
    this.#settings = settings;
    this.#client = client;
    this.#socket = socket;
    this.#host = host;
    this.#statements = new StatementCache(settings.maxStatements);
    this.server = `PostgreSQL ${version}`;
    client.on('end', () => {
      this.#ended = true;
      lost();
    });
  }

  get reusable(): boolean {
    return !this.#ended && !this.#cancelled && !this.#socket.destroyed;
  }

  async ping(): Promise<void> {
    await this.#run({ sql: 'select 1', parameters: [] }, { maxRows: 1, maxBytes: 1024, keep: true });
  }

  async query(statement: Statement, limits: QueryLimits): Promise<QueryAnswer> {
    const { maxRows, maxBytes } = limits;
    const { columns, rows, truncated } = await this.#run(statement, { maxRows, maxBytes, keep: true });
    const isKnown = columns.every(({ dataTypeID }) => typeNames.has(dataTypeID));
    const types = isKnown ? typeNames : await this.#typeNames(columns.map(({ dataTypeID }) => dataTypeID));
    return {
      columns: columns.map(({ name, dataTypeID }) => ({ name, type: types.get(dataTypeID) ?? 'unknown' })),
      rows,
      truncated,
    };
  }

  async execute(statement: Statement): Promise<ExecuteAnswer> {
    const everything = { maxRows: Number.POSITIVE_INFINITY, maxBytes: Number.POSITIVE_INFINITY, keep: false };
    const { affectedRows } = await this.#run(statement, everything);
    return { affectedRows };
  }

  async cancel(abandoned: AbortSignal): Promise<void> {
    this.#cancelled = true;
    if (this.#ended) return;
    const { processID, secretKey } = this.#client;
    if (processID === null || secretKey === null) return;
    const signal = AbortSignal.any([abandoned, AbortSignal.timeout(CANCEL_TIMEOUT_MS)]);
    const hurried = { ...this.#settings, timeoutMs: CANCEL_TIMEOUT_MS };
    let socket: Socket | undefined;
    try {
      socket = await hurried.network.connect({ ...this.#host, timeoutMs: CANCEL_TIMEOUT_MS, signal });
      socket.on('error', () => {});
      const secured = await negotiateTls(hurried, socket, this.#host, { stages: unreported, signal });
      secured.on('error', () => {});
      secured.write(int32s(16, CANCEL_REQUEST_CODE, processID, secretKey));
      secured.resume();
      // The server closes once it has passed the request on.
      await once(secured, 'close', { signal });
    } catch {
      // Best effort: the session's own socket is closed in any case.
    } finally {
      socket?.destroy();
    }
  }

  end(force: boolean): void {
    if (!force && this.reusable) this.#client.end().catch(() => {});
    else this.#socket.destroy();
    // Half-closed it would stay for as long as the server likes.
    this.#socket.destroySoon();
  }

  async #run(statement: Statement, limits: RunLimits): Promise<RunAnswer> {
    try {
      return await this.#submit(statement, limits);
    } catch (error) {
      // The plan went stale by DDL, or somebody said DEALLOCATE: nothing has been executed yet.
      if (!isStaleStatement(error) || !this.reusable) throw classifyPostgresError(error);
      this.#statements.forget(statement.sql);
    }
    try {
      return await this.#submit(statement, limits);
    } catch (error) {
      throw classifyPostgresError(error);
    }
  }

  async #submit({ sql, parameters }: Statement, limits: RunLimits): Promise<RunAnswer> {
    if (!this.reusable) throw new AppError('connection_lost');
    if (parameters.length > MOST_PARAMETERS)
      throw new AppError('request_rejected', `PostgreSQL takes at most ${MOST_PARAMETERS} parameters`);
    const { statement, evicted } = this.#statements.use(sql);
    const query = new PostgresQuery(this.#socket, { sql, parameters, statement, evicted }, limits);
    void this.#client.query(query);
    try {
      await query.done;
    } finally {
      if (this.#client.getTransactionStatus() !== 'I') await this.#leaveTransaction();
    }
    return query.answer();
  }

  /** Whatever a statement began ends with its call: the next one may be somebody else's. */
  async #leaveTransaction(): Promise<void> {
    if (!this.reusable) return;
    await this.#client.query('rollback');
    throw new AppError(
      'request_rejected',
      'the statement left a transaction open, which was rolled back: every call is a transaction of its own',
    );
  }

  async #typeNames(oids: number[]): Promise<Map<number, string>> {
    const unknown = [...new Set(oids)].filter((oid) => !typeNames.has(oid));
    const names = new Map(oids.map((oid) => [oid, typeNames.get(oid) ?? `oid ${oid}`]));
    if (unknown.length > 0) {
      const { rows } = await this.#run(
        {
          sql: 'select oid::text, pg_catalog.format_type(oid, null) from pg_catalog.pg_type where oid = any($1::oid[])',
          parameters: [`{${unknown.join(',')}}`],
        },
        { maxRows: unknown.length, maxBytes: Number.POSITIVE_INFINITY, keep: true },
      );
      for (const [oid, name] of rows) names.set(Number(oid), String(name));
    }
    return names;
  }
}

const typeNames = new Map(
  Object.entries(pg.types.builtins).map(([name, oid]) => [oid as number, name.toLowerCase()]),
);

function isStaleStatement(error: unknown): boolean {
  const { code, routine } = (error ?? {}) as { code?: string; routine?: string };
  return code === '26000' || (code === '0A000' && routine === 'RevalidateCachedQuery');
}

/** The statements prepared in one session; the least recently used goes when there are too many. */
class StatementCache {
  readonly #most: number;
  readonly #kept = new Map<string, PreparedStatement>();
  readonly #dropped: string[] = [];
  #last: string | undefined;
  #made = 0;

  constructor(most: number) {
    this.#most = most;
  }

  use(sql: string): { statement: PreparedStatement | undefined; evicted: readonly string[] } {
    if (this.#most === 0) return { statement: undefined, evicted: none };
    const statement = this.#kept.get(sql) ?? { name: `plugboard_${++this.#made}`, described: undefined };
    if (sql !== this.#last) {
      this.#kept.delete(sql);
      this.#kept.set(sql, statement);
      this.#last = sql;
      while (this.#kept.size > this.#most) this.forget(this.#kept.keys().next().value!);
    }
    return { statement, evicted: this.#dropped.length > 0 ? this.#dropped.splice(0) : none };
  }

  forget(sql: string): void {
    const statement = this.#kept.get(sql);
    if (statement === undefined) return;
    this.#kept.delete(sql);
    this.#dropped.push(statement.name);
    this.#last = undefined;
  }
}

const none: readonly string[] = [];

function int32s(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) buffer.writeInt32BE(value, index * 4);
  return buffer;
}
