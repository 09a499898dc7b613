import type { ConnectionTypeId } from '../../connectors/definitions.ts';
import { definitions } from '../../connectors/definitions.ts';
import { areAllowed, destinationHosts } from '../../connectors/destination-hosts.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { renameVariable } from '../../contract/references.ts';
import { foldName } from '../../contract/validation.ts';
import { AppError } from '../../errors.ts';
import { recordAudit } from '../audit/audit.service.ts';
import type { Access } from '../auth/access.ts';
import type { Caller } from '../auth/caller.ts';
import type { Principal } from '../auth/permissions.ts';
import type { DeploymentWatch } from '../deployments/deployment-watch.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Transaction } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import { createResolver } from '../variables/resolver.ts';
import {
  type ConnectionRow,
  connectionsReferringTo,
  holdConnection,
  holdsSecrets,
  insertRevision,
  secretVariables,
  stampSequence,
  storeReferences,
  updateConnection,
} from './connections.store.ts';
import { referencesOf } from './references.ts';
import { openConfig, sealConfig } from './sealed-config.ts';

/** Something that connections refer to by name. */
export interface Target {
  kind: 'variable' | 'keystore' | 'certificate';
  name: string;
}

/** Who changes it. */
export interface ReferrerCaller extends Caller {
  principal: Principal;
}

/** Connections whose workers are to take something anew, and the watches on what they say. */
export interface Redeployment {
  rows: ConnectionRow[];
  watches: DeploymentWatch[];
}

/** What an answer tells of a redeployment. */
export interface RedeploymentAnswer {
  redeployedConnections?: string[];
  deploymentResult?: {
    success: boolean;
    deploymentResults: { environmentName: string; success: boolean; message: string }[];
  };
}

export type Referrers = ReturnType<typeof createReferrers>;

const kindsOf = {
  variable: ['variable', 'secret'],
  keystore: ['keystore', 'keystore'],
  certificate: ['certificate', 'certificate'],
} as const satisfies Record<Target['kind'], [string, string]>;

const isLive = (row: ConnectionRow) => row.enabled === 1 && row.deploy_to_worker === 1;

