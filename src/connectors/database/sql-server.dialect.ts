import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Connection, type ConnectionConfiguration, Request, TYPES } from 'tedious';
import { AppError } from '../../errors.ts';
import { within } from '../transport/deadline.ts';
import { describeTls } from '../transport/describe-tls.ts';
import {
  type ConnectRequest,
  type DialectSettings,
  dialInTurn,
  type ExecuteAnswer,
  type Host,
  type QueryAnswer,
  type QueryLimits,
  type Scalar,
  type SqlDialect,
  type SqlSession,
  type Statement,
} from './dialect.ts';
import { classifySqlServerError } from './sql-server-errors.ts';

const PRELOGIN_ANSWER = 4;
/** How long the server has to acknowledge an attention. */
const CANCEL_TIMEOUT_MS = 2_000;
/** The server counts the parameters of a call, two of which are its own. */
const MOST_PARAMETERS = 2_098;
const LONGEST_NVARCHAR = 4_000;

/** SQL Server by tedious on our own socket: one batch a call, parameters always bound by sp_executesql. */
export function sqlServerDialect(settings: DialectSettings): SqlDialect {
  if (!settings.user) throw new AppError('invalid_configuration', 'SQL Server needs a user name');
  return {
    async connect(request) {
      const { socket, host } = await dialInTurn(settings, request);
      socket.on('error', () => {});
      try {
        skipTls(settings, request);
        return await request.stages.run('authenticate', async (note) => {
          let protection = 'in clear';
          const session = await logIn(settings, socket, host, request, (secured) => {
            protection = `within ${describeTls(secured, 'TDS')}`;
          });
          note.detail(`user ${settings.user}, ${protection}`);
          return session;
        });
      } catch (error) {
        socket.destroy();
        throw error;
      }
    },
  };
}

function skipTls({ tls }: DialectSettings, { stages }: ConnectRequest): void {
  stages.skip(
    'tls',
    tls.demand === 'none'
      ? 'encrypt=false: nothing is encrypted, nor is the password; encrypt=true encrypts and verifies'
      : `TDS does its handshake within the log-in: see authenticate; ${tls.verified ? 'the server is verified' : 'nobody verifies whose certificate it is'}`,
  );
}

async function logIn(
  settings: DialectSettings,
  socket: Socket,
  host: Host,
  { signal, lost }: ConnectRequest,
  onSecured: (secured: TLSSocket) => void,
): Promise<SqlServerSession> {
  const { user, password, database, parameters, tls, timeoutMs, network } = settings;
  const { ca, cert, key, passphrase } = tls.options;
  let isFirst = true;
  const configuration: ConnectionConfiguration = {
    server: host.host,
    authentication: { type: 'default', options: { userName: user!, password: password ?? '' } },
    options: {
      port: host.port,
      ...(database === undefined ? {} : { database }),
      appName: parameters['applicationName'] ?? parameters['appName'] ?? 'plugboard',
      encrypt: tls.demand !== 'none',
      trustServerCertificate: !tls.verified,
      cryptoCredentialsDetails: {
        minVersion: 'TLSv1.2',
        ...(ca === undefined ? {} : { ca }),
        ...(cert === undefined ? {} : { cert }),
        ...(key === undefined ? {} : { key }),
        ...(passphrase === undefined ? {} : { passphrase }),
      },
      connectTimeout: timeoutMs,
      requestTimeout: 0,
      cancelTimeout: CANCEL_TIMEOUT_MS,
      maxRetriesOnTransientErrors: 0,
      useUTC: true,
      // A server may send us on to another: that one, too, is dialled by the worker's network alone.
      connector: (async (target?: { host: string; port: number }) => {
        if (isFirst) {
          isFirst = false;
          return socket;
        }
        if (!target) throw new AppError('protocol_error', 'the server sends us on without saying where');
        const other = await network.connect({ host: target.host, port: target.port, timeoutMs, signal });
        other.on('error', () => {});
        return other;
      }) as () => Promise<Socket>,
    },
  };
  const connection = new Connection(configuration);
  connection.on('error', () => {});
  connection.on('secure', onSecured);
  // The driver's own error of a refused log-in has the text alone: why is in the number.
  let refusal: { number: number; message: string } | undefined;
  connection.on('errorMessage', (told: { number: number; message: string }) => {
    refusal ??= told;
  });
  const entered = new Promise<void>((resolve, reject) => {
    connection.once('connect', (error) => (error ? reject(error) : resolve()));
  });
  const bounds = { timeoutMs, signal };
  // Else something like "HTTP" would be taken for the head of a packet that never ends.
  const refused = refusalOf(socket);
  try {
    connection.connect();
    const late = () => new AppError('target_timeout', `the log-in was not answered within ${timeoutMs} ms`);
    await within(Promise.race([entered, refused]), { ...bounds, late });
    return new SqlServerSession(connection, lost);
  } catch (error) {
    connection.close();
    const { code } = (error ?? {}) as { code?: unknown };
    throw classifySqlServerError(code === 'ELOGIN' ? (refusal ?? error) : error);
  }
}

/** Rejects where the first bytes are no answer of TDS; never resolves. */
function refusalOf(socket: Socket): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => {});
  socket.prependOnceListener('data', (head: Buffer) => {
    if (head[0] === PRELOGIN_ANSWER) return;
    reject(new AppError('protocol_error', 'what answers there is not SQL Server'));
    socket.destroy();
  });
  return promise;
}

class SqlServerSession implements SqlSession {
  readonly server = 'SQL Server';
  readonly #connection: Connection;
  #over = false;
  #failRunning: ((error: unknown) => void) | undefined;

