import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import { type Channel, WORKER_STREAM_PATH } from '../contract/channel.ts';
import { isLoopback } from '../contract/host.ts';
import { AppError } from '../errors.ts';
import { createWebSocketChannel, maxFrameBytes } from '../web-socket-channel.ts';

export interface StreamOptions {
  /** Base URL of the control plane: http, https, ws or wss. */
  url: string;
  /** The worker's credential. */
  token: string;
  /** A proxy ends TLS in front: `ws://` to another machine is accepted. */
  insecure?: boolean;
  /** How often the peer is pinged; default 10 s. Silence of three times that ends the stream. */
  pingIntervalMs?: number;
}

const handshakeTimeoutMs = 10_000;

/** URL of the stream; throws `invalid_configuration` for another scheme, or in clear to another machine. */
export function streamUrl({ url, insecure = false }: Pick<StreamOptions, 'url' | 'insecure'>): URL {
  const target = URL.parse(url);
  const scheme =
    target && { 'http:': 'ws:', 'https:': 'wss:', 'ws:': 'ws:', 'wss:': 'wss:' }[target.protocol];
  if (!target || !scheme)
    throw new AppError('invalid_configuration', 'PLUGBOARD_URL must be an http, https, ws or wss URL');
  target.protocol = scheme;
  target.pathname = target.pathname.replace(/\/+$/, '') + WORKER_STREAM_PATH;
  target.search = '';
  target.hash = '';
  target.username = '';
  target.password = '';
  if (scheme === 'ws:' && !insecure && !isLoopback(target.hostname))
    throw new AppError(
      'invalid_configuration',
      `PLUGBOARD_URL leads to ${target.hostname} in clear: use https, or set PLUGBOARD_INSECURE=1 when something else encrypts the way`,
    );
  return target;
}

/**
 * Opens a worker's stream. Fails with `unauthorized_client` when the control plane does not know the
 * credential (any more), else with `unavailable`.
 */
export function connectStream(options: StreamOptions): Promise<Channel> {
  const url = streamUrl(options);
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, {
      headers: { authorization: `Bearer ${options.token}` },
      perMessageDeflate: false,
      handshakeTimeout: handshakeTimeoutMs,
      maxPayload: maxFrameBytes,
      followRedirects: false,
    });
    const channel = createWebSocketChannel(socket, options.pingIntervalMs);
    socket.once('open', () => resolve(channel));
    socket.on('error', (error) =>
      reject(new AppError('unavailable', `no stream to ${url.host}: ${error.message}`, { cause: error })),
    );
    socket.once('unexpected-response', (_request, response) => {
      readText(response).then((text) => {
        socket.terminate();
        reject(
          response.statusCode === 401 && isUnauthorized(text)
            ? new AppError('unauthorized_client', 'The control plane refused the credential of this worker')
            : new AppError('unavailable', `${url.host} answered ${response.statusCode} instead of a stream`),
        );
      });
    });
  });
}

async function readText(response: IncomingMessage): Promise<string> {
  let text = '';
  try {
    response.setTimeout(5_000, () => response.destroy());
    for await (const chunk of response) {
      text += chunk;
      if (text.length > 65_536) break;
    }
  } catch {
    // What came is enough to decide by.
  }
  return text;
}

/** Any proxy may answer 401; only the control plane's own word ends a worker. */
function isUnauthorized(text: string): boolean {
  try {
    return (JSON.parse(text) as { error?: unknown }).error === 'unauthorized_client';
  } catch {
    return false;
  }
}