/** The connections that refer to a variable, keystore or certificate, and what its change means for them. */
export function createReferrers(parts: { access: Access; sealer: Sealer; deployments: Deployments }) {
  const { access, sealer, deployments } = parts;

  /**
   * Connections with that reference in the current revision, or in one that is last good somewhere;
   * held until the transaction ends. The target itself is written before, so that none comes to it meanwhile.
   */
  async function find(tx: Transaction, projectId: string, { kind, name }: Target): Promise<ConnectionRow[]> {
    const held: ConnectionRow[] = [];
    for (const { id } of await connectionsReferringTo(tx, projectId, kindsOf[kind], name, false)) {
      const row = await holdConnection(tx, id);
      if (row) held.push(row);
    }
    return held;
  }

  /** Throws conflict, naming them, while connections refer to the target. */
  async function demandNone(tx: Transaction, projectId: string, target: Target): Promise<void> {
    const rows = await connectionsReferringTo(tx, projectId, kindsOf[target.kind], target.name, true);
    if (rows.length === 0) return;
    throw new AppError(
      'conflict',
      `The ${target.kind} '${target.name}' is used by ${rows.length === 1 ? 'the connection' : 'the connections'} ${rows
        .slice(0, 20)
        .map((row) => `'${row.name}'`)
        .join(', ')}${rows.length > 20 ? ` and ${rows.length - 20} more` : ''}`,
    );
  }

  /** Throws conflict, naming them, while connections use a variable within a text, where all can read it. */
  async function demandSecretUse(tx: Transaction, projectId: string, name: string): Promise<void> {
    const rows = await connectionsReferringTo(tx, projectId, ['variable', 'variable'], name, false);
    if (rows.length > 0)
      throw new AppError(
        'conflict',
        `The variable '${name}' cannot be one that is not visible: ${rows
          .slice(0, 20)
          .map((row) => `'${row.name}'`)
          .join(', ')} ${rows.length === 1 ? 'refers' : 'refer'} to it outside of secrets`,
      );
  }

  /**
   * A change of what a connection refers to moves the connection (security 1): forbidden, naming the
   * connection, without REVEAL on each that holds secrets, and without the right over every variable
   * that is not visible and would be sent elsewhere.
   */
  async function demandMove(
    tx: Transaction,
    { principal }: ReferrerCaller,
    project: ProjectRow,
    rows: readonly ConnectionRow[],
    target: Target,
  ): Promise<void> {
    const resolver = createResolver(tx, sealer);
    for (const row of rows) {
      if (!(await holdsSecrets(tx, row))) continue;
      const environments = targetsOf(project, JSON.parse(row.environments));
      const scope = { project: project.name, connection: row.name };
      if (!access.allowsInAll(principal, 'CONNECTIONS:REVEAL', scope, environments))
        throw new AppError(
          'forbidden',
          `Changing the ${target.kind} '${target.name}' moves the connection '${row.name}' with its secrets: the token lacks the permission CONNECTIONS:REVEAL on it`,
        );
      if (target.kind === 'variable') continue;
      const variables = await resolver.variables(project.id);
      const hidden = (await secretVariables(tx, row.id, row.revision)).filter(variables.isHidden);
      if (hidden.length === 0) continue;
      if (access.allowsInAll(principal, 'VARIABLES:MANAGE', { project: project.name }, environments))
        continue;
      const config = openConfig(sealer, row);
      for (const environment of environments) {
        const resolved = await resolver.values(project.id, row.type, config, environment);
        if ('refusal' in resolved) continue;
        const hosts = destinationHosts(row.type, resolved.config);
        for (const name of hidden)
          if (!areAllowed(hosts, variables.allowedHosts(name)))
            throw new AppError(
              'forbidden',
              `Changing the ${target.kind} '${target.name}' moves the connection '${row.name}', which sends the variable ${name}: the token lacks the permission VARIABLES:MANAGE`,
            );
      }
    }
  }

  /**
   * Has the workers take the connections anew: as the last statements of the change's transaction.
   * The caller settles or ends what it answers.
   */
  async function redeploy(
    tx: Transaction,
    project: ProjectRow,
    rows: readonly ConnectionRow[],
  ): Promise<Redeployment> {
    const live = rows.filter(isLive);
    const resolver = createResolver(tx, sealer);
    for (const row of live) {
      const definition = definitions[row.type as ConnectionTypeId] as ConnectionType;
      const references = await referencesOf(
        definition,
        openConfig(sealer, row),
        project.id,
        project.environments,
        resolver,
      );
      await storeReferences(tx, row.id, row.revision, references);
    }
    const watches = live.map((row) => deployments.watch(row.id, row.revision, true));
    try {
      for (const [index, row] of live.entries()) watches[index]!.sequence = await stampSequence(tx, row.id);
    } catch (error) {
      for (const watch of watches) watch.end();
      throw error;
    }
    return { rows: live, watches };
  }

  /** Tells the workers, waits for them, and says by environment what became of the connections. */
  async function settle(
    project: ProjectRow,
    { rows, watches }: Redeployment,
    timeoutMs: number,
  ): Promise<RedeploymentAnswer> {
    if (rows.length === 0) return {};
    const byEnvironment = new Map<string, { applied: number; failed: string[] }>();
    await Promise.all(
      rows.map(async (row, index) => {
        const placed = new Set(await deployments.deployedIn(row.id));
        const environments = targetsOf(project, JSON.parse(row.environments)).filter((name) =>
          placed.has(name),
        );
        const refusals = await deployments.refusals(row, environments);
        const { deploymentResults } = await deployments.settle(watches[index]!, environments, {
          timeoutMs,
          refusals,
        });
        for (const { environmentName, success, message } of deploymentResults) {
          const counts = byEnvironment.get(environmentName) ?? { applied: 0, failed: [] };
          byEnvironment.set(environmentName, counts);
          if (success) counts.applied += 1;
          else counts.failed.push(`${row.name}: ${message}`);
        }
      }),
    );
    const deploymentResults = [...byEnvironment]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([environmentName, { applied, failed }]) => {
        const total = applied + failed.length;
        return {
          environmentName,
          success: failed.length === 0,
          message: [
            `${applied} of ${total} connection${total === 1 ? '' : 's'} applied`,
            ...failed.slice(0, 10),
            ...(failed.length > 10 ? [`and ${failed.length - 10} more`] : []),
          ].join('; '),
        };
      });
    return {
      redeployedConnections: rows.map(({ name }) => name),
      deploymentResult: { success: deploymentResults.every(({ success }) => success), deploymentResults },
    };
  }

  /**
   * Writes the new name into every connection that refers to the target, as a new revision each;
   * answers the rows as they are now. Needs MANAGE on each; conflict where it cannot be written.
   */
  async function rename(
    tx: Transaction,
    caller: ReferrerCaller,
    project: ProjectRow,
    target: Target,
    to: string,
  ): Promise<ConnectionRow[]> {
    const now = Date.now();
    const renamed: ConnectionRow[] = [];
    const kinds = kindsOf[target.kind];
    for (const { id } of await connectionsReferringTo(tx, project.id, kinds, target.name, true)) {
      const row = await holdConnection(tx, id);
      if (!row) continue;
      const environments = targetsOf(project, JSON.parse(row.environments));
      const scope = { project: project.name, connection: row.name };
      if (!access.allowsInAll(caller.principal, 'CONNECTIONS:MANAGE', scope, environments))
        throw new AppError(
          'forbidden',
          `Renaming the ${target.kind} '${target.name}' changes the connection '${row.name}': the token lacks the permission CONNECTIONS:MANAGE on it`,
        );
      const definition = definitions[row.type as ConnectionTypeId] as ConnectionType;
      const before = openConfig(sealer, row);
      const config = renamedConfig(definition, before, target, to);
      if (!config)
        throw new AppError(
          'conflict',
          `The connection '${row.name}' refers to the ${target.kind} '${target.name}' where the new name cannot be written by itself: change that connection first`,
        );
      const next: ConnectionRow = {
        ...row,
        revision: row.revision + 1,
        ...sealConfig(sealer, definition, config, project.id, row.id).columns,
        updated_at: now,
      };
      await updateConnection(tx, next, foldName(next.name), row.revision);
      await insertRevision(tx, row.id, {
        revision: next.revision,
        action: 'update',
        name: next.name,
        author: caller.actor,
        at: now,
        masked: next.masked,
        sealed: next.sealed,
      });
      await recordAudit(tx, {
        actor: caller.actor,
        requestId: caller.requestId,
        project: project.name,
        action: 'connection.update',
        target: row.name,
        details: { connection: row.id, revision: next.revision, follows: `${target.kind} ${target.name}` },
      });
      renamed.push(next);
    }
    return renamed;
  }

  return { find, demandNone, demandSecretUse, demandMove, redeploy, settle, rename };
}

function renamedConfig(
  definition: ConnectionType,
  config: Record<string, unknown>,
  { kind, name }: Target,
  to: string,
): Record<string, unknown> | undefined {
  if (kind === 'variable') return renameVariable(definition, config, name, to);
  const fields = kind === 'certificate' ? ['certificateName'] : ['keyStoreName', 'trustStoreName'];
  const places = fields.filter((field) => config[field] === name);
  // Named by a variable, whose value is not ours to change.
  if (places.length === 0) return undefined;
  return { ...config, ...Object.fromEntries(places.map((field) => [field, to])) };
}
