import { EventEmitter } from 'node:events';
import { joinSecrets } from '../../contract/masking.ts';
import type { DesiredConnection, Verdict } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import { loggableError } from '../../loggable-error.ts';
import type { Logger } from '../server/logger.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database, Transaction } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import { createResolver, hasTemplate, type Resolver } from '../variables/resolver.ts';
import type { ConnectedWorker, ConnectedWorkers } from './connected-workers.ts';
import {
  type Body,
  type DeploymentResult,
  type DeploymentWatch,
  type Held,
  outcomeOf,
  silence,
  summary,
  Watch,
} from './deployment-watch.ts';
import {
  changesPerFrame,
  changesSince,
  type DeployedRow,
  deployedSince,
  deploymentsOf,
  newestSequence,
  type PlacedRow,
  placeDeployment,
  placedRow,
  revisionBody,
  storeVerdict,
  usersOf,
  verdictsOf,
  withdrawDeployment,
  withinHistory,
} from './deployments.store.ts';
import { charsOf, maxFrameChars } from './frame-size.ts';
import { type HostKeyPin, HostKeys } from './host-keys.service.ts';
import { targetsOf } from './targets.ts';

export interface SettleOptions {
  /** How long workers have to answer. */
  timeoutMs: number;
  /** Waits for the round trip to the target, too, and counts it. */
  prove?: boolean;
  /** Environments that are not asked, and why: what `refusals` answered. */
  refusals?: ReadonlyMap<string, string>;
}

/** What of a connection's row it takes to open its body. */
export interface StoredBody {
  id: string;
  project_id: string;
  type: string;
  masked: string;
  sealed: string;
}

export interface VerdictEvent {
  worker: ConnectedWorker;
  verdicts: Verdict[];
}

export interface Changes {
  upTo: number;
  put: DesiredConnection[];
  remove: string[];
  /** Nothing more had been committed when it was read. */
  isWhole: boolean;
}

interface Parts {
  db: Database;
  sealer: Sealer;
  workers: ConnectedWorkers;
  projectOf: (projectId: string) => Pick<ProjectRow, 'name' | 'environments'> | undefined;
  environmentId: (name: string) => string | undefined;
  log: Logger;
}

/**
 * Which environment holds which revision, and what its workers make of it. Emits `changed` when
 * workers should be told, `committed` when an embedded one may begin while the disk is waited for,
 * `verdicts` after they are stored, `hostKeyPinned` likewise.
 */
