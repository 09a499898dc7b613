/** The life of one client, from the moment it is being built; it ends once. */
export class Life {
  #controller: AbortController | undefined;
  #end: { readonly reason: unknown } | undefined;
  #onEnd: ((reason: unknown) => void) | undefined;

  /** Why it has ended; undefined as long as it goes on. */
  get ended(): { readonly reason: unknown } | undefined {
    return this.#end;
  }

  /** Aborts at the end. Made when it is asked for: a signal costs as much as all else of an idle connection. */
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#end) this.#controller.abort(this.#end.reason);
    }
    return this.#controller.signal;
  }

  end(reason: unknown): void {
    if (this.#end) return;
    this.#end = { reason };
    this.#onEnd?.(reason);
    this.#controller?.abort(reason);
  }

  throwIfEnded(): void {
    if (this.#end) throw this.#end.reason;
  }

  /** The value of the one piece of work that it begins with, or the reason of an end that comes first. */
  begin<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#onEnd = reject;
      if (this.#end) reject(this.#end.reason);
      work.then(
        (value) => {
          this.#onEnd = undefined;
          resolve(value);
        },
        (error: unknown) => {
          this.#onEnd = undefined;
          reject(error);
        },
      );
    });
  }
}
