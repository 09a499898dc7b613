import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { channel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { after, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import { createAuthority } from '../../test/services/certificates.ts';
import { freePort } from '../../test/services/service.ts';
import { AppError } from '../errors.ts';
import { connectError, createNetwork } from './egress.ts';
import { createEgressPolicy, type EgressOptions } from './egress-policy.ts';

const servers: Server[] = [];
const sockets = new Set<Socket>();
after(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
});

async function listen(server: Server): Promise<number> {
  servers.push(server);
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
}

function network(names: Record<string, string[]> = {}, options: EgressOptions = {}) {
  return createNetwork({
    policy: createEgressPolicy(options),
    lookup: async (host) => {
      const addresses = names[host.replace(/\.$/, '')];
      if (!addresses) throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' });
      return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
    },
  });
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    const value = await work;
    (value as Socket).destroy?.();
    return 'succeeded';
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return error.code;
  }
}

const timeoutMs = 20_000;

test('connects to a name and to literals in every spelling', async () => {
  const port = await listen(createServer((socket) => socket.end('hello')));
  for (const host of ['127.0.0.1', '0x7f.1', '2130706433', '::ffff:127.0.0.1', 'mail.test', 'mail.test.']) {
    const socket = await network({ 'mail.test': ['127.0.0.1'] }).connect({ host, port, timeoutMs });
    const [greeting] = await once(socket, 'data');
    assert.equal(String(greeting), 'hello', host);
    socket.destroy();
  }
});

test('resolve answers addresses in order and leaves the forbidden ones out', async () => {
  const names = {
    'a.test': ['192.0.2.1', '169.254.169.254', '2001:db8::1'],
    'meta.test': ['169.254.169.254'],
  };
  assert.deepEqual(await network(names).resolve('a.test'), [
    { address: '192.0.2.1', family: 4 },
    { address: '2001:db8:0:0:0:0:0:1', family: 6 },
  ]);
  assert.equal(await codeOf(network(names).resolve('meta.test')), 'egress_denied');
  assert.equal(await codeOf(network(names).resolve('unknown.test')), 'name_not_resolved');
});

test('security.md 8: the address that is dialled is the one that was checked', async () => {
  const port = await listen(createServer());
  let calls = 0;
  const rebinding = createNetwork({
    policy: createEgressPolicy({ deny: ['127.0.0.1'] }),
    lookup: async () => [{ address: calls++ === 0 ? '127.0.0.2' : '127.0.0.1', family: 4 }],
  });
  await codeOf(rebinding.connect({ host: 'rebind.test', port, timeoutMs }));
  assert.equal(calls, 1, 'a second look-up could answer another address');
  assert.equal(await codeOf(rebinding.connect({ host: 'rebind.test', port, timeoutMs })), 'egress_denied');
});

test('security.md 8: our own database is closed under any name that leads to it', async () => {
  const port = await listen(createServer());
  const names = { 'db.internal': ['127.0.0.1'], 'other.test': ['127.0.0.1'] };
  const guarded = network(names, { own: [{ host: 'db.internal', port }] });
  for (const host of ['db.internal', 'other.test', '127.0.0.1', '0x7f000001'])
    assert.equal(await codeOf(guarded.connect({ host, port, timeoutMs })), 'egress_denied', host);
});

test('a closed port, a missing name and an unsuitable name are told apart', async () => {
  const closed = await freePort();
  const plain = network({ 'two.test': ['127.0.0.1', '127.0.0.2'] });
  assert.equal(
    await codeOf(plain.connect({ host: '127.0.0.1', port: closed, timeoutMs })),
    'connection_refused',
  );
  assert.equal(
    await codeOf(plain.connect({ host: 'two.test', port: closed, timeoutMs })),
    'connection_refused',
  );
  assert.equal(
    await codeOf(plain.connect({ host: 'none.test', port: closed, timeoutMs })),
    'name_not_resolved',
  );
  assert.equal(await codeOf(plain.connect({ host: '.', port: closed, timeoutMs })), 'name_not_resolved');
});

test('the next address is tried when one refuses', async () => {
  const port = await listen(createServer());
  const both = network({ 'two.test': ['127.0.0.9', '127.0.0.1'] });
  assert.equal(await codeOf(both.connect({ host: 'two.test', port, timeoutMs })), 'succeeded');
});

/** Each socket that is dialled from now on, with the address it was first dialled to. */
function dials(t: TestContext): { socket: Socket; address: string }[] {
  const dialled: { socket: Socket; address: string }[] = [];
  const onSocket = (message: unknown) => {
    const { socket } = message as { socket: Socket };
    socket.once('connectionAttempt', (address: string) => dialled.push({ socket, address }));
  };
  const sockets = channel('net.client.socket');
  sockets.subscribe(onSocket);
  t.after(() => sockets.unsubscribe(onSocket));
  return dialled;
}

