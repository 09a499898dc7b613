import { PassThrough } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { acceptsNdjson, NDJSON } from '../../contract/ndjson.ts';
import { STAGES } from '../../contract/worker-protocol.ts';
import { AppError, errorBody } from '../../errors.ts';
import { loggableError } from '../../loggable-error.ts';
import { answerItemStream, isItemStream, registerItemStreams } from '../../request-body/item-stream.ts';
import type { Access } from '../auth/access.ts';
import { definitionOf, invalid } from '../connections/body-checks.ts';
import { connectionCaller } from '../connections/connection-caller.ts';
import type { Connections } from '../connections/connections.service.ts';
import type { ConnectedWorkers } from '../deployments/connected-workers.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import { warnings } from '../server/answer-schemas.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { WorkerHub } from '../server/worker-hub.ts';
import { StagedTests, type TestedConnection, type TestQuery } from './staged-tests.ts';

interface Services {
  access: Access;
  connections: Connections;
  deployments: Deployments;
  workers: ConnectedWorkers;
  hub: WorkerHub;
}

const maxInputBytes = 64 * 1024 * 1024;
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

const itemStreams =
  'Operations marked with a stream also take application/x-ndjson, one item a line and of any length; it is passed on in batches while it is read, and timeoutMs bounds each batch. With Accept: application/x-ndjson what became of each item is answered as it goes, so read while you send; else at the end. What cannot be taken ends the stream and is named by its line: what stands before it has been applied. Hanging up stops it.';
const counts = { accepted: Type.Integer(), failed: Type.Integer() };
const operationAnswer = Type.Object({
  success: Type.Literal(true),
  result: Type.Unknown({ description: 'As the type describes the output of the operation' }),
});
const itemLine = Type.Union([
  Type.Object({
    type: Type.Literal('item'),
    line: Type.Integer({ description: 'of the body, from 1' }),
    success: Type.Boolean(),
    result: Type.Optional(Type.Unknown({ description: "as in the operation's own result, error included" })),
  }),
  Type.Object(
    {
      type: Type.Literal('error'),
      line: Type.Integer(),
      lastLine: Type.Optional(
        Type.Integer({
          description: 'set where a whole batch failed: what became of its items is not known',
        }),
      ),
      error: Type.String(),
      error_description: Type.String(),
    },
    { additionalProperties: true, description: 'ends the stream; else as the body of an error' },
  ),
  Type.Object({ type: Type.Literal('finished'), success: Type.Boolean(), ...counts }),
]);
const streamedTest =
  'With Accept: application/x-ndjson the answer comes as it is found, one JSON object a line: started, each stage as it begins and ends, a result for each worker, finished. Hanging up cancels the test.';
const target = { environmentName: Type.String(), worker: Type.String() };
const ofStage = {
  durationMs: Type.Optional(Type.Integer()),
  detail: Type.Optional(Type.String()),
  hint: Type.Optional(Type.String()),
  code: Type.Optional(Type.String({ description: 'What failed: one of docs/reference/errors.md' })),
  retryable: Type.Optional(Type.Boolean()),
};
const targetResult = Type.Object({
  ...target,
  success: Type.Boolean(),
  durationMs: Type.Integer(),
  stages: Type.Array(
    Type.Object({
      stage: Type.Enum([...STAGES]),
      status: Type.Enum(['passed', 'failed', 'skipped']),
      ...ofStage,
    }),
  ),
  warnings,
  error: Type.Optional(Type.String({ description: 'Where the worker could not run it' })),
  reason: Type.Optional(Type.String()),
  error_description: Type.Optional(Type.String()),
});
const testAnswer = Type.Object({
  success: Type.Boolean({ description: 'It passed on every worker' }),
  results: Type.Array(targetResult),
  warnings,
});
const testLine = Type.Union([
  Type.Object({ type: Type.Literal('started'), targets: Type.Array(Type.Object(target)) }),
  Type.Object({
    type: Type.Literal('stage'),
    ...target,
    stage: Type.Object({
      stage: Type.Enum([...STAGES]),
      status: Type.Enum(['running', 'passed', 'failed', 'skipped']),
      ...ofStage,
    }),
  }),
  Type.Object({
    type: Type.Literal('result'),
    result: targetResult,
  }),
  Type.Object({
    type: Type.Literal('finished'),
    success: Type.Boolean(),
    warnings,
  }),
]);

