import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { AppError } from '../../errors.ts';
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
} from './dialect.ts';
import { carried, type OracleConnection, type OracleDriver, oracleDriver } from './oracle-driver.ts';
import { classifyOracleError } from './oracle-errors.ts';
import { boundValue, connectDescriptor, jsonValue } from './oracle-values.ts';

const FETCH_ROWS = 100;
const CANCEL_TIMEOUT_MS = 2_000;
/** Types whose values would come as locators or lose digits. */
const asText = new Set(['NUMBER', 'CLOB', 'NCLOB']);

/** Oracle by oracledb in thin mode, on sockets of our own. */
export function oracleDialect(settings: DialectSettings): SqlDialect {
  const { user, password, database } = settings;
  if (!user || !password)
    throw new AppError('invalid_configuration', 'Oracle needs a user name and a password');
  if (!database)
    throw new AppError(
      'invalid_configuration',
      'Oracle needs a service, as in jdbc:oracle:thin:@host:1521/service',
    );
  const driver = oracleDriver();
  return {
    async connect(request) {
      const { socket: plain, host } = await dialInTurn(settings, request);
      plain.on('error', () => {});
      let secured: TLSSocket | undefined;
      try {
        if (settings.tls.demand === 'none')
          request.stages.skip(
            'tls',
            'TLS is not asked for: only the password is encrypted, by the log-in itself; @tcps://host:2484/service in jdbcUrl encrypts and verifies',
          );
        else
          secured = await request.stages.run('tls', (note) =>
            secure(settings, plain, host, request.signal, note),
          );
        return await request.stages.run('authenticate', async (note) => {
          const session = await logIn(driver, settings, { plain, secured, host }, request);
          note.detail(`user ${user}, ${settings.isSid ? 'SID' : 'service'} ${database}`);
          return session;
        });
      } catch (error) {
        secured?.destroy();
        plain.destroy();
        throw error;
      }
    },
  };
}

async function logIn(
  driver: OracleDriver,
  settings: DialectSettings,
  dialled: { plain: Socket; secured: TLSSocket | undefined; host: Host },
  { signal, lost }: ConnectRequest,
): Promise<OracleSession> {
  const { user, password, database, isSid, timeoutMs, maxStatements, network } = settings;
  const { plain, secured, host } = dialled;
  const connectString = connectDescriptor({
    // An address, so that the driver has nothing to resolve.
    address: plain.remoteAddress ?? '127.0.0.1',
    port: host.port,
    secured: secured !== undefined,
    database: database!,
    isSid,
  });
  if (connectString === undefined)
    throw new AppError('invalid_configuration', 'databaseName is no name of a service of Oracle');
  const sockets: Socket[] = [];
  let failure: unknown;
  const noted = async <S extends Socket>(opening: Promise<S>): Promise<S> => {
    try {
      const socket = await opening;
      sockets.push(socket);
      socket.on('error', () => {});
      return socket;
    } catch (error) {
      failure = error;
      throw error;
    }
  };
  let isFirst = true;
  let current: Host = host;
  let prepared = secured;
  const loggingIn = carried(
    {
      // A listener may send us on to another: that one, too, is dialled by the worker's network alone.
      async dial(address) {
        if (isFirst) {
          isFirst = false;
          return plain;
        }
        current = address;
        prepared = undefined;
        return noted(network.connect({ ...address, timeoutMs, signal }));
      },
      async secure(over) {
        const ready = prepared;
        prepared = undefined;
        if (ready) return ready;
        const { tls } = settings;
        return noted(network.secure(over, { ...tls.options, host: current.host, timeoutMs, signal }));
      },
      refused(error) {
        failure = error;
      },
    },
    () => driver.getConnection({ user, password, connectString, stmtCacheSize: maxStatements }),
  );
  const destroyAll = () => {
    secured?.destroy();
    for (const socket of [plain, ...sockets]) socket.destroy();
  };
  const late = () => new AppError('target_timeout', `the log-in was not answered within ${timeoutMs} ms`);
  try {
    const connection = await within(loggingIn, { timeoutMs, signal, late });
    const last = sockets.at(-1) ?? secured ?? plain;
    return new OracleSession(driver, connection, last, destroyAll, lost);
  } catch (error) {
    destroyAll();
    loggingIn.then((connection) => connection.close({ drop: true })).catch(() => {});
    throw failure instanceof AppError && !(error instanceof AppError && error.code === 'target_timeout')
      ? failure
      : classifyOracleError(error);
  }
}

