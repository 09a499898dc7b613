import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { freePort } from '../../../test/services/service.ts';
import type { ConfigOf } from '../../contract/connection-type.ts';
import type { AppError } from '../../errors.ts';
import { opsGenieConnector } from './ops-genie.connector.ts';
import type { opsGenie } from './ops-genie.definition.ts';

type OpsGenieConfig = ConfigOf<typeof opsGenie>;

const host = '127.0.0.1';
const apiKey = 'c4na2y00-1111-4222-8333-0psgen1ekey1';
const authority = createAuthority();
const certificate = authority.issue({ commonName: 'opsgenie.test', names: ['localhost'], ips: [host] });

interface Alert {
  id: string;
  alias: string;
  status: string;
  count: number;
  body: Record<string, unknown>;
  notes: string[];
}

interface PeerOptions {
  tls?: boolean;
  /** Looks at a request that find it not processed yet; default 2. */
  looksNeeded?: number;
  /** Answers before anything else; null: the peer goes on by itself. */
  intercept?: (
    method: string,
    path: string,
    looks: number,
  ) => { status: number; headers?: Record<string, string>; body: object | string } | null;
}

/** Opsgenie's Alert API as its reference describes it: 202, then a request to look at, which is unknown until processed. */
async function startOpsgenie(t: TestContext, options: PeerOptions = {}) {
  const alerts: Alert[] = [];
  const requests = new Map<string, { looks: number; data: object }>();
  const seen: { method: string; url: string; headers: IncomingMessage['headers'] }[] = [];
  const sockets = new Set<Socket>();

  const process = (method: string, url: URL, body: Record<string, unknown>): object => {
    if (method === 'POST' && url.pathname === '/v2/alerts') {
      const alias = String(body['alias'] ?? randomUUID());
      const open = alerts.find((alert) => alert.alias === alias && alert.status !== 'closed');
      if (open) open.count++;
      const alert = open ?? { id: randomUUID(), alias, status: 'open', count: 1, body, notes: [] };
      if (!open) alerts.push(alert);
      return { isSuccess: true, status: 'Created alert', alertId: alert.id, alias };
    }
    const [, identifier = '', action] =
      /^\/v2\/alerts\/([^/]+)\/(close|acknowledge|notes)$/.exec(url.pathname) ?? [];
    const key = url.searchParams.get('identifierType') === 'alias' ? 'alias' : 'id';
    const alert = alerts.find(
      (one) => one[key] === decodeURIComponent(identifier) && one.status !== 'closed',
    );
    if (!alert) return { isSuccess: false, status: 'Alert does not exist', alertId: '' };
    if (typeof body['note'] === 'string') alert.notes.push(body['note']);
    if (action === 'close') alert.status = 'closed';
    if (action === 'acknowledge') alert.status = 'acked';
    return { isSuccess: true, status: `Did ${action}`, alertId: alert.id, alias: alert.alias };
  };
  const answer = (method: string, url: URL, headers: IncomingMessage['headers'], text: string) => {
    const [, requestId] = /^\/v2\/alerts\/requests\/(.+)$/.exec(url.pathname) ?? [];
    const looked = requestId ? requests.get(requestId) : undefined;
    if (looked) looked.looks++;
    const forced = options.intercept?.(method, url.pathname, looked?.looks ?? 0);
    if (forced) return forced;
    if (headers.authorization !== `GenieKey ${apiKey}`)
      return {
        status: 401,
        body: { message: 'Could not authenticate', took: 0.001, requestId: randomUUID() },
      };
    if (requestId) {
      if (!looked || looked.looks <= (options.looksNeeded ?? 2))
        return { status: 404, body: { message: 'Request not found. It might not be processed, yet.' } };
      return { status: 200, body: { data: looked.data, took: 0.01, requestId } };
    }
    if (method === 'GET' && url.pathname === '/v2/alerts')
      return { status: 200, body: { data: alerts.slice(0, 1).map(({ id }) => ({ id })), took: 0.01 } };
    const id = randomUUID();
    requests.set(id, { looks: 0, data: process(method, url, JSON.parse(text || '{}')) });
    return { status: 202, body: { result: 'Request will be processed', took: 0.01, requestId: id } };
  };
  const create = () => {
    const server = options.tls
      ? createTlsServer({ cert: certificate.certPem, key: certificate.keyPem })
      : createServer();
    server.on('request', async (request, response) => {
      let text = '';
      try {
        for await (const chunk of request) text += chunk;
      } catch {
        return;
      }
      const { method = '', url = '', headers } = request;
      seen.push({ method, url, headers });
      const given = answer(method, new URL(url, 'http://peer'), headers, text);
      const more = 'headers' in given ? given.headers : {};
      response.writeHead(given.status, { 'content-type': 'application/json', ...more });
      response.end(typeof given.body === 'string' ? given.body : JSON.stringify(given.body));
    });
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => sockets.delete(socket));
    });
    return server;
  };
  let server = create();
  server.listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const stop = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  t.after(stop);
  return {
    url: `${options.tls ? 'https' : 'http'}://${host}:${port}`,
    port,
    alerts,
    seen,
    async restart() {
      await stop();
      server = create();
      server.listen(port, host);
      await once(server, 'listening');
    },
  };
}

