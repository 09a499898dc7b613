import type { Socket } from 'node:net';
import mysql from 'mysql2';
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
import { classifyMysqlError } from './mysql-errors.ts';

const CLIENT_SSL = 0x0800;
const SERVER_STATUS_IN_TRANS = 0x0001;
const SERVER_STATUS_AUTOCOMMIT = 0x0002;
/** How long the server has to take a KILL QUERY, log-in included. */
const CANCEL_TIMEOUT_MS = 2_000;
/** The protocol counts parameters in 16 bits. */
const MOST_PARAMETERS = 65_535;
/** Below this no server in use refuses a statement for its size. */
const SMALL_BYTES = 64 * 1024;

/** MySQL and MariaDB by server-side prepared statements alone: one statement a call, parameters always bound. */
export function mysqlDialect(settings: DialectSettings): SqlDialect {
  return {
    async connect(request) {
      const { socket, host } = await dialInTurn(settings, request);
      socket.on('error', () => {});
      try {
        return await logIn(settings, socket, host, request);
      } catch (error) {
        socket.destroy();
        throw error;
      }
    },
  };
}

async function logIn(
  settings: DialectSettings,
  socket: Socket,
  host: Host,
  { stages, signal, lost }: ConnectRequest,
): Promise<MysqlSession> {
  const { user, password, database, tls, timeoutMs } = settings;
  const bounds = { timeoutMs, signal };
  // The server speaks first; whether it offers TLS stands in its greeting.
  const greeting = await readGreeting(socket, bounds).catch((error) =>
    stages.run('authenticate', () => Promise.reject<Greeting>(error)),
  );
  const speaksTls = tls.demand === 'demand' || (tls.demand === 'prefer' && greeting.offersTls);
  if (!speaksTls) skipTls(stages, tls.demand);

  /** When the server expects the TLS handshake; the driver goes on when what it resolves with is called. */
  const handshake = Promise.withResolvers<(error?: Error) => void>();
  const entered = Promise.withResolvers<void>();
  entered.promise.catch(() => {});
  const connection = mysql.createConnection({
    stream: () => socket,
    host: host.host,
    port: host.port,
    user: user ?? '',
    password: password ?? '',
    ...(database === undefined ? {} : { database }),
    ...(speaksTls ? { ssl: {} } : {}),
    connectTimeout: 0,
    charset: 'utf8mb4',
    // No file of the worker is ever sent, whatever the server asks for.
    flags: ['-LOCAL_FILES'],
    multipleStatements: false,
    maxPreparedStatements: Math.max(settings.maxStatements, 1),
    supportBigNumbers: true,
    bigNumberStrings: true,
    dateStrings: true,
    connectAttributes: { program_name: 'plugboard' },
  }) as unknown as WireConnection;
  connection.on('error', (error) => entered.reject(error));
  connection.on('connect', () => entered.resolve());
  // In the place of the driver's own handshake, so that the worker's network verifies the server.
  connection.startTLS = (done) => {
    socket.removeAllListeners('data');
    handshake.resolve(done);
  };
  socket.resume();
  const late = () => new AppError('target_timeout', `the log-in was not answered within ${timeoutMs} ms`);
  try {
    if (speaksTls)
      await stages.run('tls', async (note) => {
        try {
          // It rejects where the server does not offer TLS.
          const failed = entered.promise.then(() => handshake.promise);
          const goOn = await within(Promise.race([handshake.promise, failed]), { ...bounds, late });
          const secured = await secure(settings, socket, host, signal, note);
          secured.on('error', (error: Error) => connection._handleNetworkError(error));
          secured.on('data', (chunk: Buffer) => connection.packetParser.execute(chunk));
          connection.stream = secured;
          goOn();
        } catch (error) {
          throw classifyMysqlError(error);
        }
      });
    return await stages.run('authenticate', async (note) => {
      try {
        await within(entered.promise, { ...bounds, late });
        const session = new MysqlSession(settings, connection, host, greeting.server, lost);
        await within(session.prepare(), { ...bounds, late });
        describeLogIn(note, user ?? '', greeting, speaksTls);
        return session;
      } catch (error) {
        throw classifyMysqlError(error);
      }
    });
  } catch (error) {
    connection.stream.destroy();
    throw error;
  }
}

function skipTls(stages: Stages, demand: DialectSettings['tls']['demand']): void {
  stages.skip(
    'tls',
    demand === 'none'
      ? 'TLS is switched off in jdbcUrl: nothing is encrypted; sslMode=VERIFY_IDENTITY encrypts and verifies'
      : 'the server offers no TLS, so nothing is encrypted; sslMode=VERIFY_IDENTITY in jdbcUrl would demand it',
  );
}

