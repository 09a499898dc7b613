import { randomBytes } from 'node:crypto';
import { type Channel, sendMessage } from '../../contract/channel.ts';
import {
  CLOSE_CODES,
  type Failure,
  type FromWorker,
  type HealthReport,
  type HostKeySighting,
  PROTOCOL_VERSION,
  type StageName,
  type StageResult,
  type ToWorker,
  type UsageToken,
} from '../../contract/worker-protocol.ts';
import { AppError, ERRORS, type ErrorCode } from '../../errors.ts';
import { loggableError } from '../../loggable-error.ts';
import type { ConnectedWorker, ConnectedWorkers } from '../deployments/connected-workers.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import type { Database } from '../store/database.ts';
import { type Position, positionAfter, positionOf } from '../store/epoch.ts';
import type { Logger } from './logger.ts';
import { ProofSchedule } from './proof-schedule.ts';
import { SnapshotFeed } from './snapshot-feed.ts';
import { VerdictInbox } from './verdict-inbox.ts';

/** Who opened the stream: proven by an enrolment token, or the embedded worker. */
export interface Enrollment {
  id: string;
  environment: { id: string; name: string };
}

interface PendingRequest {
  resolve(result: unknown): void;
  reject(error: AppError): void;
  onStageBegun: ((stage: StageName) => void) | undefined;
  onStage: ((stage: StageResult) => void) | undefined;
}

interface Session extends ConnectedWorker {
  enrollmentId: string;
  channel: Channel;
  /** The database's when the worker was welcomed. */
  epoch: string;
  /** Position the worker has been brought to; null: it needs a snapshot, or is being sent one. */
  cursor: number | null;
  /** Still on its first catch-up, which carries last good revisions. */
  catchingUp: boolean;
  acknowledged: number;
  verdicts: VerdictInbox;
  pending: Map<string, PendingRequest>;
}

interface Parts {
  db: Database;
  workers: ConnectedWorkers;
  deployments: Deployments;
  recordHealth: (worker: ConnectedWorker, reports: HealthReport[]) => Promise<void>;
  recordHostKeys: (worker: ConnectedWorker, sightings: HostKeySighting[]) => Promise<void>;
  usageTokens: (environment: string) => UsageToken[];
  log: Logger;
}

export interface RequestOptions {
  timeoutMs: number;
  signal?: AbortSignal;
  onStageBegun?: (stage: StageName) => void;
  onStage?: (stage: StageResult) => void;
}

type Hello = Extract<FromWorker, { kind: 'hello' }>;

type WorkerRequest =
  | Omit<Extract<ToWorker, { kind: 'test' }>, 'request'>
  | Omit<Extract<ToWorker, { kind: 'operate' }>, 'request'>;

/** The embedded worker may be told of what is not on the disk yet: it perishes with the machine. */
type Audience = 'all' | 'embedded';

const helloTimeoutMs = 10_000;
/** Also how long a change that nobody announced stays unheard. */
const lastSeenIntervalMs = 5_000;
/** What a worker gets beyond a request's own deadline to say that it passed. */
const answerGraceMs = 2_000;
/** RFC 6455's registry: the service restarts, come again. */
const restartCode = 1012;

