import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const host = '127.0.0.1';
const patienceMs = 20_000;

/** A TCP server that does as it is told, and knows which of its sockets are open. */
export interface Peer {
  readonly port: number;
  /** Sockets accepted so far. */
  count(): number;
  /** When the other side has connected and has had time to wait for an answer. */
  reached(): Promise<void>;
  /** When every socket accepted so far has been closed by the other side. */
  allClosed(): Promise<void>;
  /** Closes every socket at once. */
  drop(): void;
}

/** Starts a peer that says nothing by itself, though `onSocket` may; it ends with the test `t`. */
export async function startPeer(
  t: { after(dispose: () => Promise<void>): void },
  onSocket: (socket: Socket) => void = () => {},
): Promise<Peer> {
  const sockets = new Set<Socket>();
  let count = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    count++;
    sockets.add(socket);
    socket.on('error', () => {});
    // allowHalfOpen, so that the peer's own FIN can go first; the other side's ends it.
    socket.on('end', () => socket.end());
    socket.on('close', () => sockets.delete(socket));
    socket.resume();
    onSocket(socket);
  });
  const accepted = new Promise<void>((resolve) => server.once('connection', () => resolve()));
  server.listen(0, host);
  await once(server, 'listening');
  const drop = () => {
    for (const socket of sockets) socket.destroy();
  };
  t.after(async () => {
    drop();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    port: (server.address() as { port: number }).port,
    count: () => count,
    reached: () => accepted.then(() => sleep(150)),
    async allClosed() {
      const deadline = Date.now() + patienceMs;
      while (sockets.size > 0) {
        assert.ok(Date.now() < deadline, `${sockets.size} sockets were left open`);
        await sleep(20);
      }
    },
    drop,
  };
}