function describeLogIn(note: StageNote, user: string, { authPlugin }: Greeting, encrypted: boolean): void {
  note.detail(`user ${user}${authPlugin ? `, server's method ${authPlugin}` : ''}`);
  if (!encrypted && authPlugin !== 'mysql_native_password')
    note.hint('without TLS the password is sent under a key that nobody verified: use TLS');
}

interface Greeting {
  server: string;
  offersTls: boolean;
  authPlugin: string | undefined;
}

/** The server's first packet, left in the socket for the driver. */
async function readGreeting(
  socket: Socket,
  bounds: { timeoutMs: number; signal: AbortSignal },
): Promise<Greeting> {
  const packet = await readChunk(socket, isWholeGreeting, bounds);
  socket.pause();
  socket.unshift(packet);
  // Turned away at the door: too many connections, host not allowed or blocked.
  if (packet[4] === 0xff)
    throw classifyMysqlError({
      errno: packet.readUInt16LE(5),
      message: packet.toString('utf8', 7).replace(/^#\w{5}/, ''),
    });
  const versionEnd = packet.indexOf(0, 5);
  const capabilities = packet.readUInt16LE(versionEnd + 14);
  const version = packet.toString('latin1', 5, versionEnd);
  const pluginEnd = packet.length - 1;
  const pluginStart = packet.lastIndexOf(0, pluginEnd - 1) + 1;
  const authPlugin = packet.toString('latin1', pluginStart, pluginEnd);
  return {
    // MariaDB pretends to be 5.5.5 for the sake of old clients.
    server: /mariadb/i.test(version) ? `MariaDB ${version.replace(/^5\.5\.5-/, '')}` : `MySQL ${version}`,
    offersTls: (capabilities & CLIENT_SSL) !== 0,
    authPlugin: /^[a-z0-9_]+$/.test(authPlugin) ? authPlugin : undefined,
  };
}

/** Whether a first packet is complete; throws where it cannot be one of MySQL's (number 0, protocol 10 or error). */
function isWholeGreeting(received: Buffer): boolean {
  if (received.length < 5) return false;
  const length = received.readUIntLE(0, 3);
  const kind = received[4];
  if (received[3] !== 0 || (kind !== 10 && kind !== 0xff) || length < 3 || length > 4096)
    throw new AppError('protocol_error', 'what answers there is neither MySQL nor MariaDB');
  if (received.length < length + 4) return false;
  const versionEnd = received.indexOf(0, 5);
  if (kind === 10 && (versionEnd < 0 || versionEnd + 16 > received.length))
    throw new AppError('protocol_error', 'what answers there is neither MySQL nor MariaDB');
  return true;
}

class MysqlSession implements SqlSession {
  readonly server: string;
  readonly #settings: DialectSettings;
  readonly #connection: WireConnection;
  readonly #host: Host;
  #failRunning: ((error: unknown) => void) | undefined;
  #over = false;
  /** What the server takes in one packet, bytes; asked for when first needed. */
  #maxPacketBytes: number | undefined;

  constructor(
    settings: DialectSettings,
    connection: WireConnection,
    host: Host,
    server: string,
    lost: () => void,
  ) {
    this.#settings = settings;
    this.#connection = connection;
    this.#host = host;
    this.server = server;
    const onEnd = (error?: unknown) => {
      this.#failRunning?.(error ?? new AppError('connection_lost'));
      if (this.#over) return;
      this.#over = true;
      lost();
    };
    connection.on('error', onEnd);
    connection.stream.on('close', () => onEnd());
  }

  get reusable(): boolean {
    return !this.#over && !this.#connection.stream.destroyed;
  }

  /** Makes a TIMESTAMP mean the same for every server: without it, the server's own zone would count. */
  async prepare(): Promise<void> {
    await this.#command((callback) => this.#connection.query("set time_zone = '+00:00'", callback));
  }

  async ping(): Promise<void> {
    await this.#run({ sql: 'select 1', parameters: [] }, { maxRows: 1, maxBytes: 1024 });
  }

  async query(statement: Statement, limits: QueryLimits): Promise<QueryAnswer> {
    const { fields, rows, truncated } = await this.#run(statement, limits);
    const converters = fields.map(converterOf);
    return {
      columns: fields.map((field) => ({ name: field.name, type: typeNameOf(field) })),
      rows: rows.map((row) => row.map((value, index) => (value === null ? null : converters[index]!(value)))),
      truncated,
    };
  }

  async execute(statement: Statement): Promise<ExecuteAnswer> {
    const { header } = await this.#run(statement, undefined);
    const insertId = header?.insertId;
    return {
      affectedRows: Number(header?.affectedRows ?? 0),
      ...(insertId && insertId !== '0' ? { insertId: String(insertId) } : {}),
    };
  }

  async cancel(abandoned: AbortSignal): Promise<void> {
    const { threadId } = this.#connection;
    const wasRunning = !this.#over;
    this.#over = true;
    if (!wasRunning || threadId === null) return;
    const signal = AbortSignal.any([abandoned, AbortSignal.timeout(CANCEL_TIMEOUT_MS)]);
    const hurried = { ...this.#settings, timeoutMs: CANCEL_TIMEOUT_MS };
    let other: SqlSession | undefined;
    try {
      const request = { hosts: [this.#host], stages: unreported, signal, lost() {} };
      other = await mysqlDialect(hurried).connect(request);
      const kill = (other as MysqlSession).#killQuery(threadId);
      await within(kill, {
        timeoutMs: CANCEL_TIMEOUT_MS,
        signal,
        late: () => new AppError('target_timeout'),
      });
    } catch {
      // Best effort: the session's own socket is closed in any case.
    } finally {
      other?.end(true);
    }
  }

  end(force: boolean): void {
    const { stream } = this.#connection;
    if (!force && this.reusable) {
      this.#over = true;
      this.#connection.end(() => {});
    } else {
      this.#over = true;
      stream.destroy();
    }
    // Half-closed it would stay for as long as the server likes.
    stream.destroySoon();
  }

  #killQuery(threadId: number): Promise<unknown> {
    return this.#command((callback) => this.#connection.query(`kill query ${Number(threadId)}`, callback));
  }

  #command(send: (callback: (error: unknown) => void) => void): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#failRunning = reject;
      send((error) => (error ? reject(error) : resolve()));
    }).then(
      () => {
        this.#failRunning = undefined;
      },
      (error) => {
        this.#failRunning = undefined;
        throw classifyMysqlError(error);
      },
    );
  }

  async #run({ sql, parameters }: Statement, limits: QueryLimits | undefined): Promise<RunAnswer> {
    if (!this.reusable) throw new AppError('connection_lost');
    if (parameters.length > MOST_PARAMETERS)
      throw new AppError('request_rejected', `MySQL takes at most ${MOST_PARAMETERS} parameters`);
    let answer: RunAnswer;
    try {
      await this.#demandRoom(sql, parameters);
      answer = await this.#submit(sql, parameters, limits);
    } catch (error) {
      throw classifyMysqlError(error);
    } finally {
      this.#failRunning = undefined;
      if (this.#settings.maxStatements === 0 && this.reusable)
        this.#connection.unprepare({ sql, rowsAsArray: true });
    }
    await this.#leaveTransaction(answer.header?.serverStatus);
    return answer;
  }

  /** The server hangs up on what is too large, and what it says of that may be lost with the connection. */
  async #demandRoom(sql: string, parameters: readonly unknown[]): Promise<void> {
    const bytes = [sql, ...parameters].reduce<number>((sum, value) => sum + bytesOf(value), 0);
    if (bytes < SMALL_BYTES) return;
    if (this.#maxPacketBytes === undefined) {
      const { rows } = await this.#submit('select @@max_allowed_packet', [], { maxRows: 1, maxBytes: 1024 });
      this.#maxPacketBytes = Number(rows[0]?.[0] ?? Number.POSITIVE_INFINITY);
    }
    if (bytes < this.#maxPacketBytes) return;
    throw new AppError(
      'message_too_large',
      `the statement has ${bytes} bytes with its parameters, the server takes ${this.#maxPacketBytes}`,
      { details: { hint: 'raise max_allowed_packet on the server, or send less at once' } },
    );
  }

  #submit(sql: string, parameters: readonly unknown[], limits: QueryLimits | undefined): Promise<RunAnswer> {
    return new Promise((resolve, reject) => {
      this.#failRunning = reject;
      const answer: RunAnswer = { fields: [], rows: [], truncated: false, header: undefined };
      const { stream } = this.#connection;
      const bytesBefore = stream.bytesRead;
      let resultSets = 0;
      const command = this.#connection.execute({ sql, values: [...parameters], rowsAsArray: true });
      command.on('fields', (fields: Field[] | undefined) => {
        // A procedure may answer several results: the first is the answer.
        if (fields && resultSets++ === 0) answer.fields = fields;
      });
      command.on('result', (result: unknown[] | Header) => {
        if (!Array.isArray(result)) {
          answer.header = result;
          return;
        }
        if (!limits || resultSets > 1 || answer.truncated) return;
        if (
          answer.rows.length < limits.maxRows &&
          (answer.rows.length === 0 || stream.bytesRead - bytesBefore <= limits.maxBytes)
        ) {
          answer.rows.push(result);
          return;
        }
        answer.truncated = true;
        // What changes something goes on to its end, unread: it would be undone with its session.
        if (!onlyReads.test(sql)) return;
        // The protocol knows no "enough": the server stops when nobody reads on.
        this.#over = true;
        stream.destroy();
        resolve(answer);
      });
      command.on('error', reject);
      command.on('end', () => resolve(answer));
    });
  }

  /** Whatever a statement began ends with its call: the next one may be somebody else's. */
  async #leaveTransaction(status: number | undefined): Promise<void> {
    if (status === undefined || !this.reusable) return;
    if ((status & SERVER_STATUS_AUTOCOMMIT) === 0) {
      this.end(true);
      throw new AppError(
        'request_rejected',
        'autocommit cannot be switched off: every call is a transaction of its own',
      );
    }
    if ((status & SERVER_STATUS_IN_TRANS) === 0) return;
    await this.#command((callback) => this.#connection.query('rollback', callback));
    throw new AppError(
      'request_rejected',
      'the statement left a transaction open, which was rolled back: every call is a transaction of its own',
    );
  }
}

