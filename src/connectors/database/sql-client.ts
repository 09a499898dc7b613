import { AppError } from '../../errors.ts';
import { abortError, type CallContext, type ConnectorContext, type Stages } from '../connector.ts';
import { within } from '../transport/deadline.ts';
import type { DatabaseClient, DatabaseConfig, DatabaseDriver, DatabaseTarget } from './database-client.ts';
import {
  type DialectSettings,
  type SqlDialect,
  type SqlSession,
  type Statement,
  type TlsDemand,
  unreported,
} from './dialect.ts';
import { tlsSettings } from './driver-tls.ts';
import { ConnectionPool, type Lease, type PoolFigures } from './pool.ts';
import { mayLeaveState } from './session-state.ts';

const DEFAULT_MAX_ROWS = 1000;
/** Of one answer, as the server sends it; what is beyond is cut off and said to be. */
const MOST_ANSWER_BYTES = 32 * 1024 * 1024;
/** Bounds a step of opening a connection where `connectionTimeout` is 0. */
const FALLBACK_TIMEOUT_MS = 30_000;
/** How long a close by force waits for statements to be cancelled on the server. */
const FORCED_CANCEL_MS = 700;

/** A driver over one SQL dialect; `tls` is the protection where nothing is said of it. */
export function sqlDriver(
  dialect: (settings: DialectSettings) => SqlDialect,
  tls: { unsaid: TlsDemand; how: string },
): DatabaseDriver {
  return {
    open(config, target, ctx) {
      const settings = dialectSettings(config, target, ctx, tls);
      return new SqlClient(dialect(settings), settings, config, ctx.signal);
    },
    async test(config, target, stages, ctx) {
      const settings = dialectSettings(config, target, ctx, tls);
      await testSql(dialect(settings), settings, stages, ctx.signal);
    },
  };
}

function dialectSettings(
  config: DatabaseConfig,
  target: DatabaseTarget,
  ctx: ConnectorContext,
  unsaidTls: { unsaid: TlsDemand; how: string },
): DialectSettings {
  const { hosts, database, parameters } = target;
  return {
    hosts,
    database: database ?? config.databaseName,
    user: config.useCredentials ? (config.username ?? target.user) : target.user,
    password: config.useCredentials ? (config.password ?? target.password) : target.password,
    parameters,
    tls: tlsSettings(config, target, ctx, unsaidTls),
    isSid: target.isSid,
    timeoutMs: Math.max(
      Math.floor((config.connectionTimeout || FALLBACK_TIMEOUT_MS) / Math.max(hosts.length, 1)),
      1,
    ),
    maxStatements: config.maxStatements,
    network: ctx.network,
  };
}

/** The live client of every SQL dialect: a pool of sessions, and statements with deadlines that reach the server. */
class SqlClient implements DatabaseClient {
  readonly #pool: ConnectionPool<SqlSession>;
  readonly #signal: AbortSignal;
  readonly #onAbort = () => void this.#pool.close(true);
  readonly #cancelling = new Set<Promise<void>>();
  readonly #abandon = new AbortController();

