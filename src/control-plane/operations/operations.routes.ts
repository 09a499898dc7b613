import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { StageResult, TestResult } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import { type Config, definitionOf, invalid } from '../connections/body-checks.ts';
import { connectionCaller } from '../connections/connections.routes.ts';
import type { Connections } from '../connections/connections.service.ts';
import type { ConnectedWorker, ConnectedWorkers } from '../deployments/connected-workers.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import { createRateLimiter } from '../server/rate-limits.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { WorkerHub } from '../server/worker-hub.ts';
import type { Resolved } from '../variables/resolver.ts';
import { TargetGuard } from './target-guard.ts';

interface Services {
  access: Access;
  connections: Connections;
  deployments: Deployments;
  workers: ConnectedWorkers;
  hub: WorkerHub;
}

const maxInputBytes = 64 * 1024 * 1024;
const defaultTestTimeoutMs = 30_000;
const defaultOperationTimeoutMs = 60_000;

const timeoutQuery = Type.Optional(
  Type.String({
    pattern: '^[1-9][0-9]{0,5}$',
    description: 'Deadline in ms; tests 30000, operations 60000.',
  }),
);
const placeQuery = {
  environment: Type.Optional(Type.String({ maxLength: 255 })),
  worker: Type.Optional(Type.String({ maxLength: 255, description: 'Name of one worker.' })),
  timeoutMs: timeoutQuery,
};
const connectionParams = Type.Object({ project: Type.String(), connection: Type.String() });

interface PlaceQuery {
  environment?: string;
  worker?: string;
  timeoutMs?: string;
}

