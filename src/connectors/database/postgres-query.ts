import type { Socket } from 'node:net';
import type pg from 'pg';
import type { QueryLimits, Scalar } from './dialect.ts';
import { parserOf, type TextParser } from './postgres-values.ts';

/** A column as the server describes it. */
export interface PostgresColumn {
  readonly name: string;
  readonly dataTypeID: number;
}

/** What a session knows of a statement that it keeps prepared. */
export interface PreparedStatement {
  readonly name: string;
  /** As the server told them once; a prepared statement never returns others, but fails (SQLSTATE 0A000). */
  described: Described | undefined;
}

interface Described {
  readonly columns: readonly PostgresColumn[];
  readonly parsers: readonly TextParser[];
}

export interface RunLimits extends QueryLimits {
  /** Whether rows are kept at all. */
  keep: boolean;
}

export interface RunAnswer {
  columns: readonly PostgresColumn[];
  rows: unknown[][];
  truncated: boolean;
  affectedRows: number;
}

export interface WireConnection extends NodeJS.EventEmitter {
  readonly parsedStatements: Record<string, string>;
  parse(request: { text: string; name: string }): void;
  bind(request: { portal: string; statement: string; values: (string | null)[] }): void;
  describe(request: { type: 'P'; name: string }): void;
  execute(request: { portal: string; rows: number }): void;
  close(request: { type: 'S' | 'P'; name: string }): void;
  flush(): void;
  sync(): void;
  sendCopyFail(message: string): void;
}

/** The part of pg's client that its types leave out, seen in 8.x. */
export type WireClient = Omit<pg.Client, 'connection' | 'query'> & {
  readonly connection: WireConnection;
  readonly processID: number | null;
  readonly secretKey: number | null;
  getStartupConf(): Record<string, string>;
  getTransactionStatus(): 'I' | 'T' | 'E' | null;
  query(query: PostgresQuery | string): Promise<unknown>;
};

/** Rows asked for at once; in between it is decided whether there were enough. */
const FETCH_ROWS = 1001;
/** What these return is planned anew when it may have changed; others (EXECUTE, FETCH) are described each time. */
const isPlanned = /^\s*(?:select|insert|update|delete|merge|values|table|with)\b/i;
const SYNC = Buffer.from([0x53, 0, 0, 0, 4]);

/**
 * One statement by the extended protocol, as pg's client submits it: its rows are fetched by and by,
 * until there are enough, and what was described once is not asked for again.
 */
export class PostgresQuery {
  readonly text: string;
  readonly name: string;
  /** Settles when the server is ready for the next statement, or the connection has ended. */
  readonly done: Promise<void>;
  readonly #socket: Socket;
  readonly #values: (string | null)[];
  readonly #statement: PreparedStatement | undefined;
  readonly #evicted: readonly string[];
  readonly #limits: RunLimits;
  #resolve!: () => void;
  #reject!: (error: unknown) => void;
  #described: Described | undefined;
  readonly #rows: unknown[][] = [];
  #tag = '';
  #bytes = 0;
  /** Whether a row came after those of `maxBytes`. */
  #overflown = false;
  #synced = false;
  #failure: { error: unknown } | undefined;

