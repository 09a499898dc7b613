import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../errors.ts';
import type { Stages } from '../connector.ts';
import { within } from '../transport/deadline.ts';
import {
  type ConnectRequest,
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
import { type HiveFault, hiveError } from './hive-errors.ts';
import { logInPlain, ThriftConnection, UnknownMethod } from './hive-transport.ts';
import { type LiteralStyle, readColumns, readRows, withLiterals } from './hive-values.ts';
import { type Field, type Struct, T, type ThriftValue } from './thrift-binary.ts';

/** HIVE_CLI_SERVICE_PROTOCOL_V8: results in columns; none that the server has packed in a way of its own. */
const PROTOCOL = 7;
const FIRST_PROTOCOL_WITH_COLUMNS = 5;
const DBMS_NAME = 17;
const DBMS_VERSION = 18;
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 200;
const CANCEL_TIMEOUT_MS = 2_000;
const FIRST_FETCH_ROWS = 64;
const MOST_FETCH_ROWS = 1_000;
const FETCH_BYTES = 4 * 1024 * 1024;

/** States of an operation, as on the wire. */
const FINISHED = 2;
const CANCELED = 3;
const CLOSED = 4;
const FAILED = 5;
const TIMED_OUT = 8;
/** Codes of a status, as on the wire. */
const SUCCESS = 0;
const SUCCESS_WITH_INFO = 1;
const INVALID_HANDLE = 4;
/** Number of an operation handle's count of rows, a double. */
const MODIFIED_ROWS = 4;

interface Product {
  name: string;
  literals: LiteralStyle;
  /** Who logs in by SASL PLAIN; undefined: the server is spoken to without SASL. */
  logIn(settings: DialectSettings): { user: string; password: string } | undefined;
  /** What a server that hangs up may want, by what it was offered. */
  hints: { sasl: string; noSasl: string };
  /** Whether closing an operation tells what it changed, by a method of Impala's own. */
  closesWithResult: boolean;
}

/** Apache Hive by the protocol of HiveServer2. */
export function hiveDialect(settings: DialectSettings): SqlDialect {
  return hiveServer2(settings, {
    name: 'Apache Hive',
    // Its exponent alone makes a number a double; without, it is a decimal.
    literals: { substitutesVariables: true, double: (text) => text },
    logIn({ user = 'anonymous', password = 'anonymous', parameters }) {
      const auth = parameters['auth']?.toLowerCase();
      if (auth === 'nosasl') return undefined;
      if (auth !== undefined && auth !== 'plain' && auth !== 'none')
        throw new AppError(
          'invalid_configuration',
          'jdbcUrl: auth can be noSasl or left out; Kerberos is not spoken',
        );
      return { user, password };
    },
    hints: {
      sasl: 'the server may not speak SASL: try the parameter auth with the value noSasl in jdbcUrl',
      noSasl: 'the server may want SASL: leave the parameter auth out of jdbcUrl',
    },
    closesWithResult: false,
  });
}

/** Apache Impala, which speaks the protocol of HiveServer2. */
export function impalaDialect(settings: DialectSettings): SqlDialect {
  return hiveServer2(settings, {
    name: 'Apache Impala',
    literals: { substitutesVariables: false, double: (text) => `CAST(${text} AS DOUBLE)` },
    logIn({ user = 'anonymous', password, parameters }) {
      const mechanism = parameters['AuthMech'] ?? (password === undefined ? '0' : '3');
      if (mechanism === '0') return undefined;
      if (mechanism !== '2' && mechanism !== '3')
        throw new AppError(
          'invalid_configuration',
          'jdbcUrl: AuthMech can be 0, 2 or 3; Kerberos is not spoken',
        );
      return { user, password: mechanism === '3' ? (password ?? '') : '' };
    },
    hints: {
      sasl: 'the server may not speak SASL: try the parameter AuthMech with the value 0 in jdbcUrl',
      noSasl: 'the server may want SASL: try the parameter AuthMech with the value 3 in jdbcUrl',
    },
    closesWithResult: true,
  });
}

function hiveServer2(settings: DialectSettings, product: Product): SqlDialect {
  const { parameters } = settings;
  if ((parameters['transportMode'] ?? 'binary').toLowerCase() !== 'binary')
    throw new AppError('invalid_configuration', 'jdbcUrl: transportMode can be binary alone');
  const account = product.logIn(settings);
  return {
    async connect(request) {
      const { socket: plain, host } = await dialInTurn(settings, request);
      plain.on('error', () => {});
      try {
        const socket = await protect(settings, plain, host, request);
        return await request.stages.run('authenticate', async (note) => {
          let connection: ThriftConnection | undefined;
          try {
            connection = await enter(settings, account, socket, request);
            const session = new HiveSession(settings, product, account, connection, host);
            const late = () =>
              new AppError('target_timeout', `no session was opened within ${settings.timeoutMs} ms`);
            await within(session.open(), { timeoutMs: settings.timeoutMs, signal: request.signal, late });
            note.detail(
              account ? `user ${account.user}, SASL PLAIN` : `user ${settings.user ?? 'anonymous'}, no SASL`,
            );
            return session;
          } catch (error) {
            connection?.end(new AppError('cancelled'));
            if (error instanceof AppError && error.code === 'connection_lost')
              note.hint(product.hints[account ? 'sasl' : 'noSasl']);
            throw error;
          }
        });
      } catch (error) {
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
  stages.skip(
    'tls',
    'TLS is not asked for: nothing is encrypted, nor is the password; ssl=true in jdbcUrl encrypts and verifies',
  );
  return socket;
}

async function enter(
  { timeoutMs }: DialectSettings,
  account: { user: string; password: string } | undefined,
  socket: Socket,
  { signal, lost }: Pick<ConnectRequest, 'signal' | 'lost'>,
): Promise<ThriftConnection> {
  if (account) await logInPlain(socket, account, { timeoutMs, signal });
  return new ThriftConnection(socket, account !== undefined, lost);
}

class HiveSession implements SqlSession {
  server: string;
  readonly #settings: DialectSettings;
  readonly #product: Product;
  readonly #account: { user: string; password: string } | undefined;
  readonly #connection: ThriftConnection;
  readonly #host: Host;
  #handle: readonly Field[] = [];
  #isOurs = true;
  /** The statement that runs. */
  #operation: readonly Field[] | undefined;

  constructor(
    settings: DialectSettings,
    product: Product,
    account: { user: string; password: string } | undefined,
    connection: ThriftConnection,
    host: Host,
  ) {
    this.server = product.name;
    this.#settings = settings;
    this.#product = product;
    this.#account = account;
    this.#connection = connection;
    this.#host = host;
  }

  get reusable(): boolean {
    return this.#isOurs && this.#connection.isOpen;
  }

  /** Opens the session in its database, and asks who the server is. */
  async open(): Promise<void> {
    const { user, database } = this.#settings;
    const configuration: Record<string, string> = database === undefined ? {} : { 'use:database': database };
    let answer: Struct;
    try {
      answer = await this.#call('OpenSession', [
        [1, T.i32, PROTOCOL],
        [2, T.string, this.#account?.user ?? user ?? 'anonymous'],
        [3, T.string, this.#account?.password ?? ''],
        [4, T.map, configuration],
      ]);
    } catch (error) {
      const isDatabase = error instanceof AppError && /database.*(not exist|not found)/i.test(error.message);
      throw isDatabase ? new AppError('invalid_configuration', error.message, { cause: error }) : error;
    }
    if (Number(answer.get(2)) < FIRST_PROTOCOL_WITH_COLUMNS)
      throw new AppError('protocol_error', 'the server is older than Hive 0.13, and answers in another way');
    this.#handle = asFields(answer.get(3));
    const [name, version] = [await this.#info(DBMS_NAME), await this.#info(DBMS_VERSION)];
    this.server = [name ?? this.#product.name, version].filter(Boolean).join(' ');
  }

  async ping(): Promise<void> {
    await this.query({ sql: 'select 1', parameters: [] }, { maxRows: 1, maxBytes: 65_536 });
  }

  async query(statement: Statement, limits: QueryLimits): Promise<QueryAnswer> {
    const answer: QueryAnswer = { columns: [], rows: [], truncated: false };
    await this.#run(statement, async (operation) => {
      const metadata = await this.#call('GetResultSetMetadata', [[1, T.struct, operation]]);
      answer.columns = readColumns(metadata.get(2) as Struct | undefined);
      await this.#fetch(operation, answer, limits);
    });
    return answer;
  }

  async execute(statement: Statement): Promise<ExecuteAnswer> {
    return { affectedRows: await this.#run(statement, async () => {}) };
  }

  /** Over a connection of its own, as the one of the session is busy. */
  async cancel(abandoned: AbortSignal): Promise<void> {
    this.#isOurs = false;
    const operation = this.#operation;
    if (!operation) return this.end(true);
    const signal = AbortSignal.any([abandoned, AbortSignal.timeout(CANCEL_TIMEOUT_MS)]);
    const hurried = { ...this.#settings, timeoutMs: CANCEL_TIMEOUT_MS };
    let socket: Socket | undefined;
    try {
      socket = await hurried.network.connect({ ...this.#host, timeoutMs: CANCEL_TIMEOUT_MS, signal });
      socket.on('error', () => {});
      const secured = await protect(hurried, socket, this.#host, { stages: unreported, signal });
      const connection = await enter(hurried, this.#account, secured, { signal, lost() {} });
      const late = () => new AppError('target_timeout');
      await within(connection.call('CancelOperation', [[1, T.struct, operation]]), {
        timeoutMs: CANCEL_TIMEOUT_MS,
        signal,
        late,
      });
      connection.end(new AppError('cancelled'));
    } catch {
      // Best effort: a server ends what a session runs when its connection is gone.
    } finally {
      socket?.destroy();
      this.end(true);
    }
  }

  end(force: boolean): void {
    this.#isOurs = false;
    const closed = new AppError('cancelled', 'The connection was closed');
    if (force || !this.#connection.isOpen || this.#operation) {
      this.#connection.end(closed);
      return;
    }
    const timer = setTimeout(() => this.#connection.end(closed), CANCEL_TIMEOUT_MS);
    this.#connection
      .call('CloseSession', [[1, T.struct, this.#handle]])
      .catch(() => {})
      .finally(() => {
        clearTimeout(timer);
        this.#connection.end(closed);
      });
  }

  /** Runs a statement to its end, lets `take` have its rows if there are any, and answers how many it changed. */
  async #run(statement: Statement, take: (operation: readonly Field[]) => Promise<void>): Promise<number> {
    if (!this.reusable) throw new AppError('connection_lost');
    const sql = withLiterals(statement, this.#product.literals);
    const started = await this.#call('ExecuteStatement', [
      [1, T.struct, this.#handle],
      [2, T.string, sql],
      [4, T.bool, true],
    ]);
    const handle = started.get(2) as Struct | undefined;
    const operation = asFields(handle);
    this.#operation = operation;
    let closed = 0;
    let told: number;
    try {
      const status = await this.#finished(operation);
      told = Math.max(Number(status.get(11) ?? 0), Number(handle?.get(MODIFIED_ROWS) ?? 0));
      if (handle?.get(3) === true) await take(operation);
    } finally {
      this.#operation = undefined;
      // What has been answered is not lost by a server that cannot forget it.
      if (this.#connection.isOpen) closed = await this.#close(operation).catch(() => 0);
    }
    return Math.max(told, closed, 0);
  }

  async #finished(operation: readonly Field[]): Promise<Struct> {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      const status = await this.#call('GetOperationStatus', [[1, T.struct, operation]]);
      switch (status.get(2)) {
        case FINISHED:
          return status;
        case CANCELED:
        case TIMED_OUT:
          throw new AppError('target_timeout', 'the statement was ended on the server');
        case CLOSED:
          throw new AppError('connection_lost', 'the statement was closed on the server');
        case FAILED:
          throw hiveError(faultOf(status));
        default:
          await sleep(pauseMs);
      }
    }
  }

  async #fetch(operation: readonly Field[], answer: QueryAnswer, limits: QueryLimits): Promise<void> {
    const types = answer.columns.map(({ type }) => type);
    let bytes = 0;
    let size = FIRST_FETCH_ROWS;
    for (;;) {
      const wanted = Math.min(size, limits.maxRows - answer.rows.length + 1);
      const fetched = await this.#call('FetchResults', [
        [1, T.struct, operation],
        [2, T.i32, 0],
        [3, T.i64, BigInt(wanted)],
      ]);
      const rows = readRows(fetched.get(3) as Struct | undefined, types);
      for (const row of rows) {
        if (answer.rows.length >= limits.maxRows || (answer.rows.length > 0 && bytes > limits.maxBytes)) {
          answer.truncated = true;
          return;
        }
        answer.rows.push(row);
        bytes += JSON.stringify(row).length;
      }
      // Hive says that there are no more rows also where there are: only none at all is the end.
      if (rows.length === 0 && fetched.get(2) !== true) return;
      const averageBytes = Math.max(bytes / Math.max(answer.rows.length, 1), 1);
      size = Math.max(1, Math.min(MOST_FETCH_ROWS, Math.floor(FETCH_BYTES / averageBytes)));
    }
  }

  /** Has the server forget an operation; answers the rows that Impala says it changed. */
  async #close(operation: readonly Field[]): Promise<number> {
    if (this.#product.closesWithResult) {
      try {
        const closed = await this.#call('CloseImpalaOperation', [[1, T.struct, operation]]);
        const result = closed.get(2) as Struct | undefined;
        const counts = [1, 3].flatMap((id) => (result?.get(id) ?? []) as [ThriftValue, ThriftValue][]);
        return counts.reduce((sum, [, count]) => sum + Number(count), 0);
      } catch (error) {
        if (!(error instanceof UnknownMethod)) throw error;
      }
    }
    await this.#call('CloseOperation', [[1, T.struct, operation]]);
    return 0;
  }

  async #info(type: number): Promise<string | undefined> {
    const answer = await this.#call('GetInfo', [
      [1, T.struct, this.#handle],
      [2, T.i32, type],
    ]);
    const value = (answer.get(2) as Struct | undefined)?.get(1);
    return Buffer.isBuffer(value) ? value.toString() : undefined;
  }

  async #call(method: string, request: readonly Field[]): Promise<Struct> {
    const answer = await this.#connection.call(method, request);
    const status = answer.get(1) as Struct | undefined;
    const code = status?.get(1);
    if (code === SUCCESS || code === SUCCESS_WITH_INFO) return answer;
    if (code === INVALID_HANDLE) {
      this.#isOurs = false;
      throw new AppError('connection_lost', 'the server has forgotten the session');
    }
    throw hiveError({
      sqlState: textOf(status?.get(3)),
      errorCode: Number(status?.get(4) ?? 0),
      message: textOf(status?.get(5)),
    });
  }
}

/** What an operation failed with, out of its status. */
function faultOf(status: Struct): HiveFault {
  return {
    sqlState: textOf(status.get(3)),
    errorCode: Number(status.get(4) ?? 0),
    message: textOf(status.get(5)),
  };
}

function textOf(value: ThriftValue | undefined): string {
  return Buffer.isBuffer(value) ? value.toString() : '';
}

/** A handle of the server's, to be sent back as it came. */
function asFields(handle: ThriftValue | undefined): readonly Field[] {
  if (!(handle instanceof Map)) throw new AppError('protocol_error', 'the server answers no handle');
  const fields = [...(handle as Struct)].filter(([id]) => id !== MODIFIED_ROWS);
  return fields.map(([id, value]): Field => {
    if (value instanceof Map) return [id, T.struct, asFields(value)];
    if (Buffer.isBuffer(value)) return [id, T.string, Buffer.from(value)];
    if (typeof value === 'boolean') return [id, T.bool, value];
    return [id, T.i32, Number(value)];
  });
}
