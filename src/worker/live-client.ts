import {
  type CallContext,
  type ConnectorContext,
  isAborted,
  type Logger,
  type Network,
  type Trust,
  untilAborted,
  whenAborted,
} from '../connectors/connector.ts';
import type { AnyConnector } from '../connectors/connectors.ts';
import type { KnownHostKeys } from '../connectors/transport/known-host-keys.ts';
import { refusedClientCertificate } from '../connectors/transport/tls-errors.ts';
import { AcceptedForm } from '../contract/accepted-form.ts';
import type { ConfigOf, ConnectionType } from '../contract/connection-type.ts';
import { secretValues } from '../contract/masking.ts';
import { parseConnection } from '../contract/validation.ts';
import type { DesiredConnection, TrustObjects } from '../contract/worker-protocol.ts';
import { Crowd, type CrowdMember } from '../crowd.ts';
import { AppError } from '../errors.ts';
import { Life } from '../life.ts';
import { loggableError } from '../loggable-error.ts';
import { CircuitBreaker, type CircuitBreakerConfig } from './circuit-breaker.ts';
import { settlesWithin } from './deadline.ts';
import { inputCheck } from './operation-input.ts';
import type { Revision } from './plan.ts';
import { Scrubbing } from './scrubbing.ts';
import { hasSecretReference, type SecretSources } from './secrets/secret-sources.ts';
import { createTrust, openTrustMaterial, systemTrust } from './trust.ts';

export type ConnectorLoader = () => Promise<AnyConnector>;

export interface TypeRegistry {
  definitions: Readonly<Record<string, ConnectionType>>;
  /** null: stored by this version, but not live in it. */
  connectors: Readonly<Record<string, ConnectorLoader | null>>;
}

export interface ConnectionIdentity {
  project: string;
  name: string;
  type: string;
}

export interface ClientSurroundings extends TypeRegistry {
  network: Network;
  /** Without them no secret reference is allowed. */
  secrets?: SecretSources | undefined;
  /** In place of what the connection's own trust material gives, for tests. */
  trust?: Trust;
  log: Logger;
  environment: string;
  /** Directories that connections may write files into; default none. */
  logRoots?: readonly string[] | undefined;
}

/** What every use of a configuration needs first: its validated form and its connector. */
export interface PreparedConnection {
  definition: ConnectionType;
  connector: AnyConnector;
  config: Record<string, unknown>;
  trust: Trust;
  scrubbing: Scrubbing;
  warnings: string[];
  /** Differs when a secret reference leads to another value; absent without any. */
  secretsDigest: string | undefined;
}

/** Why a configuration cannot be made live, fit for the client. */
export class Refusal extends Error {
  readonly reason: AppError;
  readonly warnings: string[];
  /** Of the secrets that were resolved before; absent when there are none, or they cannot be. */
  readonly secretsDigest: string | undefined;

  constructor(reason: AppError, warnings: string[] = [], secretsDigest?: string) {
    super(reason.message);
    this.reason = reason;
    this.warnings = warnings;
    this.secretsDigest = secretsDigest;
  }
}

/** Resolves secret references, validates, opens trust material and imports the connector; throws `Refusal`. */
export async function prepareConnection(
  {
    definitions,
    connectors,
    log,
    secrets,
    trust,
  }: TypeRegistry & Pick<ClientSurroundings, 'log' | 'secrets' | 'trust'>,
  { project, name, type }: ConnectionIdentity,
  {
    config: given,
    accepted,
    objects,
  }: {
    config: Record<string, unknown>;
    accepted?: AcceptedForm | undefined;
    objects?: TrustObjects | undefined;
  },
): Promise<PreparedConnection> {
  const definition = Object.hasOwn(definitions, type) ? definitions[type] : undefined;
  if (!definition)
    throw new Refusal(
      new AppError('driver_missing', `This worker does not know connections of type '${type}'`),
    );
  const loader = Object.hasOwn(connectors, type) ? connectors[type] : null;
  if (!loader)
    throw new Refusal(
      new AppError(
        'driver_missing',
        `This version stores connections of type '${type}' but does not make them live`,
      ),
    );
  const { config: values, digest } = hasSecretReference(definition, given)
    ? await resolveSecrets(secrets, definition, project, given)
    : { config: given };
  // Where nothing had to be resolved, what was accepted is what would be read.
  const isAccepted = accepted instanceof AcceptedForm && values === given;
  const parsed = isAccepted
    ? { ok: true as const, ...accepted }
    : parseConnection(definition, { ...values, type, name }, { resolved: true });
  if (!parsed.ok) {
    const scrubbing = new Scrubbing(secretValues(definition, values));
    const said = parsed.faults.map(({ field, message }) => `${field} ${message}`).join('; ');
    const reason = new AppError('invalid_configuration', said, {
      details: { validationErrors: parsed.faults },
    });
    throw new Refusal(scrubbing.error(reason), [], digest);
  }
  const { config } = parsed;
  let connector: AnyConnector;
  try {
    connector = loaded.get(loader) ?? (await load(loader));
  } catch (error) {
    log.error({ type, err: error }, 'the connector could not be loaded');
    throw new Refusal(new AppError('driver_missing'));
  }
  const material = objects ? await openTrustMaterial(objects) : undefined;
  return {
    definition,
    connector,
    config,
    trust: trust ?? (material ? createTrust(material) : systemTrust),
    // Defaults and shorthands may have moved a secret to another place.
    scrubbing: new Scrubbing(
      isAccepted && !material
        ? secretValues(definition, config)
        : [
            ...new Set([
              ...secretValues(definition, values),
              ...secretValues(definition, config),
              ...(material?.secrets ?? []),
            ]),
          ],
    ),
    warnings: parsed.warnings.slice(0, maxWarnings),
    secretsDigest: digest,
  };
}

