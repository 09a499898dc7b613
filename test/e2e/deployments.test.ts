import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DesiredConnection } from '../../src/contract/worker-protocol.ts';
import { type Answer, type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { ScriptedWorker } from '../harness/scripted-worker.ts';

const list = '/apiops/projects/MyProject/connections/';
const one = `${list}hook/`;
const body = { type: 'webhook', name: 'hook', fullUrl: 'http://127.0.0.1:9/x' };

let plugboard: Plugboard;
beforeEach(async () => {
  plugboard = await startPlugboard({ withWorker: false, deployTimeoutMs: 5000 });
});
afterEach(() => plugboard.stop());

const put = (worker: ScriptedWorker, revision: number) =>
  worker.next('delta', (message) => message.put.some((item) => item.revision === revision));

/** Creates and lets every worker call it valid. */
async function created(...workers: ScriptedWorker[]): Promise<DesiredConnection> {
  const answer = plugboard.call('POST', one, body);
  let item: DesiredConnection | undefined;
  for (const worker of workers) {
    item = (await put(worker, 1)).put[0]!;
    worker.verdict({ connection: item.connection, revision: 1, step: 'valid' });
  }
  assert.equal((await answer).body.deploymentResult.success, true);
  return item!;
}

const outcomes = (answer: Answer) => answer.body.deploymentResult.deploymentResults[0];

describe('a change and its workers', () => {
  test('is answered when every connected worker has called this revision valid', async () => {
    const workers = [
      await ScriptedWorker.connect(plugboard, 'w-1'),
      await ScriptedWorker.connect(plugboard, 'w-2'),
    ];
    let answered = false;
    const answer = plugboard.call('POST', one, body).then((got) => {
      answered = true;
      return got;
    });
    const [first, second] = workers as [ScriptedWorker, ScriptedWorker];
    const { connection } = (await put(first, 1)).put[0]!;
    await put(second, 1);
    first.verdict({ connection, revision: 1, step: 'received' });
    first.verdict({ connection, revision: 1, step: 'valid' });
    await sleep(100);
    assert.equal(answered, false);
    second.verdict({ connection, revision: 1, step: 'valid', warnings: ['mind this'] });
    const { message, workers: said } = outcomes(await answer);
    assert.equal(message, 'applied by 2 of 2 workers');
    assert.deepEqual(said, [
      { worker: 'w-1', success: true },
      { worker: 'w-2', success: true, warnings: ['mind this'] },
    ]);
  });

  test('is told to no remote worker before the disk has it', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    await created(worker);
    const syncs: ((error: null) => void)[] = [];
    mock.method(fs, 'fdatasync', (_file: number, callback: (error: null) => void) => syncs.push(callback));
    const answer = plugboard.call('PUT', one, { ...body, description: 'new' });
    try {
      const description = async () => (await plugboard.call('GET', one)).body.resultList[0].description;
      while ((await description()) !== 'new') await sleep(5);
      await sleep(100);
      assert.equal(worker.count('delta'), 1);
    } finally {
      mock.restoreAll();
      for (const callback of syncs) callback(null);
    }
    const { connection } = (await put(worker, 2)).put[0]!;
    worker.verdict({ connection, revision: 2, step: 'valid' });
    assert.equal((await answer).body.deploymentResult.success, true);
  });

  test('a refusal is told with its reason and the revision that goes on serving', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const answer = plugboard.call('PUT', one, { ...body, description: 'new' });
    await put(worker, 2);
    worker.verdict({
      connection,
      revision: 2,
      step: 'refused',
      code: 'missing_reference',
      message: "keystore 'k' does not exist",
      serving: 1,
    });
    const got = await answer;
    assert.equal(got.body.success, true);
    assert.equal(got.body.deploymentResult.success, false);
    assert.match(outcomes(got).message, /keystore 'k' does not exist; revision 1 goes on serving/);
    const status = (await plugboard.call('GET', `${one}deployments/`)).body.resultList[0];
    assert.equal(status.revision, 2);
    assert.equal(status.lastGoodRevision, 1);
    assert.equal(status.workers[0].step, 'refused');
    assert.equal(status.workers[0].servingRevision, 1);
  });

  test('security 19: a worker that comes later is sent the last good revision too', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const answer = plugboard.call('PUT', one, { ...body, description: 'poisoned' });
    await put(worker, 2);
    worker.verdict({
      connection,
      revision: 2,
      step: 'refused',
      code: 'invalid_configuration',
      message: 'no',
    });
    await answer;
    const later = await ScriptedWorker.connect(plugboard, 'w-2');
    const [item] = (await later.next('snapshot')).items;
    assert.equal(item?.revision, 2);
    assert.equal(item?.lastGood?.revision, 1);
    assert.equal(item?.lastGood?.config['description'], null);
  });

  test('a silent worker is named when the time is up, one that leaves at once', async () => {
    await ScriptedWorker.connect(plugboard, 'silent');
    const leaver = await ScriptedWorker.connect(plugboard, 'leaver');
    const answer = plugboard.call('POST', `${one}?deployTimeoutMs=400`, body);
    await put(leaver, 1);
    leaver.close();
    const { workers } = outcomes(await answer);
    assert.match(
      workers.find((said: { worker: string }) => said.worker === 'silent').message,
      /within 400 ms/,
    );
    assert.match(
      workers.find((said: { worker: string }) => said.worker === 'leaver').message,
      /disconnected/,
    );
  });

  test('deploy/?prove=true of the same revision makes a new round trip, whatever the one before gave', async () => {
    const worker = await plugboard.addWorker('production', 'real');
    while (!worker.isConnected) await sleep(5);
    const target = createServer((socket) => socket.resume());
    const listen = async (port: number) => {
      target.listen(port, '127.0.0.1');
      await once(target, 'listening');
      return (target.address() as AddressInfo).port;
    };
    const port = await listen(0);
    target.close();
    const deploy = async () => outcomes(await plugboard.call('POST', `${one}deploy/?prove=true`)).workers[0];
    const made = await plugboard.call('POST', `${one}?prove=true`, {
      ...body,
      fullUrl: `http://127.0.0.1:${port}/x`,
    });
    assert.match(outcomes(made).workers[0].message, /refused/);
    try {
      await listen(port);
      assert.deepEqual(await deploy(), { worker: 'real', success: true });
    } finally {
      target.close();
    }
    const { success, message } = await deploy();
    assert.equal(success, false, 'a target that went away is not called proven');
    assert.match(message, /refused/);
    const [{ workers }] = (await plugboard.call('GET', `${one}deployments/`)).body.resultList;
    assert.equal(workers[0].step, 'unreachable');
  });

  test('a worker that only repeats what it saw before has not proved it', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const deploy = () => plugboard.call('POST', `${one}deploy/?prove=true&deployTimeoutMs=1000`);
    const answer = deploy();
    await worker.next('delta', (message) => message.seq > 1);
    worker.verdict({ connection, revision: 1, step: 'valid' });
    worker.verdict({ connection, revision: 1, step: 'connected', isRepeated: true });
    assert.match(
      outcomes(await answer).workers[0].message,
      /no new round trip within 1000 ms; of the one before: it was connected/,
    );
  });

  test('?prove=true waits for the round trip and counts it', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const answer = plugboard.call('POST', `${one}?prove=true`, body);
    const { connection } = (await put(worker, 1)).put[0]!;
    worker.verdict({ connection, revision: 1, step: 'valid' });
    assert.deepEqual((await worker.next('prove')).items, [{ connection, revision: 1 }]);
    worker.verdict({
      connection,
      revision: 1,
      step: 'unreachable',
      code: 'connection_refused',
      message: 'nobody there',
    });
    const got = await answer;
    assert.equal(got.body.deploymentResult.success, false);
    assert.equal(outcomes(got).workers[0].message, 'nobody there');
  });

  test('?async=true answers at once with the deployment id', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const answer = await plugboard.call('POST', `${one}?async=true`, body);
    assert.equal(typeof answer.body.deploymentId, 'string');
    await put(worker, 1);
  });

  test('disabling closes, and success means closed', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const answer = plugboard.call('PUT', one, { ...body, enabled: false });
    await worker.next('delta', ({ remove }) => remove.includes(connection));
    worker.verdict({ connection, revision: 1, step: 'closed' });
    const got = await answer;
    assert.equal(outcomes(got).message, 'closed on 1 of 1 worker');
    assert.equal(got.body.deploymentResult.success, true);
  });

  test('undeploy and deploy by hand', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const undeployed = plugboard.call('POST', `${one}undeploy/`);
    await worker.next('delta', ({ remove }) => remove.includes(connection));
    worker.verdict({ connection, revision: 1, step: 'closed' });
    assert.equal((await undeployed).body.deploymentResult.success, true);
    const used = await plugboard.call('POST', `${one}operations/call/`, {});
    assert.equal(used.status, 409, 'an undeployed connection is not used');
    const deployed = plugboard.call('POST', `${one}deploy/`);
    await put(worker, 1);
    worker.verdict({ connection, revision: 1, step: 'valid' });
    assert.equal((await deployed).body.deploymentResult.success, true);
  });
});

