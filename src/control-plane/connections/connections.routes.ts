import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { definitions } from '../../connectors/definitions.ts';
import { AppError } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import { callerOf } from '../auth/caller.ts';
import type { Scope } from '../auth/permissions.ts';
import type { ConnectedWorkers } from '../deployments/connected-workers.ts';
import { targetsOf } from '../deployments/targets.ts';
import { healthOf } from '../health/health.service.ts';
import { connectionChangeAnswer, connectionList } from '../server/answer-schemas.ts';
import { preconditionOf } from '../server/entity-tag.ts';
import type { Database } from '../store/database.ts';
import {
  type ChangeAnswers,
  connectionParams,
  type DeployQuery,
  deployQuery,
  oneConnection,
} from './change-answers.ts';
import { connectionCaller } from './connection-caller.ts';
import type { ReadConnection } from './connection-reads.ts';
import type { Connections } from './connections.service.ts';
import { type ListedConnection, listConnections } from './list-connections.ts';

interface Services {
  db: Database;
  access: Access;
  connections: Connections;
  workers: ConnectedWorkers;
  answers: ChangeAnswers;
}

const projectParams = Type.Object({ project: Type.String() });
const flagText = Type.Optional(Type.Union([Type.Literal('true'), Type.Literal('false')]));
const maxBodyBytes = 1024 * 1024;

