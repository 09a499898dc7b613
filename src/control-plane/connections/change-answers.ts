import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { DeploymentWatch } from '../deployments/deployment-watch.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import type { Events } from '../server/events.routes.ts';
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

/** What was done to a connection, as an event tells it. */
export type ChangeAction =
  | 'created'
  | 'updated'
  | 'deleted'
  | 'restored'
  | 'deployed'
  | 'undeployed'
  | 'host-key-trusted';

/** A change that workers are to answer for. */
interface Expected {
  row: ConnectionRow;
  watch: DeploymentWatch;
  environments: string[];
}

export type ChangeAnswers = ReturnType<typeof createChangeAnswers>;

/** What is answered to a change: what the workers made of it, unless nobody wants to wait for them. */
export function createChangeAnswers(
  { deployments, events }: { deployments: Deployments; events: Events },
  deployTimeoutMs: number,
) {
  /** Gives the answer the tag of what stands now, and tells those who listen, before any worker is heard. */
  function note(
    request: FastifyRequest,
    reply: FastifyReply,
    row: ConnectionRow,
    action: ChangeAction,
    renamedFrom?: string,
  ): void {
    reply.header('etag', entityTag(row));
    const scope = { project: request.project.name, connection: row.name };
    events.publish({
      event: 'connection',
      data: {
        ...scope,
        action,
        ...(renamedFrom === undefined ? {} : { renamedFrom }),
        by: request.principal.actor,
      },
      scope,
    });
  }

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
    { row, warnings, deployed, watch, renamedFrom }: Stored,
    action: ChangeAction,
  ): Promise<object> {
    const { query, project } = request;
    note(request, reply, row, action, renamedFrom);
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

  return { note, answer, settle };
}

/** By which the outcome of a change can be found that was not waited for. */
export function deploymentId(row: ConnectionRow): string {
  return `${row.id}.${row.revision}`;
}
