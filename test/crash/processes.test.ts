import assert from 'node:assert/strict';
import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPlugboard } from '../harness/plugboard.ts';
import { callUrl, logLines, newSite, runToEnd, startProcess } from '../harness/plugboard-process.ts';

let target: Server;
let targetUrl: string;
/** Paths that the target was asked for. */
const asked: string[] = [];
const answerAfterMs = 700;

before(async () => {
  target = createServer((request, response) => {
    asked.push(request.url!);
    setTimeout(() => response.end('done'), request.url === '/slow' ? answerAfterMs : 0);
  });
  target.listen(0, '127.0.0.1');
  await once(target, 'listening');
  targetUrl = `http://127.0.0.1:${(target.address() as { port: number }).port}`;
});
after(() => {
  target.closeAllConnections();
  target.close();
});

async function until(
  what: string,
  holds: () => Promise<boolean> | boolean,
  withinMs = 60_000,
): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${withinMs} ms`);
    await sleep(50);
  }
}

const hook = (path: string) => ({
  type: 'webhook',
  name: 'hook',
  httpMethod: 'POST',
  fullUrl: `${targetUrl}${path}`,
  timeout: 30,
});
const hookPath = '/apiops/projects/default/connections/hook/';

test('a second start on the same data directory is refused with a sentence, and the first goes on', async () => {
  const site = await newSite();
  const first = await startProcess('start', site.env);
  const second = await runToEnd('start', site.env);
  assert.notEqual(second.code, 0);
  assert.match(second.output, /^plugboard: The data directory .* is in use by another Plugboard process$/m);
  assert.doesNotMatch(second.output, /\n\s+at /);
  assert.equal((await callUrl(first.url, site.token, 'POST', hookPath, hook('/'))).status, 200);
  assert.equal((await first.end()).code, 0);
  await site.remove();
});

test('settings that cannot be used stop the start with a sentence for each, before anything listens', async () => {
  const site = await newSite();
  const first = await startProcess('start', site.env);
  const second = await newSite();
  const wrong: [NodeJS.ProcessEnv, RegExp][] = [
    [
      { PLUGBOARD_PORT: new URL(first.url).port },
      /^plugboard: Another process listens on .* already: end it, or set PLUGBOARD_PORT to another port$/,
    ],
    [
      { PLUGBOARD_HOST: '203.0.113.1', PLUGBOARD_INSECURE: '1' },
      /^plugboard: PLUGBOARD_HOST=203\.0\.113\.1 is no address of this machine$/,
    ],
    [
      { PLUGBOARD_TLS_CERT: '/absent/cert', PLUGBOARD_TLS_KEY: '/absent/key' },
      /^plugboard: PLUGBOARD_TLS_CERT names \/absent\/cert, which does not exist\nPLUGBOARD_TLS_KEY names/,
    ],
    [
      { PLUGBOARD_TLS_CERT: 'package.json', PLUGBOARD_TLS_KEY: 'package.json' },
      /^plugboard: PLUGBOARD_TLS_CERT and PLUGBOARD_TLS_KEY cannot be used \(.*\): they must be a certificate/,
    ],
    [
      {
        PLUGBOARD_AUDIT_DAYS: '0',
        PLUGBOARD_WORKER_EGRESS_DENY: '10.0.0.0/33',
        PLUGBOARD_WORKER_SECRET_SOURCES: 'MyProject',
      },
      /^plugboard: PLUGBOARD_AUDIT_DAYS .*\nPLUGBOARD_WORKER_EGRESS_DENY: .*\nPLUGBOARD_WORKER_SECRET_SOURCES: /,
    ],
  ];
  for (const [env, sentence] of wrong) {
    const { code, output } = await runToEnd('start', { ...second.env, ...env });
    assert.equal(code, 1, output);
    assert.match(output.trim(), sentence);
    assert.doesNotMatch(output, /\n\s+at |listening/);
  }
  assert.equal((await first.end()).code, 0);
  await Promise.all([site.remove(), second.remove()]);
});

test('SIGTERM lets an operation in flight end, whatever else is connected, and exits 0', async () => {
  const site = await newSite();
  const running = await startProcess('start', site.env);
  const silent = connect(Number(new URL(running.url).port), '127.0.0.1');
  silent.on('error', () => {});
  await once(silent, 'connect');
  assert.equal((await callUrl(running.url, site.token, 'POST', hookPath, hook('/slow'))).status, 200);
  const events = await fetch(`${running.url}/apiops/events/`, {
    headers: { authorization: `Bearer ${site.token}` },
  });
  const reading = (async () => {
    for await (const _ of events.body!);
  })().catch(() => {});
  const before = asked.filter((path) => path === '/slow').length;
  const operation = callUrl(running.url, site.token, 'POST', `${hookPath}operations/call/`, {});
  await until('the operation runs', () => asked.filter((path) => path === '/slow').length > before);
  const ending = await running.end('SIGTERM');
  assert.equal((await operation).status, 200, 'it was answered');
  assert.deepEqual([ending.code, ending.signal], [0, null], ending.output);
  assert.deepEqual(
    logLines(ending.output).filter(({ level }) => level >= 50),
    [],
  );
  await reading;
  silent.destroy();
  await site.remove();
});

test('a full disk is 503, nothing is stored in part, reading goes on, and so does writing when there is room', async () => {
  const plugboard = await startPlugboard({ withWorker: false });
  const path = '/apiops/projects/MyProject/connections';
  const body = (name: string, size = 0) => ({
    type: 'webhook',
    name,
    fullUrl: 'http://127.0.0.1:9/',
    headerList: Array.from({ length: size }, (_, index) => ({ name: `X-${index}`, value: 'x'.repeat(4000) })),
  });
  assert.equal((await plugboard.call('POST', `${path}/before/`, body('before'))).status, 200);
  const { page_count: pages } = (await plugboard.db.get<{ page_count: number }>('pragma page_count'))!;
  await plugboard.db.get(`pragma max_page_count = ${pages}`);
  const refused: string[] = [];
  for (let count = 0; count < 12; count++) {
    const name = `full-${count}`;
    const answer = await plugboard.call('POST', `${path}/${name}/`, body(name, 20));
    if (answer.status === 200) continue;
    assert.equal(answer.status, 503, answer.text);
    assert.equal(answer.body.error, 'unavailable');
    assert.doesNotMatch(answer.text, /SQLITE|disk is full.*insert/i);
    refused.push(name);
  }
  assert.ok(refused.length > 0, 'the disk was full');
  assert.equal((await plugboard.call('GET', `${path}/?type=*`)).status, 200, 'a list needs no room');
  await plugboard.db.get(`pragma max_page_count = ${pages + 100_000}`);
  for (const name of refused) {
    assert.equal(
      (await plugboard.call('GET', `${path}/${name}/`)).status,
      404,
      `${name} is not there in part`,
    );
    assert.equal((await plugboard.call('POST', `${path}/${name}/`, body(name, 20))).status, 200);
  }
  const audited = await plugboard.call('GET', '/apiops/audit/?action=connection.create&size=100');
  const listed = await plugboard.call('GET', `${path}/?type=*`);
  assert.equal(audited.body.resultCount, listed.body.resultCount);
  await plugboard.stop();
});

test('security 20: with the control plane away a worker goes on, restarts from its snapshot, and catches up by itself', async () => {
  const site = await newSite();
  let server = await startProcess('server', site.env);
  const port = new URL(server.url).port;
  const ask = (method: string, path: string, body?: unknown) =>
    callUrl(server.url, site.token, method, path, body);
  const enrolled = (await ask('POST', '/apiops/environments/production/enrollment-tokens/', { name: 'w' }))
    .body;
  const { token } = (
    await ask('POST', '/apiops/tokens/', {
      name: 'application',
      grants: [{ project: 'default', permissions: ['CONNECTIONS:USE'] }],
    })
  ).body;
  const workerEnv = {
    PATH: process.env['PATH'],
    PLUGBOARD_URL: server.url,
    PLUGBOARD_WORKER_TOKEN: enrolled.token,
    PLUGBOARD_WORKER_NAME: 'w-1',
    PLUGBOARD_WORKER_API_PORT: '0',
    PLUGBOARD_DATA_DIR: join(site.directory, 'worker'),
  };
  let worker = await startProcess('worker', workerEnv);
  const use = async () =>
    (await callUrl(worker.url, token, 'POST', `${hookPath}operations/call/`, {})).status;
  await until('the worker is connected', async () =>
    (await ask('GET', '/apiops/environments/production/workers/')).text.includes('"connected":true'),
  );
  const created = await ask('POST', hookPath, hook('/first'));
  assert.equal(created.body.deploymentResult?.success, true, created.text);
  assert.equal(await use(), 200);
  await until('the snapshot is written', () =>
    access(join(site.directory, 'worker', 'worker-snapshot')).then(
      () => true,
      () => false,
    ),
  );
  // The snapshot follows a change after a quarter of a second.
  await sleep(800);

  await server.end('SIGKILL');
  assert.equal(await use(), 200, 'it goes on');
  await worker.end('SIGKILL');
  worker = await startProcess('worker', workerEnv);
  await until('it serves from its snapshot', async () => (await use()) === 200);
  assert.ok(asked.filter((path) => path === '/first').length >= 3);
  assert.ok(!asked.includes('/second'));

  server = await startProcess('server', { ...site.env, PLUGBOARD_PORT: port });
  assert.equal((await ask('PUT', `${hookPath}?async=true`, hook('/second'))).status, 200);
  await until('it has caught up', async () => (await use()) === 200 && asked.includes('/second'));
  assert.equal((await ask('DELETE', `${hookPath}`)).status, 200);
  await until('and the deletion arrives', async () => (await use()) === 404);
  assert.equal((await worker.end()).code, 0);
  assert.equal((await server.end()).code, 0);
  await site.remove();
});
