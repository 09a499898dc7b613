import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { test } from 'node:test';
import type { UsageToken } from '../contract/worker-protocol.ts';
import { createNetwork } from './egress.ts';
import { createEgressPolicy } from './egress-policy.ts';
import { LiveConnections } from './live-connections.ts';
import { createFake, createLog, desired, until } from './testing/fake-type.ts';
import { buildWorkerApi, startWorkerApi } from './worker-api.ts';

const canary = 'c4nary-s3cret';
const hashOf = (token: string) => hash('sha256', token, 'base64url');
const usage = (token: string, grants: UsageToken['grants'], expiresAt: number | null = null): UsageToken => ({
  hash: hashOf(token),
  expiresAt,
  actor: `token:${token}`,
  grants,
});

async function setUp(tokens: UsageToken[]) {
  const fake = createFake();
  const log = createLog();
  const connections = new LiveConnections({
    definitions: fake.definitions,
    connectors: fake.connectors,
    network: createNetwork({ policy: createEgressPolicy() }),
    log,
    environment: () => 'production',
    hasControlPlane: () => true,
    onVerdict: () => {},
  });
  connections.put([
    desired('Mail Server', 1, { password: canary }, { connection: 'id-1' }),
    desired('other', 1, {}, { connection: 'id-2', project: 'Q' }),
  ]);
  const listeners: ((tokens: readonly UsageToken[]) => void)[] = [];
  const source = {
    connections,
    tokens,
    isConnected: false,
    onTokens: (listener: (typeof listeners)[number]) => void listeners.push(listener),
  };
  const app = buildWorkerApi(source, log);
  const call = async (
    path: string,
    token: string | undefined,
    body: unknown = { text: 'x' },
    more: object = {},
  ) => {
    const response = await app.inject({
      method: 'POST',
      url: path,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      payload: body as object,
      ...more,
    });
    assert.ok(!response.body.includes(canary));
    const { request_id, ...answer } = response.json();
    return { status: response.statusCode, answer, headers: response.headers };
  };
  const setTokens = (next: UsageToken[]) => {
    for (const listener of listeners) listener(next);
  };
  return { app, call, setTokens, fake, log, connections, source };
}

const path = (project: string, name: string, operation = 'say') =>
  `/apiops/projects/${project}/connections/${encodeURIComponent(name)}/operations/${operation}/`;
const invalid = { error: 'unauthorized_client', error_description: 'Invalid token' };

test('an application beside the worker uses a connection by name, whatever its case', async () => {
  const { call } = await setUp([usage('good', [{ project: 'P' }])]);
  for (const name of ['Mail Server', 'MAIL SERVER', 'mail server']) {
    const { status, answer } = await call(path('P', name), 'good');
    assert.equal(status, 200);
    assert.deepEqual(answer, { success: true, result: { said: 'x', host: 'host-1', password: '***' } });
  }
  assert.equal(
    (await call(path('P', 'mail server').slice(0, -1), 'good')).status,
    200,
    'without the last slash',
  );
});

test('security.md 14: every token that is not valid gets the same 401', async () => {
  const { call } = await setUp([
    usage('good', [{ project: 'P' }]),
    usage('expired', [{ project: 'P' }], Date.now() - 1),
  ]);
  for (const token of [undefined, '', 'unknown', 'expired', hashOf('good'), 'good bad']) {
    const { status, answer, headers } = await call(path('P', 'Mail Server'), token);
    assert.deepEqual([status, answer], [401, invalid], String(token));
    assert.equal(headers['www-authenticate'], 'Bearer');
  }
  const { status } = await call(
    path('P', 'Mail Server'),
    undefined,
    {},
    { headers: { authorization: 'Basic Z29vZA==' } },
  );
  assert.equal(status, 401);
});

