import { join } from 'node:path';
import { createAuthority } from '../services/certificates.ts';
import { startKafka } from '../services/kafka.ts';
import { startPostgresql } from '../services/postgresql.ts';
import { startRabbitMq } from '../services/rabbitmq.ts';
import { startSearchNode } from '../services/search-node.ts';
import type { Service } from '../services/service.ts';
import type { BenchContext } from './bench.ts';
import { type CallerOrder, callerToken, type RunResult } from './caller-orders.ts';
import { type Address, type Call, type CallName, calls, queue, topic } from './calls.ts';
import { compared, type Figure } from './figure.ts';
import { type Helper, startHelper } from './process.ts';
import { sent } from './reads.bench.ts';
import { startOrSkipBench } from './servers.ts';
import { interleave, type Series } from './statistics.ts';

interface Measured {
  name: string;
  call: CallName;
  inFlight: number;
  /** What is at least expected through the worker's own port; left out: not measured. */
  overHttp?: number;
}

interface Target {
  title: string;
  start(): Promise<{ service: Service; address: Address }>;
  measured: Measured[];
}

const targets: Target[] = [
  {
    title: 'PostgreSQL',
    async start() {
      const service = await startPostgresql();
      const { default: pg } = await import('pg');
      const client = new pg.Client({ connectionString: service.url() });
      await client.connect();
      await client.query('create table items (id int primary key, name text, amount numeric)');
      await client.query("insert into items select n, 'item ' || n, n * 1.5 from generate_series(1, 1000) n");
      await client.end();
      const { port, user, password } = service;
      return { service, address: { port, user, password } };
    },
    measured: [
      { name: 'Database query, 1 at a time', call: 'databaseQuery', inFlight: 1, overHttp: 0.5 },
      { name: 'Database query, 8 at a time', call: 'databaseQuery', inFlight: 8, overHttp: 0.5 },
    ],
  },
  {
    title: 'Kafka',
    async start() {
      const service = await startKafka();
      await service.createTopic(topic, {
        settings: { 'retention.bytes': '50000000', 'segment.bytes': '10000000' },
      });
      return { service, address: { port: service.port } };
    },
    measured: [
      { name: 'Kafka, 1 message at a time', call: 'kafkaProduce', inFlight: 1, overHttp: 0.5 },
      { name: 'Kafka, 64 messages at a time', call: 'kafkaProduce', inFlight: 64 },
      { name: 'Kafka, batches of 100', call: 'kafkaProduce100', inFlight: 1, overHttp: 0.8 },
    ],
  },
  {
    title: 'RabbitMQ',
    async start() {
      const authority = createAuthority();
      const certificate = authority.issue({ commonName: 'rabbit.test', ips: ['127.0.0.1'] });
      const service = await startRabbitMq({ certificate, caPem: authority.caPem });
      const { port, user, password } = service;
      const { connect } = await import('amqplib');
      const connection = await connect({ hostname: '127.0.0.1', port, username: user, password });
      const channel = await connection.createChannel();
      await channel.assertQueue(queue, { durable: true, arguments: { 'x-max-length': 1000 } });
      await connection.close();
      return { service, address: { port, user, password } };
    },
    measured: [
      { name: 'RabbitMQ, 64 messages at a time', call: 'rabbitMqPublish', inFlight: 64, overHttp: 0.5 },
      { name: 'RabbitMQ, batches of 100', call: 'rabbitMqPublish100', inFlight: 1, overHttp: 0.8 },
    ],
  },
  {
    title: 'OpenSearch',
    async start() {
      const service = await startSearchNode('opensearch');
      return { service, address: { port: service.port } };
    },
    measured: [{ name: 'Bulk of 1,000 documents', call: 'elasticsearchBulk', inFlight: 1, overHttp: 0.8 }],
  },
];

/** Operations by the worker's library and by its own HTTP port, against the driver alone, each with the real server. */
export async function operationsDriversBench(context: BenchContext): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { title, start, measured } of targets) {
    const started = await startOrSkipBench(start);
    if (!started) continue;
    try {
      for (const each of measured) figures.push(...(await measure(context, title, started.address, each)));
    } finally {
      await started.service.stop();
    }
  }
  return figures;
}

async function measure(
  { directory, load, rounds, sliceMs, quick }: BenchContext,
  title: string,
  address: Address,
  { name, call, inFlight, overHttp }: Measured,
): Promise<Figure[]> {
  const environment = { BENCH_LOG_ROOT: join(directory, 'logs') };
  const bare = await startHelper('caller.ts', { ...environment, BENCH_SIDE: 'bare' });
  const worker = await startHelper('caller.ts', { ...environment, BENCH_SIDE: 'worker' });
  try {
    await ask(bare, { open: call, address });
    await ask(worker, { open: call, address });
    const port = await ask<number>(worker, { port: callerToken });
    const { operation, units, input }: Call = calls[call];
    const run = (side: Helper) => async () =>
      (await ask<RunResult>(side, { run: call, inFlight, durationMs: sliceMs })).perSecond;
    // Until the compiler has seen enough of both: a worker runs for months.
    for (const side of [bare, worker]) await ask(side, { run: call, inFlight, durationMs: 4 * sliceMs });
    const order = {
      port,
      // The bare side has no such client beside it: what it would burn is taken from the server.
      staysAwake: false,
      method: 'POST',
      path: `/apiops/projects/Bench/connections/${call}/operations/${operation}/`,
      token: callerToken,
      body: JSON.stringify(input()),
      connections: inFlight,
      durationMs: sliceMs,
      expect: '"success":true',
    };
    const count = quick ? 2 : Math.min(rounds, 7);
    const measurements: Record<string, () => Promise<number>> = { bare: run(bare), worker: run(worker) };
    if (overHttp) {
      const bareOrder = { ...order, port: await ask<number>(bare, { port: '' }), path: `/${call}/` };
      measurements['http'] = async () => (await sent(load, order)).perSecond * units;
      measurements['bareHttp'] = async () => (await sent(load, bareOrder)).perSecond * units;
    }
    const series: Record<string, Series> = await interleave(count, measurements);
    const common = { group: 'Operations against their drivers', unit: unitOf(call), bare: series['bare']! };
    return [
      compared({
        ...common,
        name,
        meaning: `${title}, ${inFlight} ${inFlight === 1 ? 'call' : 'calls'} in flight: the operation as the worker runs it (input checked, limits, deadline, result scrubbed), against the bare driver in another process`,
        product: series['worker']!,
        target: { atLeast: 0.9 },
      }),
      ...(overHttp
        ? [
            compared({
              ...common,
              name: `${name}, over HTTP`,
              meaning:
                "The same by the worker's own port, the client in a third process; against the same driver",
              product: series['http']!,
              target: { atLeast: overHttp },
            }),
            compared({
              ...common,
              name: `${name}, over HTTP, against the driver over HTTP`,
              meaning:
                'The same port against a Fastify handler that does nothing but call the driver, by the same client: what is left of it is the cost of HTTP',
              product: series['http']!,
              bare: series['bareHttp']!,
            }),
          ]
        : []),
    ];
  } finally {
    await Promise.all([bare.stop(), worker.stop()]);
  }
}

function ask<Answer = object>(helper: Helper, order: CallerOrder): Promise<Answer> {
  return helper.ask<Answer>(order);
}

function unitOf(call: CallName): string {
  if (call === 'databaseQuery') return 'queries/s';
  return call === 'elasticsearchBulk' ? 'documents/s' : 'messages/s';
}
