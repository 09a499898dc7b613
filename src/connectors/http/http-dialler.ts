import { isIP, type Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Network } from '../connector.ts';

export interface DialSettings {
  /** For TCP and TLS together. */
  readonly timeoutMs: number;
  tls(origin: URL): ConnectionOptions;
  /** Reaches an origin otherwise than directly; default TCP to its host and port. */
  readonly reach?: (origin: URL, timeoutMs: number, signal: AbortSignal) => Promise<Socket>;
}

/** How the sockets of HTTP connections come about: dials the origins of http and https URLs by the worker's network. */
export class HttpDialler {
  readonly #network: Network;
  readonly #settings: DialSettings;

  constructor(network: Network, settings: DialSettings) {
    this.#network = network;
    this.#settings = settings;
  }

  get timeoutMs(): number {
    return this.#settings.timeoutMs;
  }

  /** TCP, and TLS where the origin's scheme says so, within the timeout. */
  async dial(origin: URL, signal: AbortSignal): Promise<Socket> {
    const deadline = performance.now() + this.timeoutMs;
    const socket = await this.connect(origin, this.timeoutMs, signal);
    if (origin.protocol !== 'https:') return socket;
    return this.secure(socket, origin, Math.max(1, Math.ceil(deadline - performance.now())), signal);
  }

  async connect(origin: URL, timeoutMs: number, signal: AbortSignal): Promise<Socket> {
    signal.throwIfAborted();
    const { reach } = this.#settings;
    if (reach) return reach(origin, timeoutMs, signal);
    const to = { host: dialHost(origin), port: dialPort(origin) };
    const socket = await this.#network.connect({ ...to, timeoutMs, signal });
    return socket.setNoDelay(true).setKeepAlive(true, 60_000);
  }

  /** HTTP/1.1 over TLS on a connected socket, which is destroyed when this fails. */
  async secure(socket: Socket, origin: URL, timeoutMs: number, signal: AbortSignal): Promise<TLSSocket> {
    const host = dialHost(origin);
    try {
      return await this.#network.secure(socket, {
        ...this.#settings.tls(origin),
        host,
        // An address is no server name (RFC 6066 3).
        ...(isIP(host) ? {} : { servername: host }),
        ALPNProtocols: ['http/1.1'],
        timeoutMs,
        signal,
      });
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }
}

/** Host of a URL as the network dials it: an IPv6 address without its brackets. */
export function dialHost(url: URL): string {
  const host = url.hostname;
  return host.startsWith('[') && isIP(host.slice(1, -1)) === 6 ? host.slice(1, -1) : host;
}

/** Port of a URL, by its scheme where it names none. */
export function dialPort(url: URL): number {
  return url.port ? Number(url.port) : url.protocol === 'https:' ? 443 : 80;
}