function config(overrides: Partial<OpsGenieConfig>): OpsGenieConfig {
  return {
    type: 'ops-genie',
    name: 'alerts',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    apiKey,
    apiUrl: `http://${host}/`,
    responders: [],
    priority: 'P3',
    tags: [],
    timeout: 20,
    verifyCertificate: true,
    ...overrides,
  };
}

/** Opens a connection for one test; it is closed behind it. */
async function open(t: TestContext, overrides: Partial<OpsGenieConfig>) {
  const ctx = createContext({ signal: new AbortController().signal, trust: trustIn(authority.caPem) });
  const live = await opsGenieConnector.open(config(overrides), ctx);
  t.after(() => opsGenieConnector.close(live));
  const call = { signal: AbortSignal.timeout(60_000) };
  const { createAlert, closeAlert, acknowledgeAlert, addNote } = opsGenieConnector.operations;
  return {
    live,
    call,
    create: (input: Partial<Parameters<typeof createAlert>[1]> = {}) =>
      createAlert(live, { message: 'It burns', ...input }, call),
    close: (input: Parameters<typeof closeAlert>[1]) => closeAlert(live, input, call),
    acknowledge: (input: Parameters<typeof closeAlert>[1]) => acknowledgeAlert(live, input, call),
    note: (input: Parameters<typeof addNote>[1]) => addNote(live, input, call),
  };
}

async function failed(work: Promise<unknown>): Promise<AppError> {
  return work.then(
    () => assert.fail('it was expected to fail'),
    (error: unknown) => opsGenieConnector.classify(error),
  );
}

async function stagesOf(overrides: Partial<OpsGenieConfig>, trust = trustIn(authority.caPem)) {
  const ctx = createContext({ signal: new AbortController().signal, trust });
  const { stages } = await testConnection(opsGenieConnector, config(overrides), ctx);
  return Object.fromEntries(stages.map((stage) => [stage.stage, stage]));
}

const page = '<html><body>Bad Request</body></html>';
const otherProtocols = {
  // HTTP is the protocol here: what another server says is a page that ends.
  'an HTTP 400 page': Buffer.from(
    `HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: ${page.length}\r\n\r\n${page}`,
  ),
  'the greeting of a mail server': Buffer.from('220 mail.example.com ESMTP\r\n'),
};

for (const tls of [false, true])
  test(`contract, ${tls ? 'https' : 'http'}`, async (t) => {
    const peer = await startOpsgenie(t, { tls, looksNeeded: 1 });
    const scheme = tls ? 'https' : 'http';
    await connectorContract(t, `ops-genie ${scheme}`, {
      connector: opsGenieConnector,
      config: () => config({ apiUrl: peer.url }),
      configAt: (at) =>
        config({ apiUrl: `${scheme}://${at.host}:${at.port}`, timeout: Math.ceil(at.timeoutMs / 1000) }),
      badCredentials: () => config({ apiUrl: peer.url, apiKey: 'c4na2y00-wrong-wrong-wrong-0psgen1ekey2' }),
      operate: (live, call) =>
        opsGenieConnector.operations.createAlert(live, { message: 'It burns', alias: 'fire' }, call),
      restart: () => peer.restart(),
      trust: trustIn(authority.caPem),
      silentAt: tls ? 'tls' : 'authenticate',
      garbledAt: tls ? 'tls' : 'authenticate',
      otherProtocols,
      secrets: [apiKey, 'c4na2y00-wrong-wrong-wrong-0psgen1ekey2'],
      tls,
    });
  });

test('an alert takes what it does not say from the connection, and is followed until it is processed', async (t) => {
  const peer = await startOpsgenie(t, { looksNeeded: 3 });
  const { create } = await open(t, {
    apiUrl: `${peer.url}/`,
    responders: [{ type: 'team', name: 'Operations' }],
    tags: ['prod', 'plugboard'],
    priority: 'P1',
    source: 'plugboard',
    entity: 'billing',
  });
  const first = await create({ alias: 'fire', tags: ['prod', 'disk'] });
  assert.equal(first.status, 'Created alert');
  assert.equal(first.alias, 'fire');
  assert.equal(first.alertId, peer.alerts[0]?.id);
  assert.deepEqual(peer.alerts[0]?.body, {
    message: 'It burns',
    alias: 'fire',
    responders: [{ type: 'team', name: 'Operations' }],
    tags: ['prod', 'plugboard', 'disk'],
    priority: 'P1',
    source: 'plugboard',
    entity: 'billing',
  });
  assert.equal(peer.seen.filter(({ url }) => url.startsWith('/v2/alerts/requests/')).length, 4);

  await create({ alias: 'own', priority: 'P5', source: 'me', entity: 'x', responders: [], tags: [] });
  const { priority, source, entity, responders } = peer.alerts[1]!.body;
  assert.deepEqual(
    { priority, source, entity, responders },
    { priority: 'P5', source: 'me', entity: 'x', responders: [] },
  );
});

