import assert from 'node:assert/strict';
import { type AddressInfo, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import Fastify from 'fastify';
import { AppError } from '../../errors.ts';
import { answerBadPath, answerMalformedHttp, registerErrorHandler } from './error-handler.ts';

const canary = 'Canary-b0dy/p4ss+word';

test('a fault of ours is logged under the id of its request, with its places and nothing of the body', async () => {
  const lines: string[] = [];
  const app = Fastify({ logger: { stream: { write: (line: string) => lines.push(line) } } });
  registerErrorHandler(app);
  const failing: Record<string, (body: unknown) => unknown> = {
    parser: (body) => JSON.parse(`{"sent": ${(body as { password: string }).password}`),
    statement: (body) => {
      throw Object.assign(new Error(`invalid input for type json: ${JSON.stringify(body)}`), {
        code: '22P02',
        detail: JSON.stringify(body),
        parameters: [body],
      });
    },
    caused: (body) => {
      throw new AppError('internal_error', 'The revision could not be read', {
        cause: new TypeError(JSON.stringify(body), { cause: new Error(JSON.stringify(body)) }),
      });
    },
  };
  for (const [name, fail] of Object.entries(failing))
    app.post(`/${name}`, async (request) => fail(request.body));
  for (const name of Object.keys(failing)) {
    const answer = await app.inject({ method: 'POST', url: `/${name}`, payload: { password: canary } });
    assert.equal(answer.statusCode, 500);
    assert.doesNotMatch(answer.body, /Canary/);
    const logged = lines.map((line) => JSON.parse(line)).findLast(({ msg }) => msg === 'internal error');
    assert.equal(logged.reqId, answer.json().request_id);
    assert.match(JSON.stringify(logged.err), /error-handler\.test\.ts:\d+:\d+/);
  }
  assert.match(lines.join(''), /22P02/);
  assert.match(lines.join(''), /The revision could not be read/);
  assert.doesNotMatch(lines.join(''), /Canary/);
  await app.close();
});

test('what is no request has an error of ours too, as JSON, and its connection is closed', async (t) => {
  const app = Fastify({ frameworkErrors: answerBadPath, clientErrorHandler: answerMalformedHttp });
  app.get('/', () => 'here');
  await app.listen({ host: '127.0.0.1', port: 0 });
  t.after(() => app.close());
  const { port } = app.server.address() as AddressInfo;
  const answerTo = async (sent: string) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.write(sent);
    const [head, body] = (await text(socket)).split('\r\n\r\n');
    return { head: head!, body: JSON.parse(body!) };
  };
  for (const [sent, said] of [
    ['nonsense\r\n\r\n', 'The request is not valid HTTP'],
    [`GET / HTTP/1.1\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`, 'The headers of the request are too large'],
    [
      'GET /%zz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n',
      'The path is not valid: its percent-encoding cannot be decoded',
    ],
  ] as const) {
    const { head, body } = await answerTo(sent);
    assert.match(head, /^HTTP\/1\.1 400 Bad Request\r\n/);
    assert.match(head, /\r\ncontent-type: application\/json; charset=utf-8\r\n/i);
    assert.match(head, /\r\nconnection: close/i);
    assert.deepEqual([body.error, body.error_description], ['bad_request', said]);
  }
});

test('an answer to what is no HTTP goes to no socket that is gone, and tells what came too late', () => {
  const answered = (code: string, more: object = {}) => {
    const seen: string[] = [];
    const socket = {
      destroyed: false,
      writable: true,
      write: (said: string) => seen.push(said),
      destroy: () => seen.push('destroyed'),
      ...more,
    };
    answerMalformedHttp(Object.assign(new Error(), { code }), socket as never);
    return seen;
  };
  const [late, end] = answered('ERR_HTTP_REQUEST_TIMEOUT');
  assert.match(late!, /The request did not arrive in time/);
  assert.equal(end, 'destroyed');
  assert.deepEqual(answered('HPE_INVALID_METHOD', { writable: false }), ['destroyed']);
  assert.deepEqual(answered('HPE_INVALID_METHOD', { destroyed: true }), []);
  assert.deepEqual(answered('ECONNRESET'), []);
});