test('security.md 14, 21: a token that was found before is refused once it has expired', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const { call } = await setUp([usage('short', [{ project: 'P' }], Date.now() + 60_000)]);
  const used = () => call(path('P', 'Mail Server'), 'short');
  assert.equal((await used()).status, 200);
  t.mock.timers.tick(59_999);
  assert.equal((await used()).status, 200, 'known by its header');
  t.mock.timers.tick(1);
  for (let again = 0; again < 2; again++) {
    const { status, answer } = await used();
    assert.deepEqual([status, answer], [401, invalid]);
  }
});

test('security.md 6: a project that the token does not see is not there', async () => {
  const { call } = await setUp([usage('good', [{ project: 'P' }])]);
  for (const project of ['Q', 'nowhere', 'p']) {
    const { status, answer } = await call(path(project, 'other'), 'good');
    assert.deepEqual(
      [status, answer],
      [404, { error: 'not_found', error_description: `Project '${project}' not found` }],
    );
  }
  const { status, answer } = await call(path('P', 'missing'), 'good');
  assert.deepEqual(
    [status, answer],
    [404, { error: 'not_found', error_description: 'Connection (name: missing) was not found!' }],
  );
});

test('grants are narrowed by connection and by operation, before anything is told of either', async () => {
  const { call } = await setUp([
    usage('globs', [{ project: 'P', connections: ['mail*'] }]),
    usage('else', [{ project: 'P', connections: ['b?t', 'x*y*z'] }]),
    usage('operations', [{ project: 'P', operations: ['read'] }]),
    usage('two', [
      { project: 'P', operations: ['read'] },
      { project: 'P', connections: ['MAIL SERVER'], operations: ['say'] },
    ]),
  ]);
  assert.equal((await call(path('P', 'Mail Server'), 'globs')).status, 200);
  assert.equal((await call(path('P', 'Mail Server'), 'two')).status, 200);
  for (const token of ['else', 'operations'])
    for (const name of ['Mail Server', 'missing']) {
      const { status, answer } = await call(path('P', name), token);
      assert.equal(status, 403);
      assert.match(answer.error_description, /CONNECTIONS:USE/);
    }
  assert.equal((await call(path('P', 'missing'), 'globs')).status, 403);
});

test('the order of checks is token, project, permission, body, state', async () => {
  const { call } = await setUp([usage('good', [{ project: 'P', operations: ['say'] }])]);
  const broken = {
    payload: '{"text":',
    headers: { authorization: 'Bearer good', 'content-type': 'application/json' },
  };
  const status = async (url: string, more: object = {}) =>
    (await call(url, undefined, undefined, { ...broken, ...more })).status;
  assert.equal(await status(path('P', 'x'), { headers: { 'content-type': 'application/json' } }), 401);
  assert.equal(await status(path('Q', 'x')), 404);
  assert.equal(await status(path('P', 'x', 'read')), 403);
  assert.equal(await status(path('P', 'x')), 400);
  assert.equal((await call(path('P', 'x'), 'good')).status, 404);
});

test('errors have the published bodies', async () => {
  const { call } = await setUp([usage('good', [{ project: 'P' }])]);
  const faulty = await call(path('P', 'Mail Server'), 'good', { txet: 1 });
  assert.equal(faulty.status, 400);
  assert.deepEqual(faulty.answer.validation_errors.map(({ field }: { field: string }) => field).sort(), [
    'text',
    'txet',
  ]);
  const failed = await call(path('P', 'Mail Server'), 'good', { text: 'x', fail: 'certificate_expired' });
  assert.equal(failed.status, 502);
  assert.equal(failed.answer.error, 'target_error');
  assert.equal(failed.answer.reason, 'certificate_expired');
  assert.equal(failed.answer.retryable, false);
  const slow = await call(`${path('P', 'Mail Server')}?timeoutMs=20`, 'good', { text: 'x', afterMs: 60_000 });
  assert.deepEqual([slow.status, slow.answer.error], [504, 'target_timeout']);
  for (const timeoutMs of ['0', '-1', 'x', '1e3', '1&timeoutMs=2'])
    assert.equal(
      (await call(`${path('P', 'Mail Server')}?timeoutMs=${timeoutMs}`, 'good')).status,
      400,
      timeoutMs,
    );
  assert.equal((await call(path('P', 'Mail Server', 'nothing'), 'good')).status, 404);
  const text = await call(path('P', 'Mail Server'), undefined, undefined, {
    payload: 'text',
    headers: { authorization: 'Bearer good', 'content-type': 'text/plain' },
  });
  assert.equal(text.status, 415);
  assert.equal((await call('/elsewhere', 'good')).status, 404);
});

