import { readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import Fastify from 'fastify';
import { KnownHostKeys } from '../../src/connectors/transport/known-host-keys.ts';
import { endWithParent } from './process.ts';

/**
 * What the product is measured against: the same Fastify without tokens, routes by project, stored
 * rows, secrets, audit or workers. Each handler does only the work that the name of its path says.
 */
const { BENCH_BODIES, BENCH_DATABASE, BENCH_TARGET } = process.env as Record<string, string>;
const { one, hundred, all } = JSON.parse(readFileSync(BENCH_BODIES!, 'utf8')) as Record<string, object>;

const database = new DatabaseSync(BENCH_DATABASE!);
database.exec('pragma locking_mode = exclusive');
database.exec('pragma journal_mode = wal');
database.exec('pragma synchronous = full');
database.exec('create table rows (id integer primary key, name text, body text)');
const insert = database.prepare('insert into rows (name, body) values (?, ?)');

const app = Fastify({ bodyLimit: 1024 * 1024, routerOptions: { ignoreTrailingSlash: true } });
app.get('/one/', async () => one);
app.get('/hundred/', async () => hundred);
app.get('/all/', async () => all);
app.post<{ Params: { name: string } }>('/rows/:name/', async (request) => {
  insert.run(request.params.name, JSON.stringify(request.body));
  return { success: true };
});

if (BENCH_TARGET) await registerCall(BENCH_TARGET);

const url = await app.listen({ host: '127.0.0.1', port: 0 });
process.on('message', () => process.send?.({ result: Number(new URL(url).port) }));
endWithParent();
process.send?.({ ready: true });

/** The connector's own call without control plane, stream, worker or limits around it. */
async function registerCall(target: string): Promise<void> {
  const [
    { webhookConnector },
    { createNetwork },
    { createEgressPolicy },
    { createTrust },
    { webhook },
    { parseConnection },
  ] = await Promise.all([
    import('../../src/connectors/webhook/webhook.connector.ts'),
    import('../../src/worker/egress.ts'),
    import('../../src/worker/egress-policy.ts'),
    import('../../src/worker/trust.ts'),
    import('../../src/connectors/webhook/webhook.definition.ts'),
    import('../../src/contract/validation.ts'),
  ]);
  const parsed = parseConnection(webhook, { type: 'webhook', name: 'bare', fullUrl: target });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.faults));
  const { signal } = new AbortController();
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const live = await webhookConnector.open(parsed.config as never, {
    signal,
    project: 'Bench',
    name: 'bare',
    environment: 'production',
    log,
    network: createNetwork({ policy: createEgressPolicy() }),
    trust: createTrust(),
    logRoots: [],
    hostKeys: new KnownHostKeys(),
    warn() {},
  });
  app.post('/call/', async (request) => ({
    success: true,
    result: await webhookConnector.operations.call(live, request.body as never, { signal }),
  }));
}
