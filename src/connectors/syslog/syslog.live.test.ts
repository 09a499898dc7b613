import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { type RsyslogService, type SyslogRecord, startRsyslog } from '../../../test/services/rsyslog.ts';
import { freePort, startOrSkip } from '../../../test/services/service.ts';
import type { AppError } from '../../errors.ts';
import type { Trust } from '../connector.ts';
import { syslogConnector } from './syslog.connector.ts';
import { syslogFacilities, syslogSeverities } from './syslog.definition.ts';
import type { LogInput, SyslogConfig, SyslogItem } from './syslog-message.ts';

const authority = createAuthority();
const certificate = authority.issue({ commonName: 'log.test', names: ['localhost'], ips: ['127.0.0.1'] });
const trust = trustIn(authority.caPem);

function config(overrides: Partial<SyslogConfig>): SyslogConfig {
  return {
    type: 'syslog',
    name: 'log',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    syslogServerHostname: '127.0.0.1',
    syslogPort: 514,
    syslogProtocolType: 'TCP',
    syslogMessageFormat: 'RFC_5424',
    syslogAppName: 'Apinizer',
    syslogFacility: 'AUDIT',
    syslogSeverity: 'INFORMATIONAL',
    // Generous for a busy machine; the default is 500.
    syslogTimeout: 10_000,
    syslogSslEnabled: false,
    verifyCertificate: true,
    framing: 'AUTO',
    queueSize: 10_000,
    maxBufferBytes: 67_108_864,
    enqueueTimeoutMs: 100,
    connections: 1,
    ...overrides,
  };
}

/** Opens a connection for one test; it is closed behind it. */
function open(t: TestContext, overrides: Partial<SyslogConfig>, trusted: Trust = trust) {
  const ctx = createContext({ signal: new AbortController().signal, trust: trusted });
  const live = syslogConnector.open(config(overrides), ctx);
  assert.ok(!(live instanceof Promise));
  t.after(() => syslogConnector.close(live));
  return {
    live,
    figures: () => syslogConnector.figures!(live),
    log: (input: LogInput, signal = AbortSignal.timeout(60_000)) =>
      syslogConnector.operations.log(live, input, { signal }),
  };
}

async function stagesOf(overrides: Partial<SyslogConfig>, trusted: Trust = trust) {
  const ctx = createContext({ signal: AbortSignal.timeout(60_000), trust: trusted });
  const { stages } = await testConnection(syslogConnector, config(overrides), ctx);
  return Object.fromEntries(stages.map((stage) => [stage.stage, stage]));
}

async function listen(t: TestContext, onSocket: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as { port: number }).port;
}

const failsWith = (expected: string) => (error: unknown) => {
  const failure = syslogConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  return true;
};

test('syslog against rsyslog', async (t) => {
  const service = await startOrSkip(t, () => startRsyslog(certificate, authority.caPem));
  if (!service) return;
  t.after(() => service.stop());
  await contracts(t, service);
  await formats(t, service);
  await injections(t, service);
  await tlsCases(t, service);
  await restarts(t, service);
  await udpCases(t, service);
});

async function contracts(t: TestContext, service: RsyslogService) {
  for (const tls of [false, true]) {
    const base = {
      syslogPort: tls ? service.tlsPort : service.tcpPort,
      syslogSslEnabled: tls,
      syslogMessageFormat: tls ? 'RFC_5425' : 'RFC_3164',
    } as const;
    await connectorContract(t, `syslog over ${tls ? 'TLS' : 'TCP'}`, {
      connector: syslogConnector,
      config: () => config(base),
      configAt: ({ host, port, timeoutMs }) =>
        config({ ...base, syslogServerHostname: host, syslogPort: port, syslogTimeout: timeoutMs }),
      operate: (live, call) => syslogConnector.operations.log(live, { message: 'contract' }, call),
      restart: () => service.restart(),
      trust,
      silentAt: tls ? 'tls' : 'unnoticed',
      garbledAt: tls ? 'tls' : 'connect',
      secrets: [],
      tls,
    });
  }
}

type Variant = Pick<
  SyslogConfig,
  'syslogMessageFormat' | 'framing' | 'syslogProtocolType' | 'syslogSslEnabled'
>;