test('every field of an alert and of a change reaches Opsgenie', async (t) => {
  const peer = await startOpsgenie(t);
  const { create, close } = await open(t, { apiUrl: peer.url });
  const alert = {
    description: 'since noon',
    visibleTo: [
      { type: 'escalation', name: 'Night' },
      { type: 'schedule', id: 's-1' },
    ],
    responders: [
      { type: 'user', username: 'a@example.com' },
      { type: 'team', id: 't-1' },
    ],
    actions: ['Restart'],
    details: { host: 'app1' },
    user: 'robot',
    note: 'made by a test',
    priority: 'P2',
  };
  await create({ alias: 'every', ...alert } as never);
  assert.deepEqual(peer.alerts[0]?.body, { message: 'It burns', alias: 'every', tags: [], ...alert });
  for (const identifierType of ['tiny', 'alias', 'id'] as const)
    await close({ identifier: 'every', identifierType }).catch(() => {});
  assert.deepEqual(
    peer.seen.flatMap(({ url }) => /close\?identifierType=(\w+)/.exec(url)?.[1] ?? []),
    ['tiny', 'alias', 'id'],
  );
});

test('the alias makes it one alert; it is acknowledged, noted and closed', async (t) => {
  const peer = await startOpsgenie(t);
  const { create, acknowledge, note, close } = await open(t, { apiUrl: peer.url });
  await create({ alias: 'fire / 1?' });
  await create({ alias: 'fire / 1?' });
  assert.deepEqual([peer.alerts.length, peer.alerts[0]?.count], [1, 2]);
  const by = { identifier: 'fire / 1?', identifierType: 'alias' as const };
  await acknowledge(by);
  assert.equal(peer.alerts[0]?.status, 'acked');
  await note({ identifier: peer.alerts[0]!.id, note: 'water is on its way' });
  assert.deepEqual(peer.alerts[0]?.notes, ['water is on its way']);
  await close({ ...by, note: 'out' });
  assert.equal(peer.alerts[0]?.status, 'closed');
  const refused = await failed(close(by));
  assert.equal(refused.code, 'request_rejected');
  assert.match(refused.message, /Alert does not exist/);
});

test('an identifier leads to no other resource', async (t) => {
  const peer = await startOpsgenie(t);
  const { close } = await open(t, { apiUrl: peer.url });
  for (const identifier of ['.', '..'])
    assert.equal((await failed(close({ identifier }))).code, 'bad_request');
  assert.equal(peer.seen.length, 0);
  await failed(close({ identifier: '../../v2/integrations' }));
  assert.equal(peer.seen[0]?.url, '/v2/alerts/..%2F..%2Fv2%2Fintegrations/close?identifierType=id');
});

test('each refusal has its code and says what to do', async (t) => {
  let status = 401;
  let body: object | string = { message: 'Could not authenticate' };
  const peer = await startOpsgenie(t, {
    intercept: () => ({ status, body, headers: { 'retry-after': '7' } }),
  });
  const { create, live, call } = await open(t, { apiUrl: peer.url });
  const refusal = async () => {
    const { code, message, details } = await failed(create());
    return { code, message, hint: details.hint ?? '', retryAfter: details.retryAfter };
  };
  assert.match((await refusal()).hint, /api\.eu\.opsgenie\.com/);
  status = 403;
  body = { message: 'You are not authorized' };
  assert.equal((await refusal()).code, 'permission_denied');
  await opsGenieConnector.prove(live, call);
  status = 422;
  body = { message: 'Key format is not valid!' };
  assert.equal((await refusal()).code, 'authentication_failed');
  body = { message: 'Request body is not processable', errors: { message: 'Message can not be empty.' } };
  assert.equal((await refusal()).code, 'request_rejected');
  status = 429;
  body = { message: 'You are making too many requests!' };
  const busy = await refusal();
  assert.deepEqual([busy.code, busy.retryAfter], ['target_busy', 7]);
  status = 503;
  body = '<html>maintenance</html>';
  assert.equal((await refusal()).code, 'target_busy');
  status = 200;
  assert.equal((await refusal()).code, 'protocol_error');
});

