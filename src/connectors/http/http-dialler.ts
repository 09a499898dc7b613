import { isIP, type Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Network } from '../connector.ts';

/** How the sockets of HTTP connections come about, by the worker's network. */
export interface HttpDialler {
  readonly timeoutMs: number;
  /** TCP, and TLS where the origin's scheme says so, within the timeout. */
  dial(origin: URL, signal: AbortSignal): Promise<Socket>;
  connect(origin: URL, timeoutMs: number, signal: AbortSignal): Promise<Socket>;
  /** HTTP/1.1 over TLS on a connected socket, which is destroyed when this fails. */
  secure(socket: Socket, origin: URL, timeoutMs: number, signal: AbortSignal): Promise<TLSSocket>;
}

export interface DialSettings {
  /** For TCP and TLS together. */
  readonly timeoutMs: number;
  tls(origin: URL): ConnectionOptions;
  /** Reaches an origin otherwise than directly; default TCP to its host and port. */
  readonly reach?: HttpDialler['connect'];
}

/** Dials origins of http and https URLs. */
export function createDialler(network: Network, { timeoutMs, tls, reach }: DialSettings): HttpDialler {
  const connect: HttpDialler['connect'] = async (origin, withinMs, signal) => {
    signal.throwIfAborted();
    if (reach) return reach(origin, withinMs, signal);
    const to = { host: dialHost(origin), port: dialPort(origin) };
    const socket = await network.connect({ ...to, timeoutMs: withinMs, signal });
    return socket.setNoDelay(true).setKeepAlive(true, 60_000);
  };
  const secure: HttpDialler['secure'] = async (socket, origin, withinMs, signal) => {
    const host = dialHost(origin);
    try {
      return await network.secure(socket, {
        ...tls(origin),
        host,
        // An address is no server name (RFC 6066 3).
        ...(isIP(host) ? {} : { servername: host }),
        ALPNProtocols: ['http/1.1'],
        timeoutMs: withinMs,
        signal,
      });
    } catch (error) {
      socket.destroy();
      throw error;
    }
  };
  return {
    timeoutMs,
    connect,
    secure,
    async dial(origin, signal) {
      const deadline = performance.now() + timeoutMs;
      const socket = await connect(origin, timeoutMs, signal);
      if (origin.protocol !== 'https:') return socket;
      return secure(socket, origin, Math.max(1, Math.ceil(deadline - performance.now())), signal);
    },
  };
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