function variants(): { title: string; settings: Variant }[] {
  const all: { title: string; settings: Variant }[] = [];
  for (const syslogMessageFormat of ['RFC_3164', 'RFC_5424', 'RFC_5425'] as const)
    for (const transport of ['UDP', 'TCP', 'TLS'] as const)
      for (const framing of ['AUTO', 'NON_TRANSPARENT', 'OCTET_COUNTING'] as const) {
        if (transport === 'UDP' && framing !== 'AUTO') continue;
        all.push({
          title: `${syslogMessageFormat}, ${framing}, ${transport}`,
          settings: {
            syslogMessageFormat,
            framing,
            syslogProtocolType: transport === 'UDP' ? 'UDP' : 'TCP',
            syslogSslEnabled: transport === 'TLS',
          },
        });
      }
  return all;
}

function portOf(service: RsyslogService, { syslogProtocolType, syslogSslEnabled }: Variant): number {
  if (syslogProtocolType === 'UDP') return service.udpPort;
  return syslogSslEnabled ? service.tlsPort : service.tcpPort;
}

function inputOf({ syslogProtocolType, syslogSslEnabled }: Variant): string {
  if (syslogProtocolType === 'UDP') return 'udp';
  return syslogSslEnabled ? 'tls' : 'tcp';
}

async function formats(t: TestContext, service: RsyslogService) {
  for (const [at, { title, settings }] of variants().entries())
    await t.test(`rsyslog reads ${title}`, async (t) => {
      const facility = syslogFacilities[at % syslogFacilities.length]!;
      const severity = syslogSeverities[at % syslogSeverities.length]!;
      const { log } = open(t, {
        ...settings,
        syslogPort: portOf(service, settings),
        syslogMessageHostname: 'gateway-1',
        syslogAppName: `app${at}`,
        syslogFacility: facility,
      });
      const timestampMs = new Date(2026, 0, 5, 7, 8, 9).getTime() + 123;
      const items: SyslogItem[] = [
        { message: 'first üñí €', severity, msgId: 'ORDER', timestampMs },
        {
          message: '<0>1 {"json": true}',
          timestampMs,
          structuredData: { 'order@32473': { id: 'quote " slash \\ bracket ]', empty: '' }, 'meta@1': {} },
        },
      ];
      assert.deepEqual(await log({ messages: items }), {
        accepted: 2,
        results: [{ accepted: true }, { accepted: true }],
      });
      const [first, second] = await service.received((record) => record.app === `app${at}`, 2);
      assert.ok(first && second);
      assert.equal(first.input, inputOf(settings));
      assert.equal(first.hostname, 'gateway-1');
      assert.equal(
        Number(first.pri),
        syslogFacilities.indexOf(facility) * 8 + syslogSeverities.indexOf(severity),
      );
      assert.equal(
        Number(second.pri),
        syslogFacilities.indexOf(facility) * 8 + 6,
        "the connection's severity",
      );
      if (settings.syslogMessageFormat === 'RFC_3164') {
        assert.equal(first.tag, `app${at}:`);
        assert.equal(first.msg, ' first üñí €');
        assert.match(first.raw, /^Jan {2}5 07:08:09 gateway-1 /);
        assert.equal(second.msg, ' <0>1 {"json": true}');
      } else {
        assert.equal(first.msgid, 'ORDER');
        assert.equal(first.procid, '-');
        assert.equal(first.structured, '-');
        assert.equal(first.msg, '\ufefffirst üñí €', 'UTF-8 is marked as RFC 5424 6.4 demands');
        assert.equal(new Date(first.timestamp).getTime(), timestampMs);
        assert.match(first.raw, new RegExp(new Date(timestampMs).toISOString()));
        assert.equal(second.msgid, '-');
        assert.equal(
          second.structured,
          '[order@32473 id="quote \\" slash \\\\ bracket \\]" empty=""][meta@1]',
        );
        assert.equal(second.msg, '<0>1 {"json": true}', 'ASCII needs no mark');
      }
    });

  await t.test("names the worker's host by default", async (t) => {
    const { log } = open(t, { syslogPort: service.tcpPort, syslogAppName: 'default-host' });
    await log({ message: 'hello' });
    const [record] = await service.received(({ app }) => app === 'default-host');
    assert.equal(record?.hostname, hostname());
  });
}

