import { join } from 'node:path';
import Fastify, {
  type FastifyInstance,
  type FastifyRequest,
  LogController,
  type onResponseHookHandler,
} from 'fastify';
import type { WebSocketServer } from 'ws';
import { type Channel, WORKER_STREAM_PATH } from '../../contract/channel.ts';
import { isLoopback } from '../../contract/host.ts';
import { loggableError } from '../../loggable-error.ts';
import { registerJsonParser } from '../../request-body/json-body.ts';
import { auditRoutes } from '../audit/audit.routes.ts';
import { createAudit, purgeAudit } from '../audit/audit.service.ts';
import { type Access, createAccess } from '../auth/access.ts';
import { bootstrapAdminToken } from '../auth/admin-token.ts';
import { registerFormParser } from '../auth/form-parser.ts';
import { logInRoutes } from '../auth/log-in.routes.ts';
import { createLogIn } from '../auth/log-in.service.ts';
import { meRoutes } from '../auth/me.routes.ts';
import { tokenRoutes } from '../auth/tokens.routes.ts';
import { createTokens, purgeLogIns } from '../auth/tokens.service.ts';
import { userRoutes } from '../auth/users.routes.ts';
import { createUsers } from '../auth/users.service.ts';
import { createChangeAnswers } from '../connections/change-answers.ts';
import { connectionDeploymentRoutes } from '../connections/connection-deployments.routes.ts';
import { revisionRoutes } from '../connections/connection-revisions.routes.ts';
import { connectionRoutes } from '../connections/connections.routes.ts';
import { createConnections } from '../connections/connections.service.ts';
import { createReferrers } from '../connections/referrers.ts';
import { ConnectedWorkers } from '../deployments/connected-workers.ts';
import { Deployments } from '../deployments/deployments.service.ts';
import { environmentRoutes } from '../environments/environments.routes.ts';
import { createEnvironments } from '../environments/environments.service.ts';
import { purgeHealth, recordHealth } from '../health/health.service.ts';
import { createCertificates } from '../keys/certificates.service.ts';
import { expiringRoutes } from '../keys/expiring.routes.ts';
import { createExpiring } from '../keys/expiring.ts';
import { keyRotationRoutes } from '../keys/key-rotation.routes.ts';
import { createKeyRotation } from '../keys/key-rotation.ts';
import { keyRoutes } from '../keys/keys.routes.ts';
import { createKeystores } from '../keys/keystores.service.ts';
import { countByKey } from '../keys/sealed-values.ts';
import { operationRoutes } from '../operations/operations.routes.ts';
import { overviewRoutes } from '../overview/overview.routes.ts';
import { projectRoutes } from '../projects/projects.routes.ts';
import { createProjects, type Projects } from '../projects/projects.service.ts';
import type { Database } from '../store/database.ts';
import type { MasterKey } from '../store/master-key.ts';
import { rereadAfterLoss } from '../store/rereading.ts';
import { createSealer, verifyKeys } from '../store/sealing.ts';
import { variableRoutes } from '../variables/variables.routes.ts';
import { createVariables } from '../variables/variables.service.ts';
import { registerAccess } from './access-hook.ts';
import { clientAddress } from './client-address.ts';
import { connectionTypeRoutes } from './connection-types.routes.ts';
import { consoleRoutes } from './console.routes.ts';
import { type Demo, demoRoutes } from './demo.routes.ts';
import { docsRoutes } from './docs.routes.ts';
import { answerBadPath, answerMalformedHttp, registerErrorHandler } from './error-handler.ts';
import { publishEvents, publishHealth } from './event-sources.ts';
import { Events, eventRoutes } from './events.routes.ts';
import { purgeIdempotency, registerIdempotency } from './idempotency.ts';
import { registerInStep } from './in-step.ts';
import type { Logger } from './logger.ts';
import { metricsRoutes } from './metrics.ts';
import { registerMultipartParser } from './multipart-parser.ts';
import { collectOpenApi } from './openapi.ts';
import { systemRoutes } from './system.routes.ts';
import { usageTokens } from './usage-tokens.ts';
import { WorkerHub } from './worker-hub.ts';
import { acceptWorkers } from './worker-stream.ts';
import { workerRoutes } from './workers.routes.ts';

export interface ControlPlaneOptions {
  db: Database;
  masterKeys: readonly MasterKey[];
  secretsDirectory: string;
  adminToken?: string;
  bootstrapProjects: readonly string[];
  /** How long audit rows are kept. */
  auditDays: number;
  /** How long a change waits for the workers by default; 10,000 ms. */
  deployTimeoutMs?: number;
  tls?: { cert: Buffer; key: Buffer };
  /** Whoever connects is a proxy; without it, only on loopback. */
  behindProxy?: boolean;
  /** Given by the demo alone. */
  demo?: Demo;
  version: string;
  log: Logger & { level?: string };
}

