import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { base64, runLogback } from '../services/logback.ts';
import type { BenchContext } from './bench.ts';
import type { CallerOrder, FillResult, RunResult } from './caller-orders.ts';
import { type CallName, calls, heldBytesLimit, logbackLine } from './calls.ts';
import { compared, type Figure } from './figure.ts';
import { type Helper, startHelper } from './process.ts';
import { startOrSkipBench } from './servers.ts';
import { interleave, seriesOf } from './statistics.ts';

const bytesPerMebibyte = 1024 ** 2;
const javaLines = 200_000;

/** Lines to files against Java's Logback, and messages over TCP against a bare socket; what a deaf receiver costs. */
export async function operationsLogsBench(context: BenchContext): Promise<Figure[]> {
  const root = join(context.directory, 'logs');
  await mkdir(root, { recursive: true });
  const start = (side: 'bare' | 'worker') =>
    startHelper('caller.ts', { BENCH_SIDE: side, BENCH_LOG_ROOT: root });
  const sink = await startHelper('sink-server.ts');
  try {
    const ports = await sink.ask<{ reading: number; deaf: number }>({ ports: true });
    const figures = await measureLogback(context, root, () => start('worker'));
    for (const each of sockets) figures.push(await measureSocket(context, each, ports.reading, start));
    figures.push(...(await measureFill(context, ports.deaf, () => start('worker'))));
    return figures;
  } finally {
    await sink.stop();
  }
}

async function measureLogback(
  { quick, sliceMs, rounds }: BenchContext,
  root: string,
  start: () => Promise<Helper>,
): Promise<Figure[]> {
  const java = async () => {
    const file = join(root, 'java.%d{yyyy-MM-dd}.%i.log');
    const { pattern, message } = logbackLine;
    const [nanoseconds] = await runLogback(
      [['bench', base64(pattern), base64(file), quick ? 20_000 : javaLines, base64(message)]],
      'UTC',
    );
    return (quick ? 20_000 : javaLines) / (Number(nanoseconds) / 1e9);
  };
  if ((await startOrSkipBench(java)) === undefined) return [];
  const worker = await start();
  try {
    const run =
      (call: CallName, inFlight: number, durationMs = sliceMs) =>
      async () =>
        (await ask<RunResult>(worker, { run: call, inFlight, durationMs })).perSecond;
    for (const call of ['logbackLog', 'logbackLog100'] as const) {
      await ask(worker, { open: call, address: { port: 0, directory: `${join(root, call)}/` } });
      await run(call, 64, 4 * sliceMs)();
    }
    const series = await interleave(quick ? 1 : Math.min(rounds, 4), {
      java,
      single: run('logbackLog', 1),
      many: run('logbackLog', 64),
      batch: run('logbackLog100', 1),
    });
    const common = { group: 'Log operations', unit: 'lines/s', bare: series.java };
    const against = `against Java's Logback writing the same line with the same pattern in one thread, the best of three runs of ${javaLines.toLocaleString('en')} lines once the compiler has warmed up`;
    return [
      compared({
        ...common,
        name: 'Logback, calls of 100 lines',
        meaning: `One call at a time; ${against}`,
        product: series.batch,
        target: { atLeast: 1 },
      }),
      compared({
        ...common,
        name: 'Logback, 64 calls of one line at a time',
        meaning: `Each call is answered when its line is in the file; ${against}`,
        product: series.many,
        target: { atLeast: 1 },
      }),
      compared({
        ...common,
        name: 'Logback, one call of one line at a time',
        meaning:
          "The same with nobody else calling, which is the latency of a call and no throughput: each is a write of its own, which by itself takes Node as long as Java's whole line",
        product: series.single,
      }),
    ];
  } finally {
    await worker.stop();
  }
}

interface SocketBench {
  name: string;
  call: CallName;
  inFlight: number;
}

const sockets: SocketBench[] = [
  { name: 'syslog over TCP, 64 calls of one message at a time', call: 'syslogLog', inFlight: 64 },
  { name: 'syslog over TCP, calls of 100', call: 'syslogLog100', inFlight: 1 },
  { name: 'syslog over TCP, calls of 1,000', call: 'syslogLog1000', inFlight: 1 },
  { name: 'GELF over TCP, 64 calls of one message at a time', call: 'gelfLog', inFlight: 64 },
  { name: 'GELF over TCP, calls of 100', call: 'gelfLog100', inFlight: 1 },
  { name: 'GELF over TCP, calls of 1,000', call: 'gelfLog1000', inFlight: 1 },
];

async function measureSocket(
  { quick, sliceMs, rounds }: BenchContext,
  { name, call, inFlight }: SocketBench,
  port: number,
  start: (side: 'bare' | 'worker') => Promise<Helper>,
): Promise<Figure> {
  const sides = await Promise.all([start('bare'), start('worker')]);
  try {
    for (const side of sides) {
      await ask(side, { open: call, address: { port } });
      await ask(side, { run: call, inFlight, durationMs: 4 * sliceMs });
    }
    const [bare, worker] = sides.map(
      (side) => async () =>
        (await ask<RunResult>(side, { run: call, inFlight, durationMs: sliceMs })).perSecond,
    ) as [() => Promise<number>, () => Promise<number>];
    const series = await interleave(quick ? 2 : Math.min(rounds, 7), { bare, worker });
    return compared({
      group: 'Log operations',
      name,
      meaning:
        'To a receiver that reads and forgets; against a socket that is handed the finished bytes message by message, corked for each call, until the system has taken them',
      unit: 'messages/s',
      product: series.worker,
      bare: series.bare,
      target: { atLeast: 0.5 },
    });
  } finally {
    await Promise.all(sides.map((side) => side.stop()));
  }
}

async function measureFill(
  { sliceMs }: BenchContext,
  port: number,
  start: () => Promise<Helper>,
): Promise<Figure[]> {
  const worker = await start();
  const call = 'syslogLog1000';
  try {
    await ask(worker, { open: call, address: { port } });
    const { heldBytes, addedBytes, refused } = await ask<FillResult>(worker, {
      fill: call,
      durationMs: 5 * sliceMs,
    });
    if (refused === 0) throw new Error('the buffer was never full');
    const common = { group: 'Log operations', unit: 'MiB' };
    const limit = heldBytesLimit / bytesPerMebibyte;
    return [
      {
        ...common,
        name: 'syslog, held for a receiver that does not read',
        meaning: `Most that waits or is being written, as the connection counts it, while callers go on sending and are refused (${calls[call].units} messages a call); maxBufferBytes is ${limit} MiB`,
        product: seriesOf([heldBytes / bytesPerMebibyte]),
        target: { atMost: limit },
      },
      {
        ...common,
        name: 'syslog, what the worker grew by meanwhile',
        meaning:
          'Resident memory after a collection, with the calls that wait and all that they were called with',
        product: seriesOf([addedBytes / bytesPerMebibyte]),
      },
    ];
  } finally {
    await worker.stop();
  }
}

function ask<Answer = object>(helper: Helper, order: CallerOrder): Promise<Answer> {
  return helper.ask<Answer>(order);
}