class OracleSession implements SqlSession {
  readonly server: string;
  readonly #driver: OracleDriver;
  readonly #connection: OracleConnection;
  readonly #destroySockets: () => void;
  #isOurs = true;
  #over = false;

  constructor(
    driver: OracleDriver,
    connection: OracleConnection,
    socket: Socket,
    destroySockets: () => void,
    lost: () => void,
  ) {
    this.server = `Oracle ${connection.oracleServerVersionString}`;
    this.#driver = driver;
    this.#connection = connection;
    this.#destroySockets = destroySockets;
    socket.once('close', () => {
      if (this.#over) return;
      this.#over = true;
      lost();
    });
  }

  get reusable(): boolean {
    return this.#isOurs && !this.#over;
  }

  async ping(): Promise<void> {
    const statement = { sql: 'select 1 from dual', parameters: [] };
    await this.query(statement, { maxRows: 1, maxBytes: 65_536 });
  }

  query(statement: Statement, limits: QueryLimits): Promise<QueryAnswer> {
    return this.#run(statement, true, async ({ resultSet }) => {
      const answer: QueryAnswer = { columns: [], rows: [], truncated: false };
      if (!resultSet) return answer;
      answer.columns = resultSet.metaData.map(({ name, dbTypeName }) => ({ name, type: dbTypeName }));
      try {
        let bytes = 0;
        for (;;) {
          const rows = await resultSet.getRows(Math.min(FETCH_ROWS, limits.maxRows - answer.rows.length + 1));
          if (rows.length === 0) return answer;
          for (const row of rows) {
            if (answer.rows.length >= limits.maxRows || (answer.rows.length > 0 && bytes > limits.maxBytes))
              return { ...answer, truncated: true };
            const values = row.map((value, at) => jsonValue(value, answer.columns[at]!.type));
            answer.rows.push(values);
            bytes += JSON.stringify(values).length;
          }
        }
      } finally {
        await resultSet.close();
      }
    });
  }

  execute(statement: Statement): Promise<ExecuteAnswer> {
    return this.#run(statement, false, async ({ rowsAffected, lastRowid }) => ({
      affectedRows: rowsAffected ?? 0,
      insertId: lastRowid,
    }));
  }

  async cancel(abandoned: AbortSignal): Promise<void> {
    this.#isOurs = false;
    // The break goes out on the session's own connection, past the answer that is awaited.
    await within(this.#connection.break(), {
      timeoutMs: CANCEL_TIMEOUT_MS,
      signal: abandoned,
      late: () => new AppError('target_timeout'),
    }).catch(() => {});
  }

  end(force: boolean): void {
    if (this.#over) return;
    const isBusy = !this.#isOurs;
    this.#isOurs = false;
    this.#over = true;
    if (force || isBusy) {
      this.#destroySockets();
      return;
    }
    const timer = setTimeout(this.#destroySockets, CANCEL_TIMEOUT_MS);
    this.#connection
      .close({ drop: true })
      .catch(() => {})
      .finally(() => {
        clearTimeout(timer);
        this.#destroySockets();
      });
  }

  async #run<A>(
    { sql, parameters }: Statement,
    wantsRows: boolean,
    take: (result: Awaited<ReturnType<OracleConnection['execute']>>) => Promise<A>,
  ): Promise<A> {
    if (!this.reusable) throw new AppError('connection_lost');
    const { OUT_FORMAT_ARRAY, STRING, BUFFER } = this.#driver;
    try {
      const result = await this.#connection.execute(sql, parameters.map(boundValue), {
        autoCommit: true,
        outFormat: OUT_FORMAT_ARRAY,
        resultSet: wantsRows,
        fetchTypeHandler({ dbTypeName }: { dbTypeName: string }) {
          if (asText.has(dbTypeName)) return { type: STRING };
          return dbTypeName === 'BLOB' ? { type: BUFFER } : undefined;
        },
      });
      const answer = await take(result);
      // Whatever a statement began ends with its call: the connection's next may be somebody else's.
      if (this.#connection.transactionInProgress) await this.#connection.rollback();
      return answer;
    } catch (error) {
      throw classifyOracleError(error);
    }
  }
}
