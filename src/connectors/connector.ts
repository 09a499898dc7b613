import type { Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { ConfigOf, ConnectionType, InputOf, OutputOf, TlsFields } from '../contract/connection-type.ts';
import type { StageName } from '../contract/worker-protocol.ts';
import { AppError } from '../errors.ts';
import type { KnownHostKeys } from './transport/known-host-keys.ts';

/**
 * The live half of a connection type. Everything it needs of the outside comes through `ctx`; it
 * dials only through `ctx.network`, which applies the worker's egress policy.
 */
export interface Connector<D extends ConnectionType = ConnectionType, Live = unknown> {
  /** Builds a client from resolved values. Needs no network; refuses with `invalid_configuration` or `missing_reference`. */
  open(config: ConfigOf<D>, ctx: ConnectorContext): Promise<Live> | Live;
  /** One harmless round trip with the live client: proves `connected`, and is the health probe. */
  prove(live: Live, ctx: CallContext): Promise<void>;
  /** The staged test of a configuration, on clients of its own that it closes; by the code that operations use. */
  test(config: ConfigOf<D>, stages: Stages, ctx: ConnectorContext): Promise<void>;
  operations: {
    [K in keyof D['operations']]: (
      live: Live,
      input: InputOf<D['operations'][K]>,
      ctx: CallContext,
    ) => Promise<OutputOf<D['operations'][K]>>;
  };
  /** Pool sizes and the like for the health report. */
  figures?(live: Live): Record<string, number>;
  /** Ends every socket and timer; may be called twice. `ctx.signal` of open is aborted before a forced close. */
  close(live: Live): Promise<void>;
  /** A driver's error as an error of ours; the text may quote the driver (it is scrubbed by the caller). */
  classify(error: unknown): AppError;
}

/** Types a connector by its definition; identity at run time. */
export function defineConnector<D extends ConnectionType, Live>(
  _definition: D,
  connector: Connector<D, Live>,
): Connector<D, Live> {
  return connector;
}

export interface CallContext {
  /**
   * Aborted on the deadline, on cancel, and when the connection is closed by force. Made when it is read
   * first: hot operations read it where they have to wait.
   */
  readonly signal: AbortSignal;
  /** `signal.aborted`, where that can be told without making the signal. */
  readonly isAborted?: boolean;
  /** `whenAborted`, where it can be done without making the signal. */
  whenAborted?(listener: (reason: unknown) => void): () => void;
}

/** Whether a call is over, told at the least cost. */
export function isAborted(call: CallContext): boolean {
  return call.isAborted ?? call.signal.aborted;
}

/** Calls back when the call is aborted, at once where it has been; the answer takes that back. */
export function whenAborted(call: CallContext, listener: (reason: unknown) => void): () => void {
  if (call.whenAborted) return call.whenAborted(listener);
  const { signal } = call;
  const onAbort = () => listener(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return () => signal.removeEventListener('abort', onAbort);
}

/** What a call was aborted for, as an error of ours. */
export function abortError(reason: unknown): AppError {
  if (reason instanceof AppError) return reason;
  const isLate = (reason as { name?: unknown } | undefined)?.name === 'TimeoutError';
  return new AppError(isLate ? 'target_timeout' : 'cancelled', undefined, { cause: reason });
}

/** The value of the work, or the rejection at an abort that comes first; the work itself goes on. */
export function untilAborted<T>(call: CallContext, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const forget = whenAborted(call, (reason) => reject(abortError(reason)));
    work.then(
      (value) => {
        forget();
        resolve(value);
      },
      (error: unknown) => {
        forget();
        reject(error);
      },
    );
  });
}

export interface ConnectorContext extends CallContext {
  project: string;
  name: string;
  environment: string;
  log: Logger;
  network: Network;
  trust: Trust;
  hostKeys: KnownHostKeys;
  /** Directories that the worker's operator lets connections write files into; none: no file may be written. */
  logRoots: readonly string[];
  /** Something the writer should know (a field without effect); reaches the verdict and the test. */
  warn(text: string): void;
}

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** The only way out: every dial resolves here and is checked against the egress policy at connect time. */
export interface Network {
  /** Addresses of a host in order of preference; fails with `name_not_resolved` or `egress_denied`. */
  resolve(host: string, signal?: AbortSignal): Promise<{ address: string; family: 4 | 6 }[]>;
  /** A connected TCP socket; fails with `connection_refused`, `host_unreachable`, `connect_timeout`, … */
  connect(target: { host: string; port: number; timeoutMs: number; signal?: AbortSignal }): Promise<Socket>;
  /** TLS over a connected socket; failures are classified, `timeoutMs` bounds the handshake. */
  secure(
    socket: Socket,
    options: ConnectionOptions & { host: string; timeoutMs: number; signal?: AbortSignal },
  ): Promise<TLSSocket>;
  /** A UDP socket that sends to one address; fails with `name_not_resolved`, `egress_denied` or `host_unreachable`. */
  datagram(target: {
    host: string;
    port: number;
    /** SO_SNDBUF; default: as the system says. */
    sendBufferBytes?: number;
    /** Called with each datagram that the address sends back; left out: they are discarded. */
    onMessage?: (bytes: Buffer) => void;
    /** Called with what the network reports of a datagram that was sent, besides being told by `failure`. */
    onFailure?: (failure: AppError) => void;
    signal?: AbortSignal;
  }): Promise<DatagramSender>;
}

/** A connected UDP socket. */
export interface DatagramSender {
  /** What the network has reported and no `send` has failed with yet, such as `connection_refused`. */
  readonly failure: AppError | undefined;
  /**
   * Resolves when the system has taken the datagram, which says nothing of its arrival. Fails with what
   * was reported of an earlier one, and with `message_too_large` beyond what UDP carries.
   */
  send(bytes: Buffer): Promise<void>;
  /** May be called twice. */
  close(): void;
}

/** Turns names of stored trust material into what `node:tls` takes. */
export interface Trust {
  /** Fails with `missing_reference`, naming the object that is not there. */
  tls(config: Partial<TlsFields>): ConnectionOptions;
}

/** Runs the stages of a test in order; what follows a failed stage is skipped, and `run` rethrows. */
export interface Stages {
  run<T>(stage: StageName, work: (note: StageNote) => Promise<T>): Promise<T>;
  /** States why a stage does not apply. */
  skip(stage: StageName, detail: string): void;
}

export interface StageNote {
  /** What was seen, in a few words; last call wins. */
  detail(text: string): void;
  /** What to do about it; shown with passed and failed stages alike. */
  hint(text: string): void;
}