  constructor(
    socket: Socket,
    {
      sql,
      parameters,
      statement,
      evicted,
    }: {
      sql: string;
      parameters: readonly Scalar[];
      /** Left out: it is not kept. */
      statement: PreparedStatement | undefined;
      evicted: readonly string[];
    },
    limits: RunLimits,
  ) {
    this.#socket = socket;
    this.text = sql;
    this.name = statement?.name ?? '';
    this.#values = parameters.map((value) => (value === null ? null : String(value)));
    this.#statement = statement;
    this.#evicted = evicted;
    this.#limits = limits;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  answer(): RunAnswer {
    const { maxRows } = this.#limits;
    const rows = this.#rows;
    return {
      columns: this.#described?.columns ?? [],
      rows: rows.length > maxRows ? rows.slice(0, maxRows) : rows,
      truncated: rows.length > maxRows || this.#overflown,
      affectedRows: Number(/ (\d+)$/.exec(this.#tag)?.[1] ?? 0),
    };
  }

  submit(connection: WireConnection): void {
    const { maxRows, keep } = this.#limits;
    const { name, text } = this;
    const isParsed = name !== '' && connection.parsedStatements[name] !== undefined;
    this.#described = isParsed ? this.#statement!.described : undefined;
    // In one packet, for which the server wakes up once.
    this.#socket.cork();
    for (const evicted of this.#evicted) {
      connection.close({ type: 'S', name: evicted });
      delete connection.parsedStatements[evicted];
    }
    if (!isParsed) connection.parse({ text, name });
    connection.bind({ portal: '', statement: name, values: this.#values });
    if (keep && !this.#described) connection.describe({ type: 'P', name: '' });
    // Where nothing will be fetched after these, the end is asked for at once, which saves a round trip.
    this.#synced = !keep || maxRows < FETCH_ROWS;
    if (this.#synced) this.#write(endOf(keep ? maxRows + 1 : 0));
    else {
      // One row more than wanted tells whether there is more.
      connection.execute({ portal: '', rows: FETCH_ROWS });
      connection.flush();
    }
    this.#socket.uncork();
  }

  handleRowDescription({ fields }: { fields: PostgresColumn[] }): void {
    this.#described = {
      columns: fields.map(({ name, dataTypeID }) => ({ name, dataTypeID })),
      parsers: fields.map(({ dataTypeID }) => parserOf(dataTypeID)),
    };
    if (this.#statement && isPlanned.test(this.text)) this.#statement.described = this.#described;
  }

  handleDataRow({ length, fields }: { length: number; fields: (string | null)[] }): void {
    const { keep, maxBytes } = this.#limits;
    if (!keep || this.#failure) return;
    this.#overflown ||= this.#bytes > maxBytes;
    this.#bytes += length;
    if (this.#overflown) return;
    const parsers = this.#described?.parsers;
    if (parsers?.length !== fields.length) {
      this.#failure = { error: new Error('a row has other columns than were described') };
      return;
    }
    // In its place: the message is made for nobody else.
    const row: unknown[] = fields;
    for (let at = 0; at < parsers.length; at++) {
      const text = fields[at];
      if (text !== null) row[at] = parsers[at]!(text!);
    }
    this.#rows.push(row);
  }

  handleCommandComplete({ text }: { text: string }, connection: WireConnection): void {
    this.#tag = text;
    this.#sync(connection);
  }

  handleEmptyQuery(connection: WireConnection): void {
    this.#sync(connection);
  }

  handlePortalSuspended(connection: WireConnection): void {
    if (this.#synced) return;
    const wanted = this.#limits.maxRows + 1 - this.#rows.length;
    if (wanted > 0 && !this.#overflown && !this.#failure) {
      connection.execute({ portal: '', rows: Math.min(FETCH_ROWS, wanted) });
      connection.flush();
    } else this.#sync(connection);
  }

  /** COPY FROM STDIN: the server passes over the Sync that was sent before. */
  handleCopyInResponse(connection: WireConnection): void {
    connection.sendCopyFail('No data comes with this statement');
    this.#synced = false;
  }

  handleCopyData(): void {}

  handleReadyForQuery(): void {
    if (this.#failure) this.#reject(this.#failure.error);
    else this.#resolve();
  }

  /** An error of the server, after which it becomes ready again, or the end of the connection. */
  handleError(error: Error, connection: WireConnection): void {
    this.#failure = { error };
    if (!('severity' in error) || this.#socket.destroyed) {
      this.#reject(error);
      return;
    }
    // Without a Sync the server skips everything that follows an error.
    this.#sync(connection);
    // By then the client has forgotten whose error it was.
    const settle = () => {
      connection.off('readyForQuery', settle).off('end', settle);
      this.#reject(error);
    };
    connection.on('readyForQuery', settle).on('end', settle);
  }

  #sync(connection: WireConnection): void {
    if (!this.#synced) connection.sync();
    this.#synced = true;
  }

  #write(bytes: Buffer): void {
    if (this.#socket.writable) this.#socket.write(bytes);
  }
}

let lastEnd = { rows: -1, bytes: SYNC };

/** Execute for so many rows of the unnamed portal (0: all), and Sync. */
function endOf(rows: number): Buffer {
  if (lastEnd.rows !== rows) {
    const execute = Buffer.from([0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0]);
    execute.writeUInt32BE(rows, 6);
    lastEnd = { rows, bytes: Buffer.concat([execute, SYNC]) };
  }
  return lastEnd.bytes;
}
