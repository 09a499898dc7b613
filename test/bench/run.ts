import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Bench, BenchContext } from './bench.ts';
import { fanOutBench } from './fan-out.bench.ts';
import { type Figure, meetsTarget } from './figure.ts';
import { operationsBench } from './operations.bench.ts';
import { operationsDriversBench } from './operations-drivers.bench.ts';
import { operationsIdleBench } from './operations-idle.bench.ts';
import { operationsLogsBench } from './operations-logs.bench.ts';
import { startHelper } from './process.ts';
import { root } from './product.ts';
import { readsBench } from './reads.bench.ts';
import { lineOf, report } from './report.ts';
import { startBench } from './start.bench.ts';
import { writesBench } from './writes.bench.ts';

const benches: Record<string, Bench> = {
  start: startBench,
  reads: readsBench,
  writes: writesBench,
  'fan-out': fanOutBench,
  operations: operationsBench,
  'operations-drivers': operationsDriversBench,
  'operations-logs': operationsLogsBench,
  'operations-idle': operationsIdleBench,
};

const help = `npm run bench [-- [--quick] [BENCH …]]

Runs the benches (${Object.keys(benches).join(', ')}; all without a name) and prints their figures.
A whole run of about ten minutes writes docs/performance.md; --quick and single benches do not.
No figure fails the run: machines differ and swing.
`;

const { values, positionals } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const unknown = positionals.filter((name) => !Object.hasOwn(benches, name));
if (values.help || unknown.length > 0) {
  process.stdout.write(unknown.length > 0 ? `There is no bench ${unknown.join(', ')}\n\n${help}` : help);
  process.exit(unknown.length > 0 ? 2 : 0);
}

// Beside the sources and not in the system's temporary directory, which may be memory: commits must reach a disk.
const cache = join(root, 'node_modules', '.cache');
await mkdir(cache, { recursive: true });
const directory = await mkdtemp(join(cache, 'bench-'));
const load = await startHelper('load.ts');
const context: BenchContext = {
  rounds: values.quick ? 3 : 11,
  sliceMs: values.quick ? 300 : 600,
  stored: values.quick ? 2000 : 10_000,
  quick: values.quick,
  directory,
  load,
};
const startedAt = Date.now();
const loadBefore = loadavg()[0]!;
const figures: Figure[] = [];
try {
  for (const name of positionals.length > 0 ? positionals : Object.keys(benches))
    for (const figure of await benches[name]!(context)) {
      figures.push(figure);
      process.stdout.write(`${lineOf(figure)}\n`);
    }
} finally {
  await load.stop();
  await rm(directory, { recursive: true, force: true });
}
const missed = figures.filter((figure) => meetsTarget(figure) === false);
process.stdout.write(
  missed.length === 0
    ? 'Every target is met.\n'
    : `Not met: ${missed.map(({ group, name }) => `${group} · ${name}`).join('; ')}\n`,
);
if (!values.quick && positionals.length === 0) {
  const file = join(root, 'docs', 'performance.md');
  await writeFile(file, await report(figures, { tookMs: Date.now() - startedAt, loadBefore }));
  process.stdout.write(`Written to ${file}\n`);
}