async function injections(t: TestContext, service: RsyslogService) {
  for (const [at, { title, settings }] of variants().entries())
    await t.test(`security 11: a message cannot begin a second one: ${title}`, async (t) => {
      const app = `inject${at}`;
      const { log } = open(t, { ...settings, syslogPort: portOf(service, settings), syslogAppName: app });
      const forged = `Jan  5 07:08:09 forged root: owned`;
      const attempts = [
        `a\n<8>${forged}`,
        `b\r\n<8>${forged}`,
        `c\0<8>${forged}`,
        `d\n45 <8>1 - forged root - - - owned\n`,
        `e\u001b[2Jf\u0007\u007f`,
        '\n\n\n',
      ];
      const structuredData = { 'x@1': { value: `"] owned\n<8>${forged}` } };
      await log({ messages: attempts.map((message) => ({ message, structuredData })) });
      const sent = await service.received((record) => record.app === app, attempts.length);
      // Whatever a frame has left over would have come with or before this one.
      await log({ message: 'last' });
      await service.received((record) => record.app === app && record.msg.endsWith('last'));
      const records = await service.records();
      assert.equal(records.filter((record) => record.app === app).length, attempts.length + 1);
      assert.equal(records.filter((record) => record.hostname === 'forged').length, 0);
      for (const { raw } of sent) assert.doesNotMatch(raw, /[\0\x07\x1b\x7f\r]/);
      const keepsNewlines =
        settings.syslogMessageFormat !== 'RFC_3164' &&
        (settings.syslogProtocolType === 'UDP' ||
          settings.framing === 'OCTET_COUNTING' ||
          (settings.framing === 'AUTO' && settings.syslogMessageFormat === 'RFC_5425'));
      assert.ok(sent[0]?.msg.endsWith(`a${keepsNewlines ? '\n' : '#012'}<8>${forged}`), sent[0]?.msg);
    });
}

async function tlsCases(t: TestContext, service: RsyslogService) {
  const tls = { syslogSslEnabled: true, syslogPort: service.tlsPort } as const;

  await t.test('an authority that is not trusted', async (t) => {
    const foreign = trustIn(createAuthority('Somebody else').caPem);
    const stages = await stagesOf(tls, foreign);
    assert.equal(stages['tls']?.code, 'certificate_untrusted');
    const { log } = open(t, tls, foreign);
    await assert.rejects(log({ message: 'x' }), failsWith('certificate_untrusted'));
    const unverified = await stagesOf({ ...tls, verifyCertificate: false }, foreign);
    assert.equal(unverified['operate']?.status, 'passed');
    assert.match(unverified['tls']?.hint ?? '', /verifyCertificate is off/);
  });

  await t.test('a certificate for another name', async (t) => {
    const other = authority.issue({ commonName: 'other.test', names: ['other.test'] });
    const elsewhere = await startRsyslog(other, authority.caPem);
    t.after(() => elsewhere.stop());
    const stages = await stagesOf({ ...tls, syslogPort: elsewhere.tlsPort });
    assert.equal(stages['tls']?.code, 'certificate_wrong_host');
  });

  await t.test('a server that demands a client certificate', async (t) => {
    const mutual = { ...tls, syslogPort: service.mutualPort };
    const stages = await stagesOf(mutual);
    const failed = Object.values(stages).find(({ status }) => status === 'failed');
    assert.ok(failed, JSON.stringify(stages));
    assert.ok(['tls', 'operate'].includes(failed.stage), JSON.stringify(failed));
    const own = authority.issue({ commonName: 'worker', client: true });
    const withKey: Trust = {
      tls: (fields) => ({ ...trust.tls(fields), cert: own.certPem, key: own.keyPem }),
    };
    const { log } = open(t, { ...mutual, syslogAppName: 'mutual' }, withKey);
    await log({ message: 'hello' });
    await service.received(({ app, input }) => app === 'mutual' && input === 'mutual');
  });

  await t.test('TLS against a plain port', async () => {
    const stages = await stagesOf({ ...tls, syslogPort: service.tcpPort, syslogTimeout: 1500 });
    assert.equal(stages['tls']?.status, 'failed');
    assert.equal(stages['connect']?.status, 'passed');
  });

  await t.test('several connections share a batch, and all of it arrives once', async (t) => {
    const { log, figures } = open(t, { ...tls, connections: 4, syslogAppName: 'spread' });
    const count = 4000;
    // Each further connection is made while there is something to send.
    const deadline = Date.now() + 20_000;
    for (let at = 0; figures()['connected']! < 4; at++) {
      assert.ok(Date.now() < deadline, JSON.stringify(figures()));
      await log({ message: `warm ${at}` });
      await sleep(20);
    }
    for (let round = 0; round < 4; round++)
      await log({
        messages: Array.from({ length: count / 4 }, (_, at) => ({ message: `n${round * (count / 4) + at}` })),
      });
    const records = await service.received(({ app, msg }) => app === 'spread' && msg.startsWith('n'), count);
    assert.equal(new Set(records.map(({ msg }) => msg)).size, count);
    assert.equal(records.length, count);
    assert.equal(figures()['connected'], 4);
    assert.equal(figures()['queued'], 0);
    assert.equal(figures()['bytes'], 0);
  });
}

