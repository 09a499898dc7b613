import type { Verdict } from '../../contract/worker-protocol.ts';
import type { Queries, Transaction } from '../store/database.ts';
import type { Tables } from '../store/tables.ts';

type ReadOnly = Pick<Queries, 'all' | 'get'>;

/** A connection with what one environment was told of it. */
export type DeployedRow = Omit<Tables['connections'], 'name_key' | 'created_at' | 'updated_at'> &
  Pick<Tables['deployments'], 'undeployed' | 'last_good_revision'>;

const deployedColumns =
  'c.id, c.project_id, c.name, c.type, c.revision, c.seq, c.enabled, c.deploy_to_worker, c.environments, c.masked, c.sealed, c.deleted_at, d.undeployed, d.last_good_revision';

export const changesPerFrame = 500;

// SQLite takes the tables of a cross join in the order written: else it would go through every
// connection of the environment in place of those that changed. The limit stands in the text: for a
// bound one SQLite plans the statement anew each time, which costs ten times what running it does.
const changes = `select ${deployedColumns} from connections c
  cross join deployments d
  where c.seq > $2 and d.connection_id = c.id and d.environment_id = $1 order by c.seq limit ${changesPerFrame}`;

/** What changed for an environment after `seq`, in order, at most `changesPerFrame`; deletions included. */
export function changesSince(db: ReadOnly, environmentId: string, seq: number) {
  return db.all<DeployedRow>(changes, [environmentId, seq]);
}

/** The sequence number of the last change that is committed; so are all before it. */
export async function newestSequence(db: ReadOnly): Promise<number> {
  const row = await db.get<{ value: number }>('select value from change_counter where id = 1');
  return row?.value ?? 0;
}

/** What decides whether an environment is to hold a connection, and the place of the change that said so last. */
export type PlacedRow = Pick<
  DeployedRow,
  'project_id' | 'seq' | 'enabled' | 'deploy_to_worker' | 'environments' | 'deleted_at' | 'undeployed'
>;

/** As it stands now; undefined where the environment was never told of the connection. */
export function placedRow(db: ReadOnly, connectionId: string, environmentId: string) {
  return db.get<PlacedRow>(
    `select c.project_id, c.seq, c.enabled, c.deploy_to_worker, c.environments, c.deleted_at, d.undeployed
      from deployments d join connections c on c.id = d.connection_id
      where d.connection_id = $1 and d.environment_id = $2`,
    [connectionId, environmentId],
  );
}

const deployed = `select ${deployedColumns} from connections c
  cross join deployments d
  where c.seq > $2 and c.deleted_at is null and d.connection_id = c.id and d.environment_id = $1
  order by c.seq limit ${changesPerFrame}`;

/** As `changesSince`, without what is deleted: read on and on, everything that the environment was ever told of. */
export function deployedSince(db: ReadOnly, environmentId: string, seq: number) {
  return db.all<DeployedRow>(deployed, [environmentId, seq]);
}

/** Records that an environment is (again) told of a connection. */
export async function placeDeployment(
  tx: Transaction,
  connectionId: string,
  environmentId: string,
  now: number,
): Promise<void> {
  await tx.run(
    `insert into deployments (connection_id, environment_id, undeployed, last_good_revision, updated_at)
      values ($1, $2, 0, null, $3)
      on conflict (connection_id, environment_id) do update set undeployed = 0, updated_at = $3`,
    [connectionId, environmentId, now],
  );
}

/** Marks a connection undeployed by hand in an environment. */
export async function withdrawDeployment(
  tx: Transaction,
  connectionId: string,
  environmentId: string,
  now: number,
): Promise<void> {
  await tx.run(
    'update deployments set undeployed = 1, updated_at = $3 where connection_id = $1 and environment_id = $2',
    [connectionId, environmentId, now],
  );
}

/**
 * A verdict as far as the connection's own history goes. One on a revision that it has not reached is of a
 * history that a restored backup ended, and would stand in the way of those to come: undefined, or `closed`
 * at the newest revision.
 */
export async function withinHistory(db: ReadOnly, verdict: Verdict): Promise<Verdict | undefined> {
  const row = await db.get<{ revision: number }>('select revision from connections where id = $1', [
    verdict.connection,
  ]);
  if (!row || row.revision >= verdict.revision) return verdict;
  return verdict.step === 'closed' ? { ...verdict, revision: row.revision } : undefined;
}

/** Stores a verdict, if that environment was told of the connection and nothing newer is known. */
export async function storeVerdict(
  tx: Transaction,
  worker: { id: string; environmentId: string },
  verdict: Verdict,
  now: number,
): Promise<void> {
  if (verdict.step === 'valid' || verdict.step === 'connected')
    await tx.run(
      `update deployments set last_good_revision = $3 where connection_id = $1 and environment_id = $2
        and (last_good_revision is null or last_good_revision < $3)`,
      [verdict.connection, worker.environmentId, verdict.revision],
    );
  await tx.run(
    `insert into verdicts (connection_id, worker_id, environment_id, revision, step, code, message, serving, warnings, at)
      select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
      where exists (select 1 from deployments where connection_id = $1 and environment_id = $3)
      on conflict (connection_id, worker_id) do update set environment_id = $3, revision = $4, step = $5, code = $6,
        message = $7, serving = $8, warnings = $9, at = $10
      where verdicts.revision <= $4`,
    [
      verdict.connection,
      worker.id,
      worker.environmentId,
      verdict.revision,
      verdict.step,
      verdict.code ?? null,
      verdict.message ?? null,
      verdict.serving ?? null,
      JSON.stringify(verdict.warnings ?? []),
      now,
    ],
  );
}

export interface DeploymentRow {
  environment_id: string;
  environment: string;
  undeployed: number;
  last_good_revision: number | null;
  updated_at: number;
}

/** What each environment was told of a connection. */
export function deploymentsOf(db: ReadOnly, connectionId: string) {
  return db.all<DeploymentRow>(
    `select d.environment_id, e.name as environment, d.undeployed, d.last_good_revision, d.updated_at
      from deployments d join environments e on e.id = d.environment_id where d.connection_id = $1 order by e.name`,
    [connectionId],
  );
}

export interface VerdictRow {
  environment_id: string;
  worker_id: string;
  worker: string;
  revision: number;
  step: string;
  code: string | null;
  message: string | null;
  serving: number | null;
  warnings: string;
  at: number;
}

/** What each worker last said of a connection. */
export function verdictsOf(db: ReadOnly, connectionId: string) {
  return db.all<VerdictRow>(
    `select v.environment_id, v.worker_id, w.name as worker, v.revision, v.step, v.code, v.message, v.serving, v.warnings, v.at
      from verdicts v join workers w on w.id = v.worker_id where v.connection_id = $1 order by w.name`,
    [connectionId],
  );
}

/** The stored body of one revision. */
export function revisionBody(db: ReadOnly, connectionId: string, revision: number) {
  return db.get<{ masked: string; sealed: string; name: string }>(
    'select masked, sealed, name from revisions where connection_id = $1 and revision = $2',
    [connectionId, revision],
  );
}

const users = `select d.undeployed, v.worker_id, v.step, v.serving from deployments d
  left join verdicts v on v.connection_id = d.connection_id and v.environment_id = d.environment_id
  where d.connection_id = $1 and d.environment_id = $2`;

/** Whether an environment holds a connection, and what each of its workers last said. */
export function usersOf(db: ReadOnly, connectionId: string, environmentId: string) {
  return db.all<{
    undeployed: number;
    worker_id: string | null;
    step: string | null;
    serving: number | null;
  }>(users, [connectionId, environmentId]);
}
