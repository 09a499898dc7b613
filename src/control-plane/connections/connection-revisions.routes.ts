import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { connectionChangeAnswer } from '../server/answer-schemas.ts';
import { preconditionOf } from '../server/entity-tag.ts';
import { pageOf, pageQuery } from '../server/list-query.ts';
import {
  type ChangeAnswers,
  connectionParams,
  type DeployQuery,
  deployQuery,
  oneConnection,
} from './change-answers.ts';
import { connectionCaller } from './connection-caller.ts';
import type { Connections } from './connections.service.ts';

const revisionParams = Type.Object({
  project: Type.String(),
  connection: Type.String(),
  revision: Type.String({ pattern: '^[1-9][0-9]{0,9}$' }),
});

/** The history of a connection, and the way back. */
export function revisionRoutes(
  app: FastifyInstance,
  { connections: { revisions: history }, answers }: { connections: Connections; answers: ChangeAnswers },
): void {
  app.get<{ Params: { project: string; connection: string }; Querystring: { page?: string; size?: string } }>(
    `${oneConnection}revisions/`,
    {
      config: { access: { project: ['CONNECTIONS:VIEW'] } },
      schema: {
        tags: ['revisions'],
        summary:
          'History with author, time and a diff without secrets, newest first; of a deleted connection too',
        params: connectionParams,
        querystring: Type.Object(pageQuery),
      },
    },
    async (request) => {
      const { project, params, query } = request;
      const { revisions, count } = await history.list(project, params.connection, pageOf(query));
      const resultList = revisions.map(({ revision, action, name, author, at, diff }) => ({
        revision,
        action,
        name,
        author,
        at: new Date(at).toISOString(),
        diff,
      }));
      return { success: true, resultList, resultCount: count };
    },
  );

  app.get<{ Params: { project: string; connection: string; revision: string } }>(
    `${oneConnection}revisions/:revision/`,
    {
      config: { access: { project: ['CONNECTIONS:VIEW'] } },
      schema: { tags: ['revisions'], summary: 'One revision, secrets null', params: revisionParams },
    },
    async (request) => {
      const { connection, revision } = request.params;
      const found = await history.get(request.project, connection, Number(revision));
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
    `${oneConnection}revisions/:revision/restore/`,
    {
      config: { access: { project: ['CONNECTIONS:MANAGE'] }, answer: connectionChangeAnswer },
      schema: {
        tags: ['revisions'],
        summary: 'Bring a revision back with its own secrets, of a deleted connection too',
        params: revisionParams,
        querystring: Type.Object(deployQuery),
      },
    },
    async (request, reply) => {
      const { project, params } = request;
      const stored = await history.restore(
        project,
        params.connection,
        Number(params.revision),
        connectionCaller(request),
        preconditionOf(request),
      );
      return answers.answer(request, reply, stored, 'restored');
    },
  );
}