const onlyReads = /^\s*(?:select|show|explain|describe|desc|values|table)\b/i;

function bytesOf(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  return Buffer.isBuffer(value) ? value.length : 0;
}

interface RunAnswer {
  fields: Field[];
  rows: unknown[][];
  truncated: boolean;
  header: Header | undefined;
}

interface Header {
  affectedRows?: number | string;
  insertId?: number | string;
  serverStatus?: number;
}

interface Field {
  name: string;
  columnType: number;
  columnLength: number;
  characterSet: number;
  flags: number;
  extendedTypeName?: string;
  extendedFormat?: string;
}

/** The part of mysql2's connection that its types leave out, seen in 3.x. */
interface WireConnection extends NodeJS.EventEmitter {
  stream: Socket;
  readonly threadId: number | null;
  readonly packetParser: { execute(chunk: Buffer): void };
  startTLS(done: (error?: Error) => void): void;
  _handleNetworkError(error: Error): void;
  query(sql: string, callback: (error: unknown) => void): void;
  execute(options: { sql: string; values: unknown[]; rowsAsArray: true }): NodeJS.EventEmitter;
  unprepare(options: { sql: string; rowsAsArray: true }): void;
  end(callback: () => void): void;
}

const BINARY_CHARACTER_SET = 63;
const UNSIGNED_FLAG = 0x20;
const ENUM_FLAG = 0x100;
const SET_FLAG = 0x800;

