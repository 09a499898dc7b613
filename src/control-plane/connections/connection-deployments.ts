import { AppError } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import type { DeploymentWatch } from '../deployments/deployment-watch.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database, Transaction } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import { createResolver } from '../variables/resolver.ts';
import { invalid } from './body-checks.ts';
import type { ConnectionCaller } from './connection-caller.ts';
import { type ConnectionWrites, isLive } from './connection-writes.ts';
import { type ConnectionRow, needConnection, stampSequence } from './connections.store.ts';

interface Parts {
  db: Database;
  sealer: Sealer;
  access: Access;
  deployments: Deployments;
  writes: ConnectionWrites;
}

/** What was asked for, durable, and where workers are to answer for it. */
export interface Redeployed {
  row: ConnectionRow;
  environments: string[];
  watch: DeploymentWatch;
}

/** What people do to the deployment of a connection without changing it. */
export function createConnectionDeployments({ db, sealer, access, deployments, writes }: Parts) {
  /** Writes what always happens, and puts the connection into the order of changes. */
  async function redeploy(row: ConnectionRow, open: boolean, write: (tx: Transaction) => Promise<void>) {
    const watch = await writes.watched(row, open, async (tx) => {
      await write(tx);
      row.seq = await stampSequence(tx, row.id);
      return true;
    });
    return watch!;
  }

  /** Deploys or undeploys without a change, in one environment or in all; `not_active` for what is not to be live. */
  async function deployByHand(
    project: ProjectRow,
    name: string,
    action: 'deploy' | 'undeploy',
    environment: string | undefined,
    caller: ConnectionCaller,
  ): Promise<Redeployed> {
    const row = await needConnection(db, project.id, name);
    if (action === 'deploy' && !isLive(row))
      throw new AppError(
        'not_active',
        `Connection (name: ${row.name}) has ${row.enabled ? 'deployToWorker' : 'enabled'} set to false; set it to true to deploy`,
      );
    const targets = targetsOf(project, JSON.parse(row.environments));
    if (environment !== undefined && !targets.includes(environment))
      throw invalid([{ field: 'environment', message: `must be one of ${listed(targets)}` }]);
    const environments = environment === undefined ? targets : [environment];
    for (const name of environments)
      access.require(caller.principal, 'CONNECTIONS:DEPLOY', {
        project: project.name,
        connection: row.name,
        environment: name,
      });
    const watch = await redeploy(row, action === 'deploy', async (tx) => {
      if (action === 'deploy') await deployments.place(tx, project, row.id, environments);
      else for (const name of environments) await deployments.withdraw(tx, row.id, name);
      await writes.audit(tx, caller, project, `connection.${action}`, row.name, { environments });
    });
    return { row, environments, watch };
  }

  /**
   * Accepts, in one environment, the host key that was refused there, and deploys anew; `bad_request` for
   * one that was not seen. Accepting the key that is pinned already only deploys.
   */
  async function trustHostKey(
    project: ProjectRow,
    name: string,
    { fingerprint: given, environment: asked }: { fingerprint: string; environment: string | undefined },
    caller: ConnectionCaller,
  ): Promise<Redeployed> {
    const row = await needConnection(db, project.id, name);
    const targets = targetsOf(project, JSON.parse(row.environments));
    const environment = asked ?? (targets.length === 1 ? targets[0] : undefined);
    if (environment === undefined || !targets.includes(environment))
      throw invalid([
        {
          field: 'environment',
          message: `${asked === undefined ? 'is required' : 'must be'}: one of ${listed(targets)}`,
        },
      ]);
    for (const permission of ['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'] as const)
      access.require(caller.principal, permission, {
        project: project.name,
        connection: row.name,
        environment,
      });
    const { hostKeys } = deployments;
    const server = hostKeys.concern(row.type)
      ? await hostKeys.serverIn(row, environment, createResolver(db, sealer))
      : undefined;
    if (server === undefined)
      throw new AppError(
        'bad_request',
        `Connection (name: ${row.name}) has no pinned host key in '${environment}': keys are pinned for SSH servers whose hostKeyFingerprint is not set`,
      );
    const fingerprint = given.replace(/=$/, '');
    const watch = await redeploy(row, true, async (tx) => {
      const outcome = await hostKeys.accept(tx, row.id, environment, { server, fingerprint }, caller.actor);
      if ('refusal' in outcome) throw invalid([{ field: 'fingerprint', message: outcome.refusal }]);
      const { before } = outcome;
      if (before !== fingerprint)
        await writes.audit(tx, caller, project, 'connection.trust-host-key', row.name, {
          connection: row.id,
          environment,
          server,
          fingerprint,
          before,
        });
    });
    const isDeployed = isLive(row) && (await deployments.deployedIn(row.id)).includes(environment);
    return { row, environments: isDeployed ? [environment] : [], watch };
  }

  return { deployByHand, trustHostKey };
}

function listed(environments: string[]): string {
  return environments.join(', ') || '(the connection has none)';
}
