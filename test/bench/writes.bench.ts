import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BenchContext } from './bench.ts';
import { connectionPath, webhookBody } from './bodies.ts';
import { compared, type Figure } from './figure.ts';
import type { LoadResult } from './load.ts';
import { startHelper } from './process.ts';
import { startProduct } from './product.ts';
import { sent, startBare } from './reads.bench.ts';
import { interleave, seriesOf } from './statistics.ts';

/** Writing: create until the worker has said that the connection is valid, everything durable. */
export async function writesBench(context: BenchContext): Promise<Figure[]> {
  const { directory, load, rounds, sliceMs } = context;
  const bodies = join(directory, 'no-bodies.json');
  await writeFile(bodies, '{}');
  const target = await startHelper('target-server.ts');
  const body = JSON.stringify(webhookBody(`http://127.0.0.1:${await target.ask<number>({ port: true })}/`));
  const product = await startProduct({ directory: join(directory, 'writes') });
  const bare = await startBare(context, bodies);
  let next = 0;

  /** Creates, and removes again what it created, so that no round finds more connections than another. */
  const create = async (connections: number, durationMs: number) => {
    const target = { port: product.port, token: product.token, from: next };
    const result = await sent(load, {
      ...target,
      method: 'POST',
      path: connectionPath,
      body,
      connections,
      durationMs,
      expect: '"deploymentResult":{"success":true',
    });
    next += result.requests;
    await sent(load, {
      ...target,
      method: 'DELETE',
      path: connectionPath,
      connections: 64,
      count: result.requests,
    });
    return result;
  };
  const insert = (connections: number, durationMs: number, rows = 'rows') =>
    sent(load, {
      port: bare.port,
      method: 'POST',
      path: `/${rows}/connection-{n}/`,
      from: next,
      body,
      connections,
      durationMs,
    });

  try {
    // What compiles only when it is hot should be hot before anything is measured.
    await create(64, 10 * sliceMs);
    await insert(64, 2 * sliceMs);
    next += (await insert(64, 4 * sliceMs, 'same-rows')).requests;
    const latency: Record<'bare' | 'product', LoadResult[]> = { bare: [], product: [] };
    await interleave(rounds, {
      bare: async () => keep(latency.bare, await insert(1, sliceMs / 2)),
      product: async () => keep(latency.product, await create(1, sliceMs)),
    });
    // Long enough that each slice has its share of checkpoints and collections.
    const longMs = 2 * sliceMs;
    const throughput = await interleave(rounds, {
      bare: async () => (await insert(64, longMs)).perSecond,
      product: async () => (await create(64, longMs)).perSecond,
      sameRows: async () => {
        const result = await insert(64, longMs, 'same-rows');
        next += result.requests;
        return result.perSecond;
      },
    });
    const medians = (results: LoadResult[]) => seriesOf(results.slice(1).map(({ p50Ms }) => p50Ms));
    return [
      compared({
        group: 'Writing',
        name: 'Create until valid, 1 client',
        meaning:
          'Median latency from request to the answer that says the worker built the client: validated, sealed, committed with revision and audit row, sent to the embedded worker, its verdict committed; against a handler that commits one durable row',
        unit: 'ms',
        product: medians(latency.product),
        bare: medians(latency.bare),
        target: { atMost: 3 },
      }),
      compared({
        group: 'Writing',
        name: 'Create until valid, 64 clients',
        meaning: 'The same side by side; against a handler that commits row by row',
        unit: 'requests/s',
        product: throughput.product,
        bare: throughput.bare,
        target: { atLeast: 1.5 },
      }),
      compared({
        group: 'Writing',
        name: 'The rows of a create alone, 64 clients',
        meaning:
          'What the store leaves possible: a bare handler that seals one secret and writes the same rows in grouped commits by the same store, with nothing checked, nobody told and no client built; against the one that commits row by row',
        unit: 'requests/s',
        product: throughput.sameRows,
        bare: throughput.bare,
      }),
    ];
  } finally {
    await Promise.all([product.stop(), bare.stop(), target.stop()]);
  }
}

function keep(results: LoadResult[], result: LoadResult): number {
  results.push(result);
  return result.p50Ms;
}