async function restarts(t: TestContext, service: RsyslogService) {
  for (const syslogSslEnabled of [false, true])
    await t.test(`a restart in the middle of messages, ${syslogSslEnabled ? 'TLS' : 'TCP'}`, async (t) => {
      const app = `restart-${syslogSslEnabled}`;
      const { log } = open(t, {
        syslogSslEnabled,
        syslogPort: syslogSslEnabled ? service.tlsPort : service.tcpPort,
        syslogAppName: app,
      });
      const accepted: { message: string; phase: string }[] = [];
      let phase = 'before';
      const restarting = sleep(300).then(async () => {
        phase = 'during';
        await service.restart();
        phase = 'after';
      });
      for (let at = 0, after = 0; after < 50; at++) {
        const message = `line ${at}.`;
        const begunIn = phase;
        try {
          await log({ message });
          accepted.push({ message, phase: begunIn });
          if (begunIn === 'after') after++;
        } catch (error) {
          const failure = syslogConnector.classify(error);
          assert.ok(failure.retryable, failure.code);
        }
        await sleep(5);
      }
      await restarting;
      const ofApp = (record: SyslogRecord) => record.app === app;
      await service.received((record) => ofApp(record) && record.msg.endsWith(accepted.at(-1)!.message));
      const arrived = (await service.records()).filter(ofApp).map(({ msg }) => msg.trim());
      const lost = accepted.filter(({ message }) => !arrived.includes(message));
      // TCP syslog has no acknowledgement: what the server's system has taken and the server has not
      // read dies with it, so that only what was sent while it ended may be missing.
      t.diagnostic(`${lost.length} of ${accepted.length} accepted lines died with the server`);
      assert.deepEqual(
        lost.filter(({ phase }) => phase === 'after'),
        [],
      );
      const places = lost.map((line) => accepted.indexOf(line));
      const [first = 0] = places;
      assert.deepEqual(
        places,
        places.map((_, at) => first + at),
        'only the last lines of a connection may be missing',
      );
    });

  await t.test('messages are refused while the server is away, and arrive afterwards', async (t) => {
    const { log } = open(t, { syslogPort: service.tcpPort, syslogAppName: 'away' });
    await log({ message: 'before' });
    await service.pause();
    try {
      await assert.rejects(log({ message: 'lost' }), failsWith('connection_refused'));
      const { accepted, results } = await log({
        messages: [{ message: 'lost' }, { message: 'lost' }],
      }).catch((error: unknown) => {
        failsWith('connection_refused')(error);
        return { accepted: 0, results: [] };
      });
      assert.equal(accepted, 0, JSON.stringify(results));
      assert.equal((await stagesOf({ syslogPort: service.tcpPort }))['connect']?.code, 'connection_refused');
    } finally {
      await service.restart();
    }
    await log({ message: 'after' });
    await service.received(({ app, msg }) => app === 'away' && msg === 'after');
    const lost = (await service.records()).filter(({ app, msg }) => app === 'away' && msg === 'lost');
    assert.equal(lost.length, 0, 'what was refused is not sent after all');
  });
}

async function udpCases(t: TestContext, service: RsyslogService) {
  const udp = { syslogProtocolType: 'UDP', syslogPort: service.udpPort } as const;

  await t.test('the test over UDP sends one line, the proof none', async (t) => {
    const before = (await service.records()).length;
    const { live } = open(t, udp);
    await syslogConnector.prove(live, { signal: AbortSignal.timeout(20_000) });
    const stages = await stagesOf({ ...udp, syslogAppName: 'udp-test' });
    for (const stage of ['connect', 'tls', 'authenticate'])
      assert.ok(stages[stage]?.status === 'skipped' && stages[stage].detail, stage);
    assert.equal(stages['operate']?.status, 'passed');
    assert.match(stages['operate']?.detail ?? '', /one message was sent at DEBUG/);
    const [record] = await service.received(({ app }) => app === 'udp-test');
    assert.equal(Number(record?.pri) % 8, 7);
    assert.equal((await service.records()).length, before + 1);
  });

  await t.test('a closed UDP port is refused by the test, and heard of by the next message', async (t) => {
    const closed = { ...udp, syslogPort: await freePort() };
    assert.equal((await stagesOf(closed))['operate']?.code, 'connection_refused');
    const { log } = open(t, closed);
    await log({ message: 'into the void' });
    await sleep(200);
    await assert.rejects(log({ message: 'x' }), failsWith('connection_refused'));
  });

  await t.test('a large datagram passes, one beyond UDP is refused and holds up nobody', async (t) => {
    const { log } = open(t, { ...udp, syslogAppName: 'large' });
    const { accepted, results } = await log({
      messages: [{ message: 'a'.repeat(60_000) }, { message: 'b'.repeat(70_000) }, { message: 'c' }],
    });
    assert.equal(accepted, 2);
    assert.equal(results[1]?.error?.code, 'message_too_large');
    const records = await service.received(({ app }) => app === 'large', 2);
    assert.deepEqual(
      records.map(({ msg }) => msg.length),
      [60_000, 1],
    );
  });
}

