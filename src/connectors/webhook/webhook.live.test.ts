import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import {
  createContext,
  type RecordedContext,
  testConnection,
  trustIn,
} from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { type Certificate, createAuthority } from '../../../test/services/certificates.ts';
import { freePort } from '../../../test/services/service.ts';
import type { AppError, ErrorCode } from '../../errors.ts';
import { createNetwork } from '../../worker/egress.ts';
import { createEgressPolicy } from '../../worker/egress-policy.ts';
import type { Trust } from '../connector.ts';
import { webhookConnector } from './webhook.connector.ts';
import type { CallInput, WebhookConfig } from './webhook-request.ts';

const host = '127.0.0.1';
const authority = createAuthority();
const patience = { timeout: 60_000 };

interface Received {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  rawHeaders: string[];
  body: Buffer;
}

interface Target extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly received: Received[];
  /** Sockets accepted so far, and the most at a time. */
  readonly sockets: { accepted: number; open: number; most: number };
  restart(): Promise<void>;
}

type Answering = (request: Received, response: ServerResponse) => void;

interface TlsSettings extends Certificate {
  clientCa?: string;
}

async function startTarget(answer: Answering, tls?: TlsSettings): Promise<Target> {
  const received: Received[] = [];
  const sockets = { accepted: 0, open: 0, most: 0 };
  const open = new Set<Socket>();
  const listener: RequestListener = async (request, response) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return;
    }
    const { method = '', url = '', headers, rawHeaders } = request;
    const seen = { method, url, headers, rawHeaders, body: Buffer.concat(chunks) };
    received.push(seen);
    answer(seen, response);
  };
  const create = () => {
    const server = tls
      ? createTlsServer(
          {
            cert: tls.certPem,
            key: tls.keyPem,
            ...(tls.clientCa ? { requestCert: true, rejectUnauthorized: true, ca: tls.clientCa } : {}),
          },
          listener,
        )
      : createServer(listener);
    server.keepAliveTimeout = 60_000;
    server.on('tlsClientError', () => {});
    server.on('connection', (socket: Socket) => {
      sockets.accepted++;
      sockets.most = Math.max(sockets.most, ++sockets.open);
      open.add(socket);
      socket.once('close', () => {
        sockets.open--;
        open.delete(socket);
      });
    });
    return server;
  };
  let server = create();
  server.listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const stop = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of open) socket.destroy();
    await closed;
  };
  return {
    url: `${tls ? 'https' : 'http'}://${host}:${port}`,
    port,
    received,
    sockets,
    async restart() {
      await stop();
      server = create();
      server.listen(port, host);
      await once(server, 'listening');
    },
    [Symbol.asyncDispose]: stop,
  };
}

const ok: Answering = (_request, response) => response.end('ok');

function configure(fields: Partial<WebhookConfig>): WebhookConfig {
  return {
    type: 'webhook',
    name: 'subject',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    httpMethod: 'POST',
    fullUrl: `http://${host}/`,
    fullUrlSecret: false,
    headerList: [],
    timeout: 20,
    connectionPoolMaxConnectionPerHost: 24,
    connectionPoolMaxConnectionTotal: 48,
    retries: 0,
    followRedirects: 0,
    verifyCertificate: true,
    ...fields,
  };
}

/** A connection that is closed with the test, on the worker's own network. */
class Subject implements AsyncDisposable {
  readonly context: RecordedContext;
  readonly live: Awaited<ReturnType<typeof webhookConnector.open>>;

  constructor(fields: Partial<WebhookConfig>, trust: Trust = trustIn(authority.caPem)) {
    this.context = context(trust);
    this.live = webhookConnector.open(configure(fields), this.context) as Subject['live'];
  }

  call(input: CallInput = {}, signal: AbortSignal = AbortSignal.timeout(60_000)) {
    return webhookConnector.operations.call(this.live, input, { signal });
  }

  async [Symbol.asyncDispose]() {
    await webhookConnector.close(this.live);
  }
}

function context(trust: Trust): RecordedContext {
  return {
    ...createContext({ signal: new AbortController().signal, trust }),
    network: createNetwork({ policy: createEgressPolicy() }),
  };
}

async function runTest(fields: Partial<WebhookConfig>, trust: Trust = trustIn(authority.caPem)) {
  const { stages } = await testConnection(webhookConnector, configure(fields), context(trust));
  return Object.fromEntries(stages.map((result) => [result.stage, result]));
}