const typeNames: Readonly<Record<number, string>> = {
  0: 'decimal',
  1: 'tinyint',
  2: 'smallint',
  3: 'int',
  4: 'float',
  5: 'double',
  6: 'null',
  7: 'timestamp',
  8: 'bigint',
  9: 'mediumint',
  10: 'date',
  11: 'time',
  12: 'datetime',
  13: 'year',
  14: 'date',
  15: 'varchar',
  16: 'bit',
  242: 'vector',
  245: 'json',
  246: 'decimal',
  247: 'enum',
  248: 'set',
  255: 'geometry',
};

function typeNameOf({ columnType, characterSet, flags, extendedTypeName, extendedFormat }: Field): string {
  if (extendedFormat ?? extendedTypeName) return (extendedFormat ?? extendedTypeName)!;
  const isBinary = characterSet === BINARY_CHARACTER_SET;
  if (columnType >= 249 && columnType <= 252) return isBinary ? 'blob' : 'text';
  if (columnType === 253) return isBinary ? 'varbinary' : 'varchar';
  if (columnType === 254) {
    if (flags & ENUM_FLAG) return 'enum';
    if (flags & SET_FLAG) return 'set';
    return isBinary ? 'binary' : 'char';
  }
  const name = typeNames[columnType] ?? `type ${columnType}`;
  return flags & UNSIGNED_FLAG && columnType <= 9 && columnType !== 7 ? `${name} unsigned` : name;
}

function converterOf(field: Field): (value: unknown) => unknown {
  switch (typeNameOf(field)) {
    case 'bit':
      return (value) => (Buffer.isBuffer(value) ? bits(value, field.columnLength) : value);
    case 'datetime':
      return (value) => String(value).replace(' ', 'T');
    case 'timestamp':
      return (value) => `${String(value).replace(' ', 'T')}Z`;
    case 'bigint':
    case 'bigint unsigned':
      return String;
    case 'json':
      return (value) => (typeof value === 'string' ? parseJson(value) : value);
    default:
      return (value) => (Buffer.isBuffer(value) ? value.toString('base64') : value);
  }
}

/** A BIT column as PostgreSQL writes one: its digits. */
function bits(value: Buffer, length: number): string {
  return BigInt(`0x${value.toString('hex') || '0'}`)
    .toString(2)
    .padStart(length, '0');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
