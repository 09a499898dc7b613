import { AppError } from '../../errors.ts';
import { abortError, type DatagramSender, type Network } from '../connector.ts';
import type { Channel, Frame } from './outbox.ts';

export interface DatagramTarget {
  network: Network;
  host: string;
  port: number;
  /** SO_SNDBUF; undefined: as the system says. */
  sendBufferBytes?: number | undefined;
}

/** A name may lead elsewhere after a while, and nothing in UDP would tell. */
const lifeMs = 60_000;

/** A channel of datagrams to the address that the host name leads to now. */
export async function openDatagrams(target: DatagramTarget, signal: AbortSignal): Promise<DatagramChannel> {
  const { network, host, port, sendBufferBytes } = target;
  if (signal.aborted) throw abortError(signal.reason);
  const sender = await network.datagram({
    host,
    port,
    signal,
    ...(sendBufferBytes === undefined ? {} : { sendBufferBytes }),
  });
  return new DatagramChannel(sender);
}

/** Messages as datagrams, of which only a refusal by the host is ever heard. */
export class DatagramChannel implements Channel {
  readonly #sender: DatagramSender;
  readonly #staleAt = performance.now() + lifeMs;
  #failure: AppError | undefined;

  constructor(sender: DatagramSender) {
    this.#sender = sender;
  }

  get failure(): AppError | undefined {
    return this.#failure;
  }

  /** What the network has reported of datagrams that were sent. */
  get reported(): AppError | undefined {
    return this.#sender.failure;
  }

  get isStale(): boolean {
    return performance.now() > this.#staleAt && !this.#sender.failure;
  }

  /** Never calls: without a write nothing is learnt. */
  onFailure(): void {}

  async write(frames: readonly Frame[]): Promise<void> {
    try {
      for (const datagram of frames.flat())
        await this.#sender.send(typeof datagram === 'string' ? Buffer.from(datagram) : datagram);
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'message_too_large')) {
        this.#failure =
          error instanceof AppError ? error : new AppError('connection_lost', undefined, { cause: error });
        this.#sender.close();
      }
      throw error;
    }
  }

  async close(): Promise<void> {
    this.destroy();
  }

  destroy(): void {
    this.#failure ??= new AppError('cancelled', 'The connection was closed');
    this.#sender.close();
  }
}