export interface ControlPlane {
  app: FastifyInstance;
  /** Where the first admin token was written, at the start that made it. */
  adminTokenPath: string | null;
  /** Answers the bound URL. */
  listen(address: { host: string; port: number }): Promise<string>;
  /** Takes the stream of the worker in this process. */
  attachEmbedded(channel: Channel, environment: string): void;
  /** Drains: refuses new requests, lets running ones finish, ends streams. */
  close(): Promise<void>;
}

const housekeepingMs = 10 * 60_000;
/** How long running requests get when the process is told to end. */
const drainMs = 10_000;

/** Composes the control plane: store, features, routes, the stream of the workers. */
export async function buildControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { db, log, version } = options;
  const sealer = createSealer(options.masterKeys);
  await verifyKeys(db, sealer, async () => [...(await countByKey(db)).keys()]);

  const access = await createAccess(db);
  const environments = await createEnvironments(db);
  const workers = new ConnectedWorkers();
  let projects: Projects;
  const deployments = new Deployments({
    db,
    sealer,
    workers,
    projectOf: (id) => projects.findById(id),
    environmentId: (name) => environments.find(name)?.id,
    log,
  });
  const connections = createConnections({ db, sealer, access, deployments });
  const referrers = createReferrers({ access, sealer, deployments });
  projects = await createProjects(db, { access, connections });
  await environments.ensure('production');
  await projects.ensure(options.bootstrapProjects);
  const { path: adminTokenPath } = await bootstrapAdminToken(db, access, {
    given: options.adminToken,
    secretsDirectory: options.secretsDirectory,
  });

  const events = new Events();
  const hub = new WorkerHub({
    db,
    workers,
    deployments,
    recordHealth: async (worker, reports) =>
      publishHealth(
        events,
        { db, projects },
        worker,
        await recordHealth(db, worker, reports, events.listenerCount('event') > 0),
      ),
    recordHostKeys: (worker, sightings) => deployments.hostKeys.record(worker, sightings),
    usageTokens: (environment) => usageTokens(environment, access, (name) => projects.find(name)),
    log,
  });
  environments.onRevoked((id) => hub.revoke(id));
  const stopRereading = rereadAfterLoss(
    db,
    {
      tables: ['users', 'tokens', 'environments', 'enrollment_tokens', 'projects', 'project_environments'],
      async read(tx) {
        await access.read(tx);
        await environments.read(tx);
        await projects.read(tx);
        hub.refreshTokens();
      },
    },
    log,
  );

  let ready = false;
  let loopback = true;
  let running = 0;
  const ended = () => {
    running -= 1;
  };
  const app = Fastify({
    loggerInstance: childless(log) as never,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => requestId(),
    bodyLimit: 1024 * 1024,
    forceCloseConnections: 'idle',
    exposeHeadRoutes: false,
    return503OnClosing: true,
    routerOptions: { ignoreTrailingSlash: true, caseSensitive: true, maxParamLength: 4096 },
    frameworkErrors: answerBadPath,
    clientErrorHandler: answerMalformedHttp,
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: true } },
    ...(options.tls ? { https: options.tls } : {}),
  }) as unknown as FastifyInstance;

  registerErrorHandler(app);
  app.addHook('onRequest', (_request, reply, done) => {
    running += 1;
    // Not onResponse, which does not come when the client hangs up first.
    reply.raw.on('close', ended);
    // Of every answer, so before anything can refuse the request; a route may say otherwise.
    reply.header('x-content-type-options', 'nosniff').header('cache-control', 'no-store');
    done();
  });
  const openApi = collectOpenApi(app, version);
  registerAccess(app, { access, projects });
  registerIdempotency(app, db, sealer);
  registerInStep(app, () => running === 1);
  registerJsonParser(app);
  registerFormParser(app);
  registerMultipartParser(app);
  refreshTokensAfterChanges(app, hub);

  const deployTimeoutMs = options.deployTimeoutMs ?? 10_000;
  publishEvents(events, { db, app, deployments, workers, projects });

  systemRoutes(app, { db, isReady: () => ready });
  const answers = createChangeAnswers({ deployments, events }, deployTimeoutMs);
  connectionRoutes(app, { db, access, connections, workers, answers });
  connectionDeploymentRoutes(app, { connections, deployments, answers });
  revisionRoutes(app, { connections, answers });
  variableRoutes(app, {
    variables: createVariables({ db, sealer, access, referrers }),
    referrers,
    deployTimeoutMs,
  });
  keyRoutes(app, {
    keystores: createKeystores({ db, sealer, access, referrers }),
    certificates: createCertificates({ db, access, referrers }),
    referrers,
    deployTimeoutMs,
  });
  const rotation = createKeyRotation({ db, sealer, log });
  keyRotationRoutes(app, { rotation });
  overviewRoutes(app, { db, access, workers, deployments });
  operationRoutes(app, { access, connections, deployments, workers, hub });
  connectionTypeRoutes(app);
  projectRoutes(app, { projects, access });
  environmentRoutes(app, { environments });
  workerRoutes(app, { db, environments, workers });
  const addressOf = (request: FastifyRequest) => clientAddress(request, options.behindProxy === true);
  logInRoutes(app, { logIn: createLogIn(db, access), addressOf });
  meRoutes(app, { access, projects });
  const tokens = createTokens(db, access);
  tokenRoutes(app, { tokens });
  const expiring = createExpiring({ db, access, projects, tokens });
  expiringRoutes(app, { expiring });
  userRoutes(app, { users: createUsers(db, access) });
  auditRoutes(app, { audit: createAudit(db, { access, projects }) });
  eventRoutes(app, { access, events });
  const isLocal = (request: FastifyRequest) => loopback && isLoopback(addressOf(request));
  metricsRoutes(app, { db, access, workers, isLocal, version });
  docsRoutes(app, openApi);
  if (options.demo) demoRoutes(app, options.demo);
  consoleRoutes(app, { directory: join(import.meta.dirname, '../../../console/dist') });

  const housekeeping = setInterval(() => {
    Promise.all([
      purgeAudit(db, options.auditDays),
      purgeHealth(db),
      purgeIdempotency(db),
      purgeLogIns(db, access),
      expiring.announce(events),
    ]).catch((error) => log.warn({ err: loggableError(error) }, 'housekeeping failed; it is tried again'));
  }, housekeepingMs);
  housekeeping.unref();

  await app.ready();
  let streams: WebSocketServer | undefined;

  return {
    app,
    adminTokenPath,
    async listen({ host, port }) {
      streams = await acceptWorkers(app.server, { path: WORKER_STREAM_PATH, environments, hub });
      loopback = isLoopback(host);
      const url = await app.listen({ host, port });
      ready = true;
      void rotation
        .resume()
        .catch((error) => log.warn({ err: loggableError(error) }, 'the rotation of keys could not go on'));
      return url;
    },
    attachEmbedded(channel, environment) {
      const row = environments.find(environment);
      if (!row) throw new Error(`There is no environment ${environment}`);
      hub.attach(channel, { id: 'embedded', environment: { id: row.id, name: row.name } });
    },
    async close() {
      ready = false;
      clearInterval(housekeeping);
      const draining = app.close();
      // The streams of workers end last: what runs may wait for them, and the server waits for the streams.
      const deadline = Date.now() + drainMs;
      while (running > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
      hub.close();
      for (const client of streams?.clients ?? []) client.terminate();
      streams?.close();
      access.close();
      // A client that is connected and asks nothing, or never finishes asking, must not hold up the end.
      app.server.closeAllConnections();
      await rotation.close();
      await draining;
      await stopRereading();
      await db.close();
    },
  };
}

/** Workers check tokens by themselves, so they are told when tokens, users or projects change. */
function refreshTokensAfterChanges(app: FastifyInstance, hub: WorkerHub): void {
  const concerned = /^\/apiops\/(tokens|users|projects)\/(:[a-z]+\/)?$/;
  const refresh: onResponseHookHandler = (request, reply, done) => {
    if (request.method !== 'GET' && reply.statusCode < 300) hub.refreshTokens();
    done();
  };
  app.addHook('onRoute', (route) => {
    if (concerned.test(route.url)) route.onResponse = [refresh, ...[route.onResponse ?? []].flat()];
  });
}

/** A logger for each request would cost more than all its hooks: what is logged names the request itself. */
function childless(log: Logger): Logger {
  const own: Logger = Object.create(log, { child: { value: () => own } });
  return own;
}

const processPart = Math.random().toString(36).slice(2, 8);
let requests = 0;

/** Unique enough to find a request in the log of one process. */
function requestId(): string {
  requests += 1;
  return `${processPart}-${requests.toString(36)}`;
}

export type { Access };
