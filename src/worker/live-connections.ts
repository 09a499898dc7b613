import { KnownHostKeys } from '../connectors/transport/known-host-keys.ts';
import type { OperationSchema } from '../contract/connection-type.ts';
import { foldName } from '../contract/validation.ts';
import type {
  DesiredConnection,
  HealthReport,
  HostKeySighting,
  Verdict,
} from '../contract/worker-protocol.ts';
import { AppError } from '../errors.ts';
import { Life } from '../life.ts';
import { loggableError } from '../loggable-error.ts';
import { Limiter } from './limiter.ts';
import {
  buildClient,
  type ClientSurroundings,
  type LiveClient,
  Refusal,
  toClientError,
} from './live-client.ts';
import { defaultLimits, type Limits, type LiveConnectionsOptions } from './live-connections-options.ts';
import { jsonOf, type OperateOptions, OperationRuns, resultOf } from './operation-runs.ts';
import { type Operation, planOne, type Revision } from './plan.ts';
import { Proof, type ProofCircumstances, type ProofOutcome } from './proof.ts';
import { ProofPace } from './proof-pace.ts';
import { SecretChecks } from './secrets/secret-checks.ts';
import { hasSecretReference, type SecretSources } from './secrets/secret-sources.ts';
import {
  emptySlot,
  healthOf,
  isOff,
  proofVerdict,
  refusalOf,
  refusedVerdict,
  type Serving,
  type Slot,
  stateOf,
  validVerdict,
  verdictsOf,
} from './slot.ts';

/**
 * The clients of a worker. Each connection is worked on by itself and in order, so that a hung target
 * holds up nothing but itself.
 */
export class LiveConnections {
  readonly #options: LiveConnectionsOptions;
  readonly #surroundings: ClientSurroundings;
  readonly #limits: Limits;
  readonly #slots = new Map<string, Slot>();
  readonly #byName = new Map<string, Slot>();
  /** Slots that are gone, until the minute in which they went has been reported whole. */
  readonly #gone = new Map<string, Slot>();
  readonly #periodic: Limiter;
  readonly #requested: Limiter;
  readonly #pace = new ProofPace<{ connection: string; revision: number }>((item) => this.#prove(item));
  readonly #operations: OperationRuns;
  readonly #secretChecks: SecretChecks | undefined;
  #stopping = false;