test('security.md 7: path tricks reach nothing', async () => {
  const { call } = await setUp([usage('good', [{ project: 'P' }])]);
  for (const url of [
    '/apiops//projects/P/connections/x/operations/say/',
    '/apiops/projects/P/../Q/connections/other/operations/say/',
    '/apiops/projects/Q%2F..%2FP/connections/other/operations/say/',
    '/APIOPS/projects/Q/connections/other/operations/say/',
    path('Q', 'other').replace('/Q/', '/%51/'),
  ])
    assert.equal((await call(url, 'good')).status, 404, url);
});

test('security.md 21: what runs for a token that is revoked, narrowed or expires is aborted', async () => {
  const good = usage('good', [{ project: 'P' }]);
  const narrowed = usage('good', [{ project: 'P', operations: ['read'] }]);
  for (const next of [[], [narrowed]]) {
    const { call, setTokens, fake } = await setUp([good]);
    const running = call(path('P', 'Mail Server'), 'good', { text: 'x', afterMs: 60_000 });
    await until(() => fake.clients[0]?.running === 1);
    setTokens(next);
    const { status, answer } = await running;
    assert.deepEqual([status, answer], [401, invalid]);
    assert.equal(fake.clients[0]!.running, 0);
  }
  const { call, fake, setTokens } = await setUp([usage('short', [{ project: 'P' }], Date.now() + 300)]);
  const running = call(path('P', 'Mail Server'), 'short', { text: 'x', afterMs: 60_000 });
  await until(() => fake.clients[0]?.running === 1);
  setTokens([usage('short', [{ project: 'P' }], Date.now() + 300)]);
  assert.equal(fake.clients[0]!.running, 1, 'a refresh that changes nothing aborts nothing');
  assert.equal((await running).status, 401);
});

test('an application that goes away cancels its operation', async () => {
  const { source, fake, log } = await setUp([usage('good', [{ project: 'P' }])]);
  const { url, close } = await startWorkerApi({ worker: source, host: '127.0.0.1', port: 0, log });
  const controller = new AbortController();
  const gone = assert.rejects(
    fetch(url + path('P', 'Mail Server'), {
      method: 'POST',
      headers: { authorization: 'Bearer good', 'content-type': 'application/json' },
      body: JSON.stringify({ text: 'x', afterMs: 60_000 }),
      signal: controller.signal,
    }),
  );
  await until(() => fake.clients[0]?.running === 1);
  controller.abort();
  await gone;
  await until(() => fake.clients[0]!.running === 0, 'the operation is aborted');
  await close();
});

test('healthz tells whether the control plane is there, and needs no token', async () => {
  const { app } = await setUp([]);
  const response = await app.inject('/healthz');
  assert.deepEqual(response.json(), { status: 'ok', controlPlane: 'away' });
});

