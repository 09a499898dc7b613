import type { Logger, Network } from '../connectors/connector.ts';
import { KnownHostKeys } from '../connectors/transport/known-host-keys.ts';
import { type Channel, sendMessage } from '../contract/channel.ts';
import {
  CLOSE_CODES,
  type DesiredConnection,
  type Failure,
  type FromWorker,
  type HostKeySighting,
  PROTOCOL_VERSION,
  type ToWorker,
  type UsageToken,
  type Verdict,
} from '../contract/worker-protocol.ts';
import { AppError } from '../errors.ts';
import { loggableError } from '../loggable-error.ts';
import { settlesWithin } from './deadline.ts';
import { createNetwork } from './egress.ts';
import { createEgressPolicy, type EgressOptions } from './egress-policy.ts';
import type { TypeRegistry } from './live-client.ts';
import { LiveConnections } from './live-connections.ts';
import type { Limits } from './live-connections-options.ts';
import { readMessage } from './read-message.ts';
import { Reports } from './reports.ts';
import { runTest } from './run-test.ts';
import { type SecretSourceOptions, SecretSources } from './secrets/secret-sources.ts';
import { SnapshotFile, SnapshotUnusable, type WorkerState } from './snapshot.ts';

export interface WorkerOptions extends TypeRegistry {
  name: string;
  version: string;
  log: Logger;
  /**
   * Opens a stream to the control plane; called again after each end. Rejecting with
   * `unauthorized_client` means that the credential is revoked.
   */
  connect: () => Promise<Channel>;
  egress?: EgressOptions;
  /** Where secret references may lead; without it none is resolved. */
  secretSources?: SecretSourceOptions;
  /** In place of the real way out, for tests. */
  network?: Network;
  /** Directories that connections may write files into; default none. */
  logRoots?: readonly string[];
  /** Where the last state is kept for a start without the control plane; the credential makes its key. */
  snapshot?: { path: string; credential: string };
  /** How long the worker serves without the control plane's word, ms; default 7 days. */
  offlineMaxMs?: number;
  /** First and longest pause between attempts to connect, ms; default 200 and 10,000. */
  reconnectMs?: [first: number, longest: number];
  limits?: Partial<Limits>;
}

/** revoked: the credential is not valid any more · replaced: another worker took the name · stopped: by `stop`. */
export type WorkerEnd = 'revoked' | 'replaced' | 'stopped';

type Answer = Extract<FromWorker, { kind: 'answer' | 'failure' }>;

const defaultOfflineMaxMs = 7 * 24 * 3_600_000;
const welcomeTimeoutMs = 10_000;
/** How long a starting worker waits for the control plane before it serves from the snapshot. */
const snapshotGraceMs = 3_000;
const snapshotDelayMs = 250;
const defaultStopGraceMs = 10_000;
/** How long operations may go on when the worker loses its right to serve. */
const revokedGraceMs = 500;

/** Starts the half that connects; it is working on its stream when this returns. */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const worker = new Worker(options);
  await worker.start();
  return worker;
}

export class Worker {
  /** Resolves when the worker does not serve any more. */
  readonly ended: Promise<WorkerEnd>;
  readonly connections: LiveConnections;
  readonly #options: WorkerOptions;
  readonly #network: Network;
  readonly #secrets: SecretSources | undefined;
  readonly #snapshot: SnapshotFile | undefined;
  readonly #reports: Reports;
  readonly #offlineMaxMs: number;
  #resolveEnded!: (end: WorkerEnd) => void;
  #end: WorkerEnd | undefined;

  #desired = new Map<string, DesiredConnection>();
  #cursor: WorkerState['cursor'] | undefined;
  #environment = '';
  #tokens: UsageToken[] = [];
  #tokenListeners = new Set<(tokens: readonly UsageToken[]) => void>();
  /** Of a snapshot that is still coming. */
  #arriving: Map<string, DesiredConnection> | undefined;
  /** Read from the snapshot and not yet applied. */
  #held: WorkerState | undefined;
  #heardAt = Date.now();

