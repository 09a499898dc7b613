import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { glob, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchContext } from './bench.ts';
import { connectionPath, emailBody } from './bodies.ts';
import { compared, type Figure } from './figure.ts';
import { ended } from './process.ts';
import { linesUntil, root, startProduct } from './product.ts';
import { interleave, seriesOf } from './statistics.ts';

/** Starting, what an idle process holds in memory, and which modules it has loaded. */
export async function startBench(context: BenchContext): Promise<Figure[]> {
  const directory = join(context.directory, 'start');
  const times = await interleave(context.quick ? 3 : 9, {
    bare: () => startBareProcess(context.directory),
    product: async () => {
      const product = await startProduct({ directory });
      const ready = await fetch(`http://127.0.0.1:${product.port}/readyz`);
      await product.stop();
      if (ready.status !== 200) throw new Error(`readyz answered ${ready.status}`);
      return product.startMs;
    },
  });
  const idle: number[] = [];
  for (let round = 0; round < (context.quick ? 1 : 3); round++) {
    const product = await startProduct({ directory });
    await sleep(context.quick ? 3_000 : 6_000);
    idle.push(residentMib(product.child.pid!));
    await product.stop();
  }
  const loaded = await driversLoaded(context);
  const group = 'Starting';
  return [
    compared({
      group,
      name: 'Ready',
      meaning:
        '`node src/main.ts start` on a directory it has started on before, compile cache warm, until it says that it listens (readyz then answers 200); against a process that opens a database of the same settings and listens with Fastify',
      unit: 'ms',
      product: times.product,
      bare: times.bare,
      target: { atMost: 4 },
    }),
    {
      group,
      name: 'Resident memory, idle',
      meaning: `VmRSS of /proc/PID/status ${context.quick ? 3 : 6} s after the start, embedded worker included`,
      unit: 'MiB',
      product: seriesOf(idle),
      target: { atMost: 150 },
    },
    {
      group,
      name: 'Drivers loaded at start',
      meaning: `Packages that only connectors import (${loaded.drivers.join(', ')}) among the modules that the process loaded before the first connection; the same trace shows ${loaded.afterwards.join(', ')} after an e-mail connection was made`,
      unit: 'packages',
      product: seriesOf([loaded.atStart.length]),
      target: { atMost: 0 },
    },
  ];
}

async function startBareProcess(directory: string): Promise<number> {
  const spawnedAt = performance.now();
  const child = spawn(process.execPath, [join(import.meta.dirname, 'bare-start.ts')], {
    env: {
      ...process.env,
      BENCH_DATABASE: join(directory, 'bare-start.db'),
      BENCH_COMPILE_CACHE: join(directory, 'bare-compile-cache'),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await linesUntil(child, 'listening on');
  const startMs = performance.now() - spawnedAt;
  await ended(child);
  return startMs;
}

function residentMib(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)![1]) / 1024;
}

/** Which drivers a process has loaded when it is idle, and which after an e-mail connection was made. */
async function driversLoaded({
  directory,
}: BenchContext): Promise<{ drivers: string[]; atStart: string[]; afterwards: string[] }> {
  const drivers = await driverPackages();
  const file = join(directory, 'modules.json');
  const product = await startProduct({
    directory: join(directory, 'modules'),
    environment: { BENCH_MODULES_FILE: file },
    nodeArguments: ['--import', join(import.meta.dirname, 'trace-modules.mjs')],
  });
  const packages = async () => {
    product.child.kill('SIGUSR2');
    const urls = JSON.parse(await written(file)) as string[];
    if (!urls.some((url) => url.endsWith('/node_modules/fastify/fastify.js')))
      throw new Error('the trace of the loaded modules does not even show Fastify');
    return drivers.filter((name) => urls.some((url) => url.includes(`/node_modules/${name}/`)));
  };
  try {
    const atStart = await packages();
    await product.call('POST', connectionPath.replace('{n}', '1'), {
      ...emailBody({ deployed: true, name: 'connection-1' }),
      password: 'app-password',
    });
    const afterwards = await packages();
    if (!afterwards.includes('nodemailer'))
      throw new Error('the trace does not show a driver that is in use');
    return { drivers, atStart, afterwards };
  } finally {
    await product.stop();
  }
}

async function written(file: string): Promise<string> {
  for (let attempt = 0; attempt < 100; attempt++) {
    await sleep(50);
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text.endsWith(']')) {
      await rm(file);
      return text;
    }
  }
  throw new Error('the process did not write its modules');
}

/** Dependencies that files of connectors import, and that no other source but theirs does. */
async function driverPackages(): Promise<string[]> {
  const { dependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const importers = new Map<string, boolean>();
  for await (const file of glob('src/**/*.ts', { cwd: root })) {
    if (/\.test\.ts$|\.definition\.ts$/.test(file)) continue;
    const source = await readFile(join(root, file), 'utf8');
    const inConnector = /^src\/connectors\/[^/]+\//.test(file);
    for (const name of Object.keys(dependencies))
      if (
        new RegExp(`(from|import\\() ?['"]${name}(/[^'"]*)?['"]`).test(
          source.replace(/^import type .*$/gm, ''),
        )
      )
        importers.set(name, (importers.get(name) ?? true) && inConnector);
  }
  // PostgreSQL is the store's driver, too, and just as lazily loaded.
  return [...importers]
    .filter(([name, only]) => only || name === 'pg')
    .map(([name]) => name)
    .sort();
}
