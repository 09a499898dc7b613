import type { Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { AppError } from '../../errors.ts';
import { abortError, type Network, type StageNote, type Stages } from '../connector.ts';
import { describeTls } from '../transport/describe-tls.ts';

export interface Host {
  host: string;
  port: number;
}

/** `prefer`: TLS where the server offers it, else in clear; `demand`: TLS or nothing. */
export type TlsDemand = 'none' | 'prefer' | 'demand';

/** Everything a dialect needs to open sessions; resolved, and checked without network. */
export interface DialectSettings {
  hosts: Host[];
  database: string | undefined;
  /** Oracle's older way to name a database. */
  isSid: boolean;
  user: string | undefined;
  password: string | undefined;
  /** The JDBC URL's parameters that have an effect. */
  parameters: Readonly<Record<string, string>>;
  tls: { demand: TlsDemand; verified: boolean; options: ConnectionOptions };
  /** Bounds each step of opening a session. */
  timeoutMs: number;
  /** Prepared statements kept per session; 0 keeps none. */
  maxStatements: number;
  network: Network;
}

/** One SQL protocol: how sessions are opened; made by a factory from `DialectSettings`. */
export interface SqlDialect {
  /**
   * Dials the hosts in turn, negotiates TLS and logs in, each as a stage. `lost` is called when the
   * session ends by itself. Fails with an `AppError`; leaves no socket then.
   */
  connect(request: ConnectRequest): Promise<SqlSession>;
}

export interface ConnectRequest {
  hosts: Host[];
  stages: Stages;
  signal: AbortSignal;
  lost(): void;
}

export type Scalar = string | number | boolean | null;

export interface Statement {
  sql: string;
  /** In the order of the placeholders. */
  parameters: readonly Scalar[];
}

export interface QueryLimits {
  maxRows: number;
  /** Of row data as the server sends it; reading stops after the row that goes beyond. */
  maxBytes: number;
}

export interface QueryAnswer {
  columns: { name: string; type: string }[];
  /** Values fit for JSON, in the order of the columns. */
  rows: unknown[][];
  /** Whether the server had more. */
  truncated: boolean;
}

export interface ExecuteAnswer {
  affectedRows: number;
  /** The generated key, where the protocol tells one. */
  insertId?: string | undefined;
}

/** One log-in; serves one statement at a time. Rejects with `AppError`s only. */
export interface SqlSession {
  /** Product and version. */
  readonly server: string;
  /** Whether the session may serve somebody else after a failure. */
  readonly reusable: boolean;
  ping(): Promise<void>;
  query(statement: Statement, limits: QueryLimits): Promise<QueryAnswer>;
  execute(statement: Statement): Promise<ExecuteAnswer>;
  /**
   * Ends the running statement on the server, over a connection of its own; gives up when
   * `abandoned` aborts. The session is of no use afterwards.
   */
  cancel(abandoned: AbortSignal): Promise<void>;
  end(force: boolean): void;
}

/** So that neither a firewall forgets an idle connection nor we trust a dead one for ever. */
const KEEP_ALIVE_MS = 30_000;

/** Stages of nobody: runs the work and reports nothing. */
export const unreported: Stages = {
  run: (_stage, work) => work({ detail() {}, hint() {} }),
  skip() {},
};

/** The first host that accepts a TCP connection; fails as the last one did, telling of each. */
export async function dialInTurn(
  settings: DialectSettings,
  { hosts, stages, signal }: ConnectRequest,
): Promise<{ socket: Socket; host: Host }> {
  const { network, timeoutMs } = settings;
  // Outside of a test `connect` resolves by itself; asking twice would only cost time.
  if (stages !== unreported) await stages.run('resolve', (note) => resolveAll(network, hosts, note, signal));
  return stages.run('connect', async (note) => {
    const failures: string[] = [];
    for (const [index, host] of hosts.entries()) {
      try {
        const socket = await network.connect({ ...host, timeoutMs, signal });
        socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
        note.detail([...failures, `${host.host}:${host.port} accepts connections`].join('; '));
        if (failures.length > 0) note.hint('Not every host works: a failover would fail there.');
        return { socket, host };
      } catch (error) {
        failures.push(`${host.host}:${host.port}: ${error instanceof Error ? error.message : 'failed'}`);
        if (index < hosts.length - 1 && !signal.aborted) continue;
        throw ofSeveral(error, failures);
      }
    }
    throw new AppError('invalid_configuration', 'the connection names no host');
  });
}

async function resolveAll(
  network: Network,
  hosts: Host[],
  note: StageNote,
  signal: AbortSignal,
): Promise<void> {
  const seen: string[] = [];
  let failure: unknown;
  let resolved = false;
  for (const { host } of hosts) {
    try {
      const addresses = await network.resolve(host, signal);
      seen.push(`${host} → ${addresses.map(({ address }) => address).join(', ')}`);
      resolved = true;
    } catch (error) {
      failure = error;
      seen.push(`${host}: ${error instanceof Error ? error.message : 'failed'}`);
    }
  }
  note.detail(seen.join('; '));
  if (!resolved) throw ofSeveral(failure, seen);
}

/** The last failure, telling what became of every host where there are several. */
function ofSeveral(error: unknown, accounts: readonly string[]): unknown {
  if (accounts.length < 2 || !(error instanceof AppError)) return error;
  const { code, details } = error;
  return new AppError(code, `None of the hosts could be used: ${accounts.join('; ')}`, {
    cause: error,
    details,
  });
}

/** TLS over a dialled socket as the settings demand it; notes protocol, cipher, subject, issuer and expiry. */
export async function secure(
  { network, tls, timeoutMs }: DialectSettings,
  socket: Socket,
  { host }: Host,
  signal: AbortSignal,
  note: StageNote,
): Promise<TLSSocket> {
  let secured: TLSSocket;
  try {
    secured = await network.secure(socket, { ...tls.options, host, timeoutMs, signal });
  } catch (error) {
    if (error instanceof AppError && error.code === 'certificate_untrusted')
      note.hint('name the authority that signed it by trustStoreName or certificateName');
    throw error;
  }
  secured.on('error', () => {});
  note.detail(describeTls(secured, tls.demand === 'prefer' ? 'as the server offers it' : 'as demanded'));
  if (!tls.verified)
    note.hint(
      'encrypted, but nobody verified whose certificate it is: whoever sits in between can read along',
    );
  return secured;
}

/** Resolves with the first chunk that satisfies `complete`; takes no more from the socket than has arrived. */
export function readChunk(
  socket: Socket,
  complete: (received: Buffer) => boolean,
  limits: { timeoutMs: number; signal: AbortSignal },
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0);
    const finish = (error?: AppError) => {
      clearTimeout(timer);
      limits.signal.removeEventListener('abort', onAbort);
      socket.off('data', onData).off('error', onError).off('end', onEnd).off('close', onEnd);
      if (error) return reject(error);
      resolve(received);
    };
    const onData = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      try {
        if (complete(received)) finish();
      } catch (error) {
        finish(error as AppError);
      }
    };
    const onError = (cause: Error) => finish(new AppError('connection_lost', undefined, { cause }));
    const onEnd = () => finish(new AppError('connection_lost', 'the server closed the connection at once'));
    const onAbort = () => finish(abortError(limits.signal.reason));
    const timer = setTimeout(
      () => finish(new AppError('target_timeout', `the server said nothing within ${limits.timeoutMs} ms`)),
      limits.timeoutMs,
    );
    socket.on('data', onData).on('error', onError).on('end', onEnd).on('close', onEnd);
    limits.signal.addEventListener('abort', onAbort, { once: true });
    if (limits.signal.aborted) onAbort();
  });
}
