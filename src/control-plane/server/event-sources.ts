import type { FastifyInstance, onResponseHookHandler } from 'fastify';
import type { ConnectedWorkers } from '../deployments/connected-workers.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import type { Projects } from '../projects/projects.service.ts';
import type { Database } from '../store/database.ts';
import type { Events } from './events.routes.ts';

interface Sources {
  db: Database;
  app: FastifyInstance;
  deployments: Deployments;
  workers: ConnectedWorkers;
  projects: Projects;
}

const changeRoute =
  /^\/apiops\/projects\/:project\/connections\/:connection\/(deploy\/|undeploy\/|trust-host-key\/|revisions\/:revision\/restore\/)?$/;

const subActions: Readonly<Record<string, string>> = {
  deploy: 'deployed',
  undeploy: 'undeployed',
  restore: 'restored',
  'trust-host-key': 'host-key-trusted',
};

const objectRoute =
  /^\/apiops\/projects\/:project\/(keystores|certificates|environmentVariables)\/(:name\/)?$/;
const objectKinds: Readonly<Record<string, string>> = {
  keystores: 'keystore',
  certificates: 'certificate',
  environmentVariables: 'variable',
};

/** Turns what happens in the features into events; looked up only while somebody listens. */
export function publishEvents(events: Events, { db, app, deployments, workers, projects }: Sources): void {
  const publishChange: onResponseHookHandler = (request, reply, done) => {
    // An answer that is repeated for its Idempotency-Key tells of nothing new.
    const isRepeated = reply.getHeader('idempotency-replayed') !== undefined;
    if (request.method === 'GET' || reply.statusCode >= 300 || isRepeated) return done();
    const { method, routeOptions, params } = request;
    if (changeRoute.test(routeOptions.url ?? '')) {
      const { connection } = params as { connection: string };
      const action = { POST: 'created', PUT: 'updated', DELETE: 'deleted' }[method] ?? 'changed';
      const sub = /\/(deploy|undeploy|restore|trust-host-key)\/$/.exec(routeOptions.url ?? '')?.[1];
      events.publish({
        event: 'connection',
        data: {
          project: request.project.name,
          connection,
          action: sub === undefined ? action : subActions[sub],
          by: request.principal.actor,
        },
        scope: { project: request.project.name, connection },
      });
    }
    const object = objectRoute.exec(routeOptions.url ?? '')?.[1];
    if (object)
      events.publish({
        event: objectKinds[object]!,
        data: {
          project: request.project.name,
          name: (params as { name?: string }).name ?? (request.body as { name?: string }).name ?? null,
          action: { POST: 'created', PUT: 'updated', DELETE: 'deleted' }[method] ?? 'changed',
          by: request.principal.actor,
        },
        scope: { project: request.project.name },
      });
    done();
  };
  // Not on the app: reads would pay for what only changes need.
  app.addHook('onRoute', (route) => {
    if (changeRoute.test(route.url) || objectRoute.test(route.url))
      route.onResponse = [publishChange, ...[route.onResponse ?? []].flat()];
  });

  deployments.on('verdicts', ({ worker, verdicts }) => {
    if (events.listenerCount('event') === 0) return;
    void (async () => {
      for (const verdict of verdicts) {
        const row = await db.get<{ name: string; project_id: string }>(
          'select name, project_id from connections where id = $1',
          [verdict.connection],
        );
        const project = row && projects.findById(row.project_id);
        if (!row || !project) continue;
        events.publish({
          event: 'deployment',
          data: {
            project: project.name,
            connection: row.name,
            environmentName: worker.environment.name,
            worker: worker.name,
            revision: verdict.revision,
            step: verdict.step,
            ...(verdict.code ? { code: verdict.code } : {}),
            ...(verdict.message ? { message: verdict.message } : {}),
          },
          scope: { project: project.name, connection: row.name, environment: worker.environment.name },
        });
      }
    })().catch(() => {
      // The stream is a courtesy: what could not be looked up now is shown by the next read.
    });
  });

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