  readonly operations: DatabaseClient['operations'] = {
    query: ({ sql, parameters = [], maxRows = DEFAULT_MAX_ROWS, timeoutMs }, call) => {
      const statement = checked({ sql, parameters });
      return this.#run(
        call,
        timeoutMs,
        (session) => session.query(statement, { maxRows, maxBytes: MOST_ANSWER_BYTES }),
        mayLeaveState(sql),
      );
    },
    execute: ({ sql, parameters = [], timeoutMs }, call) => {
      const statement = checked({ sql, parameters });
      return this.#run(
        call,
        timeoutMs,
        async (session) => {
          const { affectedRows, insertId } = await session.execute(statement);
          return insertId === undefined ? { affectedRows } : { affectedRows, insertId };
        },
        mayLeaveState(sql),
      );
    },
  };

  /** `signal` closes the client by force when it aborts. */
  constructor(dialect: SqlDialect, settings: DialectSettings, config: DatabaseConfig, signal: AbortSignal) {
    const {
      initialPoolSize,
      minPoolSize,
      maxPoolSize,
      incrementCount,
      testConnectionOnCheckout,
      testConnectionOnCheckin,
    } = config;
    this.#pool = new ConnectionPool<SqlSession>(
      {
        initialPoolSize,
        minPoolSize,
        maxPoolSize,
        incrementCount,
        connectionTimeoutMs: config.connectionTimeout,
        idleConnectionTestPeriodMs: config.idleConnectionTestPeriod,
        maxConnectionAgeMs: config.maxConnectionAge,
        maxIdleTimeMs: config.maxIdleTime,
        testConnectionOnCheckout,
        testConnectionOnCheckin,
      },
      {
        create: (creating, lost) => connectAny(dialect, settings, creating, lost),
        validate: (session) => session.ping(),
        destroy: (session, force) => session.end(force),
      },
    );
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  figures(): PoolFigures {
    return this.#pool.figures();
  }

  prove(call: CallContext): Promise<void> {
    return this.#run(call, undefined, (session) => session.ping(), false);
  }

  async close(): Promise<void> {
    await this.#pool.close(this.#signal.aborted);
    this.#signal.removeEventListener('abort', this.#onAbort);
    const timer = this.#signal.aborted
      ? setTimeout(() => this.#abandon.abort(), FORCED_CANCEL_MS)
      : undefined;
    await Promise.all(this.#cancelling);
    clearTimeout(timer);
  }

  /**
   * `timeoutMs` counts from when a connection is at hand; `target_timeout` when it is over. `isSpent`: the
   * session may be another one behind it, and the next caller gets a new one.
   */
  async #run<T>(
    { signal }: CallContext,
    timeoutMs: number | undefined,
    work: (session: SqlSession) => Promise<T>,
    isSpent: boolean,
  ): Promise<T> {
    const lease = await this.#pool.acquire(signal);
    if (signal.aborted) {
      giveBack(lease, false);
      throw abortError(signal.reason);
    }
    return new Promise((resolve, reject) => {
      let isStopped = false;
      let timer: NodeJS.Timeout | undefined;
      const settle = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
      };
      const stop = (reason: AppError) => {
        isStopped = true;
        settle();
        this.#cancel(lease);
        reject(reason);
      };
      const onAbort = () => stop(abortError(signal.reason));
      signal.addEventListener('abort', onAbort, { once: true });
      if (timeoutMs) timer = setTimeout(() => stop(overTime(timeoutMs)), timeoutMs);
      work(lease.resource).then(
        (result) => {
          if (isStopped) return;
          settle();
          giveBack(lease, isSpent);
          resolve(result);
        },
        (error) => {
          if (isStopped) return;
          settle();
          giveBack(lease, isSpent);
          reject(error);
        },
      );
    });
  }

  /** The caller is answered at once; the place in the pool is free when the server let go of the statement. */
  #cancel(lease: Lease<SqlSession>): void {
    const cancelling = lease.resource
      .cancel(this.#abandon.signal)
      .catch(() => {})
      .finally(() => {
        lease.discard();
        this.#cancelling.delete(cancelling);
      });
    this.#cancelling.add(cancelling);
  }
}

function giveBack(lease: Lease<SqlSession>, isSpent: boolean): void {
  if (lease.resource.reusable) lease.release(isSpent);
  else lease.discard();
}

function overTime(timeoutMs: number): AppError {
  return new AppError(
    'target_timeout',
    `the statement took longer than ${timeoutMs} ms and was cancelled on the server`,
  );
}

function checked(statement: Statement): Statement {
  // The protocols end a text there, and would take the rest for something else.
  if (statement.sql.includes('\0')) throw new AppError('request_rejected', 'U+0000 cannot be part of SQL');
  return statement;
}

/** The staged test on a session of its own, by the steps that every session takes. */
async function testSql(
  dialect: SqlDialect,
  settings: DialectSettings,
  stages: Stages,
  signal: AbortSignal,
): Promise<void> {
  const { hosts, timeoutMs } = settings;
  const session = await dialect.connect({ hosts, stages, signal, lost() {} });
  try {
    await stages.run('operate', async (note) => {
      const late = () => new AppError('target_timeout', `select 1 was not answered within ${timeoutMs} ms`);
      await within(session.ping(), { timeoutMs, signal, late });
      note.detail(`select 1 answered by ${session.server}`);
    });
  } finally {
    session.end(signal.aborted);
  }
}

/** The first host that lets us in; a host that refuses for good ends the search. */
async function connectAny(
  dialect: SqlDialect,
  { hosts }: DialectSettings,
  signal: AbortSignal,
  lost: () => void,
): Promise<SqlSession> {
  for (const [index, host] of hosts.entries()) {
    try {
      return await dialect.connect({ hosts: [host], stages: unreported, signal, lost });
    } catch (error) {
      const isLast = index === hosts.length - 1;
      if (isLast || signal.aborted || !(error instanceof AppError) || !error.retryable) throw error;
    }
  }
  throw new AppError('invalid_configuration', 'the connection names no host');
}