async function fails(attempt: Promise<unknown>, code: ErrorCode): Promise<AppError> {
  const error = await attempt.then(
    () => assert.fail('it was expected to fail'),
    (thrown: unknown) => webhookConnector.classify(thrown),
  );
  assert.equal(error.code, code, `${error.code}: ${error.message}`);
  return error;
}

describe('the contract of every connector', () => {
  const certificate = authority.issue({ commonName: 'target', ips: [host] });
  const secrets = ['canary-header-4711', 'canary-signing-0815', 'canary-query-1234'];
  let target: Target;
  before(async () => {
    target = await startTarget((_request, response) => {
      response.setHeader('content-type', 'application/json');
      response.end('{"accepted":true}');
    }, certificate);
  });
  after(() => target[Symbol.asyncDispose]());

  test('over TLS', { timeout: 600_000 }, async (t) => {
    const config = (port: number, timeoutSeconds: number) =>
      configure({
        fullUrl: `https://${host}:${port}/hook?token=${secrets[2]}`,
        headerList: [{ name: 'Authorization', value: `Bearer ${secrets[0]}` }],
        signingSecret: secrets[1]!,
        timeout: timeoutSeconds,
      });
    await connectorContract(t, 'webhook', {
      connector: webhookConnector,
      config: () => config(target.port, 20),
      configAt: ({ host: at, port, timeoutMs }) => ({
        ...config(port, Math.max(1, Math.ceil(timeoutMs / 1000))),
        fullUrl: `https://${at}:${port}/hook?token=${secrets[2]}`,
      }),
      operate(live, call) {
        const answer = webhookConnector.operations.call(live, { body: { order: 7 } }, call);
        // The suite looks at it only once the proof beside it has failed, which may be later.
        answer.catch(() => {});
        return answer;
      },
      restart: () => target.restart(),
      trust: trustIn(authority.caPem),
      silentAt: 'tls',
      garbledAt: 'tls',
      secrets,
      tls: true,
    });
  });
});

