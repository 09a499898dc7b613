import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { pathToFileURL } from 'node:url';
import { AppError } from '../../errors.ts';
import { within } from '../transport/deadline.ts';
import {
  type ConnectRequest,
  type DialectSettings,
  dialInTurn,
  type ExecuteAnswer,
  type QueryAnswer,
  type QueryLimits,
  type SqlDialect,
  type SqlSession,
  type Statement,
  secure,
} from './dialect.ts';
import { type LoopbackRelay, relayTo } from './loopback-relay.ts';
import { classifyOdbcError, type OdbcDriver } from './odbc-errors.ts';
import type { OdbcConnection, OdbcModule, OdbcResult, OdbcValue } from './odbc-module.ts';
import { threadedOdbc } from './odbc-thread.ts';
import { firstWord } from './session-state.ts';

const FETCH_ROWS = 100;

/** A database by the ODBC driver that is registered under a name. */
export interface OdbcProduct extends OdbcDriver {
  name: string;
  /** The connection string's parts besides driver, port and log-in. */
  parts(settings: DialectSettings): readonly (readonly [name: string, value: string])[];
  /** A statement that any account may run and that answers one row. */
  probe: string;
}

export const sybase: OdbcProduct = {
  name: 'SAP ASE (Sybase)',
  driver: 'FreeTDS',
  driverFrom: 'the package tdsodbc of Debian',
  parts: ({ database, parameters }) => [
    ['Server', '127.0.0.1'],
    ['TDS_Version', '5.0'],
    ['ClientCharset', 'UTF-8'],
    ['APP', parameters['appName'] ?? parameters['APPLICATIONNAME'] ?? 'plugboard'],
    ...(database === undefined ? [] : [['Database', database] as const]),
  ],
  probe: 'select 1',
};

export const db2: OdbcProduct = {
  name: 'IBM Db2',
  driver: 'IBM DB2 ODBC DRIVER',
  driverFrom: 'the IBM Data Server Driver for ODBC and CLI',
  parts: ({ database, parameters }) => [
    ['Hostname', '127.0.0.1'],
    ['Protocol', 'TCPIP'],
    ['Database', database ?? ''],
    ...(parameters['currentSchema'] === undefined
      ? []
      : [['CurrentSchema', parameters['currentSchema']] as const]),
    ['ClientApplName', parameters['clientApplicationInformation'] ?? 'plugboard'],
  ],
  probe: 'select 1 from sysibm.sysdummy1',
};

/** The package `odbc`; `driver_missing`, with what to install, where it is not there. */
export function loadOdbc({ name, driver, driverFrom }: OdbcProduct): OdbcModule {
  try {
    return threadedOdbc(pathToFileURL(createRequire(import.meta.url).resolve('odbc')).href);
  } catch (cause) {
    throw new AppError('driver_missing', `${name} is reached by ODBC, whose package is not installed here`, {
      cause,
      details: {
        hint: `on the worker: apt-get install unixodbc-dev, then in the directory of plugboard npm install --no-save --build-from-source odbc@2; and ${driverFrom}, registered in odbcinst.ini as ${driver}`,
      },
    });
  }
}

/** A database by its ODBC driver, which reaches its server through a socket of ours. */
export function odbcDialect(settings: DialectSettings, product: OdbcProduct, odbc: OdbcModule): SqlDialect {
  return {
    async connect(request) {
      const { socket: plain, host } = await dialInTurn(settings, request);
      plain.on('error', () => {});
      try {
        let socket: Socket = plain;
        if (settings.tls.demand === 'none')
          request.stages.skip('tls', 'TLS is not asked for: nothing is encrypted, nor is the password');
        else
          socket = await request.stages.run('tls', (note) =>
            secure(settings, plain, host, request.signal, note),
          );
        return await request.stages.run('authenticate', async (note) => {
          const session = await logIn(odbc, settings, product, socket, request);
          note.detail(`user ${settings.user ?? 'none'}, by the ODBC driver ${product.driver}`);
          return session;
        });
      } catch (error) {
        plain.destroy();
        throw error;
      }
    },
  };
}

async function logIn(
  odbc: OdbcModule,
  settings: DialectSettings,
  product: OdbcProduct,
  socket: Socket,
  { signal, lost }: ConnectRequest,
): Promise<OdbcSession> {
  const { user, password, timeoutMs } = settings;
  let session: OdbcSession | undefined;
  let isLost = false;
  let isOver = false;
  const relay = await relayTo(socket, () => {
    isLost = true;
    if (session) lost();
  });
  const late = () => new AppError('target_timeout', `the log-in was not answered within ${timeoutMs} ms`);
  try {
    const connectionString = connectionStringOf([
      ['Driver', product.driver],
      ...product.parts(settings),
      ['Port', String(relay.port)],
      ...(user === undefined ? [] : [['Uid', user] as const]),
      ...(password === undefined ? [] : [['Pwd', password] as const]),
    ]);
    const connecting = odbc.connect({
      connectionString,
      loginTimeout: Math.max(Math.ceil(timeoutMs / 1000), 1),
    });
    // A log-in that comes too late is not kept.
    connecting.then((opened) => (isOver ? opened.close() : undefined)).catch(() => {});
    const connection = await within(connecting, { timeoutMs, signal, late });
    session = new OdbcSession(connection, product, relay);
    return session;
  } catch (error) {
    isOver = true;
    relay.close();
    const known = classifyOdbcError(error, product);
    throw isLost && known.code === 'target_error'
      ? new AppError('connection_lost', undefined, { cause: error })
      : known;
  }
}

