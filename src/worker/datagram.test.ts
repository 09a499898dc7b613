import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../test/services/service.ts';
import type { AppError } from '../errors.ts';
import { createNetwork } from './egress.ts';
import { createEgressPolicy } from './egress-policy.ts';

const network = createNetwork({
  policy: createEgressPolicy({ own: [{ host: '127.0.0.1', port: 5432 }] }),
  lookup: async (host) => [{ address: host === 'meta.test' ? '169.254.169.254' : '127.0.0.1', family: 4 }],
});

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'succeeded',
    (error: AppError) => error.code,
  );

test('sends datagrams to the address of a name', async () => {
  const receiver = createSocket('udp4').bind(0, '127.0.0.1');
  await once(receiver, 'listening');
  const sender = await network.datagram({
    host: 'log.test',
    port: receiver.address().port,
    sendBufferBytes: 65536,
  });
  try {
    const arrival = once(receiver, 'message');
    await sender.send(Buffer.from('hello'));
    assert.equal(String((await arrival)[0]), 'hello');
    assert.equal(sender.failure, undefined);
    assert.equal(await codeOf(sender.send(Buffer.alloc(65_508))), 'message_too_large');
    await sender.send(Buffer.alloc(65_507));
  } finally {
    sender.close();
    sender.close();
    receiver.close();
  }
  assert.equal(await codeOf(sender.send(Buffer.from('late'))), 'cancelled');
});

test('a refusal is the failure of the next send', async () => {
  const sender = await network.datagram({ host: '127.0.0.1', port: await freePort() });
  try {
    await sender.send(Buffer.from('refused'));
    const deadline = Date.now() + 10_000;
    while (!sender.failure && Date.now() < deadline) await sleep(10);
    assert.equal(sender.failure?.code, 'connection_refused');
    assert.equal(await codeOf(sender.send(Buffer.from('next'))), 'connection_refused');
    assert.equal(sender.failure, undefined, 'it is told once');
  } finally {
    sender.close();
  }
});

test('security.md 8: the egress policy holds for datagrams', async () => {
  for (const host of ['169.254.169.254', 'meta.test'])
    assert.equal(await codeOf(network.datagram({ host, port: 53 })), 'egress_denied');
  assert.equal(await codeOf(network.datagram({ host: 'log.test', port: 5432 })), 'egress_denied');
  const aborted = AbortSignal.abort();
  assert.equal(await codeOf(network.datagram({ host: 'log.test', port: 9, signal: aborted })), 'cancelled');
});

test('hears the address that it sends to, nobody else, and refusals at once', async () => {
  const receiver = createSocket('udp4').bind(0, '127.0.0.1');
  const stranger = createSocket('udp4').bind(0, '127.0.0.1');
  await Promise.all([once(receiver, 'listening'), once(stranger, 'listening')]);
  const heard: string[] = [];
  const { promise: answered, resolve } = Promise.withResolvers<void>();
  const sender = await network.datagram({
    host: 'log.test',
    port: receiver.address().port,
    onMessage: (bytes) => {
      heard.push(String(bytes));
      resolve();
    },
  });
  try {
    const arrival = once(receiver, 'message');
    await sender.send(Buffer.from('hello'));
    const [, from] = (await arrival) as [Buffer, { port: number }];
    await new Promise((sent) => stranger.send('forged', from.port, '127.0.0.1', sent));
    await sleep(50);
    receiver.send('answer', from.port, '127.0.0.1');
    await answered;
    assert.deepEqual(heard, ['answer']);
  } finally {
    sender.close();
    receiver.close();
    stranger.close();
  }
  const { promise: refused, resolve: onFailure } = Promise.withResolvers<AppError>();
  const closed = await network.datagram({ host: 'log.test', port: await freePort(), onFailure });
  await closed.send(Buffer.from('x'));
  assert.equal((await refused).code, 'connection_refused');
  closed.close();
});
