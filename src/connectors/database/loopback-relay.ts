import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { AppError } from '../../errors.ts';

/** Where a driver of native code finds its server. */
export interface LoopbackRelay {
  readonly port: number;
  /** Ends both sides at once; may be called twice. */
  close(): void;
}

/**
 * A way through the worker's network for a driver that opens its sockets in native code: a port of
 * loopback that takes one connection and passes its bytes to a socket of ours, which has done TLS.
 * `lost` is called when either side ends before `close`.
 */
export async function relayTo(upstream: Socket, lost: () => void): Promise<LoopbackRelay> {
  let isClosed = false;
  let driver: Socket | undefined;
  const server = createServer((socket) => {
    if (driver) return void socket.destroy();
    driver = socket;
    server.close();
    socket.on('error', () => {});
    socket.once('close', onEnd);
    socket.setNoDelay(true);
    socket.pipe(upstream).pipe(socket);
  });
  const close = () => {
    isClosed = true;
    server.close();
    driver?.destroy();
    upstream.destroy();
  };
  const onEnd = () => {
    if (isClosed) return;
    close();
    lost();
  };
  upstream.on('error', () => {});
  upstream.once('close', onEnd);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new AppError('internal_error');
  return { port: address.port, close };
}
