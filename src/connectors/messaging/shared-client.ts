import { AppError } from '../../errors.ts';
import { abortError, untilAborted } from '../connector.ts';

/** A connection that many callers use at once. */
export interface Shareable {
  /** False from the moment that it is lost or closed. */
  readonly alive: boolean;
  /** Ends it in good order; never fails. */
  close(): Promise<void>;
  /** Ends it at once. */
  destroy(): void;
}

/**
 * One client for all callers: opened when first needed, kept, and opened again by whoever needs it
 * after it was lost.
 */
export class SharedClient<Client extends Shareable> {
  readonly #open: (signal: AbortSignal) => Promise<Client>;
  #current: Client | undefined;
  #opening: { client: Promise<Client>; abort: AbortController; waiting: number } | undefined;
  #closed = false;

  constructor(open: (signal: AbortSignal) => Promise<Client>) {
    this.#open = open;
  }

  /** The client while there is a live one. */
  get current(): Client | undefined {
    return this.#current?.alive ? this.#current : undefined;
  }

  /** The live client, opened if need be. An opening ends when the last caller that waits for it aborts. */
  async get(signal: AbortSignal): Promise<Client> {
    if (this.#closed) throw closedError();
    if (signal.aborted) throw abortError(signal.reason);
    if (this.current) return this.current;
    this.#opening ??= this.#begin();
    const opening = this.#opening;
    opening.waiting++;
    try {
      return await untilAborted({ signal }, opening.client);
    } finally {
      if (--opening.waiting === 0 && this.#opening === opening) {
        this.#opening = undefined;
        opening.abort.abort(new AppError('cancelled'));
      }
    }
  }

  /** Ends the client, and the opening of one; whoever waits for it fails. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#opening?.abort.abort(closedError());
    this.#opening = undefined;
    const client = this.#current;
    this.#current = undefined;
    if (client?.alive) await client.close();
    else client?.destroy();
  }

  /** Ends the client at once, as `close` does otherwise. */
  destroy(): void {
    this.#closed = true;
    this.#opening?.abort.abort(closedError());
    this.#opening = undefined;
    this.#current?.destroy();
    this.#current = undefined;
  }

  #begin() {
    const abort = new AbortController();
    const client = this.#open(abort.signal).then((opened) => {
      if (this.#closed || abort.signal.aborted) {
        opened.destroy();
        throw abort.signal.aborted ? abortError(abort.signal.reason) : closedError();
      }
      this.#current?.destroy();
      this.#current = opened;
      if (this.#opening?.abort === abort) this.#opening = undefined;
      return opened;
    });
    client.catch(() => {
      if (this.#opening?.abort === abort) this.#opening = undefined;
    });
    return { client, abort, waiting: 0 };
  }
}

function closedError(): AppError {
  return new AppError('cancelled', 'The connection was closed');
}