/** Feeds the connected workers what changed, and carries requests to them and answers back. */
export class WorkerHub {
  readonly #parts: Parts;
  readonly #sessions = new Map<string, Session>();
  readonly #pumps = new Map<string, { next: Audience | undefined }>();
  readonly #proofs: ProofSchedule;
  readonly #snapshots: SnapshotFeed;
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#proofs = new ProofSchedule((worker, message) => {
      const channel = this.#sessions.get(worker.id)?.channel;
      if (channel) sendMessage(channel, message);
    });
    this.#snapshots = new SnapshotFeed({
      ...parts,
      isOpen: (session) => this.#sessions.get(session.id) === session,
      onSent: (environment) => this.#pump(environment, 'all'),
    });
    parts.deployments.on('changed', () => this.#pumpAll('all'));
    parts.deployments.on('committed', () => this.#pumpAll('embedded'));
    parts.deployments.on('verdicts', ({ worker, verdicts }) =>
      this.#proofs.note(worker, verdicts, parts.workers.of(worker.environment.name)),
    );
    parts.workers.on('gone', (worker) =>
      this.#proofs.gone(worker, parts.workers.of(worker.environment.name)),
    );
    this.#timer = setInterval(() => {
      void this.#storeLastSeen();
      void this.#lookForChanges();
    }, lastSeenIntervalMs);
    this.#timer.unref();
  }

  /** Takes over a stream whose bearer is known; the worker speaks first. */
  attach(channel: Channel, enrollment: Enrollment): void {
    let session: Session | undefined;
    let greeted = false;
    let open = true;
    const timer = setTimeout(() => channel.close(CLOSE_CODES.protocol, 'no hello'), helloTimeoutMs);
    timer.unref();
    channel.onClose((code, reason) => {
      open = false;
      clearTimeout(timer);
      if (session) this.#drop(session, { code, reason });
    });
    channel.onMessage((text) => {
      let message: FromWorker;
      try {
        message = JSON.parse(text) as FromWorker;
        if (typeof message?.kind !== 'string') throw new TypeError('no kind');
      } catch {
        channel.close(CLOSE_CODES.protocol, 'malformed frame');
        return;
      }
      take(message);
    });
    channel.direct?.onMessage((message) => take(message as FromWorker));
    const take = (message: FromWorker) => {
      if (session) {
        this.#receive(session, message);
        return;
      }
      if (greeted) return;
      if (
        message.kind !== 'hello' ||
        message.protocol !== PROTOCOL_VERSION ||
        typeof message.name !== 'string'
      ) {
        channel.close(CLOSE_CODES.protocol, `expected hello of protocol ${PROTOCOL_VERSION}`);
        return;
      }
      greeted = true;
      clearTimeout(timer);
      this.#register(enrollment.environment.id, message).then(
        (registered) => {
          if (registered.wentBack) this.#beginAgain(registered.epoch, message.name);
          if (this.#closed) channel.close(1001, 'shutting down');
          else if (open) {
            session = this.#session(channel, enrollment, message, registered);
            this.#join(session);
          }
        },
        (error) => {
          this.#parts.log.error({ err: loggableError(error) }, 'worker could not be registered');
          channel.close(1011, 'try again');
        },
      );
    };
  }

  #session(
    channel: Channel,
    enrollment: Enrollment,
    hello: Hello,
    { id, epoch }: { id: string; epoch: string },
  ): Session {
    const cursor = cursorOf(hello);
    const session: Session = {
      id,
      name: hello.name.slice(0, 255),
      version: String(hello.version).slice(0, 64),
      environment: enrollment.environment,
      connectedAt: Date.now(),
      enrollmentId: enrollment.id,
      channel,
      epoch,
      cursor: cursor?.epoch === epoch ? cursor.seq : null,
      catchingUp: true,
      acknowledged: 0,
      verdicts: new VerdictInbox({
        store: (verdicts) => this.#parts.deployments.recordVerdicts(session, verdicts),
        onFailure: (error) =>
          this.#parts.log.error(
            { err: loggableError(error), worker: session.name },
            'verdicts could not be stored',
          ),
      }),
      pending: new Map(),
    };
    return session;
  }

  #join(session: Session): void {
    const { workers, log, usageTokens } = this.#parts;
    const { id, name, environment, version, epoch } = session;
    const earlier = this.#sessions.get(id);
    if (earlier) {
      earlier.channel.close(CLOSE_CODES.replaced, 'another worker of this name connected');
      this.#drop(earlier);
    }
    this.#sessions.set(id, session);
    this.#send(session, {
      kind: 'welcome',
      protocol: PROTOCOL_VERSION,
      epoch,
      environment: environment.name,
      worker: id,
    });
    this.#send(session, { kind: 'tokens', tokens: usageTokens(environment.name) });
    workers.add(session);
    log.info({ worker: name, environment: environment.name, version }, 'worker connected');
    this.#pump(environment, 'all');
  }

  #register(environmentId: string, hello: Hello): Promise<{ id: string; epoch: string; wentBack: boolean }> {
    const now = Date.now();
    const name = hello.name.slice(0, 255);
    const version = String(hello.version).slice(0, 64);
    return this.#parts.db.write(async (tx) => {
      const { epoch, wentBack } = await positionAfter(tx, cursorOf(hello));
      const known = await tx.get<{ id: string }>(
        'select id from workers where environment_id = $1 and name = $2',
        [environmentId, name],
      );
      if (known) {
        await tx.run('update workers set version = $1, last_seen = $2, connected = 1 where id = $3', [
          version,
          now,
          known.id,
        ]);
        return { id: known.id, epoch, wentBack };
      }
      const id = randomBytes(9).toString('base64url');
      await tx.run(
        'insert into workers (id, environment_id, name, version, first_seen, last_seen, connected, cursor) values ($1, $2, $3, $4, $5, $5, 1, 0)',
        [id, environmentId, name, version, now],
      );
      return { id, epoch, wentBack };
    });
  }

  /** Those who are connected may hold what the database lost too: they come again, for a snapshot. */
  #beginAgain(epoch: string, worker: string): void {
    this.#parts.log.warn(
      { worker, epoch },
      'the database is older than what a worker was told: it was restored from a backup, and every worker gets a snapshot',
    );
    this.#endOthers(epoch);
  }

  /** Ends the streams of workers that were welcomed in another epoch. */
  #endOthers(epoch: string): void {
    for (const session of [...this.#sessions.values()])
      if (session.epoch !== epoch) {
        session.channel.close(restartCode, 'the database was restored');
        this.#drop(session);
      }
  }

  #drop(session: Session, end?: { code: number; reason: string }): void {
    // Closing the channel calls back here once more.
    if (this.#sessions.get(session.id) !== session) return;
    this.#sessions.delete(session.id);
    session.verdicts.close();
    for (const pending of session.pending.values())
      pending.reject(new AppError('no_worker', `Worker '${session.name}' disconnected before it answered`));
    session.pending.clear();
    this.#parts.workers.remove(session);
    this.#parts.log.info(
      { worker: session.name, environment: session.environment.name, ...end },
      'worker disconnected',
    );
    if (!this.#closed) void this.#storeLastSeen();
  }

  #send(worker: ConnectedWorker, message: ToWorker): void {
    this.#sessions.get(worker.id)?.channel.send(JSON.stringify(message));
  }

  #receive(session: Session, message: FromWorker): void {
    switch (message.kind) {
      case 'received':
        session.acknowledged = Math.max(session.acknowledged, Number(message.seq) || 0);
        break;
      case 'verdicts':
        if (Array.isArray(message.items)) session.verdicts.take(message.items);
        break;
      case 'health':
        if (!Array.isArray(message.items)) break;
        this.#parts.recordHealth(session, message.items).catch((error) => {
          this.#parts.log.error(
            { err: loggableError(error), worker: session.name },
            'health could not be stored',
          );
        });
        break;
      case 'host-keys':
        if (!Array.isArray(message.items)) break;
        this.#parts.recordHostKeys(session, message.items).catch((error) => {
          this.#parts.log.error(
            { err: loggableError(error), worker: session.name },
            'host keys could not be stored',
          );
        });
        break;
      case 'stage-begun':
        session.pending.get(message.request)?.onStageBegun?.(message.stage);
        break;
      case 'stage':
        session.pending.get(message.request)?.onStage?.(message.stage);
        break;
      case 'answer': {
        const pending = session.pending.get(message.request);
        session.pending.delete(message.request);
        pending?.resolve(message.result);
        break;
      }
      case 'failure': {
        const pending = session.pending.get(message.request);
        session.pending.delete(message.request);
        pending?.reject(errorOf(message.failure));
        break;
      }
      default:
        // A newer worker may say more than we know.
        break;
    }
  }

  #pumpAll(audience: Audience): void {
    const environments = new Map<string, { id: string; name: string }>();
    for (const { environment, channel } of this.#sessions.values())
      if (audience === 'all' || channel.direct) environments.set(environment.id, environment);
    for (const environment of environments.values()) this.#pump(environment, audience);
  }

  /** Brings every worker of an environment up to date; one run at a time an environment. */
  #pump(environment: { id: string; name: string }, audience: Audience): void {
    const running = this.#pumps.get(environment.id);
    if (running) {
      if (running.next !== 'all') running.next = audience;
      return;
    }
    const state: { next: Audience | undefined } = { next: audience };
    this.#pumps.set(environment.id, state);
    void (async () => {
      try {
        while (state.next && !this.#closed) {
          const now: Audience = state.next;
          state.next = undefined;
          const more = await this.#feed(environment, now);
          // What came meanwhile may be for more of them.
          if (more && now === 'all') state.next = now;
          else if (more) state.next ??= now;
        }
      } catch (error) {
        this.#parts.log.error(
          { err: loggableError(error), environment: environment.name },
          'workers could not be fed; trying again',
        );
        setTimeout(() => this.#pump(environment, 'all'), 1000).unref();
      } finally {
        this.#pumps.delete(environment.id);
      }
    })();
  }

  /** One frame for each group of workers that stand at the same place; answers whether there may be more. */
  async #feed(environment: { id: string; name: string }, audience: Audience): Promise<boolean> {
    const { db, deployments } = this.#parts;
    const groups = new Map<string, Session[]>();
    const empty: Session[] = [];
    for (const session of this.#sessions.values()) {
      if (session.environment.id !== environment.id) continue;
      if (audience === 'embedded' && !session.channel.direct) continue;
      if (session.cursor === null) {
        empty.push(session);
        continue;
      }
      const key = `${session.cursor}:${session.catchingUp}`;
      const group = groups.get(key);
      if (group) group.push(session);
      else groups.set(key, [session]);
    }
    this.#snapshots.start(environment, empty);
    let more = false;
    for (const sessions of groups.values()) {
      const { cursor, catchingUp } = sessions[0]!;
      const { put, remove, upTo, isWhole } = await deployments.changesSince(environment, cursor!, catchingUp);
      const frame: ToWorker | undefined =
        put.length + remove.length > 0 ? { kind: 'delta', seq: upTo, put, remove } : undefined;
      // What is committed from here on is announced, and read then.
      if (!isWhole) more = true;
      const advance = (session: Session) => {
        if (isWhole) session.catchingUp = false;
        session.cursor = upTo;
      };
      const remote: Session[] = [];
      for (const session of sessions) {
        if (frame && !session.channel.direct) {
          remote.push(session);
          continue;
        }
        advance(session);
        if (frame) session.channel.direct!.send(frame);
      }
      if (remote.length === 0) continue;
      // One that survives the machine would keep a change that its failure undid, and pass over the one
      // that gets its number.
      await db.durable();
      // One text for all to whom it cannot be handed over.
      const text = JSON.stringify(frame);
      for (const session of remote) {
        advance(session);
        session.channel.send(text);
      }
    }
    return more;
  }

  /** Runs a test or an operation on a worker. Fails with the worker's error, `no_worker`, `target_timeout` or `cancelled`. */
  request(worker: ConnectedWorker, message: WorkerRequest, options: RequestOptions): Promise<unknown> {
    const session = this.#sessions.get(worker.id);
    if (!session)
      return Promise.reject(new AppError('no_worker', `Worker '${worker.name}' is not connected`));
    if (options.signal?.aborted) return Promise.reject(new AppError('cancelled'));
    const request = randomBytes(9).toString('base64url');
    const text = JSON.stringify({ ...message, request });
    if (session.channel.takes?.(text) === false)
      return Promise.reject(
        new AppError('payload_too_large', 'The input is larger than what the stream to a worker carries'),
      );
    return new Promise((resolve, reject) => {
      const finish = () => {
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', cancel);
        session.pending.delete(request);
      };
      const abandon = (error: AppError) => {
        finish();
        session.channel.send(JSON.stringify({ kind: 'cancel', request } satisfies ToWorker));
        reject(error);
      };
      const cancel = () => abandon(new AppError('cancelled'));
      const timer = setTimeout(
        () => abandon(new AppError('target_timeout', `Worker '${worker.name}' gave no answer in time`)),
        options.timeoutMs + answerGraceMs,
      );
      options.signal?.addEventListener('abort', cancel, { once: true });
      session.pending.set(request, {
        resolve: (result) => {
          finish();
          resolve(result);
        },
        reject: (error) => {
          finish();
          reject(error);
        },
        onStageBegun: options.onStageBegun,
        onStage: options.onStage,
      });
      session.channel.send(text);
    });
  }

  /** Ends the streams of a revoked enrolment at once. */
  revoke(enrollmentId: string): void {
    for (const session of [...this.#sessions.values()])
      if (session.enrollmentId === enrollmentId) {
        session.channel.close(CLOSE_CODES.revoked, 'the enrolment was revoked');
        this.#drop(session);
      }
  }

  /** Sends every worker the tokens that may use connections of its environment. */
  refreshTokens(): void {
    for (const session of this.#sessions.values())
      this.#send(session, { kind: 'tokens', tokens: this.#parts.usageTokens(session.environment.name) });
  }

  /**
   * Finds what was committed and not announced (its answer was lost, or what was to follow it failed), and
   * a database that was restored under us, or found so by another replica.
   */
  async #lookForChanges(): Promise<void> {
    const { db } = this.#parts;
    const told = [...this.#sessions.values()].map(({ name, epoch, cursor }) => ({
      name,
      epoch,
      seq: cursor ?? 0,
    }));
    if (told.length === 0) return;
    try {
      const { epoch, seq } = await positionOf(db);
      const beyond = told.find((one) => one.epoch === epoch && one.seq > seq);
      if (beyond) {
        const now = await db.write((tx) => positionAfter(tx, beyond));
        if (now.wentBack) this.#beginAgain(now.epoch, beyond.name);
        return;
      }
      this.#endOthers(epoch);
      if (told.some((one) => one.seq < seq)) this.#pumpAll('all');
    } catch (error) {
      this.#parts.log.warn({ err: loggableError(error) }, 'changes could not be looked for; trying again');
    }
  }

  async #storeLastSeen(): Promise<void> {
    const now = Date.now();
    const here = [...this.#sessions.values()];
    try {
      await this.#parts.db.write(
        async (tx) => {
          for (const { id, acknowledged } of here)
            await tx.run('update workers set last_seen = $1, connected = 1, cursor = $2 where id = $3', [
              now,
              acknowledged,
              id,
            ]);
          await tx.run('update workers set connected = 0 where connected = 1 and last_seen < $1', [
            now - 3 * lastSeenIntervalMs,
          ]);
        },
        { durable: false },
      );
    } catch (error) {
      this.#parts.log.warn({ err: loggableError(error) }, 'last contact of workers could not be stored');
    }
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#proofs.close();
    for (const session of [...this.#sessions.values()]) {
      session.channel.close(1001, 'shutting down');
      this.#drop(session);
    }
  }
}

/** Where a worker says that it stands; undefined when it holds nothing. */
function cursorOf({ cursor }: Hello): Position | undefined {
  return cursor && typeof cursor.epoch === 'string' && Number.isSafeInteger(cursor.seq) ? cursor : undefined;
}

function errorOf(failure: Failure): AppError {
  const code = Object.hasOwn(ERRORS, failure.code) ? (failure.code as ErrorCode) : 'target_error';
  return new AppError(code, failure.message, {
    details: {
      ...(failure.validationErrors ? { validationErrors: failure.validationErrors } : {}),
      ...(failure.stage ? { stage: failure.stage } : {}),
      ...(failure.hint ? { hint: failure.hint } : {}),
      ...(failure.retryAfter === undefined ? {} : { retryAfter: failure.retryAfter }),
    },
  });
}
