import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { connectors } from '../../src/connectors/connectors.ts';
import { definitions } from '../../src/connectors/definitions.ts';
import { createChannelPair, WORKER_STREAM_PATH } from '../../src/contract/channel.ts';
import { type FromWorker, PROTOCOL_VERSION, type ToWorker } from '../../src/contract/worker-protocol.ts';
import { connectStream } from '../../src/worker/connect-stream.ts';
import { startWorker } from '../../src/worker/worker.ts';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { createAuthority } from '../services/certificates.ts';

const base = '/apiops/projects/MyProject';
const path = (name: string) => `${base}/connections/${name}/?async=true`;
const keystoreBytes = 220_000;
const count = 60;
/** What a frame of connections may be, with room for what is not counted exactly. */
const frameBytes = 5 * 1024 * 1024;

const client = createAuthority().issue({ commonName: 'client', client: true });

/** A keystore of that size: what stands between the blocks of a PEM file is no matter. */
function keystore(padding: string) {
  const file = `${client.keyPem}${client.certPem}${padding.repeat(keystoreBytes)}`.slice(0, keystoreBytes);
  return {
    keyStoreEnvironmentList: [
      {
        environmentName: 'production',
        type: 'PEM',
        password: '',
        file: Buffer.from(file).toString('base64'),
      },
    ],
  };
}

const mail = (name: string, port = 9) => ({
  name,
  type: 'email',
  host: '127.0.0.1',
  port,
  useSsl: true,
  keyStoreName: 'STORE',
});

async function withLargeConnections(t: TestContext): Promise<Plugboard> {
  const plugboard = await startPlugboard({ withWorker: false });
  t.after(() => plugboard.stop());
  await plugboard.ok('POST', `${base}/keystores/STORE/`, keystore('-'));
  await Promise.all(
    Array.from({ length: count }, (_, index) => plugboard.ok('POST', path(`c${index}`), mail(`c${index}`))),
  );
  return plugboard;
}

async function enrol(plugboard: Plugboard): Promise<string> {
  const enrolments = '/apiops/environments/production/enrollment-tokens/';
  return (await plugboard.ok('POST', enrolments, { name: 'remote' })).token;
}

/** A worker's end of a WebSocket that takes no larger frame; it holds what it is told. */
async function connectHolder(plugboard: Plugboard, token: string) {
  const url = `${plugboard.url.replace('http', 'ws')}${WORKER_STREAM_PATH}`;
  const socket = new WebSocket(url, {
    headers: { authorization: `Bearer ${token}` },
    maxPayload: frameBytes,
  });
  const held = new Map<string, { name: string; port: unknown }>();
  const frames: { kind: string; seq: number; more: boolean; items: number }[] = [];
  let coming = new Set<string>();
  let failure: Error | undefined;
  let isWhole = false;
  socket.on('error', (error) => {
    failure = error;
  });
  const put = (items: Extract<ToWorker, { kind: 'snapshot' }>['items']) => {
    for (const { connection, name, config } of items) held.set(connection, { name, port: config['port'] });
  };
  socket.on('message', (data) => {
    const message = JSON.parse(data.toString()) as ToWorker;
    if (message.kind === 'snapshot') {
      frames.push({ ...message, more: message.more ?? false, items: message.items.length });
      put(message.items);
      for (const { connection } of message.items) coming.add(connection);
      if (message.more) return;
      for (const connection of held.keys()) if (!coming.has(connection)) held.delete(connection);
      coming = new Set();
      isWhole = true;
    } else if (message.kind === 'delta') {
      assert.ok(isWhole, 'no delta comes before the whole snapshot');
      frames.push({ kind: 'delta', seq: message.seq, more: false, items: message.put.length });
      for (const connection of message.remove) held.delete(connection);
      put(message.put);
    }
  });
  await once(socket, 'open');
  const hello: FromWorker = { kind: 'hello', protocol: PROTOCOL_VERSION, name: 'holder', version: 'test' };
  socket.send(JSON.stringify(hello));
  return {
    frames,
    held,
    whole: () => {
      if (failure) throw failure;
      return isWhole;
    },
    holds: () => [...held.values()].map(({ name, port }) => `${name}:${port}`).sort(),
    close: () => socket.terminate(),
  };
}

