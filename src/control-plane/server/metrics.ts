import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Access } from '../auth/access.ts';
import { METRICS } from '../auth/permissions.ts';
import type { ConnectedWorkers } from '../deployments/connected-workers.ts';
import { objectsEnding } from '../keys/expiring.ts';
import type { Database } from '../store/database.ts';

interface Services {
  db: Database;
  access: Access;
  workers: ConnectedWorkers;
  /** Whether the request comes from this machine to a server that listens on loopback: then no token is asked for. */
  isLocal: (request: FastifyRequest) => boolean;
  version: string;
}

/** Upper bounds in seconds. */
const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

const expiringDays = 30;

interface Series {
  count: number;
  seconds: number;
  /** Requests at most as slow as the bound of the same place, not cumulated. */
  within: number[];
}

/** `GET /metrics` in the Prometheus text format 0.0.4; labels hold no name that a client chose but of projects' types. */
export function metricsRoutes(
  app: FastifyInstance,
  { db, access, workers, isLocal, version }: Services,
): void {
  const requests = new Map<string, Series>();
  /** The same by a route's own object and status: to put the labels together for each request costs more. */
  const known = new WeakMap<object, Map<number, Series>>();

  function seriesOf(request: FastifyRequest, status: number): Series {
    const { config, url } = request.routeOptions;
    const found = url === undefined ? undefined : known.get(config)?.get(status);
    if (found) return found;
    const key = `method="${request.method}",route="${url ?? 'none'}",status="${status}"`;
    const series = requests.get(key) ?? { count: 0, seconds: 0, within: buckets.map(() => 0) };
    requests.set(key, series);
    if (url !== undefined)
      known.set(config, (known.get(config) ?? new Map<number, Series>()).set(status, series));
    return series;
  }

  app.addHook('onResponse', (request, reply, done) => {
    const series = seriesOf(request, reply.statusCode);
    const seconds = reply.elapsedTime / 1000;
    series.count += 1;
    series.seconds += seconds;
    const bucket = buckets.findIndex((bound) => seconds <= bound);
    if (bucket >= 0) series.within[bucket]! += 1;
    done();
  });

  app.get(
    '/metrics',
    {
      config: { access: 'public' },
      schema: { tags: ['system'], summary: 'Prometheus metrics; METRICS:VIEW unless bound to loopback' },
    },
    async (request, reply) => {
      if (!isLocal(request)) {
        const principal = access.authenticate(request.headers.authorization);
        access.require(principal, METRICS, {});
      }
      return reply.type('text/plain; version=0.0.4; charset=utf-8').send(await render());
    },
  );

  async function render(): Promise<string> {
    const lines: string[] = [];
    const metric = (name: string, type: string, help: string, samples: [labels: string, value: number][]) => {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
      for (const [labels, value] of samples) lines.push(`${name}${labels ? `{${labels}}` : ''} ${value}`);
    };
    const connections = await db.all<{ type: string; enabled: number; count: number }>(
      'select type, enabled, count(*) as count from connections where deleted_at is null group by type, enabled',
    );
    const steps = await db.all<{ step: string; count: number }>(
      'select step, count(*) as count from verdicts group by step',
    );
    metric('plugboard_info', 'gauge', 'Version of this process.', [[`version="${version}"`, 1]]);
    metric('plugboard_workers_connected', 'gauge', 'Workers whose stream ends here.', [['', workers.count]]);
    metric(
      'plugboard_connections',
      'gauge',
      'Stored connections.',
      connections.map(({ type, enabled, count }) => [`type="${type}",enabled="${enabled === 1}"`, count]),
    );
    metric(
      'plugboard_verdicts',
      'gauge',
      'What workers last said of connections, by step.',
      steps.map(({ step, count }) => [`step="${step}"`, count]),
    );
    const ending = await objectsEnding(db, expiringDays);
    metric(
      'plugboard_expiring',
      'gauge',
      `Certificates and keystores that end within ${expiringDays} days or have ended.`,
      (['certificate', 'keystore'] as const).map((kind) => [
        `kind="${kind}"`,
        ending.filter((one) => one.kind === kind).length,
      ]),
    );
    metric('process_resident_memory_bytes', 'gauge', 'Resident memory.', [['', process.memoryUsage.rss()]]);
    metric('process_uptime_seconds', 'gauge', 'Since the start.', [['', process.uptime()]]);
    lines.push('# HELP plugboard_http_request_duration_seconds Time to answer.');
    lines.push('# TYPE plugboard_http_request_duration_seconds histogram');
    const name = 'plugboard_http_request_duration_seconds';
    for (const [labels, { count, seconds, within }] of requests) {
      let sum = 0;
      buckets.forEach((bound, place) => {
        sum += within[place]!;
        lines.push(`${name}_bucket{${labels},le="${bound}"} ${sum}`);
      });
      lines.push(`${name}_bucket{${labels},le="+Inf"} ${count}`);
      lines.push(`${name}_sum{${labels}} ${seconds}`, `${name}_count{${labels}} ${count}`);
    }
    return `${lines.join('\n')}\n`;
  }
}