test('names of 255 characters fit into the path', async () => {
  const { call } = await setUp([usage('good', [{ project: 'P' }])]);
  const { status, answer } = await call(path('P', 'ä'.repeat(255)), 'good');
  assert.equal(status, 404);
  assert.match(answer.error_description, /^Connection \(name: ä/);
});

test('a write repeated under its Idempotency-Key is done once, and answered as it was', async () => {
  const { call, fake } = await setUp([usage('good', [{ project: 'P' }]), usage('too', [{ project: 'P' }])]);
  const keyed = (body: object, { token = 'good', key = 'k1', query = '' } = {}) =>
    call(path('P', 'Mail Server') + query, token, body, {
      headers: { authorization: `Bearer ${token}`, 'idempotency-key': key },
    });
  const began = fake.said;
  const [first, duplicate] = await Promise.all([
    keyed({ text: 'once', afterMs: 50 }),
    keyed({ text: 'once', afterMs: 50 }),
  ]);
  const again = await keyed({ text: 'once', afterMs: 50 });
  assert.equal(fake.said - began, 1);
  for (const answer of [duplicate, again]) {
    assert.deepEqual(answer.answer, first.answer);
    assert.equal(answer.headers['idempotency-replayed'], 'true');
  }
  assert.equal(first.headers['idempotency-replayed'], undefined);
  assert.equal((await keyed({ text: 'another' })).status, 422);
  await keyed({ text: 'another' }, { key: 'k2' });
  await keyed({ text: 'another' }, { token: 'too' });
  await keyed({ text: 'another' }, { query: '?timeoutMs=5000' });
  assert.equal(fake.said - began, 4, 'another key, token or path is another request');
  assert.equal((await keyed({ text: 'x' }, { key: 'has space' })).status, 400);
});

test('under an Idempotency-Key what may be tried again is done again; a faulty request is not', async () => {
  const { call, setTokens, fake } = await setUp([usage('good', [{ project: 'P' }])]);
  const keyed = (key: string, body: object) =>
    call(path('P', 'Mail Server'), 'good', body, {
      headers: { authorization: 'Bearer good', 'idempotency-key': key },
    });
  const began = fake.said;
  for (const status of [502, 502])
    assert.equal((await keyed('a', { text: 'x', fail: 'connection_lost' })).status, status);
  assert.equal(fake.said - began, 2);
  for (const status of [504, 504])
    assert.equal((await keyed('b', { text: 'x', fail: 'target_timeout' })).status, status);
  assert.equal(fake.said - began, 3, 'the work of a 504 may have been done');
  assert.equal((await keyed('c', {})).status, 400);
  assert.equal((await keyed('c', { text: 'mended' })).status, 422);
  setTokens([]);
  assert.equal((await keyed('b', { text: 'x', fail: 'target_timeout' })).status, 401, 'checked anew');
});

test('a body is checked as the control plane checks it', async () => {
  const { call } = await setUp([usage('good', [{ project: 'P' }])]);
  const raw = (payload: string, type = 'application/json') =>
    call(path('P', 'Mail Server'), 'good', payload, {
      headers: { authorization: 'Bearer good', 'content-type': type },
    });
  const cases: [string, RegExp][] = [
    [`{"text":${'['.repeat(200)}${']'.repeat(200)}}`, /nested deeper than 128 levels/],
    ['{"text":"x","__proto__":{"a":1}}', /__proto__/],
    ['{"text":"x","constructor":{"prototype":{}}}', /constructor/],
    ['{"text"', /not valid JSON/],
  ];
  for (const [body, message] of cases) {
    const { status, answer } = await raw(body);
    assert.equal(status, 400, body.slice(0, 40));
    assert.match(answer.error_description, message);
  }
  assert.equal((await raw('{"text":"x"}', 'application/x-ndjson')).status, 415);
  assert.equal((await raw('text=x', 'text/plain')).status, 415);
  assert.equal((await raw('')).status, 400, 'an empty body is no input');
});

test('security.md 21: a stream that waits for its client ends with its token', async (t) => {
  const { source, setTokens, log } = await setUp([usage('good', [{ project: 'P' }])]);
  const { url, close } = await startWorkerApi({ worker: source, host: '127.0.0.1', port: 0, log });
  t.after(close);
  let feed!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      feed = controller;
      controller.enqueue(new TextEncoder().encode('{"text":"one"}\n'));
    },
  });
  const response = await fetch(`${url}${path('P', 'Mail Server', 'sayAll')}`, {
    method: 'POST',
    headers: {
      authorization: 'Bearer good',
      'content-type': 'application/x-ndjson',
      accept: 'application/x-ndjson',
    },
    body,
    duplex: 'half',
  } as RequestInit);
  assert.equal(response.status, 200);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  const answered = '{"type":"item","line":1,"success":true,"result":{"said":"one","password":"***"}}\n';
  assert.equal((await reader.read()).value, answered);
  setTokens([]);
  let rest = '';
  for (let next = await reader.read(); !next.done; next = await reader.read()) rest += next.value;
  const [error, finished] = rest.split('\n').map((line) => (line ? JSON.parse(line) : undefined));
  assert.deepEqual([error.type, error.error, error.line], ['error', 'unauthorized_client', 2]);
  assert.deepEqual(finished, { type: 'finished', success: false, accepted: 1, failed: 0 });
  feed.close();
});

