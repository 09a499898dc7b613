import { foldName } from '../../contract/validation.ts';
import { AppError } from '../../errors.ts';
import { recordAudit } from '../audit/audit.service.ts';
import type { Access } from '../auth/access.ts';
import type { DeploymentWatch } from '../deployments/deployment-watch.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import type { ProjectRow } from '../server/route-access.ts';
import { type Database, isOutcomeUnknown, isUniqueViolation, type Transaction } from '../store/database.ts';
import { type Config, type Draft, type DraftReferences, listedEnvironments } from './body-checks.ts';
import type { ConnectionCaller } from './connection-caller.ts';
import {
  type ConnectionRow,
  holdReferences,
  insertRevision,
  stampSequence,
  storeReferences,
  updateConnection,
} from './connections.store.ts';

/** A change that is durable, with the watch on what the workers make of it. */
export interface Stored {
  row: ConnectionRow;
  warnings: string[];
  /** Whether workers hold it or held it, so that a deployment result belongs into the answer. */
  deployed: boolean;
  watch: DeploymentWatch;
  /** Its name before, where it has another one now. */
  renamedFrom?: string;
}

/** What a row opens to, as long as it is being stored. */
interface HeldBody {
  opened: Config;
  accepted: Draft['accepted'];
}

export type ConnectionWrites = ReturnType<typeof createConnectionWrites>;

/** What every change of a connection has in common: who may, in which transaction, and who hears of it. */
export function createConnectionWrites(parts: { db: Database; access: Access; deployments: Deployments }) {
  const { db, access, deployments } = parts;

  /** A grant may be narrowed to names and environments: a change needs it for every one it touches. */
  function requireManage(
    caller: ConnectionCaller,
    project: ProjectRow,
    name: string,
    listed: string[],
  ): void {
    for (const environment of targetsOf(project, listed))
      access.require(caller.principal, 'CONNECTIONS:MANAGE', {
        project: project.name,
        connection: name,
        environment,
      });
  }

  async function audit(
    tx: Transaction,
    caller: ConnectionCaller,
    project: ProjectRow,
    action: string,
    target: string,
    details: Record<string, unknown>,
  ): Promise<void> {
    const { actor, requestId } = caller;
    await recordAudit(tx, { actor, project: project.name, action, target, requestId, details });
  }

  /**
   * Runs `job`, which stamps the row, in one transaction under a watch that begins before it; undefined
   * when `job` wrote nothing.
   */
  async function watched(
    row: ConnectionRow,
    open: boolean,
    job: (tx: Transaction) => Promise<boolean>,
    { held, onCommit }: { held?: HeldBody | undefined; onCommit?: () => void } = {},
  ): Promise<DeploymentWatch | undefined> {
    const watch = deployments.watch(row.id, row.revision, open);
    if (held) watch.hold(row, held.opened, held.accepted);
    let written = false;
    try {
      written = await db.write(
        async (tx) => {
          const isDone = await job(tx);
          if (isDone) watch.sequence = row.seq;
          return isDone;
        },
        onCommit ? { onCommit } : {},
      );
    } catch (error) {
      // What may be stored must not wait for the next change to be heard of.
      if (isOutcomeUnknown(error)) deployments.announce(watch);
      throw error;
    } finally {
      if (!written) watch.end();
    }
    return written ? watch : undefined;
  }

  /**
   * Writes revision, audit and place in the order of changes around `writeRow`, in one transaction;
   * undefined when `writeRow` found that somebody else was faster, or a variable is not as it was checked.
   */
  async function store(
    project: ProjectRow,
    row: ConnectionRow,
    action: 'create' | 'update' | 'restore',
    caller: ConnectionCaller,
    { references, held }: { references: DraftReferences; held?: HeldBody },
    writeRow: (tx: Transaction) => Promise<boolean>,
    details?: Record<string, unknown>,
  ): Promise<DeploymentWatch | undefined> {
    const job = async (tx: Transaction) => {
      // A variable that changed since the check may lead elsewhere by now.
      if (!(await holdReferences(tx, project.id, references.list, references.versions))) return false;
      if (!(await writeRow(tx))) return false;
      if (row.revision > 1 || references.list.length > 0)
        await storeReferences(tx, row.id, row.revision, references.list);
      await insertRevision(tx, row.id, {
        revision: row.revision,
        action,
        name: row.name,
        author: caller.actor,
        at: row.updated_at,
        masked: row.masked,
        sealed: row.sealed,
      });
      if (isLive(row)) await deployments.place(tx, project, row.id, JSON.parse(row.environments));
      await audit(tx, caller, project, `connection.${action}`, row.name, {
        connection: row.id,
        type: row.type,
        revision: row.revision,
        ...details,
      });
      if (action !== 'create' || !tx.isSerial) row.seq = await stampSequence(tx, row.id);
      return true;
    };
    try {
      return await watched(row, isLive(row), job, { held, onCommit: () => deployments.emit('committed') });
    } catch (error) {
      if (!isUniqueViolation(error, 'connections_name')) throw error;
      throw nameTaken(row.name);
    }
  }

  /** `writeRow` of a change: undefined as soon as the row is not the one that was read. */
  const replacing = (current: ConnectionRow, row: ConnectionRow) => async (tx: Transaction) => {
    if (!(await updateConnection(tx, row, foldName(row.name), current.revision))) return false;
    await deployments.hostKeys.forgetMoved(tx, current, row);
    return true;
  };

  return { requireManage, audit, watched, store, replacing };
}

export function nameTaken(name: string): AppError {
  return new AppError('bad_request', `Connection (name: ${name}) already exists!`, {
    details: { validationErrors: [{ field: 'name', message: 'already exists in this project' }] },
  });
}

/** What a row says of its body beside the body itself. */
export function columnsOfConfig(config: Config) {
  return {
    enabled: config['enabled'] === false ? 0 : 1,
    deploy_to_worker: config['deployToWorker'] === false ? 0 : 1,
    environments: JSON.stringify(listedEnvironments(config)),
  };
}

/** Whether workers are to hold it. */
export function isLive(row: Pick<ConnectionRow, 'enabled' | 'deploy_to_worker'>): boolean {
  return row.enabled === 1 && row.deploy_to_worker === 1;
}

/** Runs `attempt` again while it answers undefined, at most eight times; then `unavailable`. */
export async function persist<T>(attempt: () => Promise<T | undefined>, contested: string): Promise<T> {
  for (let left = 8; left > 0; left--) {
    const done = await attempt();
    if (done !== undefined) return done;
  }
  throw new AppError('unavailable', `${contested} is being changed by others all the time; try again`);
}

/** What a change has to tell of another name. */
export function renaming(before: ConnectionRow, after: ConnectionRow): Pick<Stored, 'renamedFrom'> {
  return foldName(before.name) === foldName(after.name) ? {} : { renamedFrom: before.name };
}

/** Runs `change` on the row as it stands, again when somebody else was faster (unless its precondition forbids that). */
export function withCurrent<T, Row extends ConnectionRow>(
  read: () => Promise<Row>,
  change: (current: Row) => Promise<T | undefined>,
): Promise<T> {
  return persist(async () => change(await read()), 'The connection');
}
