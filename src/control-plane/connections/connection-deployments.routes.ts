import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { FINGERPRINT_PATTERN } from '../../contract/ssh-fields.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { connectionChangeAnswer } from '../server/answer-schemas.ts';
import {
  type ChangeAnswers,
  connectionParams,
  type DeployQuery,
  deploymentId,
  deployQuery,
  oneConnection,
} from './change-answers.ts';
import { connectionCaller } from './connection-caller.ts';
import type { Connections } from './connections.service.ts';

/** Where a connection is deployed, and its deployment by hand. */
export function connectionDeploymentRoutes(
  app: FastifyInstance,
  services: { connections: Connections; deployments: Deployments; answers: ChangeAnswers },
): void {
  const { connections, deployments, answers } = services;

  app.get<{ Params: { project: string; connection: string } }>(
    `${oneConnection}deployments/`,
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
      `${oneConnection}${action}/`,
      {
        config: { access: { project: ['CONNECTIONS:DEPLOY'] }, answer: connectionChangeAnswer },
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
        const deployed = await connections.deployByHand(
          project,
          params.connection,
          action,
          query.environment,
          connectionCaller(request),
        );
        const { row, watch } = deployed;
        answers.note(request, reply, row, `${action}ed`);
        if (query.async === 'true') {
          deployments.announce(watch);
          return { success: true, deploymentId: deploymentId(row) };
        }
        const deploymentResult = await answers.settle(query, deployed);
        return { success: true, deploymentResult };
      },
    );

  app.post<{
    Params: { project: string; connection: string };
    Querystring: DeployQuery & { environment?: string };
    Body: { fingerprint: string };
  }>(
    `${oneConnection}trust-host-key/`,
    {
      config: {
        access: { project: ['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'] },
        answer: connectionChangeAnswer,
      },
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
      const deployed = await connections.trustHostKey(
        project,
        params.connection,
        { fingerprint: body.fingerprint, environment: query.environment },
        connectionCaller(request),
      );
      answers.note(request, reply, deployed.row, 'host-key-trusted');
      if (deployed.environments.length === 0 || query.async === 'true') {
        deployments.announce(deployed.watch);
        return { success: true };
      }
      const deploymentResult = await answers.settle(query, deployed);
      return { success: true, deploymentResult };
    },
  );
}