export class Deployments extends EventEmitter<{
  changed: [];
  committed: [];
  verdicts: [VerdictEvent];
  hostKeyPinned: [HostKeyPin];
}> {
  readonly hostKeys: HostKeys;
  readonly #parts: Parts;
  readonly #watches = new Map<string, Watch[]>();

  constructor(parts: Parts) {
    super();
    this.setMaxListeners(0);
    this.#parts = parts;
    this.hostKeys = new HostKeys({
      ...parts,
      announcePin: (pin) => {
        this.emit('changed');
        this.emit('hostKeyPinned', pin);
      },
    });
    parts.workers.on('gone', ({ id }) => {
      for (const watches of this.#watches.values()) for (const watch of watches) watch.noteGone(id);
    });
  }

  /** Tells, within the change's transaction, every target environment of the connection. */
  async place(
    tx: Transaction,
    project: Pick<ProjectRow, 'environments'>,
    connectionId: string,
    listed: readonly string[],
  ): Promise<void> {
    const now = Date.now();
    for (const name of targetsOf(project, listed)) {
      const id = this.#parts.environmentId(name);
      if (id) await placeDeployment(tx, connectionId, id, now);
    }
  }

  /** Takes a connection back from an environment by hand. */
  async withdraw(tx: Transaction, connectionId: string, environment: string): Promise<void> {
    const id = this.#parts.environmentId(environment);
    if (id) await withdrawDeployment(tx, connectionId, id, Date.now());
  }

  /** Starts to listen for verdicts on a connection; before the commit, so that none is missed. */
  watch(connection: string, revision: number, open: boolean): DeploymentWatch {
    return new Watch(this.#watches, connection, revision, open);
  }

  /** Tells the workers, and ends the watch, without waiting for them. */
  announce(watch: DeploymentWatch): void {
    watch.end();
    this.emit('changed');
  }

  /**
   * Tells the workers of `environments` and waits for what each of them says: `valid` of this
   * revision where the change opens, else `closed`, unless a later change overtakes it. Silent ones are
   * named when the time is up.
   */
  async settle(
    deploymentWatch: DeploymentWatch,
    environments: readonly string[],
    options: SettleOptions,
  ): Promise<DeploymentResult> {
    const watch = deploymentWatch as Watch;
    const { refusals = new Map<string, string>() } = options;
    watch.forgetGone();
    const expected = environments.map((environmentName) => ({
      environmentName,
      workers: refusals.has(environmentName) ? [] : this.#parts.workers.of(environmentName),
    }));
    const outcome = (worker: ConnectedWorker) => outcomeOf(watch, worker, options.prove ?? false);
    const pending = expected.flatMap(({ workers }) => workers);
    const settled = () => {
      // Who has answered is not looked at again, or a thousand answers would cost a million looks.
      for (
        let last = pending.at(-1);
        last && (watch.gone.has(last.id) || outcome(last));
        last = pending.at(-1)
      )
        pending.pop();
      return pending.length === 0;
    };
    try {
      this.emit('changed');
      if (!settled())
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, options.timeoutMs);
          watch.wake = () => {
            if (!settled()) return;
            clearTimeout(timer);
            resolve();
          };
        });
    } finally {
      watch.end();
    }
    const results = expected.map(({ environmentName, workers }) => {
      const refusal = refusals.get(environmentName);
      if (refusal !== undefined) return { environmentName, success: false, message: refusal, workers: [] };
      return summary(
        environmentName,
        workers.map(
          (worker) =>
            outcome(worker) ?? {
              worker: worker.name,
              success: false,
              message: watch.gone.has(worker.id)
                ? 'disconnected before it answered; it catches up when it is back'
                : silence(watch, worker, options.timeoutMs),
            },
        ),
        watch.open,
      );
    });
    return { success: results.every(({ success }) => success), deploymentResults: results };
  }

  /** Environments that were told of the connection: where it has to close when it is no longer live. */
  async placedIn(connectionId: string): Promise<string[]> {
    return (await deploymentsOf(this.#parts.db, connectionId)).map(({ environment }) => environment);
  }

  /**
   * A worker to use a connection on: one that serves it, at random. Fails with `not_active` when it is
   * undeployed there, `no_worker` when none is connected.
   */
  async pickWorker(connection: { id: string; name: string }, environment: string): Promise<ConnectedWorker> {
    const rows = await usersOf(this.#parts.db, connection.id, this.#parts.environmentId(environment) ?? '');
    if (rows.length === 0 || rows[0]!.undeployed === 1)
      throw new AppError(
        'not_active',
        `Connection (name: ${connection.name}) is not deployed in '${environment}'`,
      );
    const connected = this.#parts.workers.of(environment);
    const serving = new Set(
      rows
        .filter(({ step, serving }) => (step !== 'refused' && step !== 'closed') || serving !== null)
        .map(({ worker_id }) => worker_id),
    );
    const able = connected.filter(({ id }) => serving.has(id));
    // A worker that has refused says why.
    const candidates = able.length > 0 ? able : connected;
    if (candidates.length === 0)
      throw new AppError('no_worker', `No worker of environment '${environment}' is connected`);
    return candidates[Math.floor(Math.random() * candidates.length)]!;
  }

  /** As `placedIn`, without those where it was undeployed by hand. */
  async deployedIn(connectionId: string): Promise<string[]> {
    const rows = await deploymentsOf(this.#parts.db, connectionId);
    return rows.filter(({ undeployed }) => undeployed === 0).map(({ environment }) => environment);
  }

  /** Stores what a worker says, wakes whoever waits, and only then lets it be seen. */
  async recordVerdicts(worker: ConnectedWorker, verdicts: Verdict[]): Promise<void> {
    const now = Date.now();
    const { environment } = worker;
    const placed = new Map<string, PlacedRow | undefined>();
    await this.#parts.db.write(
      async (tx) => {
        placed.clear();
        for (const verdict of verdicts) {
          const { connection } = verdict;
          const watches = this.#watches.get(connection);
          // The first revision of each is there, and one that somebody waits for: no need to look.
          const isReached =
            verdict.revision === 1 || watches?.some((watch) => watch.revision >= verdict.revision);
          const told = isReached ? verdict : await withinHistory(tx, verdict);
          if (told) await storeVerdict(tx, { id: worker.id, environmentId: environment.id }, told, now);
          if (!placed.has(connection) && watches?.some((watch) => watch.isContradictedBy(verdict)))
            placed.set(connection, await placedRow(tx, connection, environment.id));
        }
      },
      // The worker says it again when it connects.
      { durable: false },
    );
    for (const verdict of verdicts)
      for (const watch of this.#watches.get(verdict.connection) ?? []) {
        if (verdict.step !== 'closed' && verdict.revision < watch.revision) continue;
        if (watch.isContradictedBy(verdict)) {
          // A worker does not say which change it answers: what is stored tells whether one came after this.
          const row = placed.get(verdict.connection);
          const isOvertaken =
            row && row.seq > watch.sequence && this.#isDesired(row, environment.name) !== watch.open;
          if (!isOvertaken) continue;
        }
        watch.note(worker.id, verdict);
      }
    this.emit('verdicts', { worker, verdicts });
  }

  /** What an environment has to be told after `seq`; at most a frame's worth. */
  async changesSince(
    environment: { id: string; name: string },
    seq: number,
    catchUp: boolean,
  ): Promise<Changes> {
    const { db } = this.#parts;
    let rows = await changesSince(db, environment.id, seq);
    let upTo = seq;
    if (rows.length === 0) {
      // Past what concerns other environments alone, or each change of theirs would be looked through
      // again; the rows are read after the number, so that none of ours is passed over.
      upTo = await newestSequence(db);
      if (upTo > seq) rows = await changesSince(db, environment.id, seq);
    }
    upTo = Math.max(upTo, rows.at(-1)?.seq ?? seq);
    return this.#frame(rows, environment.name, catchUp, upTo);
  }

  /**
   * What an environment has to hold, in the order of changes from `seq` on; at most a frame's worth. What
   * changes between two of these comes later, or after the last: it is never passed over, unless it is to go.
   */
  async snapshotAfter(environment: { id: string; name: string }, seq: number): Promise<Changes> {
    const rows = await deployedSince(this.#parts.db, environment.id, seq);
    return this.#frame(rows, environment.name, true, rows.at(-1)?.seq ?? seq);
  }

  /** Opens rows for as long as they fit into a frame, which takes one of any size; `newest` where all do. */
  async #frame(
    rows: readonly DeployedRow[],
    environment: string,
    withLastGood: boolean,
    newest: number,
  ): Promise<Changes> {
    const isLast = rows.length < changesPerFrame;
    const changes: Changes = {
      upTo: isLast ? newest : rows.at(-1)!.seq,
      put: [],
      remove: [],
      isWhole: isLast,
    };
    const resolver = this.resolver();
    let size = 0;
    let before = 0;
    for (const row of rows) {
      if (!this.#isDesired(row, environment)) changes.remove.push(row.id);
      else {
        const desired = await this.#desired(row, environment, withLastGood, resolver);
        if (desired) {
          size += charsOf(desired);
          if (size > maxFrameChars && changes.put.length > 0)
            return { ...changes, upTo: before, isWhole: false };
          changes.put.push(desired);
        }
      }
      before = row.seq;
    }
    return changes;
  }

  #isDesired(row: PlacedRow, environment: string): boolean {
    const project = this.#parts.projectOf(row.project_id);
    return (
      project !== undefined &&
      row.deleted_at === null &&
      row.enabled === 1 &&
      row.deploy_to_worker === 1 &&
      row.undeployed === 0 &&
      targetsOf(project, JSON.parse(row.environments)).includes(environment)
    );
  }

  /** A resolver for one pass over rows. */
  resolver(): Resolver {
    return createResolver(this.#parts.db, this.#parts.sealer);
  }

  /** What an environment's workers have to hold; undefined: what they hold already. */
  async #desired(
    row: DeployedRow,
    environment: string,
    withLastGood: boolean,
    resolver: Resolver,
  ): Promise<DesiredConnection | undefined> {
    const { db, log, projectOf } = this.#parts;
    const resolve = (body: Body) =>
      resolver.resolve(row.project_id, row.type, this.#open(row, body), environment);
    const lastGood = async () => {
      const revision = row.last_good_revision;
      if (revision === null || revision === row.revision) return undefined;
      const body = await revisionBody(db, row.id, revision);
      const resolved = body && (await resolve(body));
      return resolved && !('refusal' in resolved) ? { revision, ...resolved } : undefined;
    };
    try {
      const pinned = this.hostKeys.concern(row.type) ? await this.hostKeys.pinned(row.id, environment) : [];
      const common = {
        connection: row.id,
        project: projectOf(row.project_id)?.name ?? '',
        name: row.name,
        type: row.type,
        ...(pinned.length > 0 ? { hostKeys: pinned } : {}),
      };
      const now = await resolve(row);
      if ('refusal' in now) {
        // The control plane refuses it by itself: the last good one goes on, also in workers that come later.
        log.warn({ connection: row.id, environment, reason: now.refusal }, 'not deployed');
        const before = await lastGood();
        return before && { ...common, ...before };
      }
      const before = withLastGood ? await lastGood() : undefined;
      const held = this.#held(row.id, row);
      return {
        ...common,
        revision: row.revision,
        ...now,
        ...(held?.accepted && held.opened === now.config ? { accepted: held.accepted } : {}),
        ...(before ? { lastGood: before } : {}),
      };
    } catch (error) {
      log.error(
        { connection: row.id, err: loggableError(error) },
        'connection cannot be opened, its workers keep what they have',
      );
      return undefined;
    }
  }

  /** Environments in which a stored body cannot be resolved, with a sentence that names what is missing. */
  async refusals(body: StoredBody, environments: readonly string[]): Promise<Map<string, string>> {
    const refusals = new Map<string, string>();
    const config = this.#open(body, body);
    // Most bodies refer to nothing, and every change asks.
    if (!hasTemplate(config)) return refusals;
    const resolver = this.resolver();
    for (const environment of environments) {
      const resolved = await resolver.values(body.project_id, body.type, config, environment);
      if ('refusal' in resolved)
        refusals.set(environment, `${resolved.refusal}; what runs there goes on as it is`);
    }
    return refusals;
  }

  #open(row: { id: string; project_id: string }, body: Body): Record<string, unknown> {
    const held = this.#held(row.id, body);
    if (held) return held.opened;
    const secrets: Record<string, string> = {};
    for (const [field, ciphertext] of Object.entries(JSON.parse(body.sealed) as Record<string, string>))
      secrets[field] = this.#parts.sealer.open(ciphertext, {
        project: row.project_id,
        connection: row.id,
        field,
      });
    return joinSecrets(JSON.parse(body.masked), secrets) as Record<string, unknown>;
  }

  #held(connection: string, { masked, sealed }: Body): Held | undefined {
    for (const { held } of this.#watches.get(connection) ?? [])
      if (held?.sealed === sealed && held.masked === masked) return held;
    return undefined;
  }

  /** What each environment and worker makes of a connection. */
  async status(connection: StoredBody & { revision: number }): Promise<unknown[]> {
    const [environments, verdicts] = await Promise.all([
      deploymentsOf(this.#parts.db, connection.id),
      verdictsOf(this.#parts.db, connection.id),
    ]);
    const refusals = await this.refusals(
      connection,
      environments.filter(({ undeployed }) => undeployed === 0).map(({ environment }) => environment),
    );
    const hostKeys = this.hostKeys.concern(connection.type)
      ? await this.hostKeys.status(
          connection,
          environments.map(({ environment }) => environment),
          this.resolver(),
        )
      : undefined;
    return environments.map((row) => {
      const hostKey = hostKeys?.get(row.environment);
      const connected = this.#parts.workers.of(row.environment);
      const refusal = refusals.get(row.environment);
      return {
        environmentName: row.environment,
        revision: row.undeployed ? null : connection.revision,
        undeployed: row.undeployed === 1,
        lastGoodRevision: row.last_good_revision,
        ...(refusal === undefined ? {} : { step: 'refused', code: 'missing_reference', message: refusal }),
        ...(hostKey ? { hostKey } : {}),
        since: new Date(row.updated_at).toISOString(),
        workers: verdicts
          .filter((verdict) => verdict.environment_id === row.environment_id)
          .map((verdict) => ({
            worker: verdict.worker,
            connected: connected.some(({ id }) => id === verdict.worker_id),
            revision: verdict.revision,
            step: verdict.step,
            code: verdict.code,
            message: verdict.message,
            servingRevision: verdict.serving,
            warnings: JSON.parse(verdict.warnings) as string[],
            at: new Date(verdict.at).toISOString(),
          })),
      };
    });
  }
}
