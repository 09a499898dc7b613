import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A relay on the way to a server, which sees what is sent there and can fall silent. */
export interface Tap {
  readonly port: number;
  /** What clients have sent so far, on all connections. */
  sent(): Buffer;
  /** From now on nothing of what the server says or does arrives; connections stay. */
  mute(): void;
}

/** Starts a relay to a port of this machine; it ends with the test `t`. */
export async function startTap(t: { after(dispose: () => Promise<void>): void }, port: number): Promise<Tap> {
  const chunks: Buffer[] = [];
  const sockets = new Set<Socket>();
  let isMute = false;
  const keep = (socket: Socket, other: Socket, mayTell: () => boolean) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('end', () => mayTell() && other.end());
    socket.on('close', () => {
      sockets.delete(socket);
      if (mayTell()) other.destroy();
    });
  };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const upstream = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    keep(socket, upstream, () => true);
    keep(upstream, socket, () => !isMute);
    socket.on('data', (bytes: Buffer) => {
      chunks.push(bytes);
      upstream.write(bytes);
    });
    upstream.on('data', (bytes: Buffer) => {
      if (!isMute) socket.write(bytes);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    port: (server.address() as AddressInfo).port,
    sent: () => Buffer.concat(chunks),
    mute() {
      isMute = true;
    },
  };
}
