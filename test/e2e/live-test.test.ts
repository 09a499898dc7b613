import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Plugboard as Client, PlugboardError, type TestEvent } from '../../client/plugboard.ts';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { ScriptedWorker } from '../harness/scripted-worker.ts';

/** A mail server that accepts at once and greets when it is told to. */
class SlowTarget {
  readonly sockets: Socket[] = [];
  #waiting: (() => void)[] = [];
  readonly #server: Server = createServer((socket) => {
    this.sockets.push(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) =>
      socket.write(/^QUIT/i.test(chunk.toString()) ? '221 bye\r\n' : '250 slow.example.com\r\n'),
    );
    for (const wake of this.#waiting.splice(0)) wake();
  });

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as { port: number }).port;
  }

  async accepted(count: number): Promise<Socket> {
    while (this.sockets.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.sockets[count - 1]!;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const brief = (event: TestEvent): string =>
  event.type === 'stage' ? `${event.stage.stage} ${event.stage.status}` : event.type;

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close');
}

describe('a test as it goes', () => {
  let plugboard: Plugboard;
  let client: Client;
  let target: SlowTarget;
  let body: { type: string; name: string } & Record<string, unknown>;
  const path = '/apiops/projects/MyProject/connections/slow/test/';
  const ndjson = { headers: { accept: 'application/x-ndjson' } };

  before(async () => {
    target = new SlowTarget();
    plugboard = await startPlugboard();
    client = new Client({ url: plugboard.url, token: plugboard.token });
    const port = await target.listen();
    // Not deployed, so that nobody but the tests dials.
    body = { type: 'email', name: 'slow', host: '127.0.0.1', port, deployToWorker: false };
    const made = await plugboard.call('POST', '/apiops/projects/MyProject/connections/slow/', body);
    assert.equal(made.status, 200, made.text);
  });
  after(async () => {
    await plugboard.stop();
    await target.close();
  });

  for (const [what, watch] of [
    ['of a stored connection', () => client.watchTest('MyProject', 'slow')],
    ['of a body that is not stored', () => client.watchDraftTest('MyProject', { ...body, name: 'draft' })],
  ] as const)
    test(`${what}: stages arrive while the target still thinks`, async () => {
      const already = target.sockets.length;
      const events: TestEvent[] = [];
      let early: string[] = [];
      for await (const event of watch()) {
        events.push(event);
        // The target has not greeted: had the answer waited for the end, this would wait for ever.
        if (brief(event) === 'connect running') {
          early = events.map(brief);
          (await target.accepted(already + 1)).write('220 slow.example.com\r\n');
        }
      }
      assert.deepEqual(early, ['started', 'resolve running', 'resolve passed', 'connect running']);
      assert.deepEqual(events[0], {
        type: 'started',
        targets: [{ environmentName: 'production', worker: 'embedded' }],
      });
      const [result, finished] = events.slice(-2);
      assert.ok(result?.type === 'result');
      assert.equal(result.result.success, true, JSON.stringify(result));
      assert.deepEqual(
        events.flatMap((event) =>
          event.type === 'stage' && event.stage.status !== 'running' ? [event.stage] : [],
        ),
        result.result.stages,
        'each stage once, as the result has it',
      );
      assert.deepEqual(finished, { type: 'finished', success: true });
    });

  test('a client that goes away ends the test at the target', async () => {
    const already = target.sockets.length;
    for await (const event of client.watchTest('MyProject', 'slow'))
      if (brief(event) === 'connect running') break;
    await closed(await target.accepted(already + 1));

    const leaving = new AbortController();
    await assert.rejects(async () => {
      for await (const event of client.watchTest('MyProject', 'slow', {}, leaving.signal))
        if (brief(event) === 'connect running') leaving.abort();
    }, PlugboardError);
    await closed(await target.accepted(already + 2));
  });

  test('neither a proxy nor a cache keeps the lines back', async () => {
    const already = target.sockets.length;
    const answering = plugboard.call('POST', path, undefined, ndjson);
    (await target.accepted(already + 1)).write('220 slow.example.com\r\n');
    const { status, headers, text } = await answering;
    assert.equal(status, 200);
    assert.equal(headers.get('content-type'), 'application/x-ndjson');
    assert.equal(headers.get('x-accel-buffering'), 'no');
    assert.equal(headers.get('cache-control'), 'no-store');
    assert.ok(text.endsWith('{"type":"finished","success":true}\n'), text);
    assert.ok(
      text
        .trimEnd()
        .split('\n')
        .every((line) => typeof JSON.parse(line).type === 'string'),
    );
  });

  test('without asking for lines, or by a wildcard, the answer is whole', async () => {
    for (const accept of ['application/json', '*/*', 'application/x-ndjson;q=0, */*']) {
      const already = target.sockets.length;
      const answering = plugboard.call('POST', path, undefined, { headers: { accept } });
      (await target.accepted(already + 1)).write('220 slow.example.com\r\n');
      const answer = await answering;
      assert.equal(answer.body.results[0].stages.length, 5, accept);
      assert.match(answer.headers.get('content-type')!, /^application\/json/);
    }
  });

  test('an error before the stream begins is the ordinary answer', async () => {
    const cases: [string, object, number, string][] = [
      ['/apiops/projects/MyProject/connections/none/test/', ndjson, 404, 'not_found'],
      [`${path}?worker=nobody`, ndjson, 503, 'no_worker'],
      [`${path}?environment=mars`, ndjson, 400, 'bad_request'],
      [path, { ...ndjson, token: 'wrong' }, 401, 'unauthorized_client'],
      [path, { headers: { ...ndjson.headers, 'idempotency-key': 'k' } }, 400, 'bad_request'],
    ];
    for (const [at, extras, status, error] of cases) {
      const answer = await plugboard.call('POST', at, undefined, extras);
      assert.deepEqual([answer.status, answer.body.error], [status, error], answer.text);
      assert.match(answer.headers.get('content-type')!, /^application\/json/);
    }
    await assert.rejects(
      async () => {
        for await (const event of client.watchTest('MyProject', 'none')) assert.fail(brief(event));
      },
      (error) => error instanceof PlugboardError && error.status === 404,
    );
  });

  test('several workers report side by side; one that is lost is a result', async () => {
    await plugboard.call('POST', '/apiops/environments/', { name: 'lab', type: 'TEST' });
    await plugboard.call('POST', '/apiops/projects/', { name: 'Lab', environments: ['lab'] });
    const made = { ...body, name: 'two' };
    const created = await plugboard.call('POST', '/apiops/projects/Lab/connections/two/', made);
    assert.equal(created.status, 200, created.text);
    const one = await ScriptedWorker.connect(plugboard, 'one', { environment: 'lab' });
    const two = await ScriptedWorker.connect(plugboard, 'two', { environment: 'lab' });
    const watching = client.watchTest('Lab', 'two');
    assert.deepEqual((await watching.next()).value, {
      type: 'started',
      targets: [
        { environmentName: 'lab', worker: 'one' },
        { environmentName: 'lab', worker: 'two' },
      ],
    });
    const ofOne = await one.next('test');
    await two.next('test');
    one.say({ kind: 'stage-begun', request: ofOne.request, stage: 'resolve' });
    assert.deepEqual((await watching.next()).value, {
      type: 'stage',
      environmentName: 'lab',
      worker: 'one',
      stage: { stage: 'resolve', status: 'running' },
    });
    two.close();
    const lost = (await watching.next()).value as Extract<TestEvent, { type: 'result' }>;
    assert.deepEqual([lost.type, lost.result.worker, lost.result.error], ['result', 'two', 'no_worker']);
    one.say({ kind: 'failure', request: ofOne.request, failure: { code: 'internal_error', message: 'm' } });
    const failed = (await watching.next()).value as Extract<TestEvent, { type: 'result' }>;
    assert.deepEqual([failed.result.worker, failed.result.error], ['one', 'internal_error']);
    assert.deepEqual((await watching.next()).value, { type: 'finished', success: false });
    assert.equal((await watching.next()).done, true);

    const left = client.watchTest('Lab', 'two');
    await left.next();
    const cancelled = await one.next('test');
    await left.return(undefined);
    assert.equal((await one.next('cancel')).request, cancelled.request);
    one.close();
  });

  test('a token that ends, ends the test', async () => {
    const { id, token } = await client.createToken({
      name: 'short',
      expiresAt: null,
      grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:TEST'] }],
    });
    const already = target.sockets.length;
    const events: TestEvent[] = [];
    for await (const event of new Client({ url: plugboard.url, token }).watchTest('MyProject', 'slow')) {
      events.push(event);
      if (brief(event) === 'connect running') {
        await target.accepted(already + 1);
        await plugboard.call('DELETE', `/apiops/tokens/${id}/`);
      }
    }
    assert.deepEqual(events.at(-1), { type: 'finished', success: false });
    await closed(await target.accepted(already + 1));
  });

  test('the command line prints stages as they come', async () => {
    const already = target.sockets.length;
    const main = join(dirname(dirname(import.meta.dirname)), 'src', 'main.ts');
    const child = spawn(process.execPath, [main, 'test', 'MyProject/slow'], {
      cwd: plugboard.directory,
      env: { PATH: process.env['PATH'], PLUGBOARD_URL: plugboard.url, PLUGBOARD_TOKEN: plugboard.token },
    });
    const ended = once(child, 'exit');
    let printed = '';
    child.stdout.on('data', (chunk: Buffer) => {
      printed += chunk.toString();
    });
    while (!printed.includes('✓ resolve')) await once(child.stdout, 'data');
    assert.match(printed, /^production \/ embedded:\n {2}✓ resolve/);
    assert.doesNotMatch(printed, /connect/);
    (await target.accepted(already + 1)).write('220 slow.example.com\r\n');
    assert.deepEqual(await ended, [0, null]);
    assert.match(printed, /✓ connect[\s\S]*works \(\d+ ms\)\n$/);
  });
});