// Even of a module that is there already an import goes through the whole loader.
const loaded = new WeakMap<ConnectorLoader, AnyConnector>();

async function load(loader: ConnectorLoader): Promise<AnyConnector> {
  const connector = await loader();
  loaded.set(loader, connector);
  return connector;
}

export const maxWarnings = 50;

async function resolveSecrets(
  secrets: SecretSources | undefined,
  definition: ConnectionType,
  project: string,
  config: Record<string, unknown>,
) {
  if (!secrets)
    throw new Refusal(new AppError('invalid_configuration', 'This worker resolves no secret references'));
  try {
    return await secrets.resolve(definition, project, config);
  } catch (error) {
    if (error instanceof AppError) throw new Refusal(error);
    throw error;
  }
}

/** Any error of a connector as one of ours, scrubbed. */
export function toClientError(
  error: unknown,
  { connector, scrubbing }: { connector: AnyConnector; scrubbing: Scrubbing },
  log: Logger,
): AppError {
  if (error instanceof Refusal) return error.reason;
  const refused = refusedClientCertificate(error);
  if (refused) return refused;
  if (error instanceof AppError) return scrubbing.error(error);
  try {
    const classified = connector.classify(error);
    if (classified instanceof AppError) return scrubbing.error(classified);
  } catch (classifying) {
    scrubbing.log(log).error({ err: loggableError(classifying) }, 'a connector could not classify an error');
  }
  scrubbing
    .log(log)
    .error({ err: loggableError(error) }, 'a connector failed in a way that it does not know');
  return new AppError('internal_error');
}

/** A connector's own function for an operation. */
export type Operate = (live: unknown, input: unknown, context: CallContext) => Promise<unknown>;

/** An operation as it is called. */
interface CallableOperation {
  /** Throws what is wrong with an input. */
  check(input: unknown): void;
  readonly operate: Operate;
}

/** One call of a client. */
export interface ClientCall<Result, Answer> {
  readonly timeoutMs: number;
  /** Whoever asks: the call is cancelled when that one is gone. */
  readonly asker?: CallContext | undefined;
  /** When the time began, by `performance.now()`; default now. */
  readonly began?: number;
  work(live: unknown, context: CallContext): Promise<Result>;
  /** Called when the work has ended, which may be after its answer. */
  ended?(): void;
  /** What is answered of a result; what it throws is a failure. */
  fulfilled(result: Result): Answer;
  /** The error that is answered of whatever made the call fail. */
  failed(error: unknown): AppError;
}

/** A call that has not ended, and the context of its work. */
class RunningCall extends Life implements CrowdMember {
  place = 0;
  readonly timeoutMs: number;
  /** By `performance.now()`; never, once it is answered. */
  endsAt: number;
  readonly #reject: (reason: unknown) => void;
  readonly #forget: (() => void) | undefined;

  constructor(
    { timeoutMs, began, asker }: { timeoutMs: number; began: number; asker: CallContext | undefined },
    reject: (reason: unknown) => void,
  ) {
    super();
    this.timeoutMs = timeoutMs;
    this.endsAt = began + timeoutMs;
    this.#reject = reject;
    if (asker) this.#forget = whenAborted(asker, (reason) => this.stop(cancelReason(reason)));
  }

  /** From now on nobody waits for it. */
  answered(): void {
    this.endsAt = Number.POSITIVE_INFINITY;
    this.#forget?.();
  }

  /** Answers it without waiting for it any longer: the reason says more than what a driver makes of an abort. */
  stop(reason: unknown): void {
    if (this.isAborted) return;
    this.answered();
    this.#reject(reason);
    this.end(reason);
  }
}