test('a snapshot and deltas of any size come in frames of some MiB', async (t) => {
  const plugboard = await withLargeConnections(t);
  const holder = await connectHolder(plugboard, await enrol(plugboard));
  t.after(() => holder.close());
  await until('the snapshot is whole', () => holder.whole());
  assert.equal(holder.held.size, count);
  assert.ok(holder.frames.length >= 4, `${holder.frames.length} frames`);
  assert.deepEqual(
    holder.frames.map(({ more }) => more),
    holder.frames.map((_, index) => index < holder.frames.length - 1),
  );
  assert.equal(new Set(holder.frames.map(({ seq }) => seq)).size, 1);

  // Every connection that names it is told anew.
  holder.frames.length = 0;
  const changing = plugboard.ok('PUT', `${base}/keystores/STORE/`, keystore('='));
  const told = () => holder.frames.reduce((sum, { items }) => sum + items, 0);
  await until('all are told of the keystore', () => holder.whole() && told() >= count);
  assert.ok(holder.frames.length >= 4, `${holder.frames.length} deltas`);
  assert.deepEqual(
    holder.frames.map(({ seq }) => seq),
    holder.frames.map(({ seq }) => seq).sort((a, b) => a - b),
  );
  holder.close();
  await changing;
});

test('what changes while a snapshot is on its way ends up as it was changed', async (t) => {
  const plugboard = await withLargeConnections(t);
  const token = await enrol(plugboard);
  for (let round = 0; round < 3; round++) {
    const holder = await connectHolder(plugboard, token);
    const changing = Array.from({ length: 24 }, async (_, index) => {
      await sleep(index * 4);
      const name = `c${(index * 5 + round) % count}`;
      if (index % 4 === 0) await plugboard.call('DELETE', path(name));
      else if (index % 4 === 1)
        await plugboard.ok('POST', path(`new-${round}-${index}`), mail(`new-${round}-${index}`));
      else await plugboard.call('PUT', path(name), mail(name, 1000 + round * 100 + index));
    });
    await Promise.all(changing);
    const { resultList } = await plugboard.ok('GET', `${base}/connections/?type=*&size=500`);
    const expected = resultList
      .map(({ name, port }: { name: string; port: number }) => `${name}:${port}`)
      .sort();
    await until('it holds what is stored', () => holder.whole() && holder.holds().join() === expected.join());
    holder.close();
  }
});

test('a worker over a WebSocket and an embedded one hold all of a large snapshot', async (t) => {
  const plugboard = await withLargeConnections(t);
  const token = await enrol(plugboard);
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const remote = await startWorker({
    name: 'remote',
    version: 'test',
    definitions,
    connectors,
    log,
    connect: () => connectStream({ url: plugboard.url, token }),
  });
  t.after(() => remote.stop(0));
  const embedded = await plugboard.addWorker('production', 'embedded');
  for (const worker of [remote, embedded])
    await until('it holds all', () =>
      Array.from({ length: count }, (_, index) => worker.connections.find('MyProject', `c${index}`)).every(
        Boolean,
      ),
    );
  const changed = await plugboard.ok('PUT', `${base}/connections/c0/`, mail('c0', 10));
  assert.equal(changed.deploymentResult.deploymentResults[0].workers.length, 2, JSON.stringify(changed));
  assert.equal(changed.deploymentResult.success, true, JSON.stringify(changed));
});

test('an operation whose input or result the stream does not carry fails alone', async (t) => {
  const plugboard = await startPlugboard({ withWorker: false });
  t.after(() => plugboard.stop());
  const target = createServer((request, response) => {
    request.resume();
    response.end('x'.repeat(request.url === '/large' ? 50_000 : 10));
  });
  target.listen(0, '127.0.0.1');
  await once(target, 'listening');
  t.after(() => target.close());
  const { port } = target.address() as AddressInfo;
  const takes = (text: string) => text.length < 20_000;
  let streams = 0;
  await plugboard.addWorker('production', 'narrow', {
    connect: async () => {
      streams += 1;
      const [ours, theirs] = createChannelPair();
      plugboard.controlPlane.attachEmbedded({ ...theirs, takes }, 'production');
      return { ...ours, takes };
    },
  });
  for (const name of ['small', 'large'])
    await plugboard.ok('POST', `${base}/connections/${name}/`, {
      name,
      type: 'webhook',
      httpMethod: 'POST',
      fullUrl: `http://127.0.0.1:${port}/${name}`,
    });
  const call = (name: string, body: string) =>
    plugboard.call('POST', `${base}/connections/${name}/operations/call/`, { body });
  assert.equal((await call('small', 'x')).status, 200);
  for (const answer of [await call('large', 'x'), await call('small', 'x'.repeat(50_000))]) {
    assert.equal(answer.status, 413, answer.text);
    assert.equal(answer.body.error, 'payload_too_large');
  }
  assert.equal((await call('small', 'x')).status, 200);
  assert.equal(streams, 1);
});

async function until(what: string, holds: () => unknown): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `${what}: not in time`);
    await sleep(20);
  }
}