describe('a call', patience, () => {
  test('sends what is configured and returns what came back', async () => {
    await using target = await startTarget((_request, response) => {
      response.writeHead(201, [
        ...['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'X-Kind', 'one'],
        ...['Content-Type', 'application/json'],
      ]);
      response.end('{"é":true}');
    });
    await using subject = new Subject({
      fullUrl: `${target.url}/hook?room=1`,
      headerList: [
        { name: 'X-Tag', value: 'a' },
        { name: 'X-Tag', value: 'b' },
      ],
    });
    const result = await subject.call({ body: { a: 1 }, headers: { 'X-More': 'm' }, query: { q: 'x y' } });
    assert.equal(result.status, 201);
    assert.deepEqual(result.headers['set-cookie'], ['a=1', 'b=2']);
    assert.deepEqual(result.headers['x-kind'], ['one']);
    assert.equal(result.body, '{"é":true}');
    assert.equal(result.bodyEncoding, 'utf8');
    assert.equal(result.truncated, false);
    const [request] = target.received;
    assert.equal(request?.method, 'POST');
    assert.equal(request.url, '/hook?room=1&q=x+y');
    assert.equal(request.body.toString(), '{"a":1}');
    assert.equal(request.headers['content-type'], 'application/json');
    assert.equal(request.headers['accept-encoding'], 'identity');
    assert.equal(request.headers['x-more'], 'm');
    const tags = request.rawHeaders.filter((_, index, all) => all[index - 1] === 'X-Tag');
    assert.deepEqual(tags, ['a', 'b']);
  });

  for (const httpMethod of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'TRACE'] as const)
    test(`goes out as ${httpMethod}, again and again`, async () => {
      await using target = await startTarget(ok);
      await using subject = new Subject({ fullUrl: target.url, httpMethod });
      for (let count = 1; count <= 3; count++) {
        assert.equal((await subject.call()).status, 200);
        assert.equal(target.received.length, count);
      }
      assert.deepEqual(new Set(target.received.map(({ method }) => method)), new Set([httpMethod]));
    });

  for (const status of [204, 304, 400, 401, 404, 418, 500, 503])
    test(`has ${status} as its result`, async () => {
      await using target = await startTarget((_request, response) => response.writeHead(status).end());
      await using subject = new Subject({ fullUrl: target.url });
      assert.equal((await subject.call()).status, status);
    });

  test('takes the answer that counts after an interim one', async () => {
    await using target = await startTarget((_request, response) => {
      response.writeEarlyHints({ link: '</a>; rel=preload' });
      response.end('final');
    });
    await using subject = new Subject({ fullUrl: target.url });
    const { status, body } = await subject.call();
    assert.deepEqual([status, body], [200, 'final']);
  });

  test('is signed so that the receiver can verify it', async () => {
    const key = Buffer.from('0123456789abcdef0123456789abcdef');
    let isGenuine: boolean | undefined;
    await using target = await startTarget(({ headers, body }, response) => {
      const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
      const expected = `v1,${createHmac('sha256', key).update(signed).digest('base64')}`;
      const age = Math.abs(Date.now() / 1000 - Number(headers['webhook-timestamp']));
      isGenuine = headers['webhook-signature'] === expected && age < 300;
      response.end();
    });
    await using subject = new Subject({
      fullUrl: target.url,
      signingSecret: `whsec_${key.toString('base64')}`,
    });
    await subject.call({ body: { ünï: '✓' } });
    assert.equal(isGenuine, true);
  });

  test('cuts a huge body off', async () => {
    let hasEnded = false;
    await using target = await startTarget((_request, response) => {
      response.setHeader('content-type', 'text/plain');
      response.on('close', () => {
        hasEnded = true;
      });
      const block = 'x'.repeat(65_536);
      const write = () => {
        while (!response.destroyed && response.write(block));
      };
      response.on('drain', write);
      write();
    });
    await using subject = new Subject({ fullUrl: target.url });
    const { body, truncated, status } = await subject.call();
    assert.deepEqual([status, truncated, body.length], [200, true, 1024 * 1024]);
    while (!hasEnded) await sleep(10);
    // The connection that was cut off is not used again.
    assert.equal(subject.live.connections.figures().connected, 0);
  });

  test('returns a body of exactly the limit whole', async () => {
    await using target = await startTarget((_request, response) => response.end('x'.repeat(1024 * 1024)));
    await using subject = new Subject({ fullUrl: target.url });
    const { body, truncated } = await subject.call();
    assert.deepEqual([body.length, truncated], [1024 * 1024, false]);
  });

  test('does not unpack a compressed body that nobody asked for', async () => {
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024));
    await using target = await startTarget((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
      response.end(bomb);
    });
    await using subject = new Subject({ fullUrl: target.url });
    const { body, bodyEncoding, truncated } = await subject.call();
    assert.deepEqual([bodyEncoding, truncated], ['base64', false]);
    assert.deepEqual(Buffer.from(body, 'base64'), bomb);
  });

  test('refuses an egress that the policy forbids', async () => {
    await using subject = new Subject({ fullUrl: 'http://169.254.169.254/latest/meta-data/' });
    await fails(subject.call(), 'egress_denied');
  });

  test('echoes no secret in base64', async () => {
    await using target = await startTarget(({ headers }, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      response.end(`#${headers.authorization}#`);
    });
    await using subject = new Subject({
      fullUrl: target.url,
      headerList: [{ name: 'Authorization', value: 'Bearer canary-echo-99' }],
    });
    const { body } = await subject.call();
    assert.equal(Buffer.from(body, 'base64').toString(), '#***#');
  });
});

