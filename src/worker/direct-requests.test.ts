import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { DirectRequests } from './direct-requests.ts';
import { until } from './testing/fake-type.ts';

interface Answer {
  status: number;
  head: string;
  body: Record<string, unknown>;
}

const largeChars = 32 * 1024 * 1024;

/** A server beside direct requests; both answer what they were asked, and who they are. */
async function setUp(t: TestContext, options: { keepAliveMs?: number } = {}) {
  const gone: string[] = [];
  const waiting: (() => void)[] = [];
  const begun: string[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ by: 'server', url: request.url, body }));
    });
  });
  server.keepAliveTimeout = options.keepAliveMs ?? 60_000;
  /** Connections that the server was given. */
  const left: Socket[] = [];
  server.on('connection', (socket: Socket) => left.push(socket));
  const direct = new DirectRequests<string[]>(server, {
    target: /^\/use\/((?:[\w.-]|%[89A-F][0-9A-F])+)$/,
    permit: ({ authorization, parts }) => (authorization === 'Bearer good' ? [...parts] : undefined),
    async answer([name], given, onGone) {
      const body = given.toString();
      onGone(() => gone.push(name!));
      if (body === 'wait') await new Promise<void>((resolve) => waiting.push(resolve));
      begun.push(body);
      if (body === 'large') return { status: 200, body: `{"large":"${'x'.repeat(largeChars)}"}` };
      const status = body === 'fail' ? 502 : 200;
      return { status, headers: { 'x-by': 'direct' }, body: JSON.stringify({ by: 'direct', name, body }) };
    },
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const sockets: Socket[] = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const open = async () => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    sockets.push(socket);
    await new Promise<void>((resolve) => socket.once('connect', resolve));
    return new Client(socket);
  };
  return { server, direct, open, left, gone, begun, release: () => waiting.shift()!(), waiting };
}

