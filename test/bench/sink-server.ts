import { createServer } from 'node:net';
import { endWithParent } from './process.ts';

/** Receivers of TCP for the log benches: one that reads and forgets, and one that never reads. */
async function listen(reads: boolean): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    if (reads) socket.resume();
    else socket.pause();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as { port: number }).port;
}

const ports = { reading: await listen(true), deaf: await listen(false) };
process.on('message', () => process.send?.({ result: ports }));
endWithParent();
process.send?.({ ready: true });
