import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { definitions } from '../../connectors/definitions.ts';
import { FINGERPRINT_PATTERN } from '../../contract/ssh-fields.ts';
import { AppError } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import { callerOf } from '../auth/caller.ts';
import type { Scope } from '../auth/permissions.ts';
import type { ConnectedWorkers } from '../deployments/connected-workers.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import { healthOf } from '../health/health.service.ts';
import type { Database } from '../store/database.ts';
import type { ConnectionCaller } from './body-checks.ts';
import type { ReadConnection } from './connection-reads.ts';
import type { Connections, Stored } from './connections.service.ts';
import { entityTag } from './connections.store.ts';
import { type ListedConnection, listConnections } from './list-connections.ts';

interface Services {
  db: Database;
  access: Access;
  connections: Connections;
  deployments: Deployments;
  workers: ConnectedWorkers;
  /** Default of `deployTimeoutMs`. */
  deployTimeoutMs: number;
}

const projectParams = Type.Object({ project: Type.String() });
const connectionParams = Type.Object({ project: Type.String(), connection: Type.String() });
const revisionParams = Type.Object({
  project: Type.String(),
  connection: Type.String(),
  revision: Type.String({ pattern: '^[1-9][0-9]{0,9}$' }),
});
const flagText = Type.Optional(Type.Union([Type.Literal('true'), Type.Literal('false')]));
const deployQuery = {
  deployTimeoutMs: Type.Optional(
    Type.String({ pattern: '^[0-9]{1,6}$', description: 'How long workers have to answer, ms (10000).' }),
  ),
  async: Type.Optional(
    Type.Union([Type.Literal('true'), Type.Literal('false')], {
      description: 'Answers without waiting for the workers.',
    }),
  ),
  prove: Type.Optional(
    Type.Union([Type.Literal('true'), Type.Literal('false')], {
      description:
        'Waits for a new round trip to the target, too, and counts it; after a refused log-in none is made before a while has passed, which is said.',
    }),
  ),
};
const maxBodyBytes = 1024 * 1024;

interface DeployQuery {
  deployTimeoutMs?: string;
  async?: 'true' | 'false';
  prove?: 'true' | 'false';
}