const maxTimerMs = 2 ** 31 - 1;

/** One open client of one revision: it counts what runs on it, so that it can be drained and closed. */
export class LiveClient {
  readonly revision: Revision;
  readonly prepared: PreparedConnection;
  readonly warnings: string[];
  readonly breaker: CircuitBreaker;
  readonly #live: unknown;
  readonly #life: Life;
  readonly #log: Logger;
  /** Made for the first call, as all that follows: thousands of connections may lie idle. */
  #running: Crowd<RunningCall> | undefined;
  #operations: Map<string, CallableOperation> | undefined;
  /** Of the earliest deadline that was known when it was set: a call that ends in time leaves it alone. */
  #deadline: { timer: NodeJS.Timeout; at: number } | undefined;
  #idle: (() => void) | undefined;
  #hurry: ((graceMs: number) => void) | undefined;
  #closed: Promise<void> | undefined;

  constructor(
    revision: Revision,
    prepared: PreparedConnection,
    warnings: string[],
    live: unknown,
    life: Life,
    log: Logger,
  ) {
    this.revision = revision;
    this.prepared = prepared;
    this.warnings = warnings;
    this.breaker = new CircuitBreaker(prepared.config['circuitBreaker'] as CircuitBreakerConfig);
    this.#live = live;
    this.#life = life;
    this.#log = log;
  }

  get isClosing(): boolean {
    return this.#closed !== undefined;
  }

  /** An operation of its type by name; undefined where there is none. Looked for once: that is felt by the fastest. */
  operation(name: string): CallableOperation | undefined {
    const known = this.#operations?.get(name);
    if (known) return known;
    const { definition, connector } = this.prepared;
    if (!Object.hasOwn(definition.operations, name) || !Object.hasOwn(connector.operations, name))
      return undefined;
    const found = { check: inputCheck(definition.operations[name]!), operate: connector.operations[name]! };
    this.#operations ??= new Map();
    this.#operations.set(name, found);
    return found;
  }