describe('two changes of one connection that meet', () => {
  const removal = (worker: ScriptedWorker, connection: string) =>
    worker.next('delta', ({ remove }) => remove.includes(connection));

  /** Disables and enables: the worker was told of both and has answered neither. */
  async function disabledAndEnabled(worker: ScriptedWorker) {
    const { connection } = await created(worker);
    const disabling = plugboard.call('PUT', one, { ...body, enabled: false });
    await removal(worker, connection);
    const enabling = plugboard.call('PUT', one, body);
    await put(worker, 3);
    return { connection, disabling, enabling };
  }

  for (const inOneFrame of [true, false])
    test(`what closed for a disable says nothing of the enable after it; ${inOneFrame ? 'in one frame' : 'in two'}`, async () => {
      const worker = await ScriptedWorker.connect(plugboard, 'w-1');
      const { connection, disabling, enabling } = await disabledAndEnabled(worker);
      const closed = { connection, revision: 1, step: 'closed' } as const;
      const valid = { connection, revision: 3, step: 'valid' } as const;
      if (inOneFrame) worker.say({ kind: 'verdicts', items: [closed, valid] });
      else {
        worker.verdict(closed);
        await disabling;
        worker.verdict(valid);
      }
      assert.deepEqual(outcomes(await disabling).workers, [{ worker: 'w-1', success: true }]);
      assert.deepEqual(outcomes(await enabling).workers, [{ worker: 'w-1', success: true }]);
    });

  test('nor does it when it comes while the enable is being stored', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const disabling = plugboard.call('PUT', one, { ...body, enabled: false });
    await removal(worker, connection);
    const write = plugboard.db.write.bind(plugboard.db);
    const begun = Promise.withResolvers<void>();
    const mayWrite = Promise.withResolvers<void>();
    mock.method(plugboard.db, 'write', (async (job, options) => {
      if (options?.onCommit) {
        begun.resolve();
        await mayWrite.promise;
      }
      return write(job, options);
    }) satisfies typeof write);
    try {
      const enabling = plugboard.call('PUT', one, body);
      await begun.promise;
      worker.verdict({ connection, revision: 1, step: 'closed' });
      assert.equal(outcomes(await disabling).workers[0].success, true);
      mayWrite.resolve();
      await put(worker, 3);
      worker.verdict({ connection, revision: 3, step: 'valid' });
      assert.deepEqual(outcomes(await enabling).workers, [{ worker: 'w-1', success: true }]);
    } finally {
      mock.restoreAll();
    }
  });

  test('a disable that was merged with the enable after it is told so, not waited for', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection, disabling, enabling } = await disabledAndEnabled(worker);
    worker.verdict({ connection, revision: 3, step: 'valid' });
    assert.deepEqual(outcomes(await disabling).workers, [
      { worker: 'w-1', success: false, message: 'opened again by a later change' },
    ]);
    assert.deepEqual(outcomes(await enabling).workers, [{ worker: 'w-1', success: true }]);
  });

  test('so is an undeploy that was merged with a deploy of the same revision', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const undeploying = plugboard.call('POST', `${one}undeploy/`);
    await removal(worker, connection);
    const deploying = plugboard.call('POST', `${one}deploy/`);
    await put(worker, 1);
    worker.verdict({ connection, revision: 1, step: 'valid' });
    assert.equal(outcomes(await undeploying).workers[0].message, 'opened again by a later change');
    assert.equal(outcomes(await deploying).workers[0].success, true);
  });

  test('an undeploy that was answered stays answered when the deploy after it is answered in the same frame', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const undeploying = plugboard.call('POST', `${one}undeploy/`);
    await removal(worker, connection);
    const deploying = plugboard.call('POST', `${one}deploy/`);
    await put(worker, 1);
    worker.say({
      kind: 'verdicts',
      items: [
        { connection, revision: 1, step: 'closed' },
        { connection, revision: 1, step: 'valid' },
      ],
    });
    assert.deepEqual(outcomes(await undeploying).workers, [{ worker: 'w-1', success: true }]);
    assert.deepEqual(outcomes(await deploying).workers, [{ worker: 'w-1', success: true }]);
  });

  test('a change that never opened, because a later one closed, is told so', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const changing = plugboard.call('PUT', one, { ...body, description: 'new' });
    await put(worker, 2);
    const disabling = plugboard.call('PUT', one, { ...body, enabled: false });
    await removal(worker, connection);
    worker.verdict({ connection, revision: 1, step: 'closed' });
    assert.equal(outcomes(await changing).workers[0].message, 'closed by a later change');
    assert.equal(outcomes(await disabling).workers[0].success, true);
  });

  for (const [action, close] of [
    ['undeploy', () => plugboard.call('POST', `${one}undeploy/`)],
    ['delete', () => plugboard.call('DELETE', one)],
  ] as const)
    test(`${action} demands closed, whatever the worker says of the deployment before`, async () => {
      const worker = await ScriptedWorker.connect(plugboard, 'w-1');
      const { connection } = await created(worker);
      let isAnswered = false;
      const closing = close().then((answer) => {
        isAnswered = true;
        return answer;
      });
      await removal(worker, connection);
      worker.verdict({ connection, revision: 1, step: 'valid' });
      worker.verdict({ connection, revision: 1, step: 'refused', code: 'target_error', message: 'no' });
      await sleep(100);
      assert.equal(isAnswered, false);
      worker.verdict({ connection, revision: 1, step: 'closed' });
      assert.deepEqual(outcomes(await closing).workers, [{ worker: 'w-1', success: true }]);
    });
});

