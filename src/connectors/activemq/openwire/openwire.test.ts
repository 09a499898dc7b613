import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { decodeCommand, encodeMessage, encodeWireFormatInfo, wireVersion } from './openwire-commands.ts';
import {
  OpenWireBrokerError,
  OpenWireConnection,
  OpenWireConnectionLost,
  OpenWireLogInCutOff,
} from './openwire-connection.ts';
import {
  decodeModifiedUtf8,
  encodeModifiedUtf8,
  OpenWireFormatError,
  OpenWireReader,
  OpenWireWriter,
  type Primitive,
} from './openwire-data.ts';

const anyText = fc.string({ unit: 'binary', maxLength: 60 });
const anyPrimitive = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.maxSafeInteger(),
  fc.double({ noNaN: true }),
  anyText,
  fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
);

test('modified UTF-8 holds every text, and is what Java writes', () => {
  fc.assert(fc.property(anyText, (text) => decodeModifiedUtf8(encodeModifiedUtf8(text)) === text));
  assert.equal(encodeModifiedUtf8('a\0é€🐇').toString('hex'), '61c080c3a9e282aceda0bdedb087');
  assert.equal(decodeModifiedUtf8(Buffer.from('🐇')), '🐇');
  for (const wrong of ['80', 'c3', 'e282', 'f09f90', 'ff', 'c341'])
    assert.throws(() => decodeModifiedUtf8(Buffer.from(wrong, 'hex')), OpenWireFormatError);
});

test('a map comes back as it was', () => {
  const anyMap = fc.dictionary(
    anyText.filter((name) => name !== '__proto__'),
    fc.oneof(anyPrimitive, fc.array(anyPrimitive, { maxLength: 4 })),
    { maxKeys: 6, noNullPrototype: true },
  );
  fc.assert(
    fc.property(anyMap, (map) => {
      const bytes = new OpenWireWriter().map(map as Record<string, Primitive>).finish();
      assert.deepEqual(new OpenWireReader(bytes).map(), map);
    }),
  );
});