test('each address is dialled once, and the families take turns', async (t) => {
  const dialled = dials(t);
  const port = await freePort();
  const names = { 'many.test': ['127.0.0.2', '127.0.0.3', '127.0.0.4', '::1'] };
  await codeOf(network(names).connect({ host: 'many.test', port, timeoutMs }));
  assert.deepEqual(
    dialled.map(({ address }) => address),
    ['127.0.0.2', '0:0:0:0:0:0:0:1', '127.0.0.3', '127.0.0.4'],
  );
});

/** Fills a queue of connections that nobody accepts: whoever dials it then waits. */
async function listenWithoutAccepting(t: TestContext, host: string, port: number): Promise<void> {
  const code = `require('net').createServer().listen({ host: '${host}', port: ${port}, backlog: 1 }, () => console.log('up'))`;
  const child = spawn(process.execPath, ['--eval', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  const waiting: Socket[] = [];
  t.after(() => {
    child.kill('SIGKILL');
    for (const socket of waiting) socket.destroy();
  });
  await once(child.stdout, 'data');
  child.kill('SIGSTOP');
  for (;;) {
    const socket = connect(port, host);
    socket.on('error', () => {});
    waiting.push(socket);
    const isTaken = once(socket, 'connect').then(() => true);
    if (!(await Promise.race([isTaken, sleep(300, false)]))) return;
  }
}

test('an address that is slow is not waited for alone, and let go once another accepts', async (t) => {
  const port = await listen(createServer());
  await listenWithoutAccepting(t, '127.0.0.2', port);
  const both = createNetwork({
    policy: createEgressPolicy(),
    lookup: async () => ['127.0.0.2', '127.0.0.1'].map((address) => ({ address, family: 4 })),
    attemptDelayMs: 20,
  });
  const dialled = dials(t);
  const socket = await both.connect({ host: 'two.test', port, timeoutMs });
  assert.equal(socket.remoteAddress, '127.0.0.1');
  assert.deepEqual(
    dialled.map(({ address, socket: { destroyed } }) => [address, destroyed]),
    [
      ['127.0.0.2', true],
      ['127.0.0.1', false],
    ],
  );
  socket.destroy();

  const dial = (timeoutMs: number, signal?: AbortSignal) =>
    codeOf(both.connect({ host: '127.0.0.2', port, timeoutMs, ...(signal ? { signal } : {}) }));
  assert.equal(await dial(50), 'connect_timeout');
  assert.equal(await dial(timeoutMs, AbortSignal.timeout(50)), 'cancelled');
  assert.deepEqual(
    dialled.slice(2).map(({ address, socket: { destroyed } }) => [address, destroyed]),
    [
      ['127.0.0.2', true],
      ['127.0.0.2', true],
    ],
    'nothing goes on dialling',
  );
});

test('the deadline covers the name server too, and an abort is no timeout', async () => {
  const silent = createNetwork({ policy: createEgressPolicy(), lookup: () => new Promise(() => {}) });
  const target = { host: 'silent.test', port: 1 };
  assert.equal(await codeOf(silent.connect({ ...target, timeoutMs: 30 })), 'connect_timeout');
  const controller = new AbortController();
  const dial = codeOf(silent.connect({ ...target, timeoutMs, signal: controller.signal }));
  controller.abort();
  assert.equal(await dial, 'cancelled');
  assert.equal(
    await codeOf(silent.connect({ ...target, timeoutMs, signal: AbortSignal.abort() })),
    'cancelled',
  );
  assert.equal(await codeOf(silent.resolve('silent.test', AbortSignal.abort())), 'cancelled');
});

test("Node's errors of a dial have codes of ours", () => {
  const error = (code: string) => Object.assign(new Error(code), { code });
  const table: Record<string, string> = {
    ECONNREFUSED: 'connection_refused',
    EHOSTUNREACH: 'host_unreachable',
    ENETUNREACH: 'host_unreachable',
    ETIMEDOUT: 'connect_timeout',
    ECONNRESET: 'connection_lost',
  };
  for (const [code, ours] of Object.entries(table)) assert.equal(connectError(error(code), 'a:1').code, ours);
  const several = new AggregateError([error('ENETUNREACH'), error('ECONNREFUSED')]);
  assert.equal(connectError(several, 'a:1').code, 'connection_refused');
});

test('a name server that does not answer is a name that could not be resolved', async () => {
  const busy = createNetwork({
    policy: createEgressPolicy(),
    lookup: async () => {
      throw Object.assign(new Error('getaddrinfo EAI_AGAIN'), { code: 'EAI_AGAIN' });
    },
  });
  assert.equal(await codeOf(busy.resolve('a.test')), 'name_not_resolved');
});

// ---- TLS ----

const authority = createAuthority();
const plain = network({ 'mail.test': ['127.0.0.1'], 'other.test': ['127.0.0.1'] });

async function handshake(options: TlsOptions, host: string, more: object = { ca: authority.caPem }) {
  const tls = createTlsServer(options, (socket) => {
    socket.on('error', () => {});
    socket.write('secured');
  });
  tls.on('tlsClientError', () => {});
  const port = await listen(tls);
  const socket = await plain.connect({ host: '127.0.0.1', port, timeoutMs });
  const secured = await plain.secure(socket, { host, timeoutMs, ...more });
  const [data] = await once(secured, 'data');
  secured.destroy();
  return String(data);
}

function certificate(request: Parameters<typeof authority.issue>[0], by = authority): TlsOptions {
  const { certPem, keyPem } = by.issue(request);
  return { cert: certPem, key: keyPem };
}

test('TLS over a connected socket, by name and by address', async () => {
  const good = certificate({ commonName: 'mail', names: ['mail.test'], ips: ['127.0.0.1'] });
  assert.equal(await handshake(good, 'mail.test'), 'secured');
  assert.equal(await handshake(good, 'mail.test.'), 'secured');
  assert.equal(await handshake(good, '127.0.0.1'), 'secured');
});

test('what is wrong with a certificate is told apart', async () => {
  const name = { commonName: 'mail', names: ['mail.test'] };
  const other = createAuthority('Another CA');
  assert.equal(await codeOf(handshake(certificate(name, other), 'mail.test')), 'certificate_untrusted');
  assert.equal(
    await codeOf(handshake(certificate({ ...name, expired: true }), 'mail.test')),
    'certificate_expired',
  );
  assert.equal(await codeOf(handshake(certificate(name), 'other.test')), 'certificate_wrong_host');
  assert.equal(await codeOf(handshake(certificate(name), '127.0.0.1')), 'certificate_wrong_host');
  assert.equal(
    await handshake(certificate(name, other), 'other.test', { rejectUnauthorized: false }),
    'secured',
  );
});

test('no common version and a missing client certificate are failed handshakes', async () => {
  const good = certificate({ commonName: 'mail', names: ['mail.test'] });
  assert.equal(
    await codeOf(
      handshake({ ...good, maxVersion: 'TLSv1.2' }, 'mail.test', {
        ca: authority.caPem,
        minVersion: 'TLSv1.3',
      }),
    ),
    'tls_failed',
  );
  const wantsClient = {
    ...good,
    requestCert: true,
    rejectUnauthorized: true,
    maxVersion: 'TLSv1.2' as const,
  };
  assert.equal(await codeOf(handshake(wantsClient, 'mail.test')), 'tls_failed');
});

test('a peer that speaks another protocol, closes, or says nothing', async () => {
  const secure = async (onConnection: (socket: Socket) => void, handshakeMs = timeoutMs) => {
    const port = await listen(createServer(onConnection));
    const socket = await plain.connect({ host: '127.0.0.1', port, timeoutMs });
    return codeOf(plain.secure(socket, { host: 'mail.test', timeoutMs: handshakeMs }));
  };
  assert.equal(await secure((socket) => socket.write('220 mail.test ESMTP\r\n')), 'tls_not_offered');
  // By an end, or by a reset.
  assert.equal(await secure((socket) => socket.end()), 'connection_lost');
  assert.equal(await secure((socket) => socket.once('data', () => socket.destroy())), 'connection_lost');
  assert.equal(
    await secure((socket) => socket.once('data', () => socket.resetAndDestroy())),
    'connection_lost',
  );
  assert.equal(await secure(() => {}, 50), 'target_timeout');
});

test('an aborted handshake ends its socket', async () => {
  const port = await listen(createServer());
  const socket = await plain.connect({ host: '127.0.0.1', port, timeoutMs });
  const controller = new AbortController();
  const securing = codeOf(plain.secure(socket, { host: 'mail.test', timeoutMs, signal: controller.signal }));
  controller.abort();
  assert.equal(await securing, 'cancelled');
  assert.equal(socket.destroyed, true);
});

test('security.md 18: an error of a socket that nobody listens to is not out of band', async () => {
  const port = await listen(createServer());
  const socket = await plain.connect({ host: '127.0.0.1', port, timeoutMs });
  socket.destroy(new Error('the driver has not attached a listener yet'));
  await new Promise<void>((resolve) => socket.once('close', () => resolve()));
});
