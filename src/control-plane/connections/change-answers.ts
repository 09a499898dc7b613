import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { DeploymentWatch } from '../deployments/deployment-watch.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import type { Stored } from './connection-writes.ts';
import { type ConnectionRow, entityTag } from './connections.store.ts';

/** Where a route of one connection lies. */
export const oneConnection = '/apiops/projects/:project/connections/:connection/';

export const connectionParams = Type.Object({ project: Type.String(), connection: Type.String() });

export const deployQuery = {
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

export interface DeployQuery {
  deployTimeoutMs?: string;
  async?: 'true' | 'false';
  prove?: 'true' | 'false';
}

/** A change that workers are to answer for. */
interface Expected {
  row: ConnectionRow;
  watch: DeploymentWatch;
  environments: string[];
}

export type ChangeAnswers = ReturnType<typeof createChangeAnswers>;

/** What is answered to a change: what the workers made of it, unless nobody wants to wait for them. */
export function createChangeAnswers(deployments: Deployments, deployTimeoutMs: number) {
  /** Waits for the workers. */
  async function settle(query: DeployQuery, { row, watch, environments }: Expected) {
    return deployments.settle(watch, environments, {
      timeoutMs: Number(query.deployTimeoutMs ?? deployTimeoutMs),
      prove: query.prove === 'true',
      ...(watch.open ? { refusals: await deployments.refusals(row, environments) } : {}),
    });
  }

  /** To a change of the connection itself. */
  async function answer(
    request: FastifyRequest<{ Querystring: DeployQuery }>,
    reply: FastifyReply,
    { row, warnings, deployed, watch }: Stored,
  ): Promise<object> {
    const { query, project } = request;
    reply.header('etag', entityTag(row));
    const noted = warnings.length > 0 ? { warnings } : {};
    if (!deployed || query.async === 'true') {
      deployments.announce(watch);
      return { success: true, ...(deployed ? { deploymentId: deploymentId(row) } : {}), ...noted };
    }
    const environments = watch.open
      ? targetsOf(project, JSON.parse(row.environments))
      : await deployments.placedIn(row.id);
    const deploymentResult = await settle(query, { row, watch, environments });
    return { success: true, deploymentResult, ...noted };
  }

  return { answer, settle };
}

/** By which the outcome of a change can be found that was not waited for. */
export function deploymentId(row: ConnectionRow): string {
  return `${row.id}.${row.revision}`;
}
