import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import rhea, { type EventContext, type Message, type Sender } from 'rhea';
import { discardAborted } from './amqp-aborts.ts';

/** Frames as rhea writes them, which its types leave out. */
const frames = createRequire(import.meta.url)('rhea/lib/frames.js') as {
  transfer(fields: Record<string, unknown>): object;
};

type Transfer = (fields: { id: number } & Record<string, unknown>, payload?: Buffer) => void;

/** Writes frames of one message each, or of parts of it, as they are given. */
function transferBy(sender: Sender): Transfer {
  const { local, session } = sender as unknown as {
    local: { attach: { handle: number } };
    session: { output(frame: object, payload?: Buffer): void };
  };
  return ({ id, ...fields }, payload) => {
    const { handle } = local.attach;
    const tag = Buffer.from([id]);
    session.output(
      frames.transfer({ handle, delivery_id: id, delivery_tag: tag, message_format: 0, ...fields }),
      payload,
    );
  };
}

/** Bodies that a receiver gets, up to `last`, of a peer that writes these frames. */
async function received(write: (transfer: Transfer) => void): Promise<unknown[]> {
  const peer = rhea.create_container();
  const server = peer.listen({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  // rhea writes its own answer to the attachment after this event.
  peer.once('sendable', ({ sender }: EventContext) => setImmediate(() => write(transferBy(sender!))));
  const { port } = server.address() as AddressInfo;
  const connection = rhea.create_container().connect({ port, host: '127.0.0.1', reconnect: false });
  try {
    const session = connection.create_session();
    session.begin();
    discardAborted(session);
    const receiver = session.open_receiver({ source: 'any', credit_window: 0, autoaccept: false });
    receiver.add_credit(10);
    const bodies: unknown[] = [];
    await new Promise<void>((resolve, reject) => {
      for (const failure of ['error', 'disconnected']) connection.once(failure, reject);
      receiver.on('message', ({ message }: EventContext) => {
        bodies.push(message?.body);
        if (message?.body === 'last') resolve();
      });
    });
    connection.close();
    await once(connection, 'connection_close');
    return bodies;
  } finally {
    server.close();
  }
}

const encode = (body: string): Buffer => rhea.message.encode({ body } as Message) as unknown as Buffer;

test('a message that is broken off between two frames is discarded, whether aborted or settled', async () => {
  const bodies = await received((transfer) => {
    const bytes = encode('x'.repeat(100));
    transfer({ id: 0, settled: false, more: true }, bytes.subarray(0, 50));
    transfer({ id: 0, settled: false, more: true, aborted: true });
    transfer({ id: 1, settled: false, more: true }, bytes.subarray(0, 50));
    transfer({ id: 1, settled: true });
    transfer({ id: 2, settled: false }, encode('last'));
  });
  assert.deepEqual(bodies, ['last']);
});

test('a whole message is read, however its frames and its settlement come', async () => {
  const bodies = await received((transfer) => {
    const bytes = encode('a');
    transfer({ id: 0, settled: false, more: true }, bytes.subarray(0, 3));
    transfer({ id: 0, settled: true }, bytes.subarray(3));
    transfer({ id: 1, settled: true, more: true }, encode('b'));
    transfer({ id: 1, settled: true });
    transfer({ id: 2, settled: false, more: true }, encode('c'));
    transfer({ id: 2, settled: false });
    transfer({ id: 3, settled: false }, encode('last'));
  });
  assert.deepEqual(bodies, ['a', 'b', 'c', 'last']);
});