/** Tests and operations: what workers do with a connection when they are asked. */
export function operationRoutes(app: FastifyInstance, services: Services): void {
  const { access, connections, deployments, workers, hub } = services;
  const testsByToken = createRateLimiter({ perMinute: 60 });
  const guard = new TargetGuard();

  /** The workers a test runs on: the named ones, or all of every environment of the connection. */
  function testers(
    request: FastifyRequest,
    connection: string,
    environments: string[],
    query: PlaceQuery,
  ): ConnectedWorker[] {
    if (query.environment !== undefined && !environments.includes(query.environment))
      throw invalid([
        { field: 'environment', message: `must be one of ${environments.join(', ') || '(there are none)'}` },
      ]);
    const wanted = query.environment === undefined ? environments : [query.environment];
    const allowed = wanted.filter((environment) =>
      access.allows(request.principal, 'CONNECTIONS:TEST', {
        project: request.project.name,
        connection,
        environment,
      }),
    );
    if (allowed.length === 0)
      access.require(request.principal, 'CONNECTIONS:TEST', {
        project: request.project.name,
        connection,
        ...(wanted[0] === undefined ? {} : { environment: wanted[0] }),
      });
    const found = allowed
      .flatMap((environment) => workers.of(environment))
      .filter((worker) => query.worker === undefined || worker.name === query.worker);
    if (found.length === 0)
      throw new AppError(
        'no_worker',
        query.worker === undefined
          ? `No worker of ${wanted.join(', ') || 'any environment'} is connected`
          : `No worker '${query.worker}' of ${wanted.join(', ')} is connected`,
      );
    return found;
  }

  /** A configuration as each environment of the workers has it. */
  async function resolvedIn(
    project: ProjectRow,
    { type, config }: { type: string; config: Config },
    testing: readonly ConnectedWorker[],
  ): Promise<Map<string, Resolved>> {
    const resolver = deployments.resolver();
    const resolved = new Map<string, Resolved>();
    for (const { environment } of testing)
      if (!resolved.has(environment.name))
        resolved.set(environment.name, await resolver.resolve(project.id, type, config, environment.name));
    return resolved;
  }

  async function runTests(
    request: FastifyRequest,
    reply: FastifyReply,
    draft: { name: string; type: string; config: Config; warnings?: string[] },
    query: PlaceQuery,
  ): Promise<object> {
    const { project, principal } = request;
    const environments = targetsOf(
      project,
      typeof draft.config['selectedEnvironmentId'] === 'string'
        ? [draft.config['selectedEnvironmentId']]
        : ((draft.config['environments'] ?? []) as string[]),
    );
    const chosen = testers(request, draft.name, environments, query);
    take(testsByToken.take(principal.id), 'At most 60 tests a minute for a token');
    const definition = definitionOf(draft.type);
    const resolved = await resolvedIn(project, draft, chosen);
    for (const config of distinctConfigs(resolved.values())) guard.admit(definition, config);
    const timeoutMs = Number(query.timeoutMs ?? defaultTestTimeoutMs);
    const gone = AbortSignal.any([principal.ended, clientGone(reply)]);
    const results = await Promise.all(
      chosen.map(async (worker) => {
        const place = { environmentName: worker.environment.name, worker: worker.name };
        const seen: StageResult[] = [];
        const startedAt = Date.now();
        const here = resolved.get(worker.environment.name)!;
        if ('refusal' in here)
          return {
            ...place,
            success: false,
            durationMs: 0,
            stages: seen,
            error: 'target_error',
            reason: 'missing_reference',
            error_description: here.refusal,
          };
        try {
          const result = (await hub.request(
            worker,
            {
              kind: 'test',
              project: project.name,
              name: draft.name,
              type: draft.type,
              config: here.config,
              ...(here.objects ? { objects: here.objects } : {}),
              timeoutMs,
            },
            { timeoutMs, signal: gone, onStage: (stage) => seen.push(stage) },
          )) as TestResult;
          guard.note(definition, here.config, result.stages);
          return { ...place, ...result };
        } catch (error) {
          if (!(error instanceof AppError)) throw error;
          return {
            ...place,
            success: false,
            durationMs: Date.now() - startedAt,
            stages: seen,
            error: error.entry.error ?? error.code,
            error_description: error.message,
          };
        }
      }),
    );
    return {
      success: results.every(({ success }) => success),
      results,
      ...(draft.warnings?.length ? { warnings: draft.warnings } : {}),
    };
  }

  app.post<{ Params: { project: string; connection: string }; Querystring: PlaceQuery }>(
    '/apiops/projects/:project/connections/:connection/test/',
    {
      config: { access: { project: ['CONNECTIONS:TEST'] } },
      schema: {
        tags: ['tests'],
        summary: 'Run the staged test on one or all workers, side by side',
        params: connectionParams,
        querystring: Type.Object(placeQuery),
      },
    },
    async (request, reply) => {
      const row = await connections.need(request.project, request.params.connection);
      return runTests(
        request,
        reply,
        { name: row.name, type: row.type, config: connections.openConfig(row) },
        request.query,
      );
    },
  );

  app.post<{ Params: { project: string }; Querystring: PlaceQuery }>(
    '/apiops/projects/:project/connection-test/',
    {
      bodyLimit: 1024 * 1024,
      config: { access: { project: ['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'] }, body: 'connection' },
      schema: {
        tags: ['tests'],
        summary:
          'Test a body that is not stored; secrets left out come from the stored connection of its name',
        params: Type.Object({ project: Type.String() }),
        querystring: Type.Object(placeQuery),
      },
    },
    async (request, reply) => {
      const caller = connectionCaller(request);
      const draft = await connections.draft(request.project, request.body, caller);
      for (const permission of ['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'] as const)
        access.require(request.principal, permission, {
          project: request.project.name,
          connection: draft.name,
        });
      return runTests(request, reply, draft, request.query);
    },
  );

  app.post<{
    Params: { project: string; connection: string; operation: string };
    Querystring: { environment?: string; timeoutMs?: string };
  }>(
    '/apiops/projects/:project/connections/:connection/operations/:operation/',
    {
      bodyLimit: maxInputBytes,
      config: { access: { project: ['CONNECTIONS:USE'] }, body: 'operation' },
      schema: {
        tags: ['operations'],
        summary: 'Use a connection: run one of its operations on a worker',
        params: Type.Object({ project: Type.String(), connection: Type.String(), operation: Type.String() }),
        querystring: Type.Object({
          environment: Type.Optional(Type.String({ maxLength: 255 })),
          timeoutMs: timeoutQuery,
        }),
      },
    },
    async (request, reply) => {
      const { project, params, query, principal, body } = request;
      const row = await connections.need(project, params.connection);
      const definition = definitionOf(row.type);
      if (!Object.hasOwn(definition.operations, params.operation))
        throw new AppError(
          'not_found',
          `Type ${row.type} has no operation '${params.operation.slice(0, 64)}'; it has ${Object.keys(definition.operations).join(', ')}`,
        );
      const { maxInputBytes: limit } = definition.operations[params.operation]!;
      if (limit !== undefined && Number(request.headers['content-length'] ?? 0) > limit)
        throw new AppError('payload_too_large', `The operation takes at most ${limit} bytes`);
      const environment = environmentFor(project, row.environments, query.environment);
      access.require(principal, 'CONNECTIONS:USE', {
        project: project.name,
        connection: row.name,
        operation: params.operation,
        environment,
      });
      if (row.enabled === 0 || row.deploy_to_worker === 0)
        throw new AppError(
          'not_active',
          `Connection (name: ${row.name}) is ${row.enabled ? 'not deployed' : 'disabled'}`,
        );
      const worker = await deployments.pickWorker(row, environment);
      const timeoutMs = Number(query.timeoutMs ?? defaultOperationTimeoutMs);
      const result = await hub.request(
        worker,
        { kind: 'operate', connection: row.id, operation: params.operation, input: body ?? {}, timeoutMs },
        { timeoutMs, signal: AbortSignal.any([principal.ended, clientGone(reply)]) },
      );
      return { success: true, result };
    },
  );
}

/** Each distinct configuration once, so that one target counts once. */
function distinctConfigs(all: Iterable<Resolved>): Config[] {
  const known = new Map<string, Config>();
  for (const one of all) if ('config' in one) known.set(JSON.stringify(one.config), one.config);
  return [...known.values()];
}

/** The one environment an operation runs in. */
function environmentFor(project: ProjectRow, listed: string, asked: string | undefined): string {
  const environments = targetsOf(project, JSON.parse(listed));
  if (asked !== undefined) {
    if (environments.includes(asked)) return asked;
    throw invalid([
      {
        field: 'environment',
        message: `must be one of ${environments.join(', ') || '(the connection has none)'}`,
      },
    ]);
  }
  if (environments.length === 1) return environments[0]!;
  throw invalid([
    {
      field: 'environment',
      message:
        environments.length === 0
          ? 'the connection has no environment'
          : `is required where there are several: ${environments.join(', ')}`,
    },
  ]);
}

function take(taken: { ok: true } | { ok: false; retryAfter: number }, message: string): void {
  if (!taken.ok)
    throw new AppError('rate_limit_exceeded', message, { details: { retryAfter: taken.retryAfter } });
}

/** Aborted when the client hangs up before it was answered. */
function clientGone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