  /** Runs one call with a deadline. Work that ignores its signal is answered all the same, and counts as running until it ends. */
  run<Result, Answer>(call: ClientCall<Result, Answer>): Promise<Answer> {
    const { timeoutMs, asker, began = performance.now() } = call;
    if (asker && isAborted(asker)) {
      call.ended?.();
      return Promise.reject(call.failed(cancelReason(asker.signal.reason)));
    }
    // One promise and no chain: what this does for a call costs as much as a small driver's own part.
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) => reject(call.failed(error));
      const running = new RunningCall({ timeoutMs, began, asker }, fail);
      this.#running ??= new Crowd();
      this.#running.add(running);
      this.#watch(running.endsAt);
      let work: Promise<Result>;
      try {
        work = call.work(this.#live, running);
      } catch (error) {
        work = Promise.reject(error);
      }
      work.then(
        (result) => {
          this.#settled(running);
          call.ended?.();
          if (running.isAborted) return;
          try {
            resolve(call.fulfilled(result));
          } catch (error) {
            fail(error);
          }
        },
        (error: unknown) => {
          this.#settled(running);
          call.ended?.();
          if (!running.isAborted) fail(error);
        },
      );
    });
  }

  #settled(call: RunningCall): void {
    this.#running!.delete(call);
    call.answered();
    if (this.#running!.size > 0) return;
    this.#deadline?.timer.unref();
    this.#idle?.();
  }

  #watch(endsAt: number): void {
    if (this.#deadline && this.#deadline.at <= endsAt) {
      if (this.#running!.size === 1) this.#deadline.timer.ref();
      return;
    }
    clearTimeout(this.#deadline?.timer);
    // It may have passed while others were stopped.
    const delayMs = Math.max(1, Math.min(endsAt - performance.now(), maxTimerMs));
    const timer = setTimeout(() => this.#expire(), delayMs);
    this.#deadline = { timer, at: endsAt };
  }

  #expire(): void {
    this.#deadline = undefined;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const call of this.#running ?? []) {
      const { timeoutMs, endsAt } = call;
      if (endsAt <= now)
        call.stop(new AppError('target_timeout', `The target did not answer within ${timeoutMs} ms`));
      else next = Math.min(next, endsAt);
    }
    if (next < Number.POSITIVE_INFINITY) this.#watch(next);
  }

  figures(): Record<string, number> | undefined {
    try {
      return this.prepared.connector.figures?.(this.#live);
    } catch {
      return undefined;
    }
  }

  /**
   * Lets what runs go on for `graceMs`, aborts the rest with `reason`, and closes the client; resolves
   * when it is closed or given up. A later call can only shorten the time.
   */
  shutDown(graceMs: number, reason: AppError): Promise<void> {
    if (this.#closed) this.#hurry?.(graceMs);
    else this.#closed = this.#shutDown(graceMs, reason);
    return this.#closed;
  }

  async #shutDown(graceMs: number, reason: AppError): Promise<void> {
    if (this.#running?.size) {
      let endsAt = Number.POSITIVE_INFINITY;
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
        this.#hurry = (withinMs) => {
          if (performance.now() + withinMs >= endsAt) return;
          endsAt = performance.now() + withinMs;
          clearTimeout(timer);
          timer = setTimeout(resolve, withinMs);
        };
        this.#hurry(graceMs);
      });
      clearTimeout(timer);
      this.#idle = undefined;
      this.#hurry = undefined;
    }
    for (const call of this.#running ?? []) call.stop(reason);
    clearTimeout(this.#deadline?.timer);
    this.#deadline = undefined;
    const closing = (async () => this.prepared.connector.close(this.#live))();
    closing.catch((error) =>
      this.#log.warn(
        { err: loggableError(toClientError(error, this.prepared, this.#log)) },
        'a client did not close cleanly',
      ),
    );
    const byItself = await settlesWithin(closing, forceCloseAfterMs);
    this.#life.end(reason);
    if (!byItself && !(await settlesWithin(closing, giveUpCloseAfterMs)))
      this.#log.error({}, 'a client did not close in time and was given up');
  }
}

function cancelReason(reason: unknown): AppError {
  return reason instanceof AppError ? reason : new AppError('cancelled');
}

const forceCloseAfterMs = 200;
const giveUpCloseAfterMs = 3_000;

/** How a client is to be built. */
interface BuildOptions {
  timeoutMs: number;
  /** Its end is the client's, however far that has come. */
  life: Life;
  hostKeys: KnownHostKeys;
}

/** What is known of a client that is being opened. */
interface Opening {
  prepared: PreparedConnection | undefined;
  readonly warnings: string[];
}

/**
 * Builds a client, or answers why there is none. When its life ends meanwhile, or the time is up, the
 * reason of that is the refusal, and a client that a slow connector still delivers later is closed.
 */
export async function buildClient(
  surroundings: ClientSurroundings,
  item: DesiredConnection,
  revision: Revision,
  options: BuildOptions,
): Promise<LiveClient | Refusal> {
  const { timeoutMs, life } = options;
  const opening: Opening = { prepared: undefined, warnings: [] };
  const timer = setTimeout(
    () => life.end(new AppError('target_timeout', `The client could not be built within ${timeoutMs} ms`)),
    timeoutMs,
  );
  try {
    return await untilAborted(life, openClient(surroundings, item, revision, options, opening));
  } catch (error) {
    const reason = life.ended?.reason;
    life.end(error);
    if (error instanceof Refusal) return error;
    const { prepared, warnings } = opening;
    const digest = prepared?.secretsDigest;
    if (reason instanceof AppError) return new Refusal(reason, warnings, digest);
    if (prepared) return new Refusal(toClientError(error, prepared, surroundings.log), warnings, digest);
    surroundings.log.error(
      { err: loggableError(error), connection: item.connection },
      'opening failed in an unknown way',
    );
    return new Refusal(new AppError('internal_error'), warnings);
  } finally {
    clearTimeout(timer);
  }
}

async function openClient(
  surroundings: ClientSurroundings,
  item: DesiredConnection,
  revision: Revision,
  { life, hostKeys }: BuildOptions,
  opening: Opening,
): Promise<LiveClient> {
  const { warnings } = opening;
  const { log, environment, network, logRoots = [] } = surroundings;
  const { config: given, objects } = revision;
  const accepted = given === item.config ? item.accepted : undefined;
  const prepared = await prepareConnection(surroundings, item, { config: given, accepted, objects });
  opening.prepared = prepared;
  life.throwIfEnded();
  const { connector, config, scrubbing, trust } = prepared;
  warnings.push(...prepared.warnings);
  const context: ConnectorContext = {
    get signal() {
      return life.signal;
    },
    project: item.project,
    name: item.name,
    environment,
    log: scrubbing.log(log),
    network,
    logRoots,
    trust,
    hostKeys,
    warn(text) {
      if (warnings.length < maxWarnings) warnings.push(scrubbing.text(text));
    },
  };
  const live = await connector.open(config as ConfigOf<ConnectionType>, context);
  if (life.ended) {
    settled((async () => connector.close(live))());
    life.throwIfEnded();
  }
  return new LiveClient(revision, prepared, warnings, live, life, log);
}

function settled(work: Promise<unknown>): Promise<void> {
  return work.then(
    () => {},
    () => {},
  );
}