  #channel: Channel | undefined;
  #welcome: Extract<ToWorker, { kind: 'welcome' }> | undefined;
  #requests = new Map<string, AbortController>();
  #snapshotTimer: NodeJS.Timeout | undefined;
  #offlineTimer: NodeJS.Timeout | undefined;
  #graceTimer: NodeJS.Timeout | undefined;
  #wakeUp: (() => void) | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#offlineMaxMs = options.offlineMaxMs ?? defaultOfflineMaxMs;
    this.#network = options.network ?? createNetwork({ policy: createEgressPolicy(options.egress) });
    this.#secrets =
      options.secretSources && new SecretSources(options.secretSources, this.#network, options.log);
    this.#snapshot = options.snapshot && new SnapshotFile(options.snapshot.path, options.snapshot.credential);
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    const { definitions, connectors, log, limits } = options;
    this.connections = new LiveConnections({
      definitions,
      connectors,
      log,
      ...(limits ? { limits } : {}),
      network: this.#network,
      logRoots: options.logRoots,
      ...(this.#secrets ? { secrets: this.#secrets } : {}),
      environment: () => this.#environment,
      hasControlPlane: () => this.isConnected,
      onVerdict: (verdict) => this.#noteVerdict(verdict),
      onHostKey: (sighting) => this.#reportHostKeys([sighting]),
    });
    this.#reports = new Reports({
      health: (now) => this.connections.health(now),
      canSend: () => this.isConnected,
      send: (message) => this.#handOver(message),
    });
  }

  /** Whether the control plane has welcomed the worker on a stream that is open. */
  get isConnected(): boolean {
    return this.#welcome !== undefined;
  }

  get environment(): string {
    return this.#environment;
  }

  get tokens(): readonly UsageToken[] {
    return this.#tokens;
  }

  /** Calls back whenever the tokens that may use connections here change. */
  onTokens(listener: (tokens: readonly UsageToken[]) => void): void {
    this.#tokenListeners.add(listener);
  }

  /** Removes every secret that the worker holds from a text. */
  scrub(text: string): string {
    return this.connections.scrub(text);
  }

  async start(): Promise<void> {
    await this.#readSnapshot();
    if (this.#held) {
      this.#graceTimer = setTimeout(() => this.#serveFromSnapshot(), snapshotGraceMs);
      this.#graceTimer.unref();
    }
    this.#reports.start();
    this.#offlineTimer = setInterval(
      () => this.#checkContact(),
      Math.max(20, Math.min(60_000, this.#offlineMaxMs / 10)),
    );
    this.#offlineTimer.unref();
    void this.#stayConnected();
  }

  /** Takes nothing new, lets what runs go on for `graceMs` (default 10 s), closes everything. */
  async stop(graceMs = defaultStopGraceMs): Promise<void> {
    await this.#finish('stopped', graceMs);
    await this.ended;
  }

  // ---- the stream ----

  async #stayConnected(): Promise<void> {
    const [first, longest] = this.#options.reconnectMs ?? [200, 10_000];
    let pauseMs = first;
    while (!this.#end) {
      try {
        const channel = await this.#options.connect();
        if (this.#end) {
          channel.close(1001, 'stopping');
          return;
        }
        const { code, reason, wasWelcome } = await this.#converse(channel);
        if (this.#end) return;
        if (code === CLOSE_CODES.revoked) {
          await this.#finish('revoked', revokedGraceMs);
          return;
        }
        if (code === CLOSE_CODES.replaced) {
          this.#options.log.error({}, 'another worker of the same name has connected; this one stops');
          await this.#finish('replaced', defaultStopGraceMs);
          return;
        }
        this.#options.log.warn({ code, reason }, 'the stream to the control plane ended');
        if (wasWelcome) pauseMs = first;
      } catch (error) {
        if (this.#end) return;
        if (error instanceof AppError && error.code === 'unauthorized_client') {
          await this.#finish('revoked', revokedGraceMs);
          return;
        }
        // It comes back every few seconds: a sentence for what is known, a stack for what is not.
        const why = error instanceof AppError ? { reason: error.message } : { err: loggableError(error) };
        this.#options.log.warn(why, 'the control plane cannot be reached');
      }
      this.#serveFromSnapshot();
      // Full jitter, so that the workers of a control plane that returns do not all come at once.
      await this.#sleep(pauseMs * (0.5 + Math.random() / 2));
      pauseMs = Math.min(pauseMs * 2, longest);
    }
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Speaks on one channel until it ends. */
  #converse(channel: Channel): Promise<{ code: number; reason: string; wasWelcome: boolean }> {
    return new Promise((resolve) => {
      this.#channel = channel;
      const timer = setTimeout(() => channel.close(CLOSE_CODES.protocol, 'no welcome'), welcomeTimeoutMs);
      let isOver = false;
      const take = (read: () => ToWorker | undefined) => {
        if (isOver) return;
        try {
          const message = read();
          if (message?.kind === 'welcome') clearTimeout(timer);
          if (message) this.#receive(message);
        } catch (error) {
          isOver = true;
          this.#options.log.error(
            { err: loggableError(error) },
            'the control plane sent what cannot be understood',
          );
          channel.close(CLOSE_CODES.protocol, 'malformed frame');
        }
      };
      channel.onMessage((text) => take(() => readMessage(text)));
      channel.direct?.onMessage((message) => take(() => message as ToWorker));
      channel.onClose((code, reason) => {
        isOver = true;
        clearTimeout(timer);
        const wasWelcome = this.isConnected;
        this.#channel = undefined;
        this.#welcome = undefined;
        this.#arriving = undefined;
        if (wasWelcome) {
          this.#heardAt = Date.now();
          this.#saveSoon();
          this.connections.proveUnproved(10_000);
        }
        // Nobody is left who could take the answers.
        for (const controller of this.#requests.values()) controller.abort(new AppError('cancelled'));
        this.#requests.clear();
        resolve({ code, reason, wasWelcome });
      });
      const cursor = this.#cursor ?? this.#held?.cursor;
      this.#sendRaw({
        kind: 'hello',
        protocol: PROTOCOL_VERSION,
        name: this.#options.name,
        version: this.#options.version,
        ...(cursor ? { cursor } : {}),
      });
    });
  }

  #sendRaw(message: FromWorker): void {
    this.#channel?.send(JSON.stringify(message));
  }

  /** For what comes in numbers and is plain data for certain. */
  #handOver(message: Extract<FromWorker, { kind: 'received' | 'verdicts' | 'health' }>): void {
    if (this.#channel) sendMessage(this.#channel, message);
  }

  #receive(message: ToWorker): void {
    if (message.kind !== 'welcome' && !this.#welcome) throw new Error('the first frame is no welcome');
    switch (message.kind) {
      case 'welcome':
        this.#welcomed(message);
        break;
      case 'snapshot':
        this.#applySnapshot(message);
        break;
      case 'delta':
        this.#applyDelta(message);
        break;
      case 'prove':
        this.connections.prove(message.items);
        break;
      case 'hold':
        this.connections.hold(message.connection, message.revision, message.forMs);
        break;
      case 'tokens':
        this.#setTokens(message.tokens);
        break;
      case 'test':
        this.#answer(message.request, (signal) => this.#test(message, signal));
        break;
      case 'operate': {
        const { connection, operation, input, timeoutMs } = message;
        this.#answer(message.request, (signal) =>
          this.connections.operate(connection, operation, input, { timeoutMs, asker: { signal } }),
        );
        break;
      }
      case 'cancel':
        this.#requests.get(message.request)?.abort(new AppError('cancelled'));
        break;
    }
  }

  #welcomed(message: Extract<ToWorker, { kind: 'welcome' }>): void {
    if (message.protocol !== PROTOCOL_VERSION)
      throw new Error(
        `the control plane speaks protocol ${message.protocol}, this worker ${PROTOCOL_VERSION}`,
      );
    this.#welcome = message;
    this.#environment = message.environment;
    this.#heardAt = Date.now();
    this.#options.log.info({ environment: message.environment }, 'connected to the control plane');
    // Of another epoch, it is kept until the snapshot is here: the stream may end before.
    if (this.#held?.cursor.epoch === message.epoch) this.#applyHeld();
    if (this.#cursor?.epoch === message.epoch) {
      // Verdicts that were on their way when the last stream ended may be lost.
      for (const verdict of this.connections.verdicts()) this.#noteVerdict(verdict);
    } else this.#reports.forgetVerdicts();
    this.#reportHostKeys(this.connections.hostKeys());
    this.#reports.flush();
  }

  #applySnapshot({ epoch, seq, items, more }: Extract<ToWorker, { kind: 'snapshot' }>): void {
    const arrived = this.#arriving ?? new Map<string, DesiredConnection>();
    for (const item of items) arrived.set(item.connection, item);
    this.#arriving = more && arrived;
    if (more) return;
    this.#held = undefined;
    this.#desired = arrived;
    this.#cursor = { epoch, seq };
    this.#handOver({ kind: 'received', seq });
    this.connections.replaceAll([...arrived.values()]);
    this.#saveSoon();
  }

  #applyDelta({ seq, put, remove }: Extract<ToWorker, { kind: 'delta' }>): void {
    if (this.#arriving) throw new Error('a delta came in the middle of a snapshot');
    const { epoch } = this.#welcome!;
    this.#cursor ??= this.#held?.cursor ?? { epoch, seq: 0 };
    if (this.#cursor.epoch !== epoch) {
      // What we hold belongs to another history: ask for everything.
      this.#cursor = undefined;
      this.#held = undefined;
      throw new Error('a delta came before the snapshot of a new epoch');
    }
    if (seq >= this.#cursor.seq) {
      this.#cursor = { epoch, seq };
      for (const connection of remove) this.#desired.delete(connection);
      for (const item of put) this.#desired.set(item.connection, item);
      this.#handOver({ kind: 'received', seq });
      this.connections.remove(remove);
      this.connections.put(put);
      this.#saveSoon();
    } else this.#handOver({ kind: 'received', seq: this.#cursor.seq });
  }

  #setTokens(tokens: UsageToken[]): void {
    this.#tokens = tokens;
    for (const listener of this.#tokenListeners) listener(tokens);
    this.#saveSoon();
  }

  // ---- requests ----

  #test(message: Extract<ToWorker, { kind: 'test' }>, signal: AbortSignal): Promise<unknown> {
    const { definitions, connectors, log } = this.#options;
    const { request, connection } = message;
    const hostKeys = new KnownHostKeys(message.hostKeys, (key) => {
      if (connection !== undefined) this.#reportHostKeys([{ connection, ...key }]);
    });
    return runTest(
      {
        definitions,
        connectors,
        log,
        network: this.#network,
        logRoots: this.#options.logRoots,
        secrets: this.#secrets,
        environment: this.#environment,
        hostKeys,
      },
      message,
      (stage) => this.#sendRaw({ kind: 'stage', request, stage }),
      signal,
      (stage) => this.#sendRaw({ kind: 'stage-begun', request, stage }),
    );
  }

  #answer(request: string, work: (signal: AbortSignal) => Promise<unknown>): void {
    if (this.#requests.has(request)) return;
    const controller = new AbortController();
    const channel = this.#channel;
    this.#requests.set(request, controller);
    void (async () => {
      let answer: Answer;
      try {
        answer = { kind: 'answer', request, result: (await work(controller.signal)) ?? null };
      } catch (error) {
        answer = { kind: 'failure', request, failure: failureOf(error, this.#options.log) };
      }
      this.#requests.delete(request);
      // An answer belongs on the stream that the request came by.
      if (channel && this.#channel === channel) channel.send(this.#textOf(answer, channel));
    })();
  }

  /** One that the stream does not carry would end it, and every other request with it. */
  #textOf(answer: Answer, channel: Channel): string {
    try {
      const text = JSON.stringify(answer);
      if (channel.takes?.(text) !== false) return text;
    } catch (error) {
      // Longer than a text can be.
      if (!(error instanceof RangeError)) throw error;
    }
    const { request } = answer;
    const tooLarge = new AppError(
      'payload_too_large',
      'The result is larger than what the stream to the control plane carries; ask for less of it',
    );
    const failure = failureOf(tooLarge, this.#options.log);
    return JSON.stringify({ kind: 'failure', request, failure } satisfies FromWorker);
  }

  // ---- reports ----

  /** What is not sent now is told at the next welcome. */
  #reportHostKeys(items: HostKeySighting[]): void {
    if (this.isConnected && items.length > 0) this.#sendRaw({ kind: 'host-keys', items });
  }

  #noteVerdict(verdict: Verdict): void {
    // What is held is of another history until the snapshot is here, which has every verdict told anew.
    if (this.#welcome && this.#cursor && this.#cursor.epoch !== this.#welcome.epoch) return;
    this.#reports.note(verdict);
    if (verdict.step === 'refused' || verdict.step === 'valid') this.#saveSoon();
  }

  // ---- without the control plane ----

  async #readSnapshot(): Promise<void> {
    try {
      this.#held = await this.#snapshot?.load(this.#offlineMaxMs);
    } catch (error) {
      if (!(error instanceof SnapshotUnusable)) throw error;
      this.#options.log.warn({ reason: error.message }, 'the snapshot is not used');
      return;
    }
    // The word of the control plane is as old as the snapshot says, not as old as this process.
    if (this.#held) this.#heardAt = this.#held.heardAt;
  }

  #serveFromSnapshot(): void {
    if (!this.#held || this.isConnected || this.#end) return;
    this.#options.log.warn(
      { connections: this.#held.items.length },
      'the control plane is away: serving from the snapshot',
    );
    this.#applyHeld();
  }

  #applyHeld(): void {
    const held = this.#held!;
    this.#held = undefined;
    this.#environment = held.environment;
    this.#cursor = held.cursor;
    this.#desired = new Map(held.items.map((item) => [item.connection, item]));
    this.#setTokens(held.tokens);
    this.connections.replaceAll(held.items);
  }

  /** Keeps the snapshot's time of last contact fresh, and ends serving when contact is lost for too long. */
  #checkContact(): void {
    if (this.isConnected) {
      if (Date.now() - this.#heardAt < Math.min(600_000, this.#offlineMaxMs / 10)) return;
      this.#heardAt = Date.now();
      this.#saveSoon();
      return;
    }
    if (Date.now() - this.#heardAt <= this.#offlineMaxMs || (!this.#cursor && !this.#held)) return;
    this.#options.log.error({}, 'the control plane has been away for too long: every connection is closed');
    this.#held = undefined;
    this.#cursor = undefined;
    this.#desired.clear();
    clearTimeout(this.#snapshotTimer);
    this.#snapshotTimer = undefined;
    this.#setTokens([]);
    this.connections.replaceAll([]);
    this.#snapshot
      ?.discard()
      .catch((error) => this.#options.log.error({ err: error }, 'the snapshot could not be deleted'));
  }

  #saveSoon(): void {
    if (!this.#snapshot || this.#end || !this.#cursor) return;
    this.#snapshotTimer ??= setTimeout(() => {
      this.#snapshotTimer = undefined;
      void this.#save();
    }, snapshotDelayMs);
  }

  async #save(): Promise<void> {
    if (!this.#cursor) return;
    if (this.isConnected) this.#heardAt = Date.now();
    try {
      await this.#snapshot?.save({
        environment: this.#environment,
        cursor: this.#cursor,
        items: [...this.#desired.values()].map((item) => {
          // A start from the snapshot must find the last good revision of what was refused.
          const lastGood = this.connections.lastGood(item.connection);
          return lastGood ? { ...item, lastGood } : item;
        }),
        tokens: this.#tokens,
        heardAt: this.#heardAt,
      });
    } catch (error) {
      this.#options.log.error({ err: error }, 'the snapshot could not be written');
    }
  }

  // ---- the end ----

  async #finish(end: WorkerEnd, graceMs: number): Promise<void> {
    if (this.#end) return;
    this.#end = end;
    this.#reports.stop();
    clearTimeout(this.#snapshotTimer);
    clearTimeout(this.#graceTimer);
    clearInterval(this.#offlineTimer);
    this.#wakeUp?.();
    const saving =
      end === 'revoked'
        ? this.#snapshot
            ?.remove()
            .catch((error) => this.#options.log.error({ err: error }, 'the snapshot could not be deleted'))
        : this.#cursor && this.#save();
    if (end === 'revoked') {
      this.#options.log.error({}, 'this worker has been revoked: every connection is closed');
      this.#tokens = [];
      for (const listener of this.#tokenListeners) listener([]);
    }
    const stopping = this.connections.stop(graceMs);
    await settlesWithin(this.#allAnswered(), graceMs);
    for (const controller of this.#requests.values())
      controller.abort(new AppError('cancelled', 'The worker is stopping'));
    await stopping;
    await saving;
    this.#reports.flushLast();
    this.#channel?.close(1001, 'the worker stopped');
    this.#resolveEnded(end);
  }

  async #allAnswered(): Promise<void> {
    while (this.#requests.size > 0 && this.#channel) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function failureOf(error: unknown, log: Logger): Failure {
  let known: AppError;
  if (error instanceof AppError) known = error;
  else {
    log.error({ err: loggableError(error) }, 'a request failed in an unknown way');
    known = new AppError('internal_error');
  }
  const { validationErrors, stage, retryAfter, hint } = known.details;
  return {
    code: known.code,
    message: known.message,
    ...(stage ? { stage } : {}),
    ...(hint ? { hint } : {}),
    ...(retryAfter === undefined ? {} : { retryAfter }),
    ...(validationErrors ? { validationErrors } : {}),
  };
}
