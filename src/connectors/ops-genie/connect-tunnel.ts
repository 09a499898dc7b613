import { isIP, type Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { AppError } from '../../errors.ts';
import type { Network } from '../connector.ts';
import { dialHost, dialPort, type HttpDialler } from '../http/http-dialler.ts';

const maxHeadBytes = 16 * 1024;

/**
 * Reaches origins through an HTTP proxy by CONNECT (RFC 9110 9.3.6). The proxy resolves the origin's name,
 * so that the egress policy sees the proxy alone. Refusals of the proxy fail with `authentication_failed`,
 * `permission_denied` or `host_unreachable`.
 */
export function throughProxy(
  network: Network,
  proxy: URL,
  tls: () => ConnectionOptions,
): HttpDialler['connect'] {
  return async (origin, timeoutMs, signal) => {
    const deadline = performance.now() + timeoutMs;
    const leftMs = () => Math.max(1, Math.ceil(deadline - performance.now()));
    const host = dialHost(proxy);
    let socket = await network.connect({ host, port: dialPort(proxy), timeoutMs, signal });
    socket.setNoDelay(true).setKeepAlive(true, 60_000);
    try {
      if (proxy.protocol === 'https:') {
        const name = isIP(host) ? {} : { servername: host };
        socket = await network.secure(socket, { ...tls(), ...name, host, timeoutMs: leftMs(), signal });
      }
      const target = `${origin.hostname}:${dialPort(origin)}`;
      const head = await askForTunnel(socket, connectRequest(target, proxy), leftMs(), signal);
      judge(head);
      return socket;
    } catch (error) {
      socket.destroy();
      throw error;
    }
  };
}

function connectRequest(target: string, proxy: URL): string {
  const account = `${decode(proxy.username)}:${decode(proxy.password)}`;
  const credentials =
    proxy.username || proxy.password
      ? `Proxy-Authorization: Basic ${Buffer.from(account).toString('base64')}\r\n`
      : '';
  return `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${credentials}\r\n`;
}

/** Sends the request and answers the head of what comes back; bytes behind it stay in the socket. */
function askForTunnel(
  socket: Socket,
  request: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let seen = Buffer.alloc(0);
    const settle = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      socket.off('data', onData).off('error', fail).off('close', onClose);
    };
    const fail = (error: unknown) => {
      settle();
      // Whatever comes later is nobody's business any more.
      socket.on('error', () => {});
      reject(error);
    };
    const onAbort = () => fail(signal.reason);
    const onClose = () => fail(new AppError('connection_lost', 'The proxy closed the connection'));
    const onData = (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk]);
      const end = seen.indexOf('\r\n\r\n');
      if (end < 0) {
        if (seen.length > maxHeadBytes) fail(new AppError('protocol_error', 'The proxy does not speak HTTP'));
        return;
      }
      socket.pause();
      settle();
      if (end + 4 < seen.length) socket.unshift(seen.subarray(end + 4));
      resolve(seen.toString('latin1', 0, end));
    };
    const timer = setTimeout(
      () => fail(new AppError('connect_timeout', `The proxy did not answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('data', onData).on('error', fail).on('close', onClose);
    if (signal.aborted) return onAbort();
    socket.write(request);
  });
}

function judge(head: string): void {
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1]);
  if (!status) throw new AppError('protocol_error', 'The proxy does not speak HTTP');
  if (status >= 200 && status < 300) return;
  const said = `The proxy answered CONNECT with ${status}`;
  if (status === 407)
    throw new AppError('authentication_failed', said, {
      details: { hint: 'Check user name and password in proxyUrl.' },
    });
  if (status === 403)
    throw new AppError('permission_denied', said, {
      details: { hint: 'The proxy forbids this target: allow the host of apiUrl there.' },
    });
  throw new AppError(status >= 500 ? 'host_unreachable' : 'request_rejected', said, {
    details: { hint: 'Check that proxyUrl is an HTTP proxy which allows CONNECT, and reaches apiUrl.' },
  });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