describe('the stream of a worker', () => {
  test('a worker that comes back is sent what changed since its cursor, and no more', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    await created(worker);
    const { seq } = worker.received.find((message) => message.kind === 'delta')!;
    const { epoch } = worker.received.find((message) => message.kind === 'welcome')!;
    worker.close();
    await plugboard.call('POST', `${list}second/?async=true`, { ...body, name: 'second' });
    const back = await ScriptedWorker.connect(plugboard, 'w-1', { cursor: { epoch, seq } });
    const delta = await back.next('delta');
    assert.deepEqual(
      delta.put.map(({ name }) => name),
      ['second'],
    );
    assert.equal(back.count('snapshot'), 0);
  });

  test('a change that nobody announced is found', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    await plugboard.db.write(async (tx) => {
      const seq = await tx.nextSequence();
      await tx.run('update connections set enabled = 0, seq = $1 where id = $2', [seq, connection]);
    });
    const deadline = Date.now() + 15_000;
    while (worker.count('delta') < 2 && Date.now() < deadline) await sleep(50);
    const isRemoved = ({ remove }: { remove: string[] }) => remove.includes(connection);
    assert.equal((await worker.next('delta', isRemoved)).seq, 2);
  });

  test('a cursor of another database gets a snapshot', async () => {
    await plugboard.call('POST', `${one}?async=true`, body);
    const worker = await ScriptedWorker.connect(plugboard, 'w-1', { cursor: { epoch: 'another', seq: 999 } });
    assert.equal((await worker.next('snapshot')).items.length, 1);
  });

  test('it gets what its environment has, and nothing of another', async () => {
    await plugboard.call('POST', '/apiops/environments/', { name: 'test', type: 'TEST' });
    await plugboard.call('PUT', '/apiops/projects/MyProject/', { environments: ['production', 'test'] });
    await plugboard.call('POST', `${list}in-test/?async=true`, {
      ...body,
      name: 'in-test',
      environments: ['test'],
    });
    await plugboard.call('POST', `${list}in-both/?async=true`, { ...body, name: 'in-both' });
    const production = await ScriptedWorker.connect(plugboard, 'p');
    const testing = await ScriptedWorker.connect(plugboard, 't', { environment: 'test' });
    const names = async (worker: ScriptedWorker) =>
      (await worker.next('snapshot')).items.map(({ name }) => name).sort();
    assert.deepEqual(await names(production), ['in-both']);
    assert.deepEqual(await names(testing), ['in-both', 'in-test']);
    // Taken out of an environment, it is closed there.
    await plugboard.call('PUT', `${list}in-both/?async=true`, {
      ...body,
      name: 'in-both',
      environments: ['test'],
    });
    assert.equal((await production.next('delta')).remove.length, 1);
    assert.equal((await testing.next('delta')).put.length, 1);
  });

  test('malformed frames and a strange hello end it', async () => {
    const garbled = await ScriptedWorker.connect(plugboard, 'w-1');
    garbled.sayRaw('{nonsense');
    const stranger = new ScriptedWorker(plugboard, 'production');
    stranger.say({ kind: 'hello', protocol: 99, name: 'x', version: '1' });
    await sleep(100);
    assert.equal(garbled.closed?.code, 4400);
    assert.equal(stranger.closed?.code, 4400);
  });

  test('the list of workers is searched, sorted and paged', async () => {
    for (const name of ['b-2', 'a-1', 'b-1']) await ScriptedWorker.connect(plugboard, name);
    const names = async (query: string) => {
      const url = `/apiops/environments/production/workers/?${query}`;
      const { resultList, resultCount } = (await plugboard.call('GET', url)).body;
      return [resultCount, ...resultList.map(({ name }: { name: string }) => name)];
    };
    assert.deepEqual(await names(''), [3, 'a-1', 'b-1', 'b-2']);
    assert.deepEqual(await names('q=B-&sort=name,desc'), [2, 'b-2', 'b-1']);
    assert.deepEqual(await names('size=2&page=2'), [3, 'b-2']);
  });

  test('another worker of the same name takes its place', async () => {
    const first = await ScriptedWorker.connect(plugboard, 'same');
    await ScriptedWorker.connect(plugboard, 'same');
    await sleep(50);
    assert.equal(first.closed?.code, 4409);
    const workers = (await plugboard.call('GET', '/apiops/environments/production/workers/')).body.resultList;
    assert.deepEqual(
      workers.map((row: { name: string; connected: boolean }) => [row.name, row.connected]),
      [['same', true]],
    );
  });
});

