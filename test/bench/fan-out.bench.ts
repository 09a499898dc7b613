import { join } from 'node:path';
import type { BenchContext } from './bench.ts';
import { connectionPath, emailBody } from './bodies.ts';
import type { Figure } from './figure.ts';
import { startHelper } from './process.ts';
import { startProduct } from './product.ts';
import { seriesOf } from './statistics.ts';

interface Answer {
  deploymentResult: { success: boolean; deploymentResults: { message: string }[] };
}

/** One change until the verdict of every worker is committed, by the number of workers. */
export async function fanOutBench(context: BenchContext): Promise<Figure[]> {
  const product = await startProduct({
    directory: join(context.directory, 'fan-out'),
    environment: { PLUGBOARD_WORKER: 'none' },
  });
  const workers = await startHelper('fake-workers.ts');
  try {
    const { token } = await product.call<{ token: string }>(
      'POST',
      '/apiops/environments/production/enrollment-tokens/',
      { name: 'fakes' },
    );
    const path = `${connectionPath.replace('{n}', '1')}?deployTimeoutMs=60000`;
    const body = { ...emailBody({ deployed: true, name: 'connection-1' }), password: 'app-password' };
    await product.call('POST', `${path}&async=true`, body);
    const figures: Figure[] = [];
    for (const count of context.quick ? [1, 100] : [1, 100, 1000]) {
      await workers.ask({ port: product.port, token, count });
      const times: number[] = [];
      const changes = context.quick ? 8 : 15;
      for (let change = 0; change < changes + 3; change++) {
        const startedAt = performance.now();
        const { deploymentResult } = await product.call<Answer>('PUT', path, {
          ...body,
          description: `Change ${change}`,
        });
        if (change >= 3) times.push(performance.now() - startedAt);
        const { message } = deploymentResult.deploymentResults[0]!;
        if (!deploymentResult.success || !message.includes(`${count} of ${count} `)) throw new Error(message);
      }
      figures.push({
        group: 'Fan-out',
        name: `One change to ${count} ${count === 1 ? 'worker' : 'workers'}`,
        meaning:
          'From the request that updates a connection to the answer that every worker has it valid, every verdict committed; workers over WebSocket in one other process',
        unit: 'ms',
        product: seriesOf(times),
      });
    }
    return figures;
  } finally {
    await workers.stop();
    await product.stop();
  }
}
