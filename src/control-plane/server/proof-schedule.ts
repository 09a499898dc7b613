import type { ToWorker, Verdict } from '../../contract/worker-protocol.ts';
import type { ConnectedWorker } from '../deployments/connected-workers.ts';

/** From the first worker's `valid` until one has reached the target; only of who waits and who was refused. */
interface Proof {
  connection: string;
  revision: number;
  /** The worker that was asked to connect first. */
  first: string;
  outcome: 'asked' | 'refused';
  /** Colleagues that wait for it, and whether they have opened the connection since it began; undefined: none. */
  waiting: Map<string, boolean> | undefined;
  /** After a refused log-in the one worker that tries again: it holds off by itself. */
  turn: string | undefined;
  /** Until when the others were told to hold, by `performance.now`; 0: they were not. */
  heldUntil: number;
}

/** How long the others leave an account alone after a refused log-in, ms. */
const leastHoldMs = 60_000;
const longestHoldMs = 30 * 60_000;

/**
 * Lets one worker of an environment connect to a target before the others, so that a wrong
 * password is tried once and not once a worker.
 */
export class ProofSchedule {
  readonly #send: (worker: ConnectedWorker, message: ToWorker) => void;
  readonly #proofs = new Map<string, Proof>();
  readonly #outbox = new Map<ConnectedWorker, { connection: string; revision: number }[]>();
  #flushing: NodeJS.Immediate | undefined;

  constructor(send: (worker: ConnectedWorker, message: ToWorker) => void) {
    this.#send = send;
  }

  /** Takes verdicts of one worker in; `colleagues` are all connected workers of its environment. */
  note(worker: ConnectedWorker, verdicts: Verdict[], colleagues: readonly ConnectedWorker[]): void {
    // It left while they were stored, and nobody would tell again that it is gone.
    if (!colleagues.includes(worker)) return;
    for (const verdict of verdicts) {
      // What was seen before says nothing of the target as it is now: the answer to our question follows.
      if (verdict.isRepeated) continue;
      const key = `${worker.environment.id}/${verdict.connection}`;
      const proof = this.#proofs.get(key);
      if (verdict.step === 'valid') this.#valid(key, proof, worker, verdict);
      else if (!proof) continue;
      else if (verdict.step === 'connected' || verdict.step === 'unreachable')
        this.#answered(key, proof, worker, verdict, colleagues);
      else if (verdict.step === 'closed') this.#left(key, proof, worker, colleagues);
    }
  }