  constructor(connection: Connection, lost: () => void) {
    this.#connection = connection;
    const onEnd = () => {
      this.#failRunning?.(new AppError('connection_lost'));
      if (this.#over) return;
      this.#over = true;
      lost();
    };
    connection.on('end', onEnd);
    connection.on('error', onEnd);
  }

  get reusable(): boolean {
    return !this.#over;
  }

  async ping(): Promise<void> {
    await this.#run({ sql: 'select 1', parameters: [] }, { maxRows: 1, maxBytes: 1024 });
  }

  async query(statement: Statement, limits: QueryLimits): Promise<QueryAnswer> {
    const { columns, rows, truncated } = await this.#run(statement, limits);
    return { columns, rows, truncated };
  }

  async execute(statement: Statement): Promise<ExecuteAnswer> {
    const { rowCount } = await this.#run(statement, undefined);
    return { affectedRows: rowCount };
  }

  async cancel(_abandoned: AbortSignal): Promise<void> {
    // The attention goes out on the session's own connection; closing it would do as well, only later.
    this.#over = true;
    this.#connection.cancel();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }

  end(_force: boolean): void {
    this.#over = true;
    this.#connection.close();
  }

  #run({ sql, parameters }: Statement, limits: QueryLimits | undefined): Promise<RunAnswer> {
    if (!this.reusable) return Promise.reject(new AppError('connection_lost'));
    if (parameters.length > MOST_PARAMETERS)
      return Promise.reject(
        new AppError('request_rejected', `SQL Server takes at most ${MOST_PARAMETERS} parameters`),
      );
    return new Promise<RunAnswer>((resolve, reject) => {
      const answer: RunAnswer = { columns: [], rows: [], truncated: false, rowCount: 0 };
      let bytes = 0;
      let resultSets = 0;
      this.#failRunning = reject;
      const request = new Request(named(sql, parameters.length), (error, rowCount) => {
        this.#failRunning = undefined;
        if (answer.truncated) return resolve(answer);
        if (error) return reject(error);
        resolve({ ...answer, rowCount: rowCount ?? 0 });
      });
      request.on('columnMetadata', (columns) => {
        // A batch may answer several results: the first is the answer.
        if (resultSets++ === 0)
          answer.columns = (columns as { colName: string; type: { name: string } }[]).map(
            ({ colName, type }) => ({ name: colName, type: typeNameOf(type.name) }),
          );
      });
      request.on('row', (row: { value: unknown }[]) => {
        if (!limits || resultSets > 1 || answer.truncated) return;
        if (answer.rows.length < limits.maxRows && (answer.rows.length === 0 || bytes <= limits.maxBytes)) {
          const values = row.map(({ value }, at) => jsonValue(value, answer.columns[at]?.type));
          bytes += JSON.stringify(values).length;
          answer.rows.push(values);
          return;
        }
        answer.truncated = true;
        this.#connection.cancel();
      });
      for (const [at, value] of parameters.entries()) {
        const { type, length } = typeOf(value);
        request.addParameter(`p${at + 1}`, type, value, length === undefined ? undefined : { length });
      }
      // By sp_executesql also without parameters: what is SET or USEd ends with the call.
      this.#connection.execSql(request);
    })
      .catch((error) => {
        throw classifySqlServerError(error);
      })
      .finally(() => this.#leaveTransaction());
  }

  /** Whatever a statement began ends with its call, and with its connection: the next may be somebody else's. */
  #leaveTransaction(): void {
    if (!(this.#connection as unknown as { inTransaction: boolean }).inTransaction) return;
    this.end(true);
    throw new AppError(
      'request_rejected',
      'the statement left a transaction open, which was rolled back: every call is a transaction of its own',
    );
  }
}

interface RunAnswer {
  columns: { name: string; type: string }[];
  rows: unknown[][];
  truncated: boolean;
  rowCount: number;
}

function typeOf(value: Scalar): { type: (typeof TYPES)[keyof typeof TYPES]; length?: number } {
  if (typeof value === 'boolean') return { type: TYPES.Bit };
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) return { type: TYPES.Float };
    return { type: Math.abs(value) < 2 ** 31 ? TYPES.Int : TYPES.BigInt };
  }
  if (typeof value === 'string' && value.length > LONGEST_NVARCHAR)
    return { type: TYPES.NVarChar, length: Number.POSITIVE_INFINITY };
  return { type: TYPES.NVarChar };
}

/** The name without the N by which the protocol says that a column may be null. */
function typeNameOf(name: string): string {
  return name.toLowerCase().replace(/^(int|bit|float|money|datetime|decimal|numeric)n$/, '$1');
}

function jsonValue(value: unknown, type: string | undefined): unknown {
  if (value instanceof Date) return dateText(value.toISOString(), type);
  if (Buffer.isBuffer(value)) return value.toString('base64');
  if (typeof value === 'bigint') return String(value);
  return value ?? null;
}

/** An instant as far as its type goes; only DATETIMEOFFSET knows its zone. */
function dateText(iso: string, type: string | undefined): string {
  if (type === 'date') return iso.slice(0, 10);
  if (type === 'time') return iso.slice(11, -1);
  return type === 'datetimeoffset' ? iso : iso.slice(0, -1);
}

/** `?` outside of texts, names and comments as `@p1`, `@p2`, …; a statement with @p1 itself stays as it is. */
export function named(sql: string, count: number): string {
  if (count === 0 || /@p\d/i.test(sql)) return sql;
  let at = 0;
  return sql.replace(
    /'(?:[^']|'')*'|"(?:[^"]|"")*"|\[(?:[^\]]|\]\])*\]|--[^\n]*|\/\*[\s\S]*?\*\/|\?/g,
    (part) => (part === '?' ? `@p${++at}` : part),
  );
}
