import { createSecretKey, randomBytes } from 'node:crypto';
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

await registerSameRows();
if (BENCH_TARGET) await registerCall(BENCH_TARGET);

const url = await app.listen({ host: '127.0.0.1', port: 0 });
process.on('message', () => process.send?.({ result: Number(new URL(url).port) }));
endWithParent();
process.send?.({ ready: true });

/**
 * The rows of a create and of its verdict by the product's own store, with one secret sealed: in grouped
 * commits that a thread syncs, but nothing checked, nobody told and nothing opened.
 */
async function registerSameRows(): Promise<void> {
  const [
    { openSqliteDatabase },
    { createSealer },
    { insertConnection, insertRevision },
    { placeDeployment, storeVerdict },
    { recordAudit },
  ] = await Promise.all([
    import('../../src/control-plane/store/sqlite-database.ts'),
    import('../../src/control-plane/store/sealing.ts'),
    import('../../src/control-plane/connections/connections.store.ts'),
    import('../../src/control-plane/deployments/deployments.store.ts'),
    import('../../src/control-plane/audit/audit.service.ts'),
  ]);
  const store = await openSqliteDatabase(`${BENCH_DATABASE!}.rows`);
  const sealer = createSealer([createSecretKey(randomBytes(32))]);
  const [project, environmentId, worker] = ['project', 'environment', 'worker'];
  await store.write(async (tx) => {
    await tx.run("insert into environments (id, name, type, created_at) values ($1, $1, 'production', 0)", [
      environmentId,
    ]);
    await tx.run(
      "insert into workers (id, environment_id, name, version, first_seen, last_seen, connected, cursor) values ($1, $2, $1, '', 0, 0, 1, 0)",
      [worker, environmentId],
    );
  });
  app.post<{ Params: { name: string }; Body: { signingSecret: string; type: string } }>(
    '/same-rows/:name/',
    async ({ params: { name }, body }) => {
      const now = Date.now();
      const id = now.toString(36) + randomBytes(8).toString('base64url');
      const place = { project, connection: id, field: '/signingSecret' };
      const masked = JSON.stringify({ ...body, signingSecret: null });
      const sealed = JSON.stringify({ [place.field]: sealer.seal(body.signingSecret, place) });
      await store.write(async (tx) => {
        const row = { id, project_id: project, name, type: body.type, revision: 1, masked, sealed };
        const state = { seq: await tx.nextSequence(), enabled: 1, deploy_to_worker: 1, environments: '[]' };
        await insertConnection(tx, { ...row, ...state, created_at: now, updated_at: now }, name);
        const said = { revision: 1, action: 'create', name, masked, sealed, author: 'bench', at: now };
        await insertRevision(tx, id, said);
        await placeDeployment(tx, id, environmentId, now);
        await recordAudit(tx, { actor: 'bench', project, action: 'connection.create', target: name });
      });
      await store.write(
        (tx) =>
          storeVerdict(
            tx,
            { id: worker, environmentId },
            { connection: id, revision: 1, step: 'valid' },
            now,
          ),
        { durable: false },
      );
      return { success: true };
    },
  );
}

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