describe('a target that misbehaves', patience, () => {
  test('hangs before its answer', async () => {
    await using target = await startTarget(() => {});
    await using subject = new Subject({ fullUrl: target.url, responseTimeoutSeconds: 1 });
    await fails(subject.call(), 'target_timeout');
    assert.equal(subject.live.connections.figures().connected, 0);
  });

  test('drips its body', async () => {
    await using target = await startTarget((_request, response) => {
      const timer = setInterval(() => response.write('.'), 50);
      response.on('close', () => clearInterval(timer));
    });
    await using subject = new Subject({ fullUrl: target.url, responseTimeoutSeconds: 1 });
    await fails(subject.call(), 'target_timeout');
  });

  test('resets after half of its answer', async () => {
    await using target = await startTarget((_request, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('half', () => response.socket?.resetAndDestroy());
    });
    await using subject = new Subject({ fullUrl: target.url });
    const { retryable } = await fails(subject.call(), 'connection_lost');
    assert.equal(retryable, true);
  });

  test('ends within its answer', async () => {
    await using target = await startTarget((_request, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('half', () => response.socket?.end());
    });
    await using subject = new Subject({ fullUrl: target.url });
    await fails(subject.call(), 'connection_lost');
  });

  for (const [what, bytes, code] of [
    ['speaks something else', 'SSH-2.0-OpenSSH_9.2\r\n', 'protocol_error'],
    ['sends no chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n', 'protocol_error'],
    [
      'answers twice the length',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
      'connection_lost',
    ],
    [
      'floods with headers',
      `HTTP/1.1 200 OK\r\n${'X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n'.repeat(2000)}`,
      'protocol_error',
    ],
  ] as const)
    test(what, async () => {
      await using target = await startTarget((_request, response) => response.socket?.end(bytes));
      await using subject = new Subject({ fullUrl: target.url });
      await fails(subject.call(), code);
    });

  test('listens no more', async () => {
    await using subject = new Subject({ fullUrl: `http://${host}:${await freePort()}/` });
    await fails(subject.call(), 'connection_refused');
    await fails(
      webhookConnector.prove(subject.live, { signal: AbortSignal.timeout(30_000) }),
      'connection_refused',
    );
  });
});

describe('a call that is aborted', patience, () => {
  test('ends at once while it waits for its answer', async () => {
    const abort = new AbortController();
    await using target = await startTarget(() => abort.abort());
    await using subject = new Subject({ fullUrl: target.url });
    await fails(subject.call({}, abort.signal), 'cancelled');
    assert.deepEqual(subject.live.connections.figures(), { connected: 0, free: 0, pending: 0, running: 0 });
  });

  test('ends at once while it waits for a connection', async () => {
    const abort = new AbortController();
    await using target = await startTarget(() => {});
    await using subject = new Subject({
      fullUrl: target.url,
      connectionPoolMaxConnectionPerHost: 1,
    });
    const first = subject.call({}, abort.signal).catch(() => {});
    const second = subject.call({}, abort.signal);
    assert.equal(subject.live.connections.figures().pending, 1);
    abort.abort();
    await fails(second, 'cancelled');
    await first;
  });
});

describe('connections', patience, () => {
  test('are kept and used again', async () => {
    await using target = await startTarget(ok);
    await using subject = new Subject({ fullUrl: target.url });
    for (let count = 0; count < 20; count++) await subject.call();
    assert.equal(target.sockets.accepted, 1);
    assert.deepEqual(subject.live.connections.figures(), { connected: 1, free: 1, pending: 0, running: 0 });
  });

  test('are no more than a host may have', async () => {
    await using target = await startTarget((_request, response) => {
      setTimeout(() => response.end(), 20);
    });
    await using subject = new Subject({ fullUrl: target.url, connectionPoolMaxConnectionPerHost: 3 });
    const calls = Array.from({ length: 30 }, () => subject.call());
    await Promise.all(calls);
    assert.equal(target.sockets.most, 3);
    assert.equal(target.received.length, 30);
  });

  test('are no more in total where redirects lead to other hosts', async () => {
    let open = 0;
    let most = 0;
    const counted: Answering = (_request, response) => {
      most = Math.max(most, ++open);
      setTimeout(() => {
        open--;
        response.end();
      }, 20);
    };
    await using second = await startTarget(counted);
    await using first = await startTarget((_request, response) =>
      response.writeHead(307, { location: second.url }).end(),
    );
    await using subject = new Subject({
      fullUrl: first.url,
      followRedirects: 1,
      connectionPoolMaxConnectionPerHost: 2,
      connectionPoolMaxConnectionTotal: 2,
    });
    const results = await Promise.all(Array.from({ length: 12 }, () => subject.call()));
    assert.ok(results.every(({ status }) => status === 200));
    assert.ok(most <= 2, `${most} at a time`);
    assert.equal(subject.live.connections.figures().connected, 2);
  });

  test('that do not become free are waited for in vain no longer than allowed', async () => {
    await using target = await startTarget(() => {});
    await using subject = new Subject({
      fullUrl: target.url,
      connectTimeoutSeconds: 1,
      connectionPoolMaxConnectionPerHost: 1,
    });
    const first = subject.call().catch(() => {});
    const error = await fails(subject.call(), 'target_timeout');
    assert.match(error.message, /connection became free/);
    await webhookConnector.close(subject.live);
    await first;
  });

  test('that the target has closed are replaced', async () => {
    await using target = await startTarget((_request, response) => {
      response.setHeader('connection', 'close');
      response.end('ok');
    });
    await using subject = new Subject({ fullUrl: target.url });
    for (let count = 1; count <= 5; count++) {
      await subject.call();
      assert.equal(target.sockets.accepted, count);
    }
  });

  test('are all closed with the connection', async () => {
    await using target = await startTarget(ok);
    await using subject = new Subject({ fullUrl: target.url });
    await Promise.all([subject.call(), subject.call(), subject.call()]);
    await webhookConnector.close(subject.live);
    while (target.sockets.open > 0) await sleep(10);
    await fails(subject.call(), 'cancelled');
  });
});

