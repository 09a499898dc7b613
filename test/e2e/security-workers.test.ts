import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import forge from 'node-forge';
import { type Answer, type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import {
  callUrl,
  logLines,
  newSite,
  type PlugboardProcess,
  runToEnd,
  type Site,
  startProcess,
} from '../harness/plugboard-process.ts';
import { createAuthority } from '../services/certificates.ts';

const base = '/apiops/projects/MyProject/connections';

/** A PKCS12 file of a client with many certificates, as those of a company's authorities are. */
function largeKeystore(password: string): Buffer {
  const { certPem, keyPem } = createAuthority().issue({ commonName: 'client' });
  const certificates = Array.from({ length: 10 }, () => forge.pki.certificateFromPem(certPem));
  const key = forge.pki.privateKeyFromPem(keyPem);
  const written = forge.pkcs12.toPkcs12Asn1(key, certificates, password, { algorithm: '3des', count: 1 });
  return Buffer.from(forge.asn1.toDer(written).getBytes(), 'latin1');
}

interface SilentTarget {
  port: number;
  open: Set<Socket>;
  /** Those of `open` that were asked something, which a proof does not. */
  asked: Set<Socket>;
  server: Server;
}

/** A target that accepts, and says nothing for ever. */
async function startSilentTarget(): Promise<SilentTarget> {
  const open = new Set<Socket>();
  const asked = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => {});
    // Who does not read does not see the other side hang up.
    socket.on('data', () => asked.add(socket));
    socket.once('close', () => {
      open.delete(socket);
      asked.delete(socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as { port: number }).port, open, asked, server };
}

function askedAnew({ asked }: SilentTarget, before: ReadonlySet<Socket>): boolean {
  return [...asked].some((socket) => !before.has(socket));
}

/** Waits until it holds; what never holds ends the test by this deadline. */
async function until(
  what: string,
  holds: () => Promise<boolean> | boolean,
  withinMs = 30_000,
): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${withinMs} ms`);
    await sleep(25);
  }
}

describe('workers in the all-in-one', () => {
  let plugboard: Plugboard;
  let silent: SilentTarget;
  const call: Plugboard['call'] = (...given) => plugboard.call(...given);

  before(async () => {
    silent = await startSilentTarget();
    plugboard = await startPlugboard({ workerOptions: { egress: {} } });
  });
  after(async () => {
    await plugboard.stop();
    for (const socket of silent.open) socket.destroy();
    silent.server.close();
  });

  const slowHook = (name: string) => ({
    type: 'webhook',
    name,
    fullUrl: `http://127.0.0.1:${silent.port}/`,
    timeout: 60,
  });

  test('security 8: a metadata address is refused in every spelling, by tests and by operations', async () => {
    const hosts = [
      '169.254.169.254',
      '169.254.169.254.',
      '[::ffff:169.254.169.254]',
      '[::ffff:a9fe:a9fe]',
      '2852039166',
      '0xa9fea9fe',
      '0251.0376.0251.0376',
      '0xa9.0xfe.0xa9.0xfe',
      '169.254.43518',
      '[fd00:ec2::254]',
      '[fe80::1]',
      '0.0.0.0',
      '[::]',
      '100.100.100.200',
    ];
    let count = 0;
    for (const host of hosts) {
      const bare = host.replace(/^\[|\]$/g, '');
      const bodies = [
        { type: 'email', host: bare, from: 'a@b.example' },
        { type: 'webhook', fullUrl: `http://${host}/latest/meta-data/` },
        {
          type: 'database',
          jdbcUrl: `jdbc:postgresql://${host}:5432/x`,
          username: 'u',
          password: 'some-password',
        },
      ];
      for (const [index, rest] of bodies.entries()) {
        const name = `egress ${count++}`;
        const path = `${base}/${encodeURIComponent(name)}/`;
        const created = await call('POST', path, { ...rest, name });
        // A spelling that is no host may be refused as such at once; what is stored must not be dialled.
        if (created.status === 400) continue;
        assert.equal(created.status, 200, created.text);
        const tested = (await call('POST', `${path}test/?timeoutMs=5000`)).body;
        assert.equal(tested.success, false);
        const failed = tested.results[0].stages.find(({ status }: { status: string }) => status === 'failed');
        assert.ok(
          failed?.code === 'egress_denied' || tested.results[0].error === 'egress_denied',
          `${rest.type} ${host}: ${JSON.stringify(tested)}`,
        );
        const [operation, input] = [
          ['send', { to: ['a@b.example'], subject: 's', text: 't' }],
          ['call', {}],
          ['query', { sql: 'select 1' }],
        ][index]!;
        const used = await call('POST', `${path}operations/${operation}/?timeoutMs=5000`, input);
        assert.equal(used.status, 403, `${rest.type} ${host}: ${used.text}`);
        assert.equal(used.body.error, 'egress_denied');
      }
    }
  });

  test('security 8: no type and no transport reaches a metadata address', async () => {
    const host = '169.254.169.254';
    const logIn = { username: 'u', password: 'some-password' };
    const jdbc = (jdbcUrl: string) =>
      ['database', 'query', { sql: 'select 1' }, { jdbcUrl, ...logIn }] as const;
    const attempts: (readonly [type: string, operation: string, input: object, body: object])[] = [
      ['email', 'send', { to: ['a@b.example'], subject: 's', text: 't' }, { host, from: 'a@b.example' }],
      [
        'kafka',
        'produce',
        { messages: [{ value: 'v' }] },
        { topicName: 't', bootstrapServers: `${host}:9092` },
      ],
      ['elasticsearch', 'search', { index: 'i' }, { elasticHostList: [{ host }] }],
      jdbc(`jdbc:mysql://${host}/x`),
      jdbc(`jdbc:sqlserver://${host};databaseName=x`),
      jdbc(`jdbc:oracle:thin:@${host}:1521/x`),
      jdbc(`jdbc:trino://${host}:8080/x?SSL=true`),
      jdbc(`jdbc:hive2://${host}:10000/x`),
      ['database', 'find', { collection: 'c' }, { jdbcUrl: `mongodb://${host}/x`, ...logIn }],
      [
        'ldap',
        'search',
        { filter: '(uid=a)' },
        { serverAddress: `ldap://${host}`, baseDn: 'dc=a', ...logIn },
      ],
      ['ftp', 'list', {}, { protocol: 'FTP', host, ...logIn }],
      ['ftp', 'list', {}, { protocol: 'SFTP', host, ...logIn }],
      ['rabbitMq', 'publish', { body: 'b' }, { hostPortList: [{ host }] }],
      ...(['TCP', 'AMQP'] as const).map(
        (protocol) =>
          [
            'activeMq',
            'send',
            { body: 'b' },
            {
              activeMqConnectionProtocolType: protocol,
              brokerURL: `${protocol.toLowerCase()}://${host}:61616`,
              destinationType: 'QUEUE',
              destinationName: 'q',
            },
          ] as const,
      ),
      ...['udp', 'tcp'].map(
        (transport) =>
          [
            'snmp',
            'notify',
            { message: 'm' },
            {
              connectionString: `${transport}:${host}/162`,
              securityOrCommunityName: 'public',
              pduOidForMessage: '1.3.6.1',
            },
          ] as const,
      ),
      ['linux-script', 'run', { script: 'id' }, { hostName: host, ...logIn }],
      ['ops-genie', 'createAlert', { message: 'm' }, { apiUrl: `http://${host}`, apiKey: 'some-api-key' }],
      [
        'ops-genie',
        'createAlert',
        { message: 'm' },
        { apiUrl: 'https://example.com', apiKey: 'some-api-key', proxyUrl: `http://${host}:3128` },
      ],
      ...['TCP', 'UDP'].flatMap(
        (transport) =>
          [
            ['graylog', 'log', { message: 'm' }, { hostname: host, transportType: transport }],
            [
              'syslog',
              'log',
              { message: 'm' },
              { syslogServerHostname: host, syslogProtocolType: transport },
            ],
          ] as const,
      ),
    ];
    for (const [index, [type, operation, input, body]] of attempts.entries()) {
      const path = `${base}/metadata%20${index}/`;
      const created = await call('POST', path, { type, name: `metadata ${index}`, ...body });
      assert.equal(created.status, 200, `${type}: ${created.text}`);
      const tested = (await call('POST', `${path}test/?timeoutMs=5000`)).body.results[0];
      const failed = tested.stages.find(({ status }: { status: string }) => status === 'failed');
      assert.equal(failed?.code, 'egress_denied', `${type}: ${JSON.stringify(tested)}`);
      const used = await call('POST', `${path}operations/${operation}/?timeoutMs=5000`, input);
      assert.deepEqual([used.status, used.body.error], [403, 'egress_denied'], `${type}: ${used.text}`);
    }
  });

  test('security 17: received, valid and connected are three things, and a later failure is seen', async () => {
    const path = `${base}/steps/`;
    const step = async () =>
      (await call('GET', `${path}deployments/`)).body.resultList[0].workers[0]?.step as string | undefined;
    const created = await call('POST', path, { type: 'email', name: 'steps', host: '127.0.0.1', port: 9 });
    // An unreachable target neither holds up nor fails a deployment.
    assert.equal(created.body.deploymentResult.success, true, created.text);
    await until('the failure shows', async () => (await step()) === 'unreachable');
    const proven = await call('POST', `${path}deploy/?prove=true&deployTimeoutMs=8000`);
    assert.equal(proven.body.deploymentResult.success, false, proven.text);
  });

  test('security 18: a hung target costs only itself', async () => {
    for (const name of ['hung', 'beside'])
      assert.equal((await call('POST', `${base}/${name}/`, { ...slowHook(name), timeout: 20 })).status, 200);
    const refusing = { type: 'email', name: 'quick', host: '127.0.0.1', port: 9, from: 'a@b.example' };
    assert.equal((await call('POST', `${base}/quick/`, refusing)).status, 200);
    const order: string[] = [];
    const hung = Array.from({ length: 40 }, () =>
      call('POST', `${base}/hung/operations/call/?timeoutMs=4000`, {}).then((answer) => {
        order.push('hung');
        return answer;
      }),
    );
    await until('the target is asked', () => silent.asked.size > 0);
    for (let round = 0; round < 5; round++) {
      const quick = await call('POST', `${base}/quick/operations/send/`, {
        to: ['a@b.example'],
        subject: 's',
        text: 't',
      });
      order.push('quick');
      assert.equal(quick.status, 502, quick.text);
    }
    const changed = await call('PUT', `${base}/quick/`, { ...refusing, port: 10 });
    assert.equal(changed.body.deploymentResult.success, true);
    order.push('quick');
    assert.deepEqual(order, Array(6).fill('quick'), 'nothing waited for the hung one');
    for (const { status } of await Promise.all(hung))
      assert.ok([429, 503, 504].includes(status), `${status}`);
  });

  test('security 19: a refused revision leaves the last good one running, in a worker that comes later too', async () => {
    const heard: string[] = [];
    const target = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (chunk) => {
        heard.push(chunk.toString().split(' ')[1]!);
        socket.end('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n');
      });
    });
    target.listen(0, '127.0.0.1');
    await once(target, 'listening');
    const { port } = target.address() as { port: number };
    const path = `${base}/poisoned/`;
    const good = { type: 'webhook', name: 'poisoned', fullUrl: `http://127.0.0.1:${port}/good` };
    assert.equal((await call('POST', path, good)).body.deploymentResult.success, true);
    const bad = { ...good, fullUrl: `https://127.0.0.1:${port}/bad`, keyStoreName: 'nowhere' };
    const poisoned = await call('PUT', path, bad);
    assert.equal(poisoned.body.success, true);
    assert.equal(poisoned.body.deploymentResult.success, false, poisoned.text);
    assert.match(poisoned.text, /nowhere/);
    const used = await call('POST', `${path}operations/call/`, {});
    assert.equal(used.status, 200, used.text);
    assert.deepEqual(heard, ['/good']);
    const [status] = (await call('GET', `${path}deployments/`)).body.resultList;
    assert.deepEqual(
      [status.lastGoodRevision, status.workers[0].step, status.workers[0].servingRevision],
      [1, 'refused', 1],
    );

    const later = await plugboard.addWorker('production', 'later');
    await until('the later worker serves', async () => {
      const [{ workers }] = (await call('GET', `${path}deployments/`)).body.resultList;
      return workers.some(
        (one: { worker: string; servingRevision: number }) =>
          one.worker === 'later' && one.servingRevision === 1,
      );
    });
    // Whichever of the two is asked.
    for (let round = 0; round < 8; round++)
      assert.equal((await call('POST', `${path}operations/call/`, {})).status, 200);
    assert.ok(heard.every((asked) => asked === '/good'));
    await later.stop(0);
    target.close();
  });

  test('security 21: disabling aborts what runs within seconds, closes sockets, and refuses', async () => {
    const path = `${base}/stopped/`;
    assert.equal((await call('POST', path, slowHook('stopped'))).status, 200);
    const before = new Set(silent.asked);
    const running = call('POST', `${path}operations/call/`, {});
    await until('the operation runs', () => askedAnew(silent, before));
    const disabled = await call('PUT', path, { ...slowHook('stopped'), enabled: false });
    assert.equal(disabled.body.deploymentResult.success, true, disabled.text);
    const aborted = await running;
    assert.ok(aborted.status >= 400 && aborted.body.error, aborted.text);
    await until('its sockets are closed', () => !askedAnew(silent, before));
    assert.equal((await call('POST', `${path}operations/call/`, {})).status, 409);
  });

  test('security 21: a revoked token loses its event stream and its running operations', async () => {
    const path = `${base}/used/`;
    assert.equal((await call('POST', path, slowHook('used'))).status, 200);
    const { id, token } = (
      await call('POST', '/apiops/tokens/', {
        name: 'soon gone',
        grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:USE'] }],
      })
    ).body;
    const stream = await fetch(`${plugboard.url}/apiops/events/`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const ended = (async () => {
      for await (const _ of stream.body!);
    })();
    const before = new Set(silent.asked);
    const running = call('POST', `${path}operations/call/`, {}, { token });
    await until('the operation runs', () => askedAnew(silent, before));
    assert.equal((await call('DELETE', `/apiops/tokens/${id}/`)).status, 200);
    await ended;
    const cancelled: Answer = await running;
    assert.equal(cancelled.status, 503, cancelled.text);
    await until('the target is left alone', () => !askedAnew(silent, before));
  });
});

