import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { after, test } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { freePort } from '../../test/services/service.ts';
import { AppError } from '../errors.ts';
import { connectStream, streamUrl } from './connect-stream.ts';

const servers: Server[] = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

async function listen(server: Server): Promise<string> {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

/** A control plane's side of the stream; answers what it saw of the handshake. */
async function listenForStreams(onStream: (socket: WebSocket) => void) {
  const server = createServer();
  const streams = new WebSocketServer({ noServer: true });
  const handshakes: { url: string; authorization: string; extensions: string | undefined }[] = [];
  server.on('upgrade', (request, socket, head) => {
    handshakes.push({
      url: request.url!,
      authorization: request.headers.authorization!,
      extensions: request.headers['sec-websocket-extensions'],
    });
    streams.handleUpgrade(request, socket, head, onStream);
  });
  return { url: await listen(server), handshakes };
}

async function failure(work: Promise<unknown>): Promise<AppError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return error;
  }
  throw new Error('it succeeded');
}

test('frames travel both ways, with the credential in a header and without compression', async () => {
  const { url, handshakes } = await listenForStreams((socket) => {
    socket.send('welcome');
    socket.on('message', (data) => socket.send(`echo ${data}`));
  });
  const channel = await connectStream({ url: `${url}/base/`, token: 't0ken' });
  const seen: string[] = [];
  const both = new Promise<void>((resolve) =>
    channel.onMessage((text) => {
      seen.push(text);
      if (seen.length === 2) resolve();
    }),
  );
  channel.send('hello');
  await both;
  assert.deepEqual(seen, ['welcome', 'echo hello']);
  assert.deepEqual(handshakes, [
    { url: '/base/apiops/worker-stream/', authorization: 'Bearer t0ken', extensions: undefined },
  ]);
  channel.close();
});

const refusing = (status: number, body: string, headers: Record<string, string> = {}) =>
  listen(
    createServer().on('upgrade', (_request, socket) => {
      const lines = Object.entries({ ...headers, 'content-length': String(body.length) });
      socket.end(
        `HTTP/1.1 ${status} No\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`,
      );
    }),
  );

test("only the control plane's own 401 means that the credential is revoked", async () => {
  const ours = await refusing(401, '{"error":"unauthorized_client","error_description":"Invalid token"}');
  assert.equal((await failure(connectStream({ url: ours, token: 't0ken' }))).code, 'unauthorized_client');
  const proxies: [number, string][] = [
    [401, '<html>log in</html>'],
    [401, ''],
    [403, '{"error":"unauthorized_client"}'],
    [404, ''],
    [503, '{"error":"unavailable"}'],
  ];
  for (const [status, body] of proxies) {
    const error = await failure(connectStream({ url: await refusing(status, body), token: 't0ken' }));
    assert.equal(error.code, 'unavailable', `${status} ${body}`);
    assert.ok(!error.message.includes('t0ken'));
  }
});

test('a control plane that is not there is unavailable', async () => {
  const port = await freePort();
  assert.equal(
    (await failure(connectStream({ url: `http://127.0.0.1:${port}`, token: 't' }))).code,
    'unavailable',
  );
});

test('security.md 24: no stream in clear to another machine', () => {
  const url = (text: string, insecure = false) => streamUrl({ url: text, insecure }).href;
  assert.equal(url('https://cp.example'), 'wss://cp.example/apiops/worker-stream/');
  assert.equal(url('wss://cp.example/x'), 'wss://cp.example/x/apiops/worker-stream/');
  for (const host of ['localhost:8080', '127.0.0.1:8080', '[::1]:8080', '127.9.9.9'])
    assert.equal(url(`http://${host}`), `ws://${host}/apiops/worker-stream/`);
  for (const host of ['cp.example', '10.0.0.1', '0.0.0.0', 'localhost.example.com', '127.0.0.1.example.com'])
    assert.throws(() => url(`http://${host}`), { code: 'invalid_configuration' }, host);
  assert.equal(url('http://cp.example', true), 'ws://cp.example/apiops/worker-stream/');
  for (const wrong of ['ftp://cp.example', 'cp.example', '', 'file:///x'])
    assert.throws(() => url(wrong), { code: 'invalid_configuration' }, wrong);
  assert.equal(url('https://user:pass@cp.example/?q#f'), 'wss://cp.example/apiops/worker-stream/');
});

test('a peer that is no HTTP server is unavailable', async () => {
  const server = createServer();
  server.on('connection', (socket) => socket.end('220 mail ESMTP\r\n'));
  const url = await listen(server);
  assert.equal((await failure(connectStream({ url, token: 't' }))).code, 'unavailable');
  connect(Number(new URL(url).port), '127.0.0.1').destroy();
});