describe('retries', patience, () => {
  /** Fails the first `count` requests in its way, then answers. */
  const failing = (count: number, failure: Answering): Answering => {
    let left = count;
    return (request, response) => (left-- > 0 ? failure(request, response) : ok(request, response));
  };
  const reset: Answering = (_request, response) => response.socket?.destroy();
  const busy: Answering = (_request, response) => response.writeHead(503, { 'retry-after': '0' }).end();

  test('repeat a signed POST under the same id', async () => {
    await using target = await startTarget(failing(2, reset));
    await using subject = new Subject({ fullUrl: target.url, retries: 2, signingSecret: 'sign' });
    assert.equal((await subject.call({ body: 'x' })).status, 200);
    assert.equal(target.received.length, 3);
    assert.equal(new Set(target.received.map(({ headers }) => headers['webhook-id'])).size, 1);
  });

  test('do not repeat a POST that may have arrived', async () => {
    await using target = await startTarget(failing(1, reset));
    await using subject = new Subject({ fullUrl: target.url, retries: 3 });
    await fails(subject.call({ body: 'x' }), 'connection_lost');
    assert.equal(target.received.length, 1);
  });

  test('repeat a POST that was not sent', async () => {
    const port = await freePort();
    await using subject = new Subject({ fullUrl: `http://${host}:${port}/`, retries: 5 });
    const call = subject.call({ body: 'x' });
    await sleep(50);
    const server = createServer((_request, response) => response.end('late')).listen(port, host);
    await once(server, 'listening');
    try {
      assert.equal((await call).body, 'late');
    } finally {
      await webhookConnector.close(subject.live);
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test('follow Retry-After of 503', async () => {
    await using target = await startTarget(failing(2, busy));
    await using subject = new Subject({ fullUrl: target.url, httpMethod: 'PUT', retries: 2 });
    assert.equal((await subject.call()).status, 200);
    assert.equal(target.received.length, 3);
  });

  test('end, and the last status is the result', async () => {
    await using target = await startTarget(busy);
    await using subject = new Subject({ fullUrl: target.url, httpMethod: 'GET', retries: 1 });
    assert.equal((await subject.call()).status, 503);
    assert.equal(target.received.length, 2);
  });

  test('are not made where the target says too long, or nothing', async () => {
    for (const retryAfter of ['3600', 'soon', undefined]) {
      await using target = await startTarget((_request, response) =>
        response.writeHead(429, retryAfter ? { 'retry-after': retryAfter } : {}).end(),
      );
      await using subject = new Subject({ fullUrl: target.url, httpMethod: 'GET', retries: 3 });
      assert.equal((await subject.call()).status, 429);
      assert.equal(target.received.length, 1);
    }
  });

  test('end with the deadline', async () => {
    await using target = await startTarget((_request, response) =>
      response.writeHead(503, { 'retry-after': '20' }).end(),
    );
    await using subject = new Subject({ fullUrl: target.url, httpMethod: 'GET', retries: 3 });
    await fails(subject.call({}, AbortSignal.timeout(500)), 'target_timeout');
    assert.equal(target.received.length, 1);
  });
});

describe('redirects', patience, () => {
  const secrets: Partial<WebhookConfig> = {
    headerList: [
      { name: 'Authorization', value: 'Bearer canary-redirect' },
      { name: 'X-Tenant', value: 'canary-tenant' },
    ],
    signingSecret: 'canary-signing',
  };

  test('are the result unless they are to be followed', async () => {
    await using target = await startTarget((_request, response) =>
      response.writeHead(302, { location: '/next' }).end(),
    );
    await using subject = new Subject({ fullUrl: target.url });
    const { status, headers } = await subject.call();
    assert.deepEqual([status, headers['location']], [302, ['/next']]);
    assert.equal(target.received.length, 1);
  });

  test('in a loop end where they are allowed to', async () => {
    await using target = await startTarget((_request, response) =>
      response.writeHead(307, { location: '/again' }).end(),
    );
    await using subject = new Subject({ fullUrl: target.url, followRedirects: 5 });
    assert.equal((await subject.call()).status, 307);
    assert.equal(target.received.length, 6);
  });

  test('to another origin take no credential along, and none back', async () => {
    await using first = await startTarget((request, response) => {
      if (request.url !== '/hook?token=canary-query') return response.end('done');
      response.writeHead(307, { location: `${second.url}/in?token=canary-query` }).end();
    });
    const second: Target = await startTarget((_request, response) =>
      response.writeHead(307, { location: `${first.url}/back` }).end(),
    );
    try {
      await using subject = new Subject({
        ...secrets,
        fullUrl: `${first.url}/hook?token=canary-query`,
        followRedirects: 5,
      });
      const { body } = await subject.call({ body: { a: 1 } });
      assert.equal(body, 'done');
      const [trusted, ...untrusted] = [first.received[0], second.received[0], first.received[1]];
      assert.match(JSON.stringify(trusted), /canary-redirect/);
      assert.equal(untrusted.length, 2);
      for (const request of untrusted) {
        assert.equal(request?.body.toString(), '{"a":1}');
        assert.doesNotMatch(JSON.stringify(request), /canary|webhook-/);
      }
    } finally {
      await second[Symbol.asyncDispose]();
    }
  });

  test('to another origin show no client certificate', async () => {
    const client = authority.issue({ commonName: 'client', client: true });
    const server = authority.issue({ commonName: 'target', ips: [host] });
    await using second = await startTarget(ok, { ...server, clientCa: authority.caPem });
    await using first = await startTarget(
      (request, response) =>
        request.url === '/out'
          ? response.writeHead(307, { location: `${second.url}/` }).end()
          : response.end('inside'),
      { ...server, clientCa: authority.caPem },
    );
    const trust: Trust = { tls: () => ({ ca: authority.caPem, cert: client.certPem, key: client.keyPem }) };
    await using inside = new Subject({ fullUrl: `${first.url}/in` }, trust);
    assert.equal((await inside.call()).body, 'inside');
    await using outside = new Subject({ fullUrl: `${first.url}/out`, followRedirects: 1 }, trust);
    const error = await outside.call().then(
      () => assert.fail('the certificate was shown'),
      (thrown: unknown) => webhookConnector.classify(thrown),
    );
    assert.ok(['tls_failed', 'connection_lost'].includes(error.code), error.code);
    assert.equal(second.received.length, 0);
  });

  test('from https to http are not followed', async () => {
    await using plain = await startTarget(ok);
    await using target = await startTarget(
      (_request, response) => response.writeHead(307, { location: plain.url }).end(),
      authority.issue({ commonName: 'target', ips: [host] }),
    );
    await using subject = new Subject({ fullUrl: target.url, followRedirects: 5 });
    assert.equal((await subject.call()).status, 307);
    assert.equal(plain.received.length, 0);
  });

  for (const location of [
    'http://169.254.169.254/latest/meta-data/',
    'http://0xa9fea9fe/',
    'http://2852039166/',
    'http://[::ffff:169.254.169.254]/',
  ])
    test(`to ${location} are refused by the egress policy`, async () => {
      await using target = await startTarget((_request, response) =>
        response.writeHead(307, { location }).end(),
      );
      await using subject = new Subject({ fullUrl: target.url, followRedirects: 5 });
      await fails(subject.call(), 'egress_denied');
    });
});

describe('certificates', patience, () => {
  const stranger = createAuthority('Stranger').issue({ commonName: 'target', ips: [host] });
  for (const [what, certificate, code] of [
    ['of an unknown authority', stranger, 'certificate_untrusted'],
    [
      'that has expired',
      authority.issue({ commonName: 't', ips: [host], expired: true }),
      'certificate_expired',
    ],
    [
      'for another host',
      authority.issue({ commonName: 't', names: ['other.example'] }),
      'certificate_wrong_host',
    ],
  ] as const)
    test(`${what} are refused, at the stage tls`, async () => {
      await using target = await startTarget(ok, certificate);
      await using subject = new Subject({ fullUrl: target.url });
      await fails(subject.call(), code);
      await fails(webhookConnector.prove(subject.live, { signal: AbortSignal.timeout(30_000) }), code);
      const { tls, operate } = await runTest({ fullUrl: target.url });
      assert.deepEqual([tls?.status, tls?.code, operate?.status], ['failed', code, 'skipped']);
      assert.equal(target.received.length, 0);
    });

  test('are not verified where that is switched off, and the test says so', async () => {
    await using target = await startTarget(ok, stranger);
    const fields = { fullUrl: target.url, verifyCertificate: false };
    await using subject = new Subject(fields);
    assert.equal((await subject.call()).status, 200);
    const { tls } = await runTest(fields);
    assert.equal(tls?.status, 'passed');
    assert.match(tls?.hint ?? '', /not verified/);
  });

  test('of the client are demanded and shown', async () => {
    const server = authority.issue({ commonName: 'target', ips: [host] });
    const client = authority.issue({ commonName: 'client', client: true });
    await using target = await startTarget(ok, { ...server, clientCa: authority.caPem });
    await using without = new Subject({ fullUrl: target.url });
    // Node's server closes without the alert that others send.
    await fails(without.call(), 'connection_lost');
    assert.equal(target.received.length, 0);
    const trust: Trust = { tls: () => ({ ca: authority.caPem, cert: client.certPem, key: client.keyPem }) };
    await using subject = new Subject({ fullUrl: target.url }, trust);
    assert.equal((await subject.call()).status, 200);
  });
});

describe('the staged test', patience, () => {
  test('asks by OPTIONS alone, with the configured headers', async () => {
    await using target = await startTarget((_request, response) => response.writeHead(405).end());
    const stages = await runTest({
      fullUrl: `${target.url}/hook`,
      httpMethod: 'DELETE',
      headerList: [{ name: 'Authorization', value: 'Bearer some-token' }],
    });
    assert.deepEqual(
      Object.values(stages).map(({ stage, status }) => [stage, status]),
      [
        ['resolve', 'passed'],
        ['connect', 'passed'],
        ['tls', 'skipped'],
        ['authenticate', 'skipped'],
        ['operate', 'passed'],
      ],
    );
    assert.match(stages['operate']?.detail ?? '', /405/);
    assert.deepEqual(
      target.received.map(({ method, url, headers }) => [method, url, headers.authorization]),
      [['OPTIONS', '/hook', 'Bearer some-token']],
    );
  });

  test('describes the certificate', async () => {
    await using target = await startTarget(ok, authority.issue({ commonName: 'target', ips: [host] }));
    const { tls } = await runTest({ fullUrl: target.url });
    assert.match(
      tls?.detail ?? '',
      /^TLSv1\.3, \S+ \(https\), subject target, issuer Plugboard Test CA, valid until \d{4}-/,
    );
  });

  for (const [status, stage, code] of [
    [401, 'authenticate', 'authentication_failed'],
    [407, 'authenticate', 'authentication_failed'],
    [403, 'operate', 'permission_denied'],
  ] as const)
    test(`fails at ${stage} when OPTIONS is answered with ${status}`, async () => {
      await using target = await startTarget((_request, response) => response.writeHead(status).end());
      const stages = await runTest({ fullUrl: target.url });
      assert.deepEqual([stages[stage]?.status, stages[stage]?.code], ['failed', code]);
      assert.ok(stages[stage]?.hint);
    });

  test('names a target that is silent after it has accepted', async () => {
    await using target = await startTarget(() => {});
    const { connect, operate } = await runTest({ fullUrl: target.url, timeout: 1 });
    assert.deepEqual(
      [connect?.status, operate?.status, operate?.code],
      ['passed', 'failed', 'target_timeout'],
    );
  });

  test('proving sends no request', async () => {
    await using target = await startTarget(ok);
    await using subject = new Subject({ fullUrl: target.url });
    await webhookConnector.prove(subject.live, { signal: AbortSignal.timeout(30_000) });
    while (target.sockets.accepted === 0 || target.sockets.open > 0) await sleep(10);
    assert.equal(target.received.length, 0);
  });
});