describe('a worker in a process of its own', () => {
  let site: Site;
  let server: PlugboardProcess;
  let silent: SilentTarget;
  const ask = (method: string, path: string, body?: unknown) =>
    callUrl(server.url, site.token, method, path, body);

  before(async () => {
    silent = await startSilentTarget();
    site = await newSite();
    server = await startProcess('server', site.env);
  });
  after(async () => {
    await server.end();
    for (const socket of silent.open) socket.destroy();
    silent.server.close();
    await site.remove();
  });

  test('security 14: a revoked worker loses its stream, its snapshot and its right to serve', async () => {
    const enrolled = (await ask('POST', '/apiops/environments/production/enrollment-tokens/', { name: 'w' }))
      .body;
    const env = {
      PATH: process.env['PATH'],
      PLUGBOARD_URL: server.url,
      PLUGBOARD_WORKER_TOKEN: enrolled.token,
      PLUGBOARD_WORKER_NAME: 'w-1',
      PLUGBOARD_WORKER_API_PORT: '0',
      PLUGBOARD_DATA_DIR: join(site.directory, 'worker'),
    };
    const worker = await startProcess('worker', env);
    const connected = async () =>
      (await ask('GET', '/apiops/environments/production/workers/')).body.resultList.some(
        (one: { name: string; connected: boolean }) => one.name === 'w-1' && one.connected,
      );
    await until('it is connected', connected);
    const revokedAt = Date.now();
    const path = `/apiops/environments/production/enrollment-tokens/${enrolled.id}/`;
    assert.equal((await ask('DELETE', path)).status, 200);
    assert.equal(await connected(), false, 'when the revocation is answered, the stream is gone');
    const ending = await worker.ended;
    assert.equal(ending.code, 1);
    assert.ok(Date.now() - revokedAt < 30_000);
    assert.ok(
      logLines(ending.output).some(({ msg }) => msg.includes('revoked')),
      ending.output,
    );
    assert.ok(!ending.output.includes(enrolled.token));
    await assert.rejects(access(join(site.directory, 'worker', 'worker-snapshot')), { code: 'ENOENT' });
    const again = await runToEnd('worker', env);
    assert.equal(again.code, 1, 'and it does not come back');
    assert.match(again.output, /PLUGBOARD_WORKER_TOKEN/);
  });

  test('security 8: the product’s own listener is no target', async () => {
    const own = await newSite();
    const all = await startProcess('start', own.env);
    const { port } = new URL(all.url);
    const path = '/apiops/projects/default/connections/self/';
    for (const host of ['127.0.0.1', 'localhost', '[::ffff:127.0.0.1]', '2130706433']) {
      const body = { type: 'webhook', name: 'self', fullUrl: `http://${host}:${port}/metrics` };
      const stored = await callUrl(all.url, own.token, 'PUT', path, body);
      if (stored.status === 400) await callUrl(all.url, own.token, 'POST', path, body);
      const used = await callUrl(all.url, own.token, 'POST', `${path}operations/call/`, {});
      assert.equal(used.status, 403, `${host}: ${used.text}`);
      assert.equal(used.body.error, 'egress_denied');
    }
    await all.end();
    await own.remove();
  });

  test('security 3, 18: secrets of many kilobytes neither end the process nor stand in its log', async (t) => {
    const own = await newSite();
    const all = await startProcess('start', own.env);
    t.after(async () => {
      await all.end('SIGKILL');
      await own.remove();
    });
    const headers = Array.from({ length: 3 }, () => randomBytes(6_000).toString('base64'));
    const keystore = largeKeystore('changeit-canary').toString('base64');
    assert.ok(keystore.length > 12_000);
    const values = [...headers, keystore];
    const target = { host: '127.0.0.1', port: 1 };
    const stored = [
      {
        type: 'webhook',
        name: 'unreachable',
        fullUrl: `http://${target.host}:${target.port}/`,
        headerList: headers.map((value, index) => ({ name: `X-Token-${index}`, value })),
      },
      {
        type: 'elasticsearch',
        name: 'unreachable-too',
        elasticHostList: [{ scheme: 'https', ...target }],
        encryptCommunication: true,
        encryptCommunicationType: 'CERT_AND_PRIVATE_KEY_IN_PKCS_12',
        caKeystoreFile: keystore,
        caKeystoreFilePass: 'changeit-canary',
      },
    ];
    for (const body of stored) {
      const path = `/apiops/projects/default/connections/${body.name}/`;
      const answer = await callUrl(all.url, own.token, 'POST', path, body);
      assert.equal(answer.status, 200, answer.text);
      const shown = async () => (await callUrl(all.url, own.token, 'GET', `${path}status/`)).text;
      const used = await callUrl(all.url, own.token, 'POST', `${path}operations/call/`, {});
      const tested = await callUrl(all.url, own.token, 'POST', `${path}test/`, {});
      for (const text of [used.text, tested.text, await shown()])
        assert.ok(!values.some((value) => text.includes(value.slice(0, 64))), text.slice(0, 500));
      assert.notEqual(used.status, 500, used.text);
    }
    assert.equal((await callUrl(all.url, null, 'GET', '/health')).status < 500, true, 'it lives');
    const { code, output } = await all.end();
    assert.equal(code, 0, output.slice(0, 2000));
    assert.ok(!values.some((value) => output.includes(value.slice(0, 64))), 'in the log');
  });

  test('security 11: nothing that is sent begins a line of the log', async (t) => {
    const own = await newSite();
    const all = await startProcess('start', { ...own.env, PLUGBOARD_LOG_LEVEL: 'trace' });
    t.after(async () => {
      await all.end('SIGKILL');
      await own.remove();
    });
    const forged = '\r\n{"level":60,"msg":"forged"}\n';
    const inPath = encodeURIComponent(forged);
    const headers = { 'x-request-id': inPath, 'user-agent': inPath };
    for (const token of [own.token, forged.trim().replaceAll('"', '')])
      for (const path of [`/apiops/projects/${inPath}/connections/`, `/${inPath}?${inPath}=${inPath}`])
        await callUrl(
          all.url,
          token,
          'POST',
          path,
          { type: forged, name: forged, [forged]: forged },
          { headers },
        );
    const { output } = await all.end();
    for (const line of output.trim().split('\n')) assert.notEqual(JSON.parse(line).msg, 'forged');
  });

  test('security 24: in clear over the wire stops the start, for control plane and worker', async () => {
    const open = await runToEnd('start', { ...site.env, PLUGBOARD_HOST: '0.0.0.0' });
    assert.notEqual(open.code, 0);
    assert.match(open.output, /^plugboard: .*PLUGBOARD_TLS_CERT.*$/m);
    const worker = await runToEnd('worker', {
      ...site.env,
      PLUGBOARD_URL: 'http://plugboard.example:8080',
      PLUGBOARD_WORKER_TOKEN: 'x'.repeat(30),
    });
    assert.notEqual(worker.code, 0);
    assert.match(worker.output, /https:\/\//);
    const api = await runToEnd('worker', {
      ...site.env,
      PLUGBOARD_URL: server.url,
      PLUGBOARD_WORKER_TOKEN: 'x'.repeat(30),
      PLUGBOARD_WORKER_API_HOST: '0.0.0.0',
    });
    assert.notEqual(api.code, 0);
    assert.match(api.output, /PLUGBOARD_WORKER_API_HOST/);
  });
});
