import type { CallContext } from './connectors/connector.ts';

type Listener = (reason: unknown) => void;

/** The life of a client, of a call or of whoever asks for one: it ends once, and for a reason. */
export class Life implements CallContext {
  #controller: AbortController | undefined;
  #end: { readonly reason: unknown } | undefined;
  #listeners: Listener[] | undefined;

  /** Why it has ended; undefined as long as it goes on. */
  get ended(): { readonly reason: unknown } | undefined {
    return this.#end;
  }

  get isAborted(): boolean {
    return this.#end !== undefined;
  }

  /** Aborts at the end. Made when it is asked for: it would be half of what a call of a fast connector costs. */
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#end) this.#controller.abort(this.#end.reason);
    }
    return this.#controller.signal;
  }

  /** Only the first end counts. */
  end(reason: unknown): void {
    if (this.#end) return;
    this.#end = { reason };
    for (const listener of this.#listeners?.splice(0) ?? []) listener(reason);
    this.#controller?.abort(reason);
  }

  throwIfEnded(): void {
    if (this.#end) throw this.#end.reason;
  }

  /** Calls back at the end, at once where it has come; the answer takes that back. */
  whenAborted(listener: Listener): () => void {
    if (this.#end) {
      listener(this.#end.reason);
      return () => {};
    }
    this.#listeners ??= [];
    const listeners = this.#listeners;
    listeners.push(listener);
    return () => {
      const at = listeners.lastIndexOf(listener);
      if (at >= 0) listeners.splice(at, 1);
    };
  }
}
