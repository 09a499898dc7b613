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
}

/** How long the others leave an account alone after the first was refused, ms. */
const holdMs = 60_000;

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
      const waiting = proof?.revision === revision ? stillWaiting(proof, worker) : undefined;
      const next: Proof = { connection, revision, first: worker.id, outcome: 'asked', waiting };
      this.#proofs.set(key, next);
      this.#ask(worker, next);
      return;
    }
    proof.waiting ??= new Map();
    proof.waiting.set(worker.id, true);
    if (proof.outcome === 'refused')
      this.#send(worker, { kind: 'hold', connection, revision, forMs: holdMs });
  }

  #answered(
    key: string,
    proof: Proof,
    worker: ConnectedWorker,
    verdict: Verdict,
    colleagues: readonly ConnectedWorker[],
  ): void {
    const { connection, revision } = proof;
    if (revision !== verdict.revision || !isPartOf(proof, worker)) return;
    const refused = verdict.step === 'unreachable' && verdict.code === 'authentication_failed';
    if (refused) {
      if (proof.outcome !== 'asked') return;
      proof.outcome = 'refused';
      for (const colleague of colleagues)
        if (colleague.id !== worker.id)
          this.#send(colleague, { kind: 'hold', connection, revision, forMs: holdMs });
      return;
    }
    this.#proofs.delete(key);
    for (const colleague of colleagues)
      if (colleague.id !== worker.id && proof.waiting?.has(colleague.id)) this.#ask(colleague, proof);
  }

  /** A worker has nothing more to do with a proof, and another takes its place; without any it is forgotten. */
  #left(key: string, proof: Proof, { id }: ConnectedWorker, colleagues: readonly ConnectedWorker[]): void {
    proof.waiting?.delete(id);
    if (proof.first !== id) return;
    const next = colleagues.find((colleague) => proof.waiting?.delete(colleague.id));
    if (!next) {
      this.#proofs.delete(key);
      return;
    }
    proof.first = next.id;
    if (proof.outcome === 'asked') this.#ask(next, proof);
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
