import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { definitions } from '../../src/connectors/definitions.ts';
import { bodyWith } from '../../src/connectors/sample-body.ts';
import type { ConnectionType } from '../../src/contract/connection-type.ts';
import type { DesiredConnection } from '../../src/contract/worker-protocol.ts';
import type { BenchContext } from './bench.ts';
import type { CallerOrder, UsageResult } from './caller-orders.ts';
import type { Figure } from './figure.ts';
import { type Helper, startHelper } from './process.ts';
import { seriesOf } from './statistics.ts';

const count = 1000;
const bytesPerMebibyte = 1024 ** 2;

/** What connections cost that are deployed and not used. */
export async function operationsIdleBench({ directory, quick }: BenchContext): Promise<Figure[]> {
  const root = join(directory, 'idle-logs');
  await mkdir(root, { recursive: true });
  const sink = await startHelper('sink-server.ts');
  const { deaf } = await sink.ask<{ deaf: number }>({ ports: true });
  const added: number[] = [];
  const ofTypes: number[] = [];
  let sockets = 0;
  const types = Object.values(definitions as Record<string, ConnectionType>);
  for (let round = 0; round < (quick ? 1 : 3); round++) {
    const worker = await startHelper('caller.ts', { BENCH_LOG_ROOT: root });
    try {
      const empty = await ask<UsageResult>(worker, { usage: true });
      await ask(worker, {
        put: types.map((definition, at) => desired(definition, at, { root, port: deaf })),
      });
      const withTypes = await ask<UsageResult>(worker, { usage: true });
      const others = Array.from({ length: count - types.length }, (_, at) =>
        desired(types[at % types.length]!, types.length + at, { root, port: deaf }),
      );
      await ask(worker, { put: others });
      const full = await ask<UsageResult>(worker, { usage: true });
      ofTypes.push((withTypes.residentBytes - empty.residentBytes) / bytesPerMebibyte);
      added.push((full.residentBytes - withTypes.residentBytes) / bytesPerMebibyte);
      sockets = Math.max(sockets, full.sockets - empty.sockets);
    } finally {
      await worker.stop();
    }
  }
  await sink.stop();
  const pools = Math.ceil((count - types.length) / types.length) + 1;
  const common = { group: 'Idle connections' };
  return [
    {
      ...common,
      name: 'Memory of 1,000 connections',
      meaning: `Resident memory after a collection that ${count - types.length} further connections of all ${types.length} types add to a worker that has one of each`,
      unit: 'MiB',
      product: seriesOf(added),
      target: { atMost: 20 },
    },
    {
      ...common,
      name: 'Memory of the first of each type',
      meaning: 'What loading their code adds to a worker that had no connection, once',
      unit: 'MiB',
      product: seriesOf(ofTypes),
    },
    {
      ...common,
      name: 'Sockets of 1,000 connections',
      meaning: `Open sockets in /proc/PID/fd beyond those of the empty worker; the only minimum that a definition asks for is one socket for each of the ${pools} databases`,
      unit: 'sockets',
      product: seriesOf([sockets]),
      target: { atMost: pools },
    },
  ];
}

function desired(
  definition: ConnectionType,
  at: number,
  { root, port }: { root: string; port: number },
): DesiredConnection {
  const { type } = definition;
  const own =
    type === 'database'
      ? { dbType: 'POSTGRES', host: '127.0.0.1', port, jdbcUrl: null }
      : type === 'logback'
        ? { logPath: `${join(root, String(at))}/` }
        : {};
  const { type: _type, name: _name, ...config } = bodyWith(definition, own);
  const name = `${type}-${at}`;
  return {
    connection: name,
    project: 'Bench',
    name,
    type,
    revision: 1,
    config: { ...config, deployToWorker: true, enabled: true },
  };
}

function ask<Answer = object>(helper: Helper, order: CallerOrder): Promise<Answer> {
  return helper.ask<Answer>(order);
}