test('over a socket a plain request has the answer that any other way has', async (t) => {
  const tokens = [
    usage('good', [{ project: 'P' }]),
    usage('narrow', [{ project: 'P', operations: ['read'] }]),
  ];
  const { app, source, log } = await setUp(tokens);
  const { url, close } = await startWorkerApi({ worker: source, host: '127.0.0.1', port: 0, log });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(async () => {
    agent.destroy();
    await close();
  });
  const send = (target: string, token: string, payload: string) =>
    new Promise<{ status: number; headers: IncomingHttpHeaders; body: string }>((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(payload),
      };
      const sent = request(url + target, { method: 'POST', headers, agent }, async (response) => {
        response.setEncoding('utf8');
        const body = (await response.toArray()).join('');
        resolve({ status: response.statusCode!, headers: response.headers, body });
      });
      sent.on('error', reject);
      sent.end(payload);
    });
  const toldApart = ({ body, headers }: { body: string; headers: object }) => {
    const {
      date: _date,
      connection: _connection,
      'keep-alive': _keepAlive,
      ...others
    } = {
      date: '',
      ...headers,
    } as Record<string, unknown>;
    const { request_id: requestId, ...answer } = JSON.parse(body);
    if (requestId !== undefined) assert.match(requestId, /^[\w-]{12}$/);
    return { answer, headers: { ...others, 'content-length': String(Buffer.byteLength(body)) } };
  };
  const say = { text: 'x' };
  const cases: [string, unknown, string?][] = [
    [path('P', 'Mail Server'), say],
    [path('P', 'MAIL SERVER').slice(0, -1), { text: 'größe €' }],
    [path('P', 'Mail Server'), { text: 'x', fail: 'certificate_expired' }],
    [path('P', 'Mail Server'), { txet: 1 }],
    [path('P', 'Mail Server', 'nothing'), say],
    [path('P', 'Mail Server', 'sayAll'), { messages: [] }],
    [path('P', 'missing'), say],
    [path('P', 'größe'), say],
    [path('P', '..'), say],
    [path('P', 'a/b'), say],
    [path('P', 'a;b'), say],
    [path('P', 'x'.repeat(1400)), say],
    [path('p', 'Mail Server'), say],
    [path('Q', 'other'), say],
    [path('Q', 'other').replace('/Q/', '/%51/'), say],
    [path('P', '%'), say],
    ['/apiops/projects/P/connections/%E4/operations/say/', say],
    ['/apiops/projects/P/connections/%e4%b8%ad/operations/say', say],
    ['/apiops/projects/P/connections/Mail%20Server/operations/say//', say],
    ['/APIOPS/projects/P/connections/Mail%20Server/operations/say/', say],
    ['/apiops/projects/P/connections/Mail+Server/operations/say/', say],
    [`${path('P', 'Mail Server')}?timeoutMs=20`, { text: 'x', afterMs: 60_000 }],
    [`${path('P', 'Mail Server')}?timeoutMs=no`, say],
    ['/elsewhere', say],
    [path('P', 'Mail Server'), say, 'narrow'],
    [path('P', 'Mail Server'), say, 'unknown'],
    [path('P', 'Mail Server'), '{"text"'],
    [path('P', 'Mail Server'), '\ufeff{"text":"x"}'],
    [path('P', 'Mail Server'), ''],
    [path('P', 'Mail Server'), 'null'],
    [path('P', 'Mail Server'), '"text"'],
    [path('P', 'Mail Server'), '{"text":"x","__proto__":{"a":1}}'],
    [path('P', 'Mail Server'), { text: 'y'.repeat(200_000) }],
  ];
  for (const [target, body, token = 'good'] of cases) {
    const payload = typeof body === 'string' ? body : JSON.stringify(body);
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const expected = await app.inject({ method: 'POST', url: target, headers, payload });
    // What is refused leaves its connection to the server; the next one begins anew.
    agent.destroy();
    for (let repeated = 0; repeated < 2; repeated++) {
      const got = await send(target, token, payload);
      assert.equal(got.status, expected.statusCode, target);
      assert.deepEqual(toldApart(got), toldApart(expected), target);
    }
  }
});