/** Tests and operations: what workers do with a connection when they are asked. */
export function operationRoutes(app: FastifyInstance, services: Services): void {
  const { access, connections } = services;
  const tests = new StagedTests(services);

  /** Runs a test and answers it: whole, or as it goes where the client asks for that. */
  async function answerTest(
    request: FastifyRequest,
    reply: FastifyReply,
    draft: TestedConnection,
    query: TestQuery,
  ): Promise<unknown> {
    const test = await tests.prepare(request, draft, query);
    const signal = AbortSignal.any([request.principal.ended, clientGone(reply)]);
    if (!acceptsNdjson(request.headers.accept)) return test.run({}, signal);
    if (request.headers['idempotency-key'] !== undefined)
      throw new AppError('bad_request', 'Idempotency-Key cannot be used with a streamed answer');
    const lines = new PassThrough();
    const write = (line: object) => {
      if (!lines.destroyed) lines.write(`${JSON.stringify(line)}\n`);
    };
    write({ type: 'started', targets: test.targets });
    test
      .run(
        {
          onStage: (target, stage) => write({ type: 'stage', ...target, stage }),
          onResult: (result) => write({ type: 'result', result }),
        },
        signal,
      )
      .then(
        ({ success, warnings }) => write({ type: 'finished', success, ...(warnings ? { warnings } : {}) }),
        (error) => {
          request.log.error(
            { reqId: request.id, err: loggableError(error) },
            'a streamed test failed in an unknown way',
          );
          write({ type: 'error', ...errorBody(new AppError('internal_error'), request.id) });
        },
      )
      .finally(() => lines.end());
    // A proxy in between must hand on each line as it comes.
    return reply.type(NDJSON).header('x-accel-buffering', 'no').send(lines);
  }

  app.post<{ Params: { project: string; connection: string }; Querystring: TestQuery }>(
    '/apiops/projects/:project/connections/:connection/test/',
    {
      config: { access: { project: ['CONNECTIONS:TEST'] }, answer: testAnswer, lines: testLine },
      schema: {
        tags: ['tests'],
        summary: 'Run the staged test on one or all workers, side by side',
        description: streamedTest,
        params: connectionParams,
        querystring: Type.Object(placeQuery),
      },
    },
    async (request, reply) => {
      const row = await connections.need(request.project, request.params.connection);
      return answerTest(
        request,
        reply,
        { name: row.name, type: row.type, config: connections.openConfig(row), connection: row.id },
        request.query,
      );
    },
  );

  app.post<{ Params: { project: string }; Querystring: TestQuery }>(
    '/apiops/projects/:project/connection-test/',
    {
      bodyLimit: 1024 * 1024,
      config: {
        access: { project: ['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'] },
        body: 'connection',
        answer: testAnswer,
        lines: testLine,
      },
      schema: {
        tags: ['tests'],
        summary:
          'Test a body that is not stored; secrets left out come from the stored connection of its name',
        description: streamedTest,
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
      return answerTest(request, reply, { ...draft, isDraft: true }, request.query);
    },
  );

  // In a scope of its own: no other route takes a stream.
  app.register(async (scope) => {
    registerItemStreams(scope);
    useRoute(scope, services);
  });
}

function useRoute(app: FastifyInstance, { access, connections, deployments, hub }: Services): void {
  app.post<{
    Params: { project: string; connection: string; operation: string };
    Querystring: { environment?: string; timeoutMs?: string; input?: string };
  }>(
    '/apiops/projects/:project/connections/:connection/operations/:operation/',
    {
      bodyLimit: maxInputBytes,
      config: {
        access: { project: ['CONNECTIONS:USE'] },
        body: 'operation',
        answer: operationAnswer,
        lines: itemLine,
      },
      schema: {
        tags: ['operations'],
        summary: 'Use a connection: run one of its operations on a worker',
        description: itemStreams,
        params: Type.Object({ project: Type.String(), connection: Type.String(), operation: Type.String() }),
        querystring: Type.Object({
          environment: Type.Optional(Type.String({ maxLength: 255 })),
          timeoutMs: timeoutQuery,
          input: Type.Optional(
            Type.String({
              maxLength: 65_536,
              description: 'With NDJSON: JSON of the fields of the input beside the items.',
            }),
          ),
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
      const operation = definition.operations[params.operation]!;
      const isStream = isItemStream(request, params.operation, operation);
      const { maxInputBytes: limit } = operation;
      if (limit !== undefined && !isStream && Number(request.headers['content-length'] ?? 0) > limit)
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
      const signal = AbortSignal.any([principal.ended, clientGone(reply)]);
      const run = (input: unknown) =>
        hub.request(
          worker,
          { kind: 'operate', connection: row.id, operation: params.operation, input, timeoutMs },
          { timeoutMs, signal },
        );
      if (isStream)
        return answerItemStream(request, reply, {
          name: params.operation,
          operation,
          input: query.input,
          run,
          log: request.log,
          signal,
          timeoutMs,
        });
      return { success: true, result: await run(body ?? {}) };
    },
  );
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

/** Aborted when the client hangs up before it was answered. */
function clientGone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