  #valid(
    key: string,
    proof: Proof | undefined,
    worker: ConnectedWorker,
    { connection, revision }: Verdict,
  ): void {
    if (proof && proof.revision > revision) return;
    // Who says it once more was deployed anew, perhaps with another password: a variable's change makes no
    // revision. What the others saw, or see yet, is of the one before, until they say it once more too.
    if (!proof || proof.revision < revision || isPartOf(proof, worker)) {
      const before = proof?.revision === revision ? proof : undefined;
      const next: Proof = {
        connection,
        revision,
        first: worker.id,
        outcome: 'asked',
        waiting: before && stillWaiting(before, worker),
        turn: before?.turn,
        heldUntil: before?.heldUntil ?? 0,
      };
      this.#proofs.set(key, next);
      this.#ask(worker, next);
      return;
    }
    proof.waiting ??= new Map();
    proof.waiting.set(worker.id, true);
    if (proof.outcome !== 'refused') return;
    if (proof.turn !== worker.id) this.#hold(worker, proof, stillHeldMs(proof));
    // Nothing is dialled for it, but whoever deploys is told so.
    this.#ask(worker, proof);
  }

  #answered(
    key: string,
    proof: Proof,
    worker: ConnectedWorker,
    verdict: Verdict,
    colleagues: readonly ConnectedWorker[],
  ): void {
    if (proof.revision !== verdict.revision || !isPartOf(proof, worker)) return;
    if (verdict.isUntried) {
      if (proof.outcome === 'refused' || proof.first !== worker.id) return;
      proof.waiting ??= new Map();
      proof.waiting.set(worker.id, true);
      const heldMs = stillHeldMs(proof);
      proof.turn ??= worker.id;
      this.#refused(
        proof,
        worker,
        colleagues,
        proof.turn === worker.id ? longerThan(verdict.retryInMs) : heldMs,
      );
    } else if (verdict.step === 'unreachable' && verdict.code === 'authentication_failed') {
      proof.turn = worker.id;
      this.#refused(proof, worker, colleagues, longerThan(verdict.retryInMs));
    } else if (verdict.step === 'connected' || proof.outcome === 'asked') {
      this.#proofs.delete(key);
      for (const colleague of colleagues) {
        if (colleague.id === worker.id) continue;
        if (proof.heldUntil > 0) this.#hold(colleague, proof, 0);
        if (proof.waiting?.has(colleague.id)) this.#ask(colleague, proof);
      }
    }
  }

  #refused(
    proof: Proof,
    worker: ConnectedWorker,
    colleagues: readonly ConnectedWorker[],
    holdMs: number,
  ): void {
    const isFirst = proof.outcome === 'asked';
    proof.outcome = 'refused';
    this.#holdOthers(proof, colleagues, holdMs);
    if (!isFirst) return;
    // They dial nothing, but tell so whoever waits for them.
    for (const colleague of colleagues)
      if (colleague.id !== worker.id && proof.waiting?.has(colleague.id)) this.#ask(colleague, proof);
  }

  #holdOthers(proof: Proof, colleagues: readonly ConnectedWorker[], forMs: number): void {
    proof.heldUntil = performance.now() + forMs;
    for (const colleague of colleagues) if (colleague.id !== proof.turn) this.#hold(colleague, proof, forMs);
  }

  #hold(worker: ConnectedWorker, { connection, revision }: Proof, forMs: number): void {
    this.#send(worker, { kind: 'hold', connection, revision, forMs });
  }

  /** A worker has nothing more to do with a proof, and another takes its place; without any it is forgotten. */
  #left(key: string, proof: Proof, { id }: ConnectedWorker, colleagues: readonly ConnectedWorker[]): void {
    proof.waiting?.delete(id);
    if (proof.turn === id) proof.turn = undefined;
    if (proof.first === id) {
      const next = colleagues.find((colleague) => proof.waiting?.has(colleague.id));
      if (!next) {
        this.#proofs.delete(key);
        return;
      }
      proof.first = next.id;
      if (proof.outcome === 'asked') {
        proof.waiting?.delete(next.id);
        this.#ask(next, proof);
      }
    }
    if (proof.outcome === 'asked' || proof.turn) return;
    proof.turn = proof.first;
    this.#holdOthers(proof, colleagues, longerThan(stillHeldMs(proof)));
  }

  /** A worker's stream ended; `colleagues` are those that remain. */
  gone(worker: ConnectedWorker, colleagues: readonly ConnectedWorker[]): void {
    this.#outbox.delete(worker);
    for (const [key, proof] of this.#proofs)
      if (key.startsWith(`${worker.environment.id}/`)) this.#left(key, proof, worker, colleagues);
  }

  #ask(worker: ConnectedWorker, { connection, revision }: Proof): void {
    const items = this.#outbox.get(worker);
    if (items) items.push({ connection, revision });
    else this.#outbox.set(worker, [{ connection, revision }]);
    this.#flushing ??= setImmediate(() => {
      this.#flushing = undefined;
      for (const [to, proofs] of this.#outbox) this.#send(to, { kind: 'prove', items: proofs });
      this.#outbox.clear();
    });
  }

  close(): void {
    if (this.#flushing) clearImmediate(this.#flushing);
    this.#proofs.clear();
  }
}

/** Whether a worker has opened what is proved, since the proof began. */
function isPartOf({ first, waiting }: Proof, { id }: ConnectedWorker): boolean {
  return first === id || waiting?.get(id) === true;
}

/** The colleagues of a worker that wait already: before they are asked they may have nothing more to say. */
function stillWaiting({ waiting }: Proof, { id }: ConnectedWorker): Proof['waiting'] {
  const others = [...(waiting?.keys() ?? [])].filter((other) => other !== id);
  return others.length > 0 ? new Map(others.map((other) => [other, false])) : undefined;
}

/** How long the others hold so that the one that tries again after `retryInMs`, or a fifth later, is alone. */
function longerThan(retryInMs: number | undefined): number {
  return Math.min(1.5 * Math.max(leastHoldMs, Number(retryInMs) || 0), longestHoldMs);
}

function stillHeldMs({ heldUntil }: Proof): number {
  return Math.max(leastHoldMs, heldUntil - performance.now());
}
