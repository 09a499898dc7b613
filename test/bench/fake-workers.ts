import { WebSocket } from 'ws';
import { WORKER_STREAM_PATH } from '../../src/contract/channel.ts';
import { type FromWorker, PROTOCOL_VERSION, type ToWorker } from '../../src/contract/worker-protocol.ts';
import { endWithParent } from './process.ts';

/** Workers that hold no client: whatever they are told is valid at once. */
interface Order {
  port: number;
  token: string;
  /** How many there are to be in all. */
  count: number;
}

const sockets: WebSocket[] = [];

function join(port: number, token: string, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${WORKER_STREAM_PATH}`, {
      headers: { authorization: `Bearer ${token}` },
      perMessageDeflate: false,
    });
    sockets.push(socket);
    const say = (message: FromWorker) => socket.send(JSON.stringify(message));
    socket.on('error', reject);
    socket.on('open', () => say({ kind: 'hello', protocol: PROTOCOL_VERSION, name, version: 'bench' }));
    socket.on('message', (data) => {
      const message = JSON.parse(data.toString()) as ToWorker;
      if (message.kind === 'snapshot' && !message.more) resolve();
      if (message.kind !== 'delta' && message.kind !== 'snapshot') return;
      say({ kind: 'received', seq: message.seq });
      const changed = message.kind === 'delta' ? message.put : message.items;
      if (changed.length === 0) return;
      say({
        kind: 'verdicts',
        items: changed.map(({ connection, revision }) => ({ connection, revision, step: 'valid' })),
      });
    });
  });
}

process.on('message', async ({ port, token, count }: Order) => {
  try {
    while (sockets.length < count)
      await Promise.all(
        Array.from({ length: Math.min(50, count - sockets.length) }, (_, index) =>
          join(port, token, `fake-${sockets.length + index}-${Math.random().toString(36).slice(2, 8)}`),
        ),
      );
    process.send?.({ result: sockets.length });
  } catch (error) {
    process.send?.({ error: (error as Error).message });
  }
});
endWithParent();
process.send?.({ ready: true });
