import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BenchContext } from './bench.ts';
import { connectionPath, connectionsPath, emailBody } from './bodies.ts';
import { compared, type Figure } from './figure.ts';
import type { LoadOrder, LoadResult } from './load.ts';
import { type Helper, startHelper } from './process.ts';
import { startProduct } from './product.ts';
import { interleave } from './statistics.ts';

/** Reading: one of many connections with its secrets, masked, and lists. */
export async function readsBench(context: BenchContext): Promise<Figure[]> {
  const { directory, load, rounds, sliceMs, stored, quick } = context;
  const product = await startProduct({ directory: join(directory, 'reads') });
  try {
    await fill(load, product.port, product.token, stored);
    // Another type, so that a list of exactly a hundred can be asked for.
    await sent(load, {
      port: product.port,
      method: 'POST',
      path: `${connectionsPath}hook-{n}/?async=true`,
      token: product.token,
      body: JSON.stringify({ ...hook, name: 'hook-{n}' }),
      connections: 16,
      count: 100,
    });
    const { token: viewToken } = await product.call<{ token: string }>('POST', '/apiops/tokens/', {
      name: 'view',
      expiresAt: null,
      grants: [{ project: 'Bench', permissions: ['CONNECTIONS:VIEW'] }],
    });

    const one = await product.call('GET', connectionPath.replace('{n}', '7'));
    const hundred = await product.call('GET', `${connectionsPath}?type=webhook`);
    const all = await product.call('GET', `${connectionsPath}?type=email`);
    const bodies = join(directory, 'bodies.json');
    await writeFile(bodies, JSON.stringify({ one, hundred, all }));
    const bare = await startBare(context, bodies);
    try {
      const read = (port: number, path: string, expect: string, more: Partial<LoadOrder> = {}) =>
        throughput(load, {
          port,
          method: 'GET',
          path,
          connections: 64,
          durationMs: sliceMs,
          expect,
          ...more,
        });
      const { port, token } = product;
      const one64 = await interleave(rounds, {
        bare: () => read(bare.port, '/one/', '"app-password-7"'),
        reveal: () => read(port, connectionPath, '"password":"app-password-', { token, range: stored }),
        masked: () => read(port, connectionPath, '"password":null', { token: viewToken, range: stored }),
      });
      const lists = await interleave(rounds, {
        bare: () => read(bare.port, '/hundred/', '"resultList":['),
        product: () => read(port, `${connectionsPath}?type=webhook`, '"resultList":[', { token }),
      });
      const everything = await interleave(quick ? 1 : Math.min(rounds, 3), {
        bare: () => read(bare.port, '/all/', '"resultList":[', { connections: 4, durationMs: 2 * sliceMs }),
        product: () =>
          read(port, `${connectionsPath}?type=email`, '"resultList":[', {
            token,
            connections: 4,
            durationMs: 2 * sliceMs,
          }),
      });
      const group = 'Reading';
      const unit = 'requests/s';
      return [
        compared({
          group,
          name: 'Get, secrets revealed',
          meaning: `64 clients get random ones of ${stored} connections: token and permission checked, secrets opened, and an audit row durable on disk before the answer; against a handler that serialises the same object`,
          unit,
          product: one64.reveal,
          bare: one64.bare,
          target: { atLeast: 0.33 },
        }),
        compared({
          group,
          name: 'Get, masked',
          meaning: 'The same with a token that has CONNECTIONS:VIEW alone: secrets null, nothing to audit',
          unit,
          product: one64.masked,
          bare: one64.bare,
          target: { atLeast: 0.5 },
        }),
        compared({
          group,
          name: 'List of 100',
          meaning:
            '64 clients list a type of 100 connections; against a handler that serialises the same 100',
          unit,
          product: lists.product,
          bare: lists.bare,
          target: { atLeast: 0.8 },
        }),
        compared({
          group,
          name: `List of ${stored}`,
          meaning: `4 clients list ${stored} connections; against a handler that serialises the same objects`,
          unit,
          product: everything.product,
          bare: everything.bare,
        }),
      ];
    } finally {
      await bare.stop();
    }
  } finally {
    await product.stop();
  }
}

const hook = {
  type: 'webhook',
  description: 'Tells the team of a new order',
  deployToWorker: false,
  enabled: true,
  fullUrl: 'http://127.0.0.1:9/hooks/{n}',
};

/** The bare handlers, in a process of their own. */
export async function startBare(
  { directory }: BenchContext,
  bodies: string,
  target?: string,
): Promise<{ port: number; stop(): Promise<void> }> {
  const helper = await startHelper('bare-server.ts', {
    BENCH_BODIES: bodies,
    BENCH_DATABASE: join(directory, `bare-${Date.now()}.db`),
    ...(target ? { BENCH_TARGET: target } : {}),
  });
  return { port: await helper.ask<number>({ port: true }), stop: helper.stop };
}

/** Stores so many connections that no worker holds, so that nothing but the reading is measured. */
async function fill(load: Helper, port: number, token: string, count: number): Promise<void> {
  await sent(load, {
    port,
    method: 'POST',
    path: `${connectionPath}?async=true`,
    token,
    body: JSON.stringify(emailBody({ deployed: false })),
    connections: 64,
    count,
  });
}

/** Sends a load of which every answer must be good. */
export async function sent(load: Helper, order: LoadOrder): Promise<LoadResult> {
  const result = await load.ask<LoadResult>(order);
  if (result.failed > 0 || result.requests === 0)
    throw new Error(
      `${result.failed} of ${result.requests} answers to ${order.method} ${order.path} were bad: ${result.firstFailure}`,
    );
  return result;
}

async function throughput(load: Helper, order: LoadOrder): Promise<number> {
  return (await sent(load, order)).perSecond;
}
