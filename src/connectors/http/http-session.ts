import { AppError } from '../../errors.ts';
import { type ConnectionLimits, HttpConnections } from './http-connections.ts';
import type { HttpDialler } from './http-dialler.ts';
import { type Answer, type ExchangeLimits, type ExchangeRequest, exchange } from './http-exchange.ts';

/** Requests over connections that are kept, until it is closed or `forced` aborts. */
export class HttpSession {
  readonly #connections: HttpConnections;
  readonly #ended = new AbortController();
  readonly #forced: AbortSignal;
  readonly #onForce = () => void this.close();

  constructor(dialler: HttpDialler, limits: ConnectionLimits, forced: AbortSignal) {
    this.#connections = new HttpConnections(dialler, limits);
    this.#forced = forced;
    forced.addEventListener('abort', this.#onForce, { once: true });
    if (forced.aborted) this.#onForce();
  }

  /** Aborted when the session is closed. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /**
   * One request and its answer, on a connection of its own. `progress.sent` tells of a failed one whether
   * anything of it may have arrived.
   */
  async request(
    request: ExchangeRequest,
    limits: ExchangeLimits,
    signal: AbortSignal,
    progress: { sent: boolean } = { sent: false },
  ): Promise<Answer> {
    const either = AbortSignal.any([signal, this.ended]);
    const connection = await this.#connections.acquire(request.url, either);
    try {
      progress.sent = true;
      return await exchange(connection, request, limits, either);
    } finally {
      this.#connections.release(connection);
    }
  }

  figures(): Record<string, number> {
    return this.#connections.figures();
  }

  /** Ends every connection; what runs on one fails with `cancelled`. May be called twice. */
  async close(): Promise<void> {
    this.#forced.removeEventListener('abort', this.#onForce);
    this.#ended.abort(new AppError('cancelled', 'The connection was closed'));
    await this.#connections.close();
  }
}