/** Everything under `/apiops/projects/{project}/connections/` but tests and operations. */
export function connectionRoutes(app: FastifyInstance, services: Services): void {
  const { db, access, connections, deployments, workers } = services;
  const base = '/apiops/projects/:project/connections/';
  const one = `${base}:connection/`;

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

  async function answerChange(
    request: FastifyRequest<{ Querystring: DeployQuery }>,
    reply: FastifyReply,
    stored: Stored,
  ): Promise<object> {
    const { row, warnings, deployed, watch } = stored;
    reply.header('etag', entityTag(row));
    const noted = warnings.length > 0 ? { warnings } : {};
    if (!deployed || request.query.async === 'true') {
      deployments.announce(watch);
      return {
        success: true,
        ...(deployed ? { deploymentId: `${row.id}.${row.revision}` } : {}),
        ...noted,
      };
    }
    const open = row.enabled === 1 && row.deploy_to_worker === 1;
    const environments = open
      ? targetsOf(request.project, JSON.parse(row.environments))
      : await deployments.placedIn(row.id);
    const deploymentResult = await deployments.settle(watch, environments, open, {
      timeoutMs: Number(request.query.deployTimeoutMs ?? services.deployTimeoutMs),
      prove: request.query.prove === 'true',
      ...(open ? { refusals: await deployments.refusals(row, environments) } : {}),
    });
    return { success: true, deploymentResult, ...noted };
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
      config: { access: { project: ['CONNECTIONS:VIEW'] } },
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
    one,
    {
      config: { access: { project: ['CONNECTIONS:VIEW'] } },
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
    one,
    {
      bodyLimit: maxBodyBytes,
      config: { access: { project: ['CONNECTIONS:MANAGE'] }, body: 'connection' },
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
      return answerChange(request, reply, stored);
    },
  );

  app.put<{
    Params: { project: string; connection: string };
    Querystring: DeployQuery & { rename?: 'true' | 'false' };
  }>(
    one,
    {
      bodyLimit: maxBodyBytes,
      config: { access: { project: ['CONNECTIONS:MANAGE'] }, body: 'connection' },
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
        ...ifMatchOf(request),
        rename: request.query.rename === 'true',
      });
      return answerChange(request, reply, stored);
    },
  );

  app.delete<{
    Params: { project: string; connection: string };
    Querystring: DeployQuery & { ifUnused?: 'true' | 'false' };
  }>(
    one,
    {
      config: { access: { project: ['CONNECTIONS:MANAGE'] } },
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
        ifMatchOf(request).ifMatch,
      );
      return answerChange(request, reply, stored);
    },
  );

  app.post<{ Params: { project: string; connection: string } }>(
    `${one}validate/`,
    {
      bodyLimit: maxBodyBytes,
      config: { access: { project: ['CONNECTIONS:MANAGE'] }, body: 'connection' },
      schema: {
        tags: ['connections'],
        summary: 'Check a body as Create or Update would, and store nothing',
        params: connectionParams,
      },
    },
    async (request) => {
      const { project, params, body } = request;
      const warnings = await connections.validate(
        project,
        params.connection,
        body,
        connectionCaller(request),
      );
      return { success: true, ...(warnings.length > 0 ? { warnings } : {}) };
    },
  );

  app.get<{ Params: { project: string; connection: string } }>(
    `${one}deployments/`,
    {
      config: { access: { project: ['CONNECTIONS:VIEW'] } },
      schema: {
        tags: ['deployments'],
        summary: 'Revision, step and message for each environment and worker',
        params: connectionParams,
      },
    },
    async (request) => {
      const row = await connections.need(request.project, request.params.connection);
      const resultList = await deployments.status(row);
      return { success: true, revision: row.revision, resultList, resultCount: resultList.length };
    },
  );

  for (const action of ['deploy', 'undeploy'] as const)
    app.post<{
      Params: { project: string; connection: string };
      Querystring: DeployQuery & { environment?: string };
    }>(
      `${one}${action}/`,
      {
        config: { access: { project: ['CONNECTIONS:DEPLOY'] } },
        schema: {
          tags: ['deployments'],
          summary:
            action === 'deploy' ? 'Deploy by hand' : 'Undeploy by hand, until the next change or deploy',
          params: connectionParams,
          querystring: Type.Object({
            ...deployQuery,
            environment: Type.Optional(Type.String({ maxLength: 255 })),
          }),
        },
      },
      async (request, reply) => {
        const { project, params, query } = request;
        const { row, environments, watch } = await connections.deployByHand(
          project,
          params.connection,
          action,
          query.environment,
          connectionCaller(request),
        );
        reply.header('etag', entityTag(row));
        if (query.async === 'true') {
          deployments.announce(watch);
          return { success: true, deploymentId: `${row.id}.${row.revision}` };
        }
        const deploymentResult = await deployments.settle(watch, environments, action === 'deploy', {
          timeoutMs: Number(query.deployTimeoutMs ?? services.deployTimeoutMs),
          prove: query.prove === 'true',
          ...(action === 'deploy' ? { refusals: await deployments.refusals(row, environments) } : {}),
        });
        return { success: true, deploymentResult };
      },
    );

  app.post<{
    Params: { project: string; connection: string };
    Querystring: DeployQuery & { environment?: string };
    Body: { fingerprint: string };
  }>(
    `${one}trust-host-key/`,
    {
      config: { access: { project: ['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'] } },
      schema: {
        tags: ['deployments'],
        summary: 'Accept a changed SSH host key in an environment',
        description:
          'Takes the fingerprint that the refusal named (host_key_mismatch); one that was not seen is refused. The workers of the environment trust that key alone from then on. The deployments of a connection show the key that is pinned, and the last one that was refused.',
        params: connectionParams,
        querystring: Type.Object({
          ...deployQuery,
          environment: Type.Optional(
            Type.String({ maxLength: 255, description: 'Required where the connection has several.' }),
          ),
        }),
        body: Type.Object(
          {
            fingerprint: Type.String({
              maxLength: 51,
              pattern: FINGERPRINT_PATTERN,
              description: 'As ssh-keygen -lf prints it: SHA256:…',
            }),
          },
          { additionalProperties: false },
        ),
      },
    },
    async (request, reply) => {
      const { project, params, query, body } = request;
      const { row, environments, watch } = await connections.trustHostKey(
        project,
        params.connection,
        { fingerprint: body.fingerprint, environment: query.environment },
        connectionCaller(request),
      );
      reply.header('etag', entityTag(row));
      if (environments.length === 0 || query.async === 'true') {
        deployments.announce(watch);
        return { success: true };
      }
      const deploymentResult = await deployments.settle(watch, environments, true, {
        timeoutMs: Number(query.deployTimeoutMs ?? services.deployTimeoutMs),
        prove: query.prove === 'true',
        refusals: await deployments.refusals(row, environments),
      });
      return { success: true, deploymentResult };
    },
  );

  app.get<{ Params: { project: string; connection: string } }>(
    `${one}revisions/`,
    {
      config: { access: { project: ['CONNECTIONS:VIEW'] } },
      schema: {
        tags: ['revisions'],
        summary:
          'History with author, time and a diff without secrets, newest first; of a deleted connection too',
        params: connectionParams,
      },
    },
    async (request) => {
      const revisions = await connections.revisions(request.project, request.params.connection);
      const resultList = revisions
        .map(({ revision, action, name, author, at, diff }) => ({
          revision,
          action,
          name,
          author,
          at: new Date(at).toISOString(),
          diff,
        }))
        .reverse();
      return { success: true, resultList, resultCount: resultList.length };
    },
  );

  app.get<{ Params: { project: string; connection: string; revision: string } }>(
    `${one}revisions/:revision/`,
    {
      config: { access: { project: ['CONNECTIONS:VIEW'] } },
      schema: { tags: ['revisions'], summary: 'One revision, secrets null', params: revisionParams },
    },
    async (request) => {
      const { connection, revision } = request.params;
      const found = await connections.revision(request.project, connection, Number(revision));
      const { action, name, author, at, diff, masked } = found;
      return {
        success: true,
        resultList: [
          {
            revision: found.revision,
            action,
            name,
            author,
            at: new Date(at).toISOString(),
            diff,
            body: JSON.parse(masked) as unknown,
          },
        ],
        resultCount: 1,
      };
    },
  );

  app.post<{ Params: { project: string; connection: string; revision: string }; Querystring: DeployQuery }>(
    `${one}revisions/:revision/restore/`,
    {
      config: { access: { project: ['CONNECTIONS:MANAGE'] } },
      schema: {
        tags: ['revisions'],
        summary: 'Bring a revision back with its own secrets, of a deleted connection too',
        params: revisionParams,
        querystring: Type.Object(deployQuery),
      },
    },
    async (request, reply) => {
      const { project, params } = request;
      const stored = await connections.restore(
        project,
        params.connection,
        Number(params.revision),
        connectionCaller(request),
        ifMatchOf(request).ifMatch,
      );
      return answerChange(request, reply, stored);
    },
  );

  app.get<{ Params: { project: string; connection: string } }>(
    `${one}health/`,
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

/** The caller of a connection route. */
export function connectionCaller(request: FastifyRequest): ConnectionCaller {
  return { ...callerOf(request), principal: request.principal };
}

function ifMatchOf(request: FastifyRequest): { ifMatch?: string } {
  const header = request.headers['if-match'];
  return header === undefined ? {} : { ifMatch: header };
}
