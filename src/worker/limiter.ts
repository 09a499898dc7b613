/** Of those that wait no more, before the list forgets them. */
const maxGone = 1000;

/** Lets at most `limit` pieces of work run at a time; the others wait in order. */
export class Limiter {
  readonly #limit: number;
  readonly #waiting: (() => void)[] = [];
  /** Of the first that waits: to shift a long list moves all of it. */
  #first = 0;
  #running = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#limit) this.#running += 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  #leave(): void {
    const next = this.#waiting[this.#first];
    if (!next) {
      this.#running -= 1;
      return;
    }
    this.#first += 1;
    if (this.#first === this.#waiting.length || this.#first === maxGone) {
      this.#waiting.splice(0, this.#first);
      this.#first = 0;
    }
    next();
  }
}