/** Reads what comes back answer by answer. */
class Client {
  readonly socket: Socket;
  #text = '';
  #isEnded = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      this.#text += text;
    });
    socket.on('close', () => {
      this.#isEnded = true;
    });
    socket.on('error', () => {});
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Each part in a packet of its own. */
  async send(...parts: (string | Buffer)[]): Promise<void> {
    for (const [at, part] of parts.entries()) {
      if (at > 0) await new Promise((resolve) => setTimeout(resolve, 30));
      this.socket.write(part);
    }
  }

  async next(): Promise<Answer> {
    let end = -1;
    let length = 0;
    await until(() => {
      end = this.#text.indexOf('\r\n\r\n');
      length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#text.slice(0, end))?.[1] ?? 0);
      return end >= 0 && Buffer.byteLength(this.#text.slice(end + 4)) >= length;
    }, 'an answer');
    const head = this.#text.slice(0, end);
    const body = Buffer.from(this.#text.slice(end + 4))
      .subarray(0, length)
      .toString();
    this.#text = this.#text.slice(end + 4 + body.length);
    return { status: Number(head.slice(9, 12)), head, body: body.startsWith('{') ? JSON.parse(body) : {} };
  }
}

const request = (
  body = 'hello',
  { line = 'POST /use/a HTTP/1.1', headers = [] as string[], without = '' } = {},
): string =>
  [
    line,
    ...[
      'Host: worker',
      'Authorization: Bearer good',
      'Content-Type: application/json',
      `Content-Length: ${Buffer.byteLength(body)}`,
    ].filter((header) => !header.startsWith(`${without}:`)),
    ...headers,
    '',
    body,
  ].join('\r\n');

test('a plain request is answered directly, and the connection goes on', async (t) => {
  const { open } = await setUp(t);
  const client = await open();
  for (const [sent, name, body] of [
    [request(), 'a', 'hello'],
    [request(), 'a', 'hello'],
    [request('x'), 'a', 'x'],
    [request('größe €'), 'a', 'größe €'],
    [request(''), 'a', ''],
    [request('b', { line: 'POST /use/%C3%A4 HTTP/1.1' }), 'ä', 'b'],
    [request('c', { headers: ['Connection: Keep-Alive', 'X-Any: ;:\t ~', 'x-empty:'] }), 'a', 'c'],
    [
      request('d', { without: 'Content-Type', headers: ['content-type: application/json; charset=utf-8'] }),
      'a',
      'd',
    ],
  ] as const) {
    await client.send(sent);
    const answer = await client.next();
    assert.deepEqual([answer.status, answer.body], [200, { by: 'direct', name, body }]);
    assert.match(answer.head, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(answer.head, /\r\ncontent-type: application\/json; charset=utf-8\r\n/);
    assert.match(
      answer.head,
      /\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60$/,
    );
  }
  await client.send(request('fail'));
  const failed = await client.next();
  assert.equal(failed.status, 502);
  assert.match(failed.head, /^HTTP\/1\.1 502 Bad Gateway\r\n/);
  assert.match(failed.head, /\r\nx-by: direct\r\n/);
});

test('whatever is not plain is the server\u2019s, to a byte, and so is what follows', async (t) => {
  const { open } = await setUp(t);
  const chunked = { without: 'Content-Length', headers: ['Transfer-Encoding: chunked'] };
  const cases: Record<string, string> = {
    'another method': request('x', { line: 'PUT /use/a HTTP/1.1' }),
    'another path': request('x', { line: 'POST /other HTTP/1.1' }),
    'two spaces': request('x', { line: 'POST /use/a  HTTP/1.1' }),
    'a query': request('x', { line: 'POST /use/a?b=c HTTP/1.1' }),
    'an encoded slash': request('x', { line: 'POST /use/a%2Fb HTTP/1.1' }),
    'no UTF-8': request('x', { line: 'POST /use/%FF HTTP/1.1' }),
    'no permit': request('x', { without: 'Authorization', headers: ['Authorization: Bearer bad'] }),
    'no token': request('x', { without: 'Authorization' }),
    'a body of lines': request('x', {
      without: 'Content-Type',
      headers: ['Content-Type: application/x-ndjson'],
    }),
    'a body of no type': request('x', { without: 'Content-Type' }),
    'a body in chunks': request('5\r\nhello\r\n0\r\n\r\n', chunked),
    'a key': request('x', { headers: ['Idempotency-Key: k'] }),
    'the last request': request('x', { headers: ['Connection: close'] }),
    'headers of a hop': request('x', { headers: ['Connection: keep-alive, x-any'] }),
    'a header twice': request('x', { headers: ['X-Any: 1', 'x-any: 2'] }),
    'an encoded body': request('x', { headers: ['Content-Encoding: identity'] }),
    'bytes beyond ASCII': request('x', { headers: ['X-Any: ä'] }),
    'many headers': request('x', { headers: [`X-Any: ${'y'.repeat(5000)}`] }),
  };
  for (const [name, sent] of Object.entries(cases)) {
    const client = await open();
    await client.send(sent);
    const { status, body } = await client.next();
    assert.deepEqual([name, status, body['by']], [name, 200, 'server']);
    const isChunked = name === 'a body in chunks';
    assert.equal(body['body'], isChunked ? 'hello' : 'x', name);
    if (name === 'the last request') {
      await until(() => client.isEnded, 'the server ends it');
      continue;
    }
    await client.send(request());
    assert.equal((await client.next()).body['by'], 'server', name);
  }
});

test('what no server may take is refused by Node\u2019s own', async (t) => {
  const { open } = await setUp(t);
  for (const sent of [
    request('x', { headers: ['X-Any : y'] }),
    request('x', { headers: [' folded: y'] }),
    request('x', { headers: ['X-Any: a\rb: c'] }),
    request('x', { headers: ['X-Any: a\0b'] }),
    request('x', { headers: ['Content-Length: 7'] }),
    request('x', { headers: ['Transfer-Encoding: chunked'] }),
    request('x', { without: 'Content-Length', headers: ['Content-Length: +1'] }),
    request('x', { without: 'Content-Length', headers: ['Content-Length: 0x1'] }),
    request('x', { without: 'Host' }),
    request('x', { line: 'POST /use/a HTTP/1.7' }),
    'nonsense\r\n\r\n',
  ]) {
    const client = await open();
    await client.send(sent);
    assert.equal((await client.next()).status, 400, JSON.stringify(sent));
    await until(() => client.isEnded, 'the connection ends');
  }
});

test('a body may come in pieces; a head that does is the server\u2019s', async (t) => {
  const { open } = await setUp(t);
  const large = 'x'.repeat(300_000);
  const whole = request('hello');
  const bodyAt = whole.indexOf('hello');
  const client = await open();
  for (const parts of [
    [whole.slice(0, bodyAt), 'hello'],
    [whole.slice(0, bodyAt + 1), 'el', 'lo'],
  ]) {
    await client.send(...parts);
    assert.deepEqual((await client.next()).body, { by: 'direct', name: 'a', body: 'hello' });
  }
  await client.send(request(large));
  assert.deepEqual((await client.next()).body, { by: 'direct', name: 'a', body: large });
  // Each of its characters is two bytes, one of them in each piece.
  const umlauts = Buffer.from(request('ää'));
  await client.send(umlauts.subarray(0, -3), umlauts.subarray(-3));
  assert.deepEqual((await client.next()).body, { by: 'direct', name: 'a', body: 'ää' });
  for (let at = 1; at < bodyAt; at += 13) {
    const another = await open();
    await another.send(whole.slice(0, at), whole.slice(at));
    assert.equal((await another.next()).body['by'], 'server', `split at ${at}`);
  }
  const huge = await open();
  await huge.send(request('y'.repeat(1024 * 1024 + 1)));
  assert.equal((await huge.next()).body['by'], 'server');
});

test('requests that do not wait for their answers are answered in order', async (t) => {
  const { open, release, waiting } = await setUp(t);
  const client = await open();
  await client.send(request('1') + request('2') + request('3'));
  for (const body of ['1', '2', '3']) assert.equal((await client.next()).body['body'], body);
  const another = await open();
  await another.send(request('wait'), request('2'), request('3').slice(0, -9), request('3').slice(-9));
  await until(() => waiting.length === 1);
  release();
  for (const body of ['wait', '2', '3']) assert.equal((await another.next()).body['body'], body);
  const flood = await open();
  const many = Array.from({ length: 2000 }, (_, at) => request(`n${at}`));
  await flood.send(request('wait'), ...[many.join('')]);
  await until(() => waiting.length === 1);
  release();
  assert.equal((await flood.next()).body['body'], 'wait');
  for (const at of many.keys()) assert.equal((await flood.next()).body['body'], `n${at}`);
});

test('who answers is told when the client goes first, and only then', async (t) => {
  const { open, gone, waiting, release } = await setUp(t);
  for (const leave of [
    (client: Client) => client.socket.destroy(),
    (client: Client) => client.socket.end(),
    (client: Client) => client.socket.resetAndDestroy(),
  ]) {
    gone.length = 0;
    const client = await open();
    await client.send(request('x'));
    await client.next();
    await client.send(request('wait'));
    await until(() => waiting.length === 1);
    assert.deepEqual(gone, []);
    leave(client);
    await until(() => gone.length === 1, 'told');
    release();
  }
  const client = await open();
  await client.send(request('x'));
  await client.next();
  client.socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(gone.length, 1);
});

test('who ends in the middle of requests that did not wait has none of them answered by the server', async (t) => {
  const { open, gone, waiting, release, left } = await setUp(t);
  const client = await open();
  await client.send(request('wait'), request('next'));
  await until(() => waiting.length === 1);
  client.socket.end();
  await until(() => gone.length === 1 && client.isEnded, 'the connection ends');
  release();
  assert.deepEqual(left, []);
});

test('who ends in the middle of a request is not answered, and nothing is left of it', async (t) => {
  const { open, begun, left } = await setUp(t);
  const client = await open();
  await client.send(request('hello').slice(0, -1));
  client.socket.end();
  await until(() => client.isEnded, 'the connection ends');
  assert.deepEqual([begun, left], [[], []]);
});

test('closing ends what waits, and what is answered after its answer', async (t) => {
  const { server, direct, open, waiting, release } = await setUp(t);
  const [idle, busy, begun] = [await open(), await open(), await open()];
  await idle.send(request());
  await idle.next();
  await busy.send(request('wait'));
  await begun.send(request('hello').slice(0, -1));
  await until(() => waiting.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const closed = new Promise((resolve) => server.close(resolve));
  direct.close();
  await until(() => idle.isEnded, 'the idle one ends');
  assert.equal(busy.isEnded, false);
  release();
  const answer = await busy.next();
  assert.equal(answer.body['body'], 'wait');
  assert.match(answer.head, /\r\nConnection: close$/);
  await until(() => busy.isEnded, 'the busy one ends');
  await begun.send('o');
  assert.deepEqual((await begun.next()).body, { by: 'server', url: '/use/a', body: 'hello' });
  begun.socket.destroy();
  await closed;
});

test('a connection that is not used is ended; a body that stalls is the server\u2019s to wait for', async (t) => {
  const { open, waiting, release, left } = await setUp(t, { keepAliveMs: 200 });
  const [idle, silent, busy, stalled] = [await open(), await open(), await open(), await open()];
  await idle.send(request());
  await idle.next();
  await busy.send(request('wait'));
  await stalled.send(request('hello').slice(0, -1));
  await until(() => idle.isEnded && silent.isEnded, 'both end');
  await until(() => left.length === 1, 'the stalled one is left to the server');
  assert.equal(busy.isEnded, false);
  assert.equal(waiting.length, 1);
  release();
  assert.equal((await busy.next()).body['body'], 'wait');
  await stalled.send('o');
  assert.deepEqual((await stalled.next()).body, { by: 'server', url: '/use/a', body: 'hello' });
});

test('who does not read its answers is not read either, and has them when the port closes', async (t) => {
  const { server, direct, open, begun } = await setUp(t);
  const client = await open();
  client.socket.pause();
  await client.send(request('large'));
  await until(() => begun.length === 1);
  await client.send(request('after'));
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(begun, ['large']);
  client.socket.resume();
  assert.equal(String((await client.next()).body['large']).length, largeChars);
  assert.equal((await client.next()).body['body'], 'after');
  const another = await open();
  another.socket.pause();
  await another.send(request('large'));
  await until(() => begun.length === 3);
  const closed = new Promise((resolve) => server.close(resolve));
  direct.close();
  another.socket.resume();
  assert.equal(String((await another.next()).body['large']).length, largeChars);
  await until(() => another.isEnded, 'the connection ends');
  await closed;
});
