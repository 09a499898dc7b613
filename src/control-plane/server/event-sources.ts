import type { FastifyInstance, onResponseHookHandler } from 'fastify';
import type { HealthReport } from '../../contract/worker-protocol.ts';
import type { ConnectedWorker, ConnectedWorkers } from '../deployments/connected-workers.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import type { Projects } from '../projects/projects.service.ts';
import type { Database } from '../store/database.ts';
import type { Events, PlugboardEvent } from './events.routes.ts';

interface Sources {
  db: Database;
  app: FastifyInstance;
  deployments: Deployments;
  workers: ConnectedWorkers;
  projects: Projects;
}

const objectRoute =
  /^\/apiops\/projects\/(:project\/)?(?:(keystores|certificates|environmentVariables)\/(:name\/)?)?$/;
const objectKinds: Readonly<Record<string, string>> = {
  keystores: 'keystore',
  certificates: 'certificate',
  environmentVariables: 'variable',
};
const objectActions: Readonly<Record<string, string>> = {
  POST: 'created',
  PUT: 'updated',
  DELETE: 'deleted',
};

/** Turns what happens in the features into events; looked up only while somebody listens. */
export function publishEvents(events: Events, sources: Sources): void {
  const { app, deployments, workers } = sources;
  const publishChange: onResponseHookHandler = (request, reply, done) => {
    // An answer that is repeated for its Idempotency-Key tells of nothing new.
    const isRepeated = reply.getHeader('idempotency-replayed') !== undefined;
    const action = objectActions[request.method];
    if (action === undefined || reply.statusCode >= 300 || isRepeated) return done();
    const kind = objectRoute.exec(request.routeOptions.url!)?.[2];
    const given = (request.body as { name?: string } | null | undefined)?.name;
    const { project, name } = request.params as { project?: string; name?: string };
    const by = request.principal.actor;
    if (kind === undefined) {
      // A project keeps its name.
      const named = project ?? given!;
      events.publish({ event: 'project', data: { project: named, action, by }, scope: { project: named } });
    } else
      events.publish({
        event: objectKinds[kind]!,
        data: {
          project,
          name: given ?? name,
          action,
          ...(name === undefined || (given ?? name) === name ? {} : { renamedFrom: name }),
          by,
        },
        scope: { project: project! },
      });
    done();
  };
  // Not on the app: reads would pay for what only changes need.
  app.addHook('onRoute', (route) => {
    if (objectRoute.test(route.url)) route.onResponse = [publishChange, ...[route.onResponse ?? []].flat()];
  });

  deployments.on('verdicts', ({ worker, verdicts }) =>
    publishOfConnections(events, sources, worker, verdicts, ({ revision, step, code, message }) => ({
      event: 'deployment',
      data: { revision, step, ...(code ? { code } : {}), ...(message ? { message } : {}) },
    })),
  );

  deployments.on('hostKeyPinned', ({ worker, project, connection, key }) =>
    events.publish({
      event: 'connection',
      data: {
        project,
        connection,
        action: 'host-key-pinned',
        environmentName: worker.environment.name,
        ...key,
        by: `worker:${worker.name}`,
      },
      scope: { project, connection, environment: worker.environment.name },
    }),
  );

  for (const state of ['come', 'gone'] as const)
    workers.on(state, (worker) =>
      events.publish({
        event: 'worker',
        data: {
          environmentName: worker.environment.name,
          worker: worker.name,
          connected: state === 'come',
        },
      }),
    );
}

/** Tells of connections that are in another state than their worker said before. */
export function publishHealth(
  events: Events,
  sources: Pick<Sources, 'db' | 'projects'>,
  worker: ConnectedWorker,
  turned: readonly HealthReport[],
): void {
  publishOfConnections(events, sources, worker, turned, ({ state, since, lastError }) => ({
    event: 'health',
    data: {
      state,
      since: new Date(since).toISOString(),
      ...(state === 'connected' || !lastError ? {} : { code: lastError.code, message: lastError.message }),
    },
  }));
}

/** One event for each item of a connection that was ever deployed where the worker is; it has no say in others. */
function publishOfConnections<Item extends { connection: string }>(
  events: Events,
  { db, projects }: Pick<Sources, 'db' | 'projects'>,
  worker: ConnectedWorker,
  items: readonly Item[],
  eventOf: (item: Item) => Pick<PlugboardEvent, 'event' | 'data'>,
): void {
  if (events.listenerCount('event') === 0) return;
  const publishAll = async () => {
    for (const item of items) {
      const row = await db.get<{ name: string; project_id: string }>(
        `select name, project_id from connections where id = $1 and exists
          (select 1 from deployments where connection_id = $1 and environment_id = $2)`,
        [item.connection, worker.environment.id],
      );
      const project = row && projects.findById(row.project_id);
      if (!row || !project) continue;
      const { event, data } = eventOf(item);
      const scope = {
        project: project.name,
        connection: row.name,
        environment: worker.environment.name,
      };
      const { environment, ...place } = scope;
      events.publish({
        event,
        data: { ...place, environmentName: environment, worker: worker.name, ...data },
        scope,
      });
    }
  };
  publishAll().catch(() => {
    // The stream is a courtesy: what could not be looked up now is shown by the next read.
  });
}
