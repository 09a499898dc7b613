import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BenchContext } from './bench.ts';
import { connectionsPath } from './bodies.ts';
import { compared, type Figure } from './figure.ts';
import type { LoadOrder } from './load.ts';
import { startHelper } from './process.ts';
import { startProduct } from './product.ts';
import { sent, startBare } from './reads.bench.ts';
import { interleave } from './statistics.ts';

/** Using a connection: what the control plane and the worker's own port add to the connector's own call. */
export async function operationsBench(context: BenchContext): Promise<Figure[]> {
  const { directory, load, rounds, sliceMs, quick } = context;
  const target = await startHelper('target-server.ts');
  const url = `http://127.0.0.1:${await target.ask<number>({ port: true })}/`;
  const bodies = join(directory, 'no-bodies.json');
  await writeFile(bodies, '{}');
  const bare = await startBare(context, bodies, url);
  const product = await startProduct({
    directory: join(directory, 'operations'),
    environment: { PLUGBOARD_WORKER_API_PORT: '0' },
  });
  try {
    await product.call('POST', `${connectionsPath}hook/`, { type: 'webhook', name: 'hook', fullUrl: url });
    const { token: useToken } = await product.call<{ token: string }>('POST', '/apiops/tokens/', {
      name: 'use',
      expiresAt: null,
      grants: [{ project: 'Bench', permissions: ['CONNECTIONS:USE'] }],
    });
    const path = `${connectionsPath}hook/operations/call/`;
    const call = (connections: number, order: Pick<LoadOrder, 'port' | 'path' | 'token'>) =>
      sent(load, {
        ...order,
        method: 'POST',
        body: JSON.stringify({ body: { order: 4711 } }),
        connections,
        durationMs: sliceMs,
        expect: 'accepted',
      });
    const sides = {
      bare: { port: bare.port, path: '/call/' },
      controlPlane: { port: product.port, path, token: useToken },
      worker: { port: product.workerPort!, path, token: useToken },
    };
    const measured = Object.entries(sides) as [keyof typeof sides, (typeof sides)['worker']][];
    const each = (measure: (order: (typeof sides)['worker']) => Promise<number>) =>
      Object.fromEntries(measured.map(([name, order]) => [name, () => measure(order)])) as Record<
        keyof typeof sides,
        () => Promise<number>
      >;
    const count = quick ? 2 : Math.min(rounds, 4);
    const latency = await interleave(
      count,
      each(async (order) => (await call(1, order)).p50Ms),
    );
    const many = await interleave(
      count,
      each(async (order) => (await call(16, order)).perSecond),
    );
    const against = 'against a bare handler that makes the same call by the connector alone';
    const group = 'Operations';
    return [
      compared({
        group,
        name: 'Through the control plane, 1 client',
        meaning: `Median latency of a webhook's call to a local server, routed to the embedded worker; ${against}`,
        unit: 'ms',
        product: latency.controlPlane,
        bare: latency.bare,
      }),
      compared({
        group,
        name: 'Through the control plane, 16 clients',
        meaning: 'The same side by side',
        unit: 'requests/s',
        product: many.controlPlane,
        bare: many.bare,
      }),
      compared({
        group,
        name: "By the worker's own port, 1 client",
        meaning: `Median latency of the same call at the worker's own HTTP port; ${against}`,
        unit: 'ms',
        product: latency.worker,
        bare: latency.bare,
      }),
      compared({
        group,
        name: "By the worker's own port, 16 clients",
        meaning: 'The same side by side',
        unit: 'requests/s',
        product: many.worker,
        bare: many.bare,
      }),
    ];
  } finally {
    await Promise.all([product.stop(), bare.stop(), target.stop()]);
  }
}