/** Everything under `/apiops/projects/{project}/connections/` but tests and operations. */
export function connectionRoutes(app: FastifyInstance, services: Services): void {
  const { db, access, connections, workers, answers } = services;
  const base = '/apiops/projects/:project/connections/';

  /** A grant that is narrowed to environments opens the secrets of what goes to these alone. */
  function mayReveal(request: FastifyRequest, connection: string, listed: string): boolean {
    const { principal, project } = request;
    const targets = listed === '[]' ? project.environments : targetsOf(project, JSON.parse(listed));
    const allowed = (environment?: string) => {
      const scope: Scope = { project: project.name, connection };
      if (environment !== undefined) scope.environment = environment;
      return access.allows(principal, 'CONNECTIONS:REVEAL', scope);
    };
    return targets.length === 0 ? allowed() : targets.every((environment) => allowed(environment));
  }

  /** Text and not the reply: that one, being awaited, would listen for its own end. At once where nothing is to be waited for. */
  function answerGet(
    request: FastifyRequest<{ Querystring: { reveal?: 'true' | 'false' } }>,
    reply: FastifyReply,
    row: ReadConnection,
  ): string | Promise<string> {
    const answered = (body: string, more = '') => {
      reply.header('etag', row.tag).header('content-type', 'application/json; charset=utf-8');
      return `{"success":true,"resultList":[${body}],"resultCount":1${more}}`;
    };
    if (request.query.reveal === 'false') {
      const storedSecrets = JSON.stringify(Object.keys(JSON.parse(row.sealed)));
      return answered(row.masked, `,"storedSecrets":${storedSecrets}`);
    }
    if (row.sealed === '{}' || !mayReveal(request, row.name, row.environments)) return answered(row.masked);
    return connections.reveal(request.project, row, callerOf(request)).then((body) => answered(body));
  }

  app.get<{ Params: { project: string }; Querystring: Record<string, string> }>(
    base,
    {
      config: { access: { project: ['CONNECTIONS:VIEW'] }, answer: connectionList },
      schema: {
        tags: ['connections'],
        summary: 'List connections of one or more types, secrets null',
        params: projectParams,
        querystring: Type.Object({
          type: Type.Optional(
            Type.String({
              description: `Required: one of ${Object.keys(definitions).join(', ')}, a comma-separated list, or *.`,
            }),
          ),
          page: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,8}$', description: 'From 1.' })),
          size: Type.Optional(
            Type.String({ pattern: '^[1-9][0-9]{0,5}$', description: 'Up to 100000; without it: all.' }),
          ),
          sort: Type.Optional(
            Type.String({ pattern: '^(name|type)(,(asc|desc))?$', description: 'name,asc' }),
          ),
          q: Type.Optional(Type.String({ maxLength: 255, description: 'Substring of name or description.' })),
          labels: Type.Optional(
            Type.String({
              maxLength: 2000,
              description: 'key=value pairs, separated by commas; all must match.',
            }),
          ),
        }),
      },
    },
    async (request, reply) => {
      const { type } = request.query;
      if (!type) throw new AppError('bad_request', 'Connection type parameter is required!');
      const { name: project } = request.project;
      const seesAll = access.grantsWithin(request.principal, [
        { project, permissions: ['CONNECTIONS:VIEW'] },
      ]);
      const visible = (row: ListedConnection) =>
        seesAll || access.allows(request.principal, 'CONNECTIONS:VIEW', { project, connection: row.name });
      reply.header('content-type', 'application/json; charset=utf-8');
      return listConnections(db, request.project.id, { ...request.query, type }, visible);
    },
  );

  app.get<{
    Params: { project: string; connection: string };
    Querystring: { reveal?: 'true' | 'false' };
  }>(
    oneConnection,
    {
      config: { access: { project: ['CONNECTIONS:VIEW'] }, answer: connectionList },
      schema: {
        tags: ['connections'],
        summary: 'Get a connection; with CONNECTIONS:REVEAL its secrets in full, which is audited',
        params: connectionParams,
        querystring: Type.Object({
          reveal: Type.Optional(
            Type.Union([Type.Literal('true'), Type.Literal('false')], {
              description:
                'false: secrets are null for everybody, and `storedSecrets` lists the JSON pointers of those there are.',
            }),
          ),
        }),
      },
    },
    (request, reply) => {
      const answer = (row: ReadConnection) => answerGet(request, reply, row);
      const found = connections.read(request.project, request.params.connection);
      return found instanceof Promise ? found.then(answer) : answer(found);
    },
  );

  app.post<{ Params: { project: string; connection: string }; Querystring: DeployQuery }>(
    oneConnection,
    {
      bodyLimit: maxBodyBytes,
      config: {
        access: { project: ['CONNECTIONS:MANAGE'] },
        body: 'connection',
        answer: connectionChangeAnswer,
      },
      schema: {
        tags: ['connections'],
        summary: 'Create a connection and deploy it',
        params: connectionParams,
        querystring: Type.Object(deployQuery),
      },
    },
    async (request, reply) => {
      const { project, params, body } = request;
      const stored = await connections.create(project, params.connection, body, connectionCaller(request));
      return answers.answer(request, reply, stored, 'created');
    },
  );

  app.put<{
    Params: { project: string; connection: string };
    Querystring: DeployQuery & { rename?: 'true' | 'false' };
  }>(
    oneConnection,
    {
      bodyLimit: maxBodyBytes,
      config: {
        access: { project: ['CONNECTIONS:MANAGE'] },
        body: 'connection',
        answer: connectionChangeAnswer,
      },
      schema: {
        tags: ['connections'],
        summary: 'Replace a connection and deploy it again',
        params: connectionParams,
        querystring: Type.Object({ ...deployQuery, rename: flagText }),
      },
    },
    async (request, reply) => {
      const { project, params, body } = request;
      const stored = await connections.update(project, params.connection, body, connectionCaller(request), {
        precondition: preconditionOf(request),
        rename: request.query.rename === 'true',
      });
      return answers.answer(request, reply, stored, 'updated');
    },
  );

  app.delete<{
    Params: { project: string; connection: string };
    Querystring: DeployQuery & { ifUnused?: 'true' | 'false' };
  }>(
    oneConnection,
    {
      config: { access: { project: ['CONNECTIONS:MANAGE'] }, answer: connectionChangeAnswer },
      schema: {
        tags: ['connections'],
        summary: 'Delete a connection, and close it everywhere',
        params: connectionParams,
        querystring: Type.Object({ ...deployQuery, ifUnused: flagText }),
      },
    },
    async (request, reply) => {
      if (request.query.ifUnused === 'true')
        throw new AppError(
          'bad_request',
          'ifUnused needs usage counts, which this version does not keep yet',
        );
      const { project, params } = request;
      const stored = await connections.remove(
        project,
        params.connection,
        connectionCaller(request),
        preconditionOf(request),
      );
      return answers.answer(request, reply, stored, 'deleted');
    },
  );

  app.post<{
    Params: { project: string; connection: string };
    Querystring: { rename?: 'true' | 'false' };
  }>(
    `${oneConnection}validate/`,
    {
      bodyLimit: maxBodyBytes,
      config: {
        access: { project: ['CONNECTIONS:MANAGE'] },
        body: 'connection',
        answer: connectionChangeAnswer,
      },
      schema: {
        tags: ['connections'],
        summary: 'Check a body as Create or Update would, and store nothing',
        params: connectionParams,
        querystring: Type.Object({ rename: flagText }),
      },
    },
    async (request) => {
      const { project, params, body } = request;
      const warnings = await connections.validate(
        project,
        params.connection,
        body,
        connectionCaller(request),
        request.query.rename === 'true',
      );
      return { success: true, ...(warnings.length > 0 ? { warnings } : {}) };
    },
  );

  app.get<{ Params: { project: string; connection: string } }>(
    `${oneConnection}health/`,
    {
      config: { access: { project: ['CONNECTIONS:VIEW'] } },
      schema: {
        tags: ['connections'],
        summary: 'What each worker sees: state, last error, figures, and the minutes of the last 24 hours',
        params: connectionParams,
      },
    },
    async (request) => {
      const row = await connections.need(request.project, request.params.connection);
      const resultList = await healthOf(db, row.id, (environment, workerId) =>
        workers.of(environment).some(({ id }) => id === workerId),
      );
      return { success: true, resultList, resultCount: resultList.length };
    },
  );
}
