import type { AcceptedForm } from '../../contract/accepted-form.ts';
import type { Verdict } from '../../contract/worker-protocol.ts';
import type { ConnectedWorker } from './connected-workers.ts';

/** Collects what workers say of one connection from before its change is committed. */
export interface DeploymentWatch {
  /** The change's place in the order of changes; nothing comes after one that has none yet. */
  sequence: number;
  /** Whether the change opens the connection, or closes it. */
  readonly open: boolean;
  /** Keeps what was committed open until the end, so that nobody who needs it now opens it again. */
  hold(body: Body, opened: Record<string, unknown>, accepted: AcceptedForm | undefined): void;
  end(): void;
}

/** A body as it is stored. */
export interface Body {
  masked: string;
  sealed: string;
}

export interface Held extends Body {
  opened: Record<string, unknown>;
  accepted: AcceptedForm | undefined;
}

/** Shared by all of which there is nothing to note: nearly every one. */
const none = new Map<string, Verdict>();
const nothing: readonly Verdict[] = [];
const nobody = new Set<string>();

/** What is collected: one for each change that somebody waits for. */
export class Watch implements DeploymentWatch {
  readonly connection: string;
  readonly revision: number;
  readonly open: boolean;
  sequence = Number.POSITIVE_INFINITY;
  /** Verdicts by worker id, in order: the first that answers the change stands, whatever follows it. */
  readonly said = new Map<string, Verdict[]>();
  /** What a worker's last round trip gave, by worker id, when it was made before it was asked. */
  earlier = none;
  /** Ids of the workers that left meanwhile. */
  gone = nobody;
  held: Held | undefined;
  wake: () => void = () => {};
  readonly #watches: Map<string, Watch[]>;

  constructor(watches: Map<string, Watch[]>, connection: string, revision: number, open: boolean) {
    this.#watches = watches;
    this.connection = connection;
    this.revision = revision;
    this.open = open;
    const others = watches.get(connection);
    if (others) others.push(this);
    else watches.set(connection, [this]);
  }

  /** Whether the verdict answers a change of the opposite kind: an earlier one, or one that overtook this. */
  isContradictedBy({ step }: Verdict): boolean {
    return this.open ? step === 'closed' : step === 'valid' || step === 'refused';
  }

  note(worker: string, verdict: Verdict): void {
    if (verdict.isRepeated) {
      if (this.earlier === none) this.earlier = new Map();
      this.earlier.set(worker, verdict);
    } else {
      const said = this.said.get(worker);
      if (said) said.push(verdict);
      else this.said.set(worker, [verdict]);
    }
    this.wake();
  }

  noteGone(worker: string): void {
    if (this.gone === nobody) this.gone = new Set();
    this.gone.add(worker);
    this.wake();
  }

  /** Who left before and is back by now is asked again. */
  forgetGone(): void {
    this.gone = nobody;
  }

  hold({ masked, sealed }: Body, opened: Record<string, unknown>, accepted: AcceptedForm | undefined): void {
    this.held = { masked, sealed, opened, accepted };
  }

  end(): void {
    // What is gone from a map may be held by a table that it has outgrown, until the whole heap is collected.
    this.held = undefined;
    this.wake = () => {};
    const others = this.#watches.get(this.connection)?.filter((other) => other !== this) ?? [];
    if (others.length > 0) this.#watches.set(this.connection, others);
    else this.#watches.delete(this.connection);
  }
}

export interface WorkerOutcome {
  worker: string;
  success: boolean;
  message?: string;
  warnings?: string[];
}

export interface EnvironmentOutcome {
  environmentName: string;
  success: boolean;
  message: string;
  workers: WorkerOutcome[];
}

export interface DeploymentResult {
  success: boolean;
  deploymentResults: EnvironmentOutcome[];
}

/** What a worker made of the change; undefined as long as it has not answered. */
export function outcomeOf(watch: Watch, worker: ConnectedWorker, prove: boolean): WorkerOutcome | undefined {
  for (const verdict of watch.said.get(worker.id) ?? nothing) {
    const outcome = outcomeBy(verdict, worker, watch.open, prove);
    if (outcome) return outcome;
  }
  return undefined;
}

function outcomeBy(
  verdict: Verdict,
  worker: ConnectedWorker,
  open: boolean,
  prove: boolean,
): WorkerOutcome | undefined {
  const warnings = verdict.warnings?.length ? { warnings: verdict.warnings } : {};
  const done = (success: boolean, message?: string): WorkerOutcome => ({
    worker: worker.name,
    success,
    ...(message ? { message } : {}),
    ...warnings,
  });
  if (!open) {
    if (verdict.step === 'closed') return done(true);
    const isOpenAgain = verdict.step === 'valid' || verdict.step === 'refused';
    return isOpenAgain ? done(false, 'opened again by a later change') : undefined;
  }
  switch (verdict.step) {
    case 'refused':
      return done(
        false,
        verdict.serving === undefined
          ? (verdict.message ?? 'refused')
          : `${verdict.message ?? 'refused'}; revision ${verdict.serving} goes on serving`,
      );
    case 'valid':
      return prove ? undefined : done(true);
    case 'connected':
      return done(true);
    case 'unreachable':
      return prove ? done(false, verdict.message) : done(true);
    case 'closed':
      return done(false, 'closed by a later change');
    default:
      return undefined;
  }
}

/** What is said of a worker that gave no answer in time. */
export function silence({ said, earlier }: Watch, { id }: ConnectedWorker, timeoutMs: number): string {
  const last = earlier.get(id);
  if (said.get(id)?.at(-1)?.step !== 'valid' || !last) return `did not answer within ${timeoutMs} ms`;
  const outcome = last.step === 'connected' ? 'it was connected' : last.message;
  return `made no new round trip within ${timeoutMs} ms; of the one before: ${outcome}`;
}

/** What the workers of an environment made of the change together. */
export function summary(
  environmentName: string,
  workers: WorkerOutcome[],
  open: boolean,
): EnvironmentOutcome {
  const applied = workers.filter(({ success }) => success).length;
  if (workers.length === 0)
    return {
      environmentName,
      success: !open,
      message: open
        ? 'no worker is connected; the connection is deployed when one connects'
        : 'no worker is connected; nothing is open',
      workers,
    };
  const failed = workers.find(({ success }) => !success);
  const counted = `${open ? 'applied by' : 'closed on'} ${applied} of ${workers.length} worker${workers.length === 1 ? '' : 's'}`;
  return {
    environmentName,
    success: !failed,
    message: failed ? `${counted}; ${failed.worker}: ${failed.message}` : counted,
    workers,
  };
}