test('arbitrary bytes are refused as no OpenWire, and nothing else', () => {
  const commands = fc.uint8Array({ minLength: 1, maxLength: 200 }).map((bytes) => Buffer.from(bytes));
  const likely = fc.tuple(fc.constantFrom(1, 2, 10, 16, 21, 30, 31), commands).map(([type, rest]) => {
    rest[0] = type;
    return rest;
  });
  fc.assert(
    fc.property(fc.oneof(commands, likely), (bytes) => {
      try {
        decodeCommand(bytes);
      } catch (error) {
        assert.ok(error instanceof OpenWireFormatError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

test('a message cut short at any byte is refused', () => {
  const producer = { connection: 'ID:c', session: 1, value: 1 };
  const message = encodeMessage(
    { commandId: 7, responseRequired: true },
    {
      destination: { kind: 'queue', name: 'orders' },
      body: { kind: 'text', text: 'body' },
      properties: { name: 'value' },
      correlationId: 'c-1',
      replyTo: { kind: 'queue', name: 'replies' },
      type: 'order',
      priority: 4,
      persistent: true,
      timestamp: 1,
      expiration: 2,
    },
    { producer, sequence: 3 },
  ).subarray(4);
  const dispatch = (inner: Buffer) =>
    new OpenWireWriter()
      .byte(21)
      .int(1)
      .boolean(false)
      .nested(122, (to) => to.string('ID:c').long(1).long(9))
      .nested(100, (to) => to.string('orders'))
      .boolean(true)
      .raw(inner)
      .finish();
  const whole = decodeCommand(dispatch(message));
  assert.ok(whole.type === 'dispatch' && whole.message);
  assert.equal(whole.consumer, 9n);
  assert.deepEqual(whole.message.body, { kind: 'text', text: 'body' });
  assert.deepEqual(whole.message.properties, { name: 'value' });
  assert.deepEqual(whole.message.replyTo, { kind: 'queue', name: 'replies' });
  // What stands behind the redelivery counter is not needed, so that only cuts before it show.
  for (let length = 0; length < message.length - 40; length++)
    assert.throws(() => decodeCommand(dispatch(message.subarray(0, length))), OpenWireFormatError);
});

/** A broker that answers by the test's own bytes. */
async function broker(t: TestContext, onSocket: (socket: Socket) => void): Promise<Socket> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => {
    socket.destroy();
    server.close();
  });
  await once(socket, 'connect');
  return socket;
}

const options = {
  clientId: 'client',
  connectionId: 'ID:client',
  maxInactivityMs: 30_000,
  maxFrameBytes: 1024 * 1024,
};
const greeting = encodeWireFormatInfo({ maxInactivityMs: 150, maxFrameBytes: 1024 * 1024 });

/** Answers every command that wants an answer; `exception` refuses. */
function answer(exception?: { className: string; message: string }) {
  return (socket: Socket) => {
    socket.write(greeting);
    let unread = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      unread = Buffer.concat([unread, chunk]);
      while (unread.length >= 4 && unread.length >= 4 + unread.readInt32BE(0)) {
        const command = unread.subarray(4, 4 + unread.readInt32BE(0));
        unread = unread.subarray(4 + command.length);
        if (command[0] === 1 || command[5] !== 1) continue;
        const reply = new OpenWireWriter()
          .byte(exception ? 31 : 30)
          .int(0)
          .boolean(false)
          .int(command.readInt32BE(1));
        if (exception) reply.boolean(true).string(exception.className).string(exception.message);
        const body = reply.finish();
        // Byte by byte, as a network may.
        for (const byte of new OpenWireWriter().int(body.length).raw(body).finish())
          socket.write(Buffer.from([byte]));
      }
    });
  };
}

test('logs in, and a broker that falls silent is dead', async (t) => {
  const socket = await broker(t, answer());
  const connection = await OpenWireConnection.start(socket, options);
  assert.equal(connection.maxInactivityMs, 150, 'the lower of both sides');
  await connection.ping();
  await once(socket, 'close');
  assert.equal(connection.alive, false);
  await assert.rejects(connection.ping(), /silent for more than 150 ms/);
});

test("a refusal carries the broker's words and class", async (t) => {
  const refused = { className: 'java.lang.SecurityException', message: 'User name is invalid.' };
  const socket = await broker(t, answer(refused));
  await assert.rejects(OpenWireConnection.start(socket, options), (error) => {
    assert.ok(error instanceof OpenWireBrokerError);
    assert.deepEqual([error.className, error.message], [refused.className, refused.message]);
    return true;
  });
  socket.destroy();
});

test('a broker that ends the connection in place of an answer to the log-in is told as such', async (t) => {
  const socket = await broker(t, (peer) => {
    let commands = 0;
    peer.write(greeting);
    peer.on('data', (chunk: Buffer) => {
      // The greeting and the log-in may come in one piece.
      for (let at = 0; at < chunk.length; at += 4 + chunk.readInt32BE(at)) commands++;
      if (commands === 2) peer.end();
    });
  });
  await assert.rejects(OpenWireConnection.start(socket, options), OpenWireLogInCutOff);
});

test('an older version, a giant command and a sudden end are told apart', async (t) => {
  const older = Buffer.from(greeting);
  older.writeInt32BE(wireVersion - 1, 4 + 1 + 8);
  const giant = Buffer.from('7fffffff01', 'hex');
  for (const [bytes, error] of [
    [older, OpenWireFormatError],
    [giant, OpenWireFormatError],
    [Buffer.from('HTTP/1.1 400'), OpenWireFormatError],
  ] as const) {
    const socket = await broker(t, (peer) => peer.write(bytes));
    await assert.rejects(OpenWireConnection.start(socket, options), error);
    await once(socket, 'close');
  }
  const socket = await broker(t, (peer) => peer.end());
  await assert.rejects(OpenWireConnection.start(socket, options), OpenWireConnectionLost);
});