describe('who connects to a target first', () => {
  test('one worker proves, the others follow when it is connected', async () => {
    const workers = [
      await ScriptedWorker.connect(plugboard, 'w-1'),
      await ScriptedWorker.connect(plugboard, 'w-2'),
    ];
    const { connection } = await created(...workers);
    await sleep(50);
    const asked = workers.filter((worker) => worker.count('prove') === 1);
    assert.equal(asked.length, 1);
    asked[0]!.verdict({ connection, revision: 1, step: 'connected' });
    const other = workers.find((worker) => worker !== asked[0])!;
    assert.deepEqual((await other.next('prove')).items, [{ connection, revision: 1 }]);
  });

  test('after a refused log-in the others hold', async () => {
    const workers = [
      await ScriptedWorker.connect(plugboard, 'w-1'),
      await ScriptedWorker.connect(plugboard, 'w-2'),
    ];
    const { connection } = await created(...workers);
    await sleep(50);
    const asked = workers.find((worker) => worker.count('prove') === 1)!;
    asked.verdict({
      connection,
      revision: 1,
      step: 'unreachable',
      code: 'authentication_failed',
      message: 'no',
    });
    const other = workers.find((worker) => worker !== asked)!;
    const hold = await other.next('hold');
    assert.equal(hold.connection, connection);
    assert.ok(hold.forMs >= 1000);
    const kinds = other.received.map(({ kind }) => kind);
    assert.ok(!kinds.slice(0, kinds.indexOf('hold')).includes('prove'), 'asked only when it holds');
  });

  test('?prove=true is answered by those that hold, too', async () => {
    const target = createServer((socket) => {
      socket.write('220 here\r\n');
      socket.on('error', () => {});
      socket.on('data', (line) => {
        const said = line.toString();
        if (said.startsWith('EHLO')) socket.write('250-here\r\n250 AUTH PLAIN\r\n');
        else if (said.startsWith('AUTH')) {
          logIns += 1;
          socket.write('535 5.7.8 no\r\n');
        } else socket.end('221 bye\r\n');
      });
    });
    let logIns = 0;
    target.listen(0, '127.0.0.1');
    await once(target, 'listening');
    try {
      for (const name of ['w-1', 'w-2', 'w-3']) {
        const worker = await plugboard.addWorker('production', name);
        while (!worker.isConnected) await sleep(5);
      }
      const made = await plugboard.call('POST', `${list}mail/?prove=true`, {
        type: 'email',
        name: 'mail',
        host: '127.0.0.1',
        port: (target.address() as AddressInfo).port,
        auth: true,
        username: 'u',
        password: 'wrong',
      });
      const said = outcomes(made).workers.map(({ message }: { message: string }) => message);
      assert.equal(logIns, 1);
      assert.equal(
        said.filter((message: string) => /^Another worker's log-in was refused; .* not tried/.test(message))
          .length,
        2,
        said.join('\n'),
      );
    } finally {
      target.close();
    }
  });

  test("a variable's new value is proved by one worker first, too", async () => {
    const variables = '/apiops/projects/MyProject/environmentVariables/';
    const path = (globalValue: string) => ({ name: 'PATH_OF_IT', global: true, globalValue });
    assert.equal((await plugboard.call('POST', variables, path('right'))).status, 200);
    const workers = [
      await ScriptedWorker.connect(plugboard, 'w-1'),
      await ScriptedWorker.connect(plugboard, 'w-2'),
      await ScriptedWorker.connect(plugboard, 'w-3'),
    ];
    const made = plugboard.call('POST', `${one}?prove=true`, {
      ...body,
      fullUrl: 'http://127.0.0.1:9/${PATH_OF_IT}',
    });
    let connection = '';
    for (const worker of workers) {
      connection = (await put(worker, 1)).put[0]!.connection;
      worker.verdict({ connection, revision: 1, step: 'valid' });
      await worker.next('prove');
      worker.verdict({ connection, revision: 1, step: 'connected' });
    }
    assert.equal((await made).body.deploymentResult.success, true);
    const changed = plugboard.call('PUT', `${variables}PATH_OF_IT/`, path('wrong'));
    for (const worker of workers) {
      await put(worker, 1);
      worker.verdict({ connection, revision: 1, step: 'valid' });
    }
    assert.equal((await changed).body.deploymentResult.success, true);
    await sleep(50);
    assert.deepEqual(
      workers.map((worker) => worker.count('prove')),
      [2, 1, 1],
    );
  });

  test('when the first one leaves, the next is asked', async () => {
    const workers = [
      await ScriptedWorker.connect(plugboard, 'w-1'),
      await ScriptedWorker.connect(plugboard, 'w-2'),
    ];
    await created(...workers);
    await sleep(50);
    const asked = workers.find((worker) => worker.count('prove') === 1)!;
    asked.close();
    await workers.find((worker) => worker !== asked)!.next('prove');
  });
});

describe('verdicts and health', () => {
  test('what the database says of a write that failed is not logged: it may quote what was written', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const write = mock.method(plugboard.db, 'write', async () => {
      throw Object.assign(new Error('invalid input: "Canary-r0w"'), { code: '22P02' });
    });
    try {
      worker.verdict({ connection, revision: 1, step: 'connected' });
      while (!plugboard.log.some((line) => line.includes('verdicts could not be stored'))) await sleep(5);
    } finally {
      write.mock.restore();
    }
    const text = plugboard.log.join('\n');
    assert.doesNotMatch(text, /Canary-r0w/);
    assert.match(text, /"code":"22P02"/, 'but what kind of failure it was');
  });

  test('a worker cannot speak of a connection that its environment never had', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    await plugboard.call('POST', `${one}?async=true`, { ...body, deployToWorker: false });
    const row = await plugboard.db.get<{ id: string }>('select id from connections');
    worker.verdict({ connection: row!.id, revision: 1, step: 'valid' });
    worker.verdict({ connection: 'made-up', revision: 1, step: 'valid' });
    await sleep(100);
    const stored = await plugboard.db.get<{ count: number }>('select count(*) as count from verdicts');
    assert.equal(stored?.count, 0);
  });

  test('health shows what each worker sees, minute by minute', async () => {
    const worker = await ScriptedWorker.connect(plugboard, 'w-1');
    const { connection } = await created(worker);
    const minute = Math.floor(Date.now() / 60_000) * 60_000;
    const report = (at: number, ok: number, failed: number) => ({
      connection,
      revision: 1,
      minute: at,
      state: failed ? ('unreachable' as const) : ('connected' as const),
      since: at,
      ...(failed ? { lastError: { code: 'target_timeout', message: 'slow', at } } : {}),
      operations: { ok, failed, totalMs: 10 * (ok + failed), maxMs: 25 },
      figures: { connected: 2 },
    });
    worker.say({ kind: 'health', items: [report(minute - 60_000, 3, 0), report(minute, 1, 0)] });
    worker.say({ kind: 'health', items: [report(minute, 2, 1)] });
    await sleep(100);
    const [seen] = (await plugboard.call('GET', `${one}health/`)).body.resultList;
    assert.equal(seen.worker, 'w-1');
    assert.equal(seen.state, 'unreachable');
    assert.equal(seen.lastError.code, 'target_timeout');
    assert.deepEqual(seen.operations, { ok: 5, failed: 1, averageMs: 10, maxMs: 25 });
    assert.deepEqual(
      seen.minutes.map(({ ok, failed }: { ok: number; failed: number }) => [ok, failed]),
      [
        [3, 0],
        [2, 1],
      ],
    );
    assert.deepEqual(seen.figures, { connected: 2 });
  });
});