/** `name=value;…`; a value that could end itself is in braces, and cannot end them. Fails with `invalid_configuration`. */
export function connectionStringOf(parts: readonly (readonly [name: string, value: string])[]): string {
  return parts
    .map(([name, value]) => {
      if (/\p{Cc}/u.test(value))
        throw new AppError('invalid_configuration', `${name} cannot hold control characters`);
      const isPlain = /^[\w.+*/:,@$%^&#!~-]*$/.test(value);
      return `${name}=${isPlain && name !== 'Driver' ? value : `{${value.replaceAll('}', '}}')}}`};`;
    })
    .join('');
}

class OdbcSession implements SqlSession {
  readonly server: string;
  readonly #connection: OdbcConnection;
  readonly #product: OdbcProduct;
  readonly #relay: LoopbackRelay;
  #isOurs = true;
  #isRunning = false;

  constructor(connection: OdbcConnection, product: OdbcProduct, relay: LoopbackRelay) {
    this.server = product.name;
    this.#connection = connection;
    this.#product = product;
    this.#relay = relay;
  }

  get reusable(): boolean {
    return this.#isOurs;
  }

  async ping(): Promise<void> {
    await this.query({ sql: this.#product.probe, parameters: [] }, { maxRows: 1, maxBytes: 65_536 });
  }

  query({ sql, parameters }: Statement, limits: QueryLimits): Promise<QueryAnswer> {
    return this.#run(sql, async () => {
      const options = { cursor: true, fetchSize: FETCH_ROWS } as const;
      const opened = await this.#connection.query(sql, parameters.map(boundValue), options);
      const answer: QueryAnswer = { columns: [], rows: [], truncated: false };
      if (!('fetch' in opened)) return answer;
      try {
        let bytes = 0;
        while (!opened.noData) {
          const rows = await opened.fetch();
          if (answer.columns.length === 0) answer.columns = columnsOf(rows);
          for (const row of rows) {
            if (answer.rows.length >= limits.maxRows || (answer.rows.length > 0 && bytes > limits.maxBytes))
              return { ...answer, truncated: true };
            const values = answer.columns.map(({ name }) => jsonValue(row[name]));
            answer.rows.push(values);
            bytes += JSON.stringify(values).length;
          }
        }
        return answer;
      } finally {
        await opened.close().catch(() => {});
      }
    });
  }

  execute({ sql, parameters }: Statement): Promise<ExecuteAnswer> {
    return this.#run(sql, async () => {
      const { count } = await this.#connection.query(sql, parameters.map(boundValue));
      return { affectedRows: Math.max(count ?? 0, 0) };
    });
  }

  /** The server ends what runs when its socket is gone; the driver's own cancel would wait for it. */
  async cancel(_abandoned: AbortSignal): Promise<void> {
    this.end(true);
  }

  end(force: boolean): void {
    this.#isOurs = false;
    if (force || this.#isRunning) this.#relay.close();
    void this.#connection
      .close()
      .catch(() => {})
      .finally(() => this.#relay.close());
  }

  async #run<A>(sql: string, work: () => Promise<A>): Promise<A> {
    if (!this.#isOurs) throw new AppError('connection_lost');
    // Whether a transaction was left open is not told: what may begin one ends with its connection.
    if (['begin', 'declare'].includes(firstWord(sql))) this.#isOurs = false;
    this.#isRunning = true;
    try {
      return await work();
    } catch (error) {
      const known = classifyOdbcError(error, this.#product);
      if (known.code === 'connection_lost') this.#isOurs = false;
      throw known;
    } finally {
      this.#isRunning = false;
    }
  }
}

function boundValue(value: string | number | boolean | null): OdbcValue {
  return typeof value === 'boolean' ? Number(value) : value;
}

/** The rows come by name, so that two columns of one name cannot be told apart. */
function columnsOf(rows: OdbcResult): { name: string; type: string }[] {
  const columns = (rows.columns ?? []).map(({ name, dataTypeName }) => ({
    name,
    type: dataTypeName.replace(/^SQL_/, '').toLowerCase(),
  }));
  const names = columns.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined)
    throw new AppError('request_rejected', `two columns have the name '${twice}': give each its own by AS`);
  return columns;
}

function jsonValue(value: unknown): unknown {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (value instanceof ArrayBuffer) return Buffer.from(value).toString('base64');
  return Buffer.isBuffer(value) ? value.toString('base64') : value;
}