  constructor(options: LiveConnectionsOptions) {
    this.#options = options;
    this.#surroundings = {
      ...options,
      get environment() {
        return options.environment();
      },
    };
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#periodic = new Limiter(this.#limits.periodicProofs);
    this.#requested = new Limiter(this.#limits.requestedProofs);
    this.#operations = new OperationRuns({
      log: options.log,
      concurrency: this.#limits.concurrency,
      onFailure: (client, error) => this.#noteRefusedLogIn(client, error),
    });
    const { secrets } = options;
    if (secrets)
      this.#secretChecks = new SecretChecks(secrets, this.#limits.secretCheckMs, () =>
        this.#checkSecrets(secrets),
      );
  }

  /** Makes `items` the whole desired state; what is not in it is closed. */
  replaceAll(items: readonly DesiredConnection[]): void {
    const wanted = new Set(items.map(({ connection }) => connection));
    this.remove([...this.#slots.keys()].filter((connection) => !wanted.has(connection)));
    this.put(items);
  }

  put(items: readonly DesiredConnection[]): void {
    if (this.#stopping) return;
    this.#pace.noteChange();
    for (const item of items) {
      const slot = this.#slots.get(item.connection) ?? this.#addSlot(item.connection);
      this.#supersede(slot, item.revision);
      this.#unname(slot);
      clearTimeout(slot.retry?.timer);
      slot.retry = undefined;
      slot.desired = item;
      if (slot.hostKeys.pin(item.hostKeys ?? [])) slot.isStale = true;
      this.#byName.set(nameKey(item.project, item.name), slot);
      this.#work(slot);
    }
  }

  /** Closes connections; one that is not held is reported as closed too. */
  remove(connections: readonly string[]): void {
    this.#pace.noteChange();
    for (const connection of connections) {
      const slot = this.#slots.get(connection);
      if (!slot) {
        this.#options.onVerdict({ connection, revision: 0, step: 'closed' });
        continue;
      }
      this.#unname(slot);
      slot.desired = undefined;
      slot.opening?.life.end(new AppError('cancelled', 'The connection was undeployed'));
      this.#work(slot);
    }
  }

  /** Id of a connection by its project (exact) and name (case-insensitive); undefined when it is not held. */
  find(project: string, name: string): string | undefined {
    return this.#byName.get(nameKey(project, name))?.connection;
  }

  /** An operation of a connection's type; undefined where there is none of that name. */
  operationOf(connection: string, operation: string): OperationSchema | undefined {
    const desired = this.#slots.get(connection)?.desired;
    const definition = desired && this.#definitionOf(desired);
    return definition && Object.hasOwn(definition.operations, operation)
      ? definition.operations[operation]
      : undefined;
  }

  /** Whether any connection of the project is held. */
  hasProject(project: string): boolean {
    for (const { desired } of this.#slots.values()) if (desired?.project === project) return true;
    return false;
  }

  /**
   * Runs an operation on what serves. Fails with `not_active`, `not_found`, `bad_request`,
   * `circuit_open`, `target_busy`, `target_timeout`, `cancelled`, or what the connector makes of the
   * target's error; no text of it holds a secret of the connection.
   */
  operate(connection: string, operation: string, input: unknown, options: OperateOptions): Promise<unknown> {
    return this.#operations.run(this.#slots.get(connection), operation, input, options, resultOf);
  }

  /** `operate`, its result as a JSON text. */
  operateToJson(
    connection: string,
    operation: string,
    input: unknown,
    options: OperateOptions,
  ): Promise<string> {
    return this.#operations.run(this.#slots.get(connection), operation, input, options, jsonOf);
  }

  /** Proves connections, at once or as they come; verdicts follow. Of a revision that is still opening, when it is open. */
  prove(items: readonly { connection: string; revision: number }[]): void {
    if (!this.#stopping) this.#pace.add(items);
  }

  #prove({ connection, revision }: { connection: string; revision: number }): void {
    const slot = this.#slots.get(connection);
    if (!slot) return;
    if (slot.serving?.client.revision.revision === revision) slot.serving.proof.request();
    else slot.early = { holdUntil: 0, ...ofRevision(slot.early, revision), revision, prove: true };
  }

  /** Leaves the account of a revision alone for a while. */
  hold(connection: string, revision: number, forMs: number): void {
    const slot = this.#slots.get(connection);
    if (!slot) return;
    if (slot.serving?.client.revision.revision === revision) slot.serving.proof.hold(forMs);
    else
      slot.early = {
        prove: false,
        ...ofRevision(slot.early, revision),
        revision,
        holdUntil: performance.now() + forMs,
      };
  }

  /** Proves everything that has not been proved yet, spread over `withinMs`. */
  proveUnproved(withinMs: number): void {
    for (const { serving } of this.#slots.values())
      if (serving && !serving.proof.outcome) serving.proof.proveSoon(withinMs);
  }

  /** The revision that serves in place of a refused one. */
  lastGood(connection: string): Revision | undefined {
    const slot = this.#slots.get(connection);
    return slot?.refused && slot.serving?.client.revision;
  }

  /** How things stand now, for a control plane that may have missed verdicts. */
  verdicts(): Verdict[] {
    return [...this.#slots.values()].flatMap((slot) => (slot.working ? [] : verdictsOf(slot)));
  }

  /** Host keys that were seen and are not pinned, for a control plane that may have missed them. */
  hostKeys(): HostKeySighting[] {
    return [...this.#slots.values()].flatMap(({ connection, hostKeys }) =>
      hostKeys.unconfirmed.map((key) => ({ connection, ...key })),
    );
  }

  /** Health of what changed, and of every connection once its minute is over. */
  health(now: number): HealthReport[] {
    const reports: HealthReport[] = [];
    for (const slot of this.#slots.values()) {
      const report = healthOf(slot, now);
      if (report) reports.push(report);
    }
    for (const [connection, slot] of this.#gone) {
      if (slot.health.isOver(now)) this.#gone.delete(connection);
      const report = healthOf(slot, now);
      if (report) reports.push(report);
    }
    return reports;
  }

  /** Removes the secrets of every connection that is held from a text. */
  scrub(text: string): string {
    let clean = text;
    for (const { serving, draining } of this.#slots.values()) {
      if (serving) clean = serving.client.prepared.scrubbing.text(clean);
      for (const client of draining) clean = client.prepared.scrubbing.text(clean);
    }
    return clean;
  }

  /** Closes everything; what runs may go on for `graceMs`. No operation is taken any more. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#operations.stop();
    this.#secretChecks?.stop();
    this.#pace.stop();
    const reason = new AppError('cancelled', 'The worker is stopping');
    await Promise.all(
      [...this.#slots.values()].map(async (slot) => {
        slot.opening?.life.end(reason);
        clearTimeout(slot.retry?.timer);
        const serving = this.#retire(slot);
        await Promise.all(
          [...slot.draining, ...(serving ? [serving.client] : [])].map((client) =>
            client.shutDown(graceMs, reason),
          ),
        );
        await slot.working;
        if (serving) slot.closed = serving.client.revision.revision;
        slot.health.setState('unknown', Date.now());
        this.#gone.set(slot.connection, slot);
      }),
    );
    this.#slots.clear();
    this.#byName.clear();
  }

  #addSlot(connection: string): Slot {
    const hostKeys = new KnownHostKeys([], (key) => this.#options.onHostKey?.({ connection, ...key }));
    // A second count of the same minute would take the place of the first.
    const slot = emptySlot(connection, hostKeys, this.#gone.get(connection)?.health);
    this.#gone.delete(connection);
    this.#slots.set(connection, slot);
    return slot;
  }

  #unname(slot: Slot): void {
    if (!slot.desired) return;
    const key = nameKey(slot.desired.project, slot.desired.name);
    if (this.#byName.get(key) === slot) this.#byName.delete(key);
  }

  /** A newer revision waits: one that has not begun is skipped, one that is opening gets a little more time. */
  #supersede(slot: Slot, revision: number): void {
    const superseded = () => new AppError('cancelled', `Superseded by revision ${revision}`);
    const { desired, opening } = slot;
    if (slot.isDirty && desired && desired.revision < revision && opening?.revision !== desired.revision)
      this.#refuse(slot, desired.revision, superseded(), []);
    if (opening && opening.revision < revision)
      setTimeout(() => opening.life.end(superseded()), this.#limits.supersedeAfterMs).unref();
  }

  #work(slot: Slot): void {
    slot.isDirty = true;
    clearTimeout(slot.retry?.timer);
    slot.working ??= (async () => {
      try {
        // Leaves the caller's turn, so that many connections are taken in before the first is opened.
        await Promise.resolve();
        while (slot.isDirty && !this.#stopping) {
          slot.isDirty = false;
          const operation = planOne(slot.connection, slot.desired, stateOf(slot));
          await this.#execute(slot, operation);
        }
      } catch (error) {
        this.#options.log.error(
          { err: loggableError(error), connection: slot.connection },
          'a connection could not be worked on',
        );
      } finally {
        slot.working = undefined;
        if (!slot.desired && this.#slots.get(slot.connection) === slot) {
          this.#slots.delete(slot.connection);
          this.#gone.set(slot.connection, slot);
        }
      }
    })();
  }

  async #execute(slot: Slot, operation: Operation | undefined): Promise<void> {
    switch (operation?.op) {
      case undefined:
        this.#options.onVerdict({
          connection: slot.connection,
          revision: slot.desired?.revision ?? 0,
          step: 'closed',
        });
        return;
      case 'keep':
        slot.refused = undefined;
        for (const verdict of verdictsOf(slot)) this.#options.onVerdict(verdict);
        return;
      case 'close':
        await this.#close(slot, operation.revision);
        return;
      case 'replace':
        await this.#open(slot, slot.desired!, operation.target, undefined);
        return;
      case 'open':
        await this.#open(slot, slot.desired!, operation.target, operation.fallback);
        return;
    }
  }

  async #open(
    slot: Slot,
    item: DesiredConnection,
    target: Revision,
    fallback: Revision | undefined,
  ): Promise<void> {
    const opened = await this.#build(slot, item, target);
    if (slot.desired === undefined) {
      // Undeployed meanwhile: the close that follows reports.
      if (opened instanceof Refusal) slot.refused = refusalOf(target, opened);
      else this.#discard(slot, opened);
      return;
    }
    // Undeployed and deployed again meanwhile: what waits opens this very revision, and reports of it.
    const isRenewed = slot.desired !== item && slot.desired.revision === target.revision;
    if (isRenewed && opened instanceof Refusal && opened.reason.code === 'cancelled') return;
    if (!(opened instanceof Refusal)) {
      slot.refused = undefined;
      slot.retry = undefined;
      this.#serve(slot, opened);
      this.#options.onVerdict(validVerdict(slot.connection, opened));
      this.#afterValid(slot);
      return;
    }
    if (!slot.serving && fallback && !slot.isDirty) {
      const lastGood = await this.#build(slot, item, fallback);
      if (!(lastGood instanceof Refusal)) {
        if (slot.desired === undefined) this.#discard(slot, lastGood);
        else {
          this.#serve(slot, lastGood);
          slot.serving!.proof.proveSoon(selfProofSpreadMs);
        }
      }
    }
    slot.refused = refusalOf(target, opened);
    if (!slot.serving) slot.health.setState('refused', Date.now());
    slot.health.noteError(opened.reason, Date.now());
    this.#refuse(slot, target.revision, opened.reason, opened.warnings);
    // Superseded: whatever waits is worked on next anyway.
    if (opened.reason.retryable && !slot.isDirty) this.#retryLater(slot);
  }

  /** A client, or why there is none. */
  async #build(slot: Slot, item: DesiredConnection, revision: Revision): Promise<LiveClient | Refusal> {
    const life = new Life();
    slot.opening = { revision: revision.revision, life };
    try {
      return await buildClient(this.#surroundings, item, revision, {
        timeoutMs: this.#limits.openTimeoutMs,
        life,
        hostKeys: slot.hostKeys,
      });
    } finally {
      slot.opening = undefined;
    }
  }

  /** From here on new operations go to the new client; the old one finishes what it has. */
  #serve(slot: Slot, client: LiveClient): void {
    const old = this.#retire(slot);
    const proof: Proof = new Proof({
      roundTrip: () => this.#roundTrip(client),
      report: (outcome, circumstances) => this.#proved(slot, client, outcome, circumstances),
      periodic: this.#periodic,
      requested: this.#requested,
    });
    slot.serving = { client, proof };
    slot.isStale = false;
    slot.health.setState('unknown', Date.now());
    if (old) this.#drain(slot, old.client);
  }

  #retire(slot: Slot): Serving | undefined {
    const { serving } = slot;
    serving?.proof.stop();
    slot.serving = undefined;
    return serving;
  }

  #drain(slot: Slot, client: LiveClient): void {
    const reason = new AppError('cancelled', 'The connection was replaced and the operation took too long');
    slot.draining.push(client);
    void client.shutDown(this.#limits.drainMs, reason).then(() => {
      slot.draining = slot.draining.filter((other) => other !== client);
    });
    // Clients pile up when revisions come faster than operations end.
    while (slot.draining.length > this.#limits.draining) {
      const oldest = slot.draining.shift()!;
      void oldest.shutDown(this.#limits.abortAfterMs, reason);
    }
  }

  #discard(slot: Slot, client: LiveClient): void {
    slot.draining.push(client);
    void client.shutDown(0, new AppError('not_active'));
  }

  #afterValid(slot: Slot): void {
    const { client, proof } = slot.serving!;
    const early = ofRevision(slot.early, client.revision.revision);
    slot.early = undefined;
    const holdMs = (early?.holdUntil ?? 0) - performance.now();
    if (holdMs > 0) proof.hold(holdMs);
    if (early?.prove) proof.request();
    else if (!this.#options.hasControlPlane()) proof.proveSoon(selfProofSpreadMs);
  }

  #roundTrip(client: LiveClient): Promise<void> {
    const { connector } = client.prepared;
    return client.run({
      timeoutMs: this.#limits.proveTimeoutMs,
      work: (live, context) => connector.prove(live, context),
      fulfilled() {},
      failed: (error) => toClientError(error, client.prepared, this.#options.log),
    });
  }

  #proved(slot: Slot, client: LiveClient, outcome: ProofOutcome, circumstances: ProofCircumstances): void {
    const now = Date.now();
    // What was not tried tells nothing of how the target is.
    if (!circumstances.isUntried) {
      slot.health.setState(outcome.ok ? 'connected' : 'unreachable', now);
      if (!outcome.ok) slot.health.noteError(outcome.error, now);
    }
    if (!outcome.ok) this.#noteRefusedLogIn(client, outcome.error);
    this.#options.onVerdict(proofVerdict(slot.connection, client.revision.revision, outcome, circumstances));
  }

  async #close(slot: Slot, revision: number): Promise<void> {
    const reason = new AppError('not_active');
    const serving = this.#retire(slot);
    const clients = [...slot.draining, ...(serving ? [serving.client] : [])];
    await Promise.all(clients.map((client) => client.shutDown(this.#limits.abortAfterMs, reason)));
    slot.draining = [];
    slot.refused = undefined;
    slot.early = undefined;
    slot.closed = revision;
    slot.health.setState('unknown', Date.now());
    this.#options.onVerdict({ connection: slot.connection, revision, step: 'closed' });
  }

  #refuse(slot: Slot, revision: number, reason: AppError, warnings: string[]): void {
    this.#options.onVerdict(refusedVerdict(slot, revision, reason, warnings));
  }

  /** A refused log-in may mean that a secret was changed at its source. */
  #noteRefusedLogIn(client: LiveClient, error: AppError): void {
    if (error.code === 'authentication_failed' && client.prepared.secretsDigest) this.#secretChecks?.soon();
  }

  /**
   * Looks up every secret reference again: a changed value replaces the client that serves, and what was
   * refused is tried again. A source that is away changes nothing.
   */
  async #checkSecrets(secrets: SecretSources): Promise<void> {
    for (const slot of [...this.#slots.values()]) {
      const { desired, serving, refused } = slot;
      const definition = desired && this.#definitionOf(desired);
      if (this.#stopping || !definition || isOff(desired) || slot.working) continue;
      if (!hasSecretReference(definition, desired.config)) continue;
      const { client } = serving ?? {};
      const held = refused ?? client?.prepared;
      if (!held) continue;
      try {
        const { digest } = await secrets.resolve(definition, desired.project, desired.config);
        if (slot.desired !== desired || slot.serving?.client !== client || slot.refused !== refused) continue;
        if (digest === held.secretsDigest) continue;
        slot.isStale = true;
        this.#work(slot);
      } catch (error) {
        this.#options.log.warn(
          { connection: slot.connection, reason: error instanceof AppError ? error.message : 'unknown' },
          'a secret reference cannot be looked up; what serves goes on with what it has',
        );
      }
    }
  }

  #definitionOf({ type }: DesiredConnection) {
    const { definitions } = this.#options;
    return Object.hasOwn(definitions, type) ? definitions[type] : undefined;
  }

  #retryLater(slot: Slot): void {
    const [first, longest] = this.#limits.retryOpenMs;
    const delayMs = Math.min(slot.retry ? slot.retry.delayMs * 2 : first, longest);
    const timer = setTimeout(() => this.#work(slot), delayMs);
    timer.unref();
    slot.retry = { timer, delayMs };
  }
}

/** Over how long a worker without a control plane spreads its first proofs, ms. */
const selfProofSpreadMs = 2_000;

function nameKey(project: string, name: string): string {
  return `${project}\0${foldName(name)}`;
}

function ofRevision<T extends { revision: number }>(early: T | undefined, revision: number): T | undefined {
  return early?.revision === revision ? early : undefined;
}