test('a look that is refused for a moment is repeated, one that is refused for good is not', async (t) => {
  const peer = await startOpsgenie(t, {
    looksNeeded: 0,
    intercept: (_method, _path, looks) => (looks === 1 ? { status: 503, body: {} } : null),
  });
  const { create } = await open(t, { apiUrl: peer.url });
  assert.equal((await create()).status, 'Created alert');
  const strict = await startOpsgenie(t, {
    intercept: (_method, _path, looks) => (looks === 1 ? { status: 403, body: { message: 'no' } } : null),
  });
  const other = await open(t, { apiUrl: strict.url });
  assert.equal((await failed(other.create())).code, 'permission_denied');
});

test("the caller's deadline ends the following", async (t) => {
  const peer = await startOpsgenie(t, { looksNeeded: 1e9 });
  const { live } = await open(t, { apiUrl: peer.url });
  const late = opsGenieConnector.operations.createAlert(
    live,
    { message: 'x' },
    { signal: AbortSignal.timeout(600) },
  );
  assert.equal((await failed(late)).code, 'target_timeout');
});

test('a key without read access fails the test at operate alone', async (t) => {
  const peer = await startOpsgenie(t, { intercept: () => ({ status: 403, body: { message: 'no' } }) });
  const { authenticate, operate } = await stagesOf({ apiUrl: peer.url });
  assert.equal(authenticate?.status, 'passed');
  assert.deepEqual([operate?.status, operate?.code], ['failed', 'permission_denied']);
  assert.match(operate?.hint ?? '', /read access/);
});

test('an authority that is not trusted is refused at tls', async (t) => {
  const peer = await startOpsgenie(t, { tls: true });
  const { tls } = await stagesOf({ apiUrl: peer.url }, trustIn(createAuthority('Another CA').caPem));
  assert.deepEqual([tls?.status, tls?.code], ['failed', 'certificate_untrusted']);
  const unverified = await stagesOf({ apiUrl: peer.url, verifyCertificate: false });
  assert.match(unverified['tls']?.hint ?? '', /not verified/);
});

/** A proxy of CONNECT alone that wants one account. */
async function startProxy(t: TestContext, tls = false) {
  const asked: { target: string; authorization: string | undefined }[] = [];
  const sockets = new Set<Socket>();
  const server = tls
    ? createTlsServer({ cert: certificate.certPem, key: certificate.keyPem })
    : createServer();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  server.on('connect', (request: IncomingMessage, client: Socket) => {
    const authorization = request.headers['proxy-authorization'];
    asked.push({ target: request.url ?? '', authorization });
    client.on('error', () => {});
    if (authorization !== `Basic ${Buffer.from('user:p@ss:wörd').toString('base64')}`)
      return client.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n');
    const { hostname, port } = new URL(`http://${request.url}`);
    const upstream = connect(Number(port), hostname);
    sockets.add(upstream);
    upstream.on('error', () => client.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'));
    upstream.once('connect', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      client.pipe(upstream).pipe(client);
    });
  });
  server.listen(0, host);
  await once(server, 'listening');
  t.after(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  return { port: (server.address() as AddressInfo).port, asked };
}

test('goes through the proxy, by TLS to either', async (t) => {
  for (const tls of [false, true]) {
    const peer = await startOpsgenie(t, { tls: true });
    const proxy = await startProxy(t, tls);
    const proxyUrl = `${tls ? 'https' : 'http'}://user:p%40ss%3Aw%C3%B6rd@${host}:${proxy.port}`;
    const { create } = await open(t, { apiUrl: peer.url, proxyUrl });
    assert.equal((await create()).status, 'Created alert');
    assert.equal(proxy.asked[0]?.target, `${host}:${peer.port}`);
    const stages = await stagesOf({ apiUrl: peer.url, proxyUrl });
    assert.equal(stages['operate']?.status, 'passed', JSON.stringify(stages));
    assert.match(stages['connect']?.detail ?? '', /the proxy/);
  }
});

test('what the proxy refuses is told from what Opsgenie refuses', async (t) => {
  const proxy = await startProxy(t);
  const wrong = await stagesOf({ proxyUrl: `http://user:wrong@${host}:${proxy.port}` });
  assert.deepEqual([wrong['connect']?.status, wrong['connect']?.code], ['failed', 'authentication_failed']);
  assert.match(wrong['connect']?.hint ?? '', /proxyUrl/);
  const closed = await freePort();
  const dead = await stagesOf({
    apiUrl: `http://${host}:${closed}`,
    proxyUrl: `http://user:p%40ss%3Aw%C3%B6rd@${host}:${proxy.port}`,
  });
  assert.deepEqual([dead['connect']?.status, dead['connect']?.code], ['failed', 'host_unreachable']);
});
