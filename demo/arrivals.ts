/** One thing that came in, with what a page shows of it. */
export interface Arrival {
  at: Date;
  /** By the title of the page's column. */
  columns: Record<string, string>;
  /** Shown below the columns as it is. */
  text: string;
}

const kept = 200;

/** The last things that came in at one target, newest first. */
export class Arrivals {
  readonly #items: Arrival[] = [];

  add(columns: Record<string, string>, text: string): void {
    this.#items.unshift({ at: new Date(), columns, text });
    this.#items.length = Math.min(this.#items.length, kept);
  }

  get items(): readonly Arrival[] {
    return this.#items;
  }
}
