import type { ToWorker, Verdict } from '../../contract/worker-protocol.ts';
import type { ConnectedWorker } from '../deployments/connected-workers.ts';

interface Proof {
  connection: string;
  revision: number;
  /** The worker that was asked to connect first; undefined once it answered. */
  first: string | undefined;
  outcome: 'asked' | 'free' | 'refused';
  /** Colleagues that wait for it; undefined: none did. */
  waiting: Set<string> | undefined;
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
    for (const verdict of verdicts) {
      // What was seen before says nothing of the target as it is now: the answer to our question follows.
      if (verdict.isRepeated) continue;
      const key = `${worker.environment.id}/${verdict.connection}`;
      if (verdict.step === 'valid') this.#valid(key, worker, verdict);
      else if (verdict.step === 'connected' || verdict.step === 'unreachable')
        this.#answered(key, worker, verdict, colleagues);
      else if (verdict.step === 'closed' && colleagues.length <= 1) this.#proofs.delete(key);
    }
  }

  #valid(key: string, worker: ConnectedWorker, { connection, revision }: Verdict): void {
    let proof = this.#proofs.get(key);
    if (!proof || proof.revision < revision) {
      proof = { connection, revision, first: worker.id, outcome: 'asked', waiting: undefined };
      this.#proofs.set(key, proof);
      this.#ask(worker, proof);
    } else if (proof.revision > revision) {
      return;
    } else if (proof.outcome === 'free' || proof.first === worker.id) {
      this.#ask(worker, proof);
    } else {
      proof.waiting ??= new Set();
      proof.waiting.add(worker.id);
      if (proof.outcome === 'refused')
        this.#send(worker, { kind: 'hold', connection, revision, forMs: holdMs });
    }
  }

  #answered(
    key: string,
    worker: ConnectedWorker,
    verdict: Verdict,
    colleagues: readonly ConnectedWorker[],
  ): void {
    const proof = this.#proofs.get(key);
    if (!proof || proof.revision !== verdict.revision) return;
    const refused = verdict.step === 'unreachable' && verdict.code === 'authentication_failed';
    if (refused) {
      if (proof.outcome !== 'asked') return;
      proof.outcome = 'refused';
      for (const colleague of colleagues)
        if (colleague.id !== worker.id)
          this.#send(colleague, {
            kind: 'hold',
            connection: proof.connection,
            revision: proof.revision,
            forMs: holdMs,
          });
      return;
    }
    proof.outcome = 'free';
    for (const colleague of colleagues) if (proof.waiting?.delete(colleague.id)) this.#ask(colleague, proof);
  }

  /** The first worker of a proof left: the next one takes its place. */
  gone(worker: ConnectedWorker, colleagues: readonly ConnectedWorker[]): void {
    this.#outbox.delete(worker);
    for (const [key, proof] of this.#proofs) {
      if (!key.startsWith(`${worker.environment.id}/`)) continue;
      proof.waiting?.delete(worker.id);
      if (colleagues.length === 0) {
        this.#proofs.delete(key);
        continue;
      }
      if (proof.first !== worker.id || proof.outcome !== 'asked') continue;
      const next = colleagues.find(({ id }) => proof.waiting?.delete(id));
      proof.first = next?.id;
      if (next) this.#ask(next, proof);
      else this.#proofs.delete(key);
    }
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
