import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket, WebSocketServer } from 'ws';
import { createWebSocketChannel, maxFrameBytes } from './web-socket-channel.ts';

const servers: Server[] = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** Both ends of a stream. */
async function pair(maxPayload = maxFrameBytes): Promise<{ dialled: WebSocket; accepted: WebSocket }> {
  const server = createServer();
  servers.push(server);
  const streams = new WebSocketServer({ server, maxPayload });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const dialled = new WebSocket(`ws://127.0.0.1:${port}`, { maxPayload });
  const [[accepted]] = (await Promise.all([once(streams, 'connection'), once(dialled, 'open')])) as [
    [WebSocket],
    unknown,
  ];
  return { dialled, accepted };
}

for (const side of ['dialled', 'accepted'] as const) {
  const other = side === 'dialled' ? 'accepted' : 'dialled';

  test(`${side}: frames that come before anybody listens come first, in order`, async () => {
    const sockets = await pair();
    const channel = createWebSocketChannel(sockets[side]);
    for (const text of ['1', '2', '3']) sockets[other].send(text);
    await sleep(50);
    const seen: string[] = [];
    const all = new Promise<void>((resolve) =>
      channel.onMessage((text) => {
        seen.push(text);
        if (seen.length === 4) resolve();
      }),
    );
    sockets[other].send('4');
    await all;
    assert.deepEqual(seen, ['1', '2', '3', '4']);
    channel.close();
  });

  test(`${side}: the end is told with its code, also to who listens only afterwards`, async () => {
    const sockets = await pair();
    const channel = createWebSocketChannel(sockets[side]);
    sockets[other].close(4401, 'revoked');
    await once(sockets[side], 'close');
    channel.send('into the void');
    for (let time = 0; time < 2; time++)
      assert.deepEqual(await new Promise((resolve) => channel.onClose((...end) => resolve(end))), [
        4401,
        'revoked',
      ]);
  });

  test(`${side}: the end by a frame that is too large says so`, async () => {
    const sockets = await pair(1000);
    const over = new Promise((resolve) =>
      createWebSocketChannel(sockets[side]).onClose((...end) => resolve(end)),
    );
    sockets[other].on('error', () => {});
    sockets[other].send('x'.repeat(1001));
    assert.deepEqual(await over, [1006, 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH']);
  });

  test(`${side}: what was sent is flushed when the other side reads it, or is gone`, async () => {
    for (const goOn of ['resume', 'terminate'] as const) {
      const sockets = await pair();
      const channel = createWebSocketChannel(sockets[side]);
      await channel.flushed!();
      sockets[other].pause();
      for (let frame = 0; frame < 16; frame++) channel.send('x'.repeat(4 * 1024 * 1024));
      const flushed = channel.flushed!().then(() => true);
      assert.equal(await Promise.race([flushed, sleep(300, false)]), false);
      sockets[other][goOn]();
      assert.equal(await flushed, true);
      sockets[other].terminate();
    }
  });

  test(`${side}: a binary frame is no frame of ours`, async () => {
    const sockets = await pair();
    const channel = createWebSocketChannel(sockets[side]);
    channel.onMessage(() => assert.fail('it is delivered'));
    sockets[other].send(Buffer.from('{"kind":"hello"}'));
    const [code] = await once(sockets[other], 'close');
    assert.equal(code, 4400);
  });

  test(`${side}: a reason is cut to what a close frame carries, in whole characters`, async () => {
    for (const [reason, arrives] of [
      ['x'.repeat(200), 'x'.repeat(123)],
      [`x${'ü'.repeat(100)}`, `x${'ü'.repeat(61)}`],
      ['ü'.repeat(62), 'ü'.repeat(61)],
      ['🐇'.repeat(40), '🐇'.repeat(30)],
      ['short', 'short'],
    ]) {
      const sockets = await pair();
      createWebSocketChannel(sockets[side]).close(4400, reason);
      const [code, told] = (await once(sockets[other], 'close')) as [number, Buffer];
      assert.deepEqual([code, told.toString()], [4400, arrives]);
    }
  });

  test(`${side}: a peer that answers pings is kept, and one that is silent is cut off`, async () => {
    const sockets = await pair();
    const channel = createWebSocketChannel(sockets[side], 50);
    let isClosed = false;
    channel.onClose(() => {
      isClosed = true;
    });
    await sleep(600);
    assert.equal(isClosed, false);
    // It reads no more, so that it answers nothing.
    sockets[other].pause();
    assert.equal(await new Promise((resolve) => channel.onClose(resolve)), 1006);
    sockets[other].terminate();
  });

  test(`${side}: a peer that does not answer the end cannot hold it up`, async () => {
    const sockets = await pair();
    const channel = createWebSocketChannel(sockets[side]);
    sockets[other].pause();
    const over = new Promise((resolve) => channel.onClose(resolve));
    channel.close(1001, 'shutting down');
    channel.close(1001, 'twice');
    // ws itself would wait for 30 s.
    assert.equal(await Promise.race([over, sleep(15_000, 'still open', { ref: false })]), 1006);
    sockets[other].terminate();
  });
}

test('it takes what the other side does, counted in bytes', async () => {
  const channel = createWebSocketChannel((await pair()).dialled);
  const takes = (text: string) => channel.takes!(text);
  assert.ok(takes('x'.repeat(maxFrameBytes)));
  assert.ok(!takes('x'.repeat(maxFrameBytes + 1)));
  assert.ok(!takes('ü'.repeat(maxFrameBytes / 2 + 1)));
  channel.close();
});