test('a peer that accepts and never reads: bounded memory and typed errors', async (t) => {
  const port = await listen(t, (socket) => socket.pause());
  const maxBufferBytes = 4_000_000;
  const { log, figures } = open(t, { syslogPort: port, syslogTimeout: 1500, maxBufferBytes, queueSize: 50 });
  const message = 'x'.repeat(500_000);
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, figures()['bytes']!);
  }, 5);
  t.after(() => clearInterval(watch));
  const answers = await Promise.allSettled(Array.from({ length: 60 }, () => log({ message })));
  const codes = answers.map((answer) =>
    answer.status === 'rejected' ? (answer.reason as AppError).code : 'sent',
  );
  assert.ok(codes.includes('target_timeout'), [...new Set(codes)].join());
  assert.ok(codes.includes('buffer_full'), [...new Set(codes)].join());
  assert.ok(most <= maxBufferBytes, `${most} bytes were held`);
  assert.ok(most > 0);
});

test('a full queue of messages refuses after the wait', async (t) => {
  const port = await listen(t, (socket) => socket.pause());
  const { log, figures } = open(t, {
    syslogPort: port,
    syslogTimeout: 0,
    queueSize: 3,
    enqueueTimeoutMs: 50,
  });
  const abort = new AbortController();
  const stuck = Array.from({ length: 30 }, () =>
    log({ message: 'x'.repeat(1_000_000) }, abort.signal).catch((error: AppError) => error.code),
  );
  // What the systems' socket buffers take is sent; of the rest, what finds no room is refused.
  await Promise.any(stuck.map(async (call) => assert.equal(await call, 'buffer_full')));
  assert.ok(figures()['queued']! <= 3);
  abort.abort();
  assert.ok((await Promise.all(stuck)).includes('cancelled'));
});

test('with queueSize 0 a message is sent at once or refused', async (t) => {
  const service = await startOrSkip(t, () => startRsyslog(certificate, authority.caPem));
  if (!service) return;
  t.after(() => service.stop());
  const { log } = open(t, { syslogPort: service.tcpPort, queueSize: 0, syslogAppName: 'direct' });
  for (let at = 0; at < 5; at++) await log({ message: `n${at}` });
  await service.received(({ app }) => app === 'direct', 5);
});

test('a connection that the peer has closed is noticed before the next message', async (t) => {
  let dials = 0;
  const received: string[] = [];
  const port = await listen(t, (socket) => {
    dials++;
    socket.on('data', (bytes) => {
      received.push(String(bytes));
      socket.end();
    });
  });
  const { log, figures } = open(t, { syslogPort: port, syslogMessageFormat: 'RFC_3164' });
  for (let at = 1; at <= 3; at++) {
    await log({ message: `n${at}` });
    while (figures()['connected'] !== 0) await sleep(5);
  }
  assert.equal(dials, 3);
  assert.deepEqual(
    received.map((line) => /n\d/.exec(line)?.[0]),
    ['n1', 'n2', 'n3'],
  );
});

test('what a lost connection did not take is sent on the next one', async (t) => {
  let dials = 0;
  let bytes = 0;
  let text = '';
  const port = await listen(t, (socket) => {
    dials++;
    if (dials === 1) {
      socket.pause();
      setTimeout(() => socket.resetAndDestroy(), 700);
      return;
    }
    socket.on('data', (chunk) => {
      bytes += chunk.length;
      text += String(chunk).replaceAll(/x+/g, 'x');
    });
  });
  const { log } = open(t, { syslogPort: port, syslogTimeout: 30_000 });
  // More than any socket buffer holds, so that the write is not done when the peer resets.
  const messages = Array.from({ length: 40 }, (_, at) => ({ message: `${'x'.repeat(1_000_000)} end${at}.` }));
  const { accepted } = await log({ messages });
  assert.equal(accepted, 40);
  assert.equal(dials, 2);
  while (!text.includes('end39.')) await sleep(20);
  assert.ok(bytes > 1_000_000);
  const ends = [...text.matchAll(/end(\d+)\./g)].map((match) => Number(match[1]));
  assert.deepEqual(
    ends,
    ends.toSorted((a, b) => a - b),
    'in order',
  );
});
