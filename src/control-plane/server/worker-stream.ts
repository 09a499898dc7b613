import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocketServer } from 'ws';
import { AppError, errorBody } from '../../errors.ts';
import { createWebSocketChannel, maxFrameBytes } from '../../web-socket-channel.ts';
import type { Environments } from '../environments/environments.service.ts';
import type { WorkerHub } from './worker-hub.ts';

/** Accepts the WebSocket of workers that show an enrolment token, on the server's own port. */
export async function acceptWorkers(
  server: Server,
  options: { path: string; environments: Environments; hub: WorkerHub },
): Promise<WebSocketServer> {
  const { WebSocketServer } = await import('ws');
  const { path, environments, hub } = options;
  // Deflate costs six times the time and gigabytes at thousands of workers.
  const streams = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: maxFrameBytes,
  });

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    const pathname = (request.url ?? '').split('?')[0]!;
    if (pathname !== path && `${pathname}/` !== path)
      return refuse(socket, '404 Not Found', new AppError('not_found'));
    const token = /^bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1];
    const identity = token === undefined ? undefined : environments.authenticateWorker(token);
    if (!identity) return refuse(socket, '401 Unauthorized', new AppError('unauthorized_client'));
    streams.handleUpgrade(request, socket, head, (webSocket) => {
      const { enrollmentId, environment } = identity;
      hub.attach(createWebSocketChannel(webSocket), { id: enrollmentId, environment });
    });
  });
  return streams;
}

/** With our own word in the body: a worker gives up its credential for that, not for a proxy's 401. */
function refuse(socket: Duplex, status: string, error: AppError): void {
  const body = JSON.stringify(errorBody(error));
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