test('security.md 21: what runs over a socket ends with its token, and its client', async (t) => {
  const good = usage('good', [{ project: 'P' }]);
  const { source, setTokens, fake, log } = await setUp([good]);
  const { url, close } = await startWorkerApi({ worker: source, host: '127.0.0.1', port: 0, log });
  t.after(close);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const run = (body: object, signal?: AbortSignal) =>
    new Promise<{ status: number; body: string }>((resolve, reject) => {
      const payload = JSON.stringify(body);
      const headers = {
        authorization: 'Bearer good',
        'content-type': 'application/json',
        'content-length': payload.length,
      };
      const sent = request(
        url + path('P', 'Mail Server'),
        { method: 'POST', headers, agent, ...(signal ? { signal } : {}) },
        async (response) =>
          resolve({ status: response.statusCode!, body: (await response.toArray()).join('') }),
      );
      sent.on('error', reject);
      sent.end(payload);
    });
  assert.equal((await run({ text: 'x' })).status, 200);
  const running = run({ text: 'x', afterMs: 60_000 });
  await until(() => fake.clients[0]?.running === 1);
  setTokens([]);
  const { status, body } = await running;
  assert.equal(status, 401);
  assert.deepEqual({ ...JSON.parse(body), request_id: undefined }, { ...invalid, request_id: undefined });
  assert.equal(fake.clients[0]!.running, 0);
  assert.equal((await run({ text: 'x' })).status, 401, 'the head is known, the token no more');
  setTokens([good]);
  assert.equal((await run({ text: 'x' })).status, 200);
  const controller = new AbortController();
  const gone = assert.rejects(run({ text: 'x', afterMs: 60_000 }, controller.signal));
  await until(() => fake.clients[0]?.running === 1);
  controller.abort();
  await gone;
  await until(() => fake.clients[0]!.running === 0, 'the operation is aborted');
});

test('closing lets what runs over a socket end, and takes nothing more', async () => {
  const { source, fake, log } = await setUp([usage('good', [{ project: 'P' }])]);
  const { url, close } = await startWorkerApi({ worker: source, host: '127.0.0.1', port: 0, log });
  const post = (body: object) =>
    fetch(url + path('P', 'Mail Server'), {
      method: 'POST',
      headers: { authorization: 'Bearer good', 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  assert.equal((await post({ text: 'x' })).status, 200);
  const running = post({ text: 'late', afterMs: 300 });
  await until(() => fake.clients[0]?.running === 1);
  const closed = close();
  const response = await running;
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('connection'), 'close');
  await closed;
  await assert.rejects(post({ text: 'x' }));
});
