import { AppError } from '../errors.ts';

export interface KeptAnswer {
  status: number;
  /** JSON. */
  body: string;
}

interface Entry {
  bodyHash: string;
  keptAt: number;
  answer: KeptAnswer;
}

const keptMs = 24 * 60 * 60 * 1000;
const maxBodyChars = 256 * 1024;
/** Answers that say nothing of what was done, or that may differ when asked again. */
const notFinal = new Set([401, 403, 408, 425, 429]);
const tooLarge = JSON.stringify({
  success: true,
  warnings: ['The first answer was too large to be kept'],
});

/**
 * Answers of this process by their Idempotency-Key: for 24 h, but no more of them than the limits
 * say, the oldest making room. What may be tried again is not kept.
 */
export class RememberedAnswers {
  readonly #limits: { entries: number; chars: number };
  readonly #kept = new Map<string, Entry>();
  readonly #running = new Map<string, Promise<void>>();
  #chars = 0;

  constructor(limits = { entries: 10_000, chars: 16 * 1024 * 1024 }) {
    this.#limits = limits;
  }

  /** Runs the work once under a key; a concurrent duplicate waits for it. Fails with `unprocessable` for another body. */
  async once(
    id: string,
    bodyHash: string,
    work: () => Promise<KeptAnswer>,
  ): Promise<{ answer: KeptAnswer; replayed: boolean }> {
    for (let first = this.#running.get(id); first; first = this.#running.get(id)) await first;
    const kept = this.#find(id);
    if (kept && kept.bodyHash !== bodyHash) throw new AppError('unprocessable');
    if (kept) return { answer: kept.answer, replayed: true };
    let finish: () => void = () => {};
    this.#running.set(id, new Promise((resolve) => (finish = resolve)));
    try {
      const answer = await work();
      if (isFinal(answer.status)) this.#keep(id, bodyHash, answer);
      return { answer, replayed: false };
    } finally {
      this.#running.delete(id);
      finish();
    }
  }

  #find(id: string): Entry | undefined {
    const entry = this.#kept.get(id);
    if (entry && Date.now() - entry.keptAt < keptMs) return entry;
    this.#forget(id);
    return undefined;
  }

  #keep(id: string, bodyHash: string, { status, body }: KeptAnswer): void {
    const answer = { status, body: body.length > maxBodyChars ? tooLarge : body };
    this.#kept.set(id, { bodyHash, keptAt: Date.now(), answer });
    this.#chars += answer.body.length;
    // In order of their age, as none is ever renewed.
    for (const [oldest, { keptAt }] of this.#kept) {
      const isOver = this.#kept.size > this.#limits.entries || this.#chars > this.#limits.chars;
      if (!isOver && Date.now() - keptAt < keptMs) break;
      this.#forget(oldest);
    }
  }

  #forget(id: string): void {
    this.#chars -= this.#kept.get(id)?.answer.body.length ?? 0;
    this.#kept.delete(id);
  }
}

function isFinal(status: number): boolean {
  return status === 504 || (status < 500 && !notFinal.has(status));
}
