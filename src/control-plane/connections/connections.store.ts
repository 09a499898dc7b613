import { foldName } from '../../contract/validation.ts';
import { AppError } from '../../errors.ts';
import type { Queries, Transaction } from '../store/database.ts';
import type { Tables } from '../store/tables.ts';

export type ConnectionRow = Omit<Tables['connections'], 'name_key' | 'deleted_at'>;
export type RevisionRow = Omit<Tables['revisions'], 'connection_id'>;

/** Quoted entity tag of a connection's state. */
export function entityTag(row: Pick<ConnectionRow, 'id' | 'revision'>): string {
  return `"${row.id}.${row.revision}"`;
}

const columns =
  'id, project_id, name, type, revision, seq, enabled, deploy_to_worker, environments, masked, sealed, created_at, updated_at';

const byName = `select ${columns} from connections where project_id = $1 and name_key = $2 and deleted_at is null`;

/** The connection of that folded name; deleted ones are not there. */
export function findConnection(db: Queries | ReadOnly, projectId: string, nameKey: string) {
  return db.get<ConnectionRow>(byName, [projectId, nameKey]);
}

/** The connection of that name; `not_found` without one. */
export async function needConnection(db: ReadOnly, projectId: string, name: string): Promise<ConnectionRow> {
  const row = await findConnection(db, projectId, foldName(name));
  if (!row) throw notFound(name);
  return row;
}

export function notFound(name: string): AppError {
  return new AppError('not_found', `Connection (name: ${name}) was not found!`);
}

/** The connection deleted last under that folded name. */
export function findDeletedConnection(db: Queries | ReadOnly, projectId: string, nameKey: string) {
  return db.get<ConnectionRow>(
    `select ${columns} from connections where project_id = $1 and name_key = $2 and deleted_at is not null order by deleted_at desc, seq desc limit 1`,
    [projectId, nameKey],
  );
}

type ReadOnly = Pick<Queries, 'all' | 'get'>;

const maskedOfType =
  'select masked, name from connections where project_id = $1 and type = $2 and deleted_at is null order by name_key';

/** Masked texts of one type in order of name: the path that every plain list takes. */
export function listMasked(db: ReadOnly, projectId: string, type: string) {
  return db.all<{ masked: string; name: string }>(maskedOfType, [projectId, type]);
}

/** Masked texts of all types in order of name. */
export function listAllMasked(db: ReadOnly, projectId: string) {
  return db.all<{ masked: string; name: string; type: string }>(
    'select masked, name, type from connections where project_id = $1 and deleted_at is null order by name_key',
    [projectId],
  );
}

export async function insertConnection(tx: Transaction, row: ConnectionRow, nameKey: string): Promise<void> {
  await tx.run(
    `insert into connections (${columns}, name_key, deleted_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, null)`,
    [
      row.id,
      row.project_id,
      row.name,
      row.type,
      row.revision,
      row.seq,
      row.enabled,
      row.deploy_to_worker,
      row.environments,
      row.masked,
      row.sealed,
      row.created_at,
      row.updated_at,
      nameKey,
    ],
  );
}

/** Writes a new revision over the row, if it still stands at `expectedRevision`; answers whether it did. */
export async function updateConnection(
  tx: Transaction,
  row: ConnectionRow,
  nameKey: string,
  expectedRevision: number,
): Promise<boolean> {
  const changed = await tx.run(
    `update connections set name = $1, name_key = $2, revision = $3, enabled = $4, deploy_to_worker = $5,
      environments = $6, masked = $7, sealed = $8, updated_at = $9, deleted_at = null
      where id = $10 and revision = $11`,
    [
      row.name,
      nameKey,
      row.revision,
      row.enabled,
      row.deploy_to_worker,
      row.environments,
      row.masked,
      row.sealed,
      row.updated_at,
      row.id,
      expectedRevision,
    ],
  );
  return changed === 1;
}

/** Marks the row deleted; it stays for its revisions and to tell workers. Answers whether it stood at that revision. */
export async function markDeleted(
  tx: Transaction,
  id: string,
  revision: number,
  at: number,
): Promise<boolean> {
  const changed = await tx.run(
    'update connections set deleted_at = $1, updated_at = $1 where id = $2 and revision = $3 and deleted_at is null',
    [at, id, revision],
  );
  return changed === 1;
}

/** Gives the row its place in the order of changes; the last statement of its transaction. */
export async function stampSequence(tx: Transaction, id: string): Promise<number> {
  const seq = await tx.nextSequence();
  await tx.run('update connections set seq = $1 where id = $2', [seq, id]);
  return seq;
}

export async function insertRevision(tx: Transaction, connectionId: string, row: RevisionRow): Promise<void> {
  await tx.run(
    'insert into revisions (connection_id, revision, action, name, masked, sealed, author, at) values ($1, $2, $3, $4, $5, $6, $7, $8)',
    [connectionId, row.revision, row.action, row.name, row.masked, row.sealed, row.author, row.at],
  );
}

const revisionColumns = 'revision, action, name, author, at, masked, sealed';

/** All revisions, oldest first. */
/** The revisions of a connection, newest first. */
export function listRevisions(
  db: ReadOnly,
  connectionId: string,
  { limit, offset }: { limit: number; offset: number },
) {
  return db.all<RevisionRow>(
    `select ${revisionColumns} from revisions where connection_id = $1 order by revision desc limit $2 offset $3`,
    [connectionId, limit, offset],
  );
}

export async function countRevisions(db: ReadOnly, connectionId: string): Promise<number> {
  const counted = await db.get<{ count: number }>(
    'select count(*) as count from revisions where connection_id = $1',
    [connectionId],
  );
  return Number(counted!.count);
}

export function findRevision(db: ReadOnly, connectionId: string, revision: number) {
  return db.get<RevisionRow>(
    `select ${revisionColumns} from revisions where connection_id = $1 and revision = $2`,
    [connectionId, revision],
  );
}

/** Ids and revisions of every connection of a project that is not deleted. */
export function connectionsOfProject(db: ReadOnly, projectId: string) {
  return db.all<ConnectionRow>(
    `select ${columns} from connections where project_id = $1 and deleted_at is null`,
    [projectId],
  );
}

/** Connections of which the current revision, or unless `current` one that is last good somewhere, refers to that name. */
export function connectionsReferringTo(
  db: ReadOnly,
  projectId: string,
  kinds: readonly [string, string],
  name: string,
  current: boolean,
) {
  return db.all<ConnectionRow>(
    `select ${columns} from connections where project_id = $1 and deleted_at is null and id in
      (select r.connection_id from connection_references r where r.kind in ($2, $3) and r.name = $4
        ${current ? 'and r.revision = connections.revision' : ''}) order by name_key`,
    [projectId, ...kinds, name],
  );
}

/** Keeps a connection from changing until the transaction ends; answers it as it then stands, unless it is gone. */
export async function holdConnection(tx: Transaction, id: string): Promise<ConnectionRow | undefined> {
  const held = await tx.run('update connections set seq = seq where id = $1 and deleted_at is null', [id]);
  return held === 0
    ? undefined
    : tx.get<ConnectionRow>(`select ${columns} from connections where id = $1`, [id]);
}

/** Whether the current revision, or one that is last good somewhere and refers to something, holds secrets. */
export async function holdsSecrets(tx: Transaction, row: ConnectionRow): Promise<boolean> {
  if (row.sealed !== '{}') return true;
  const earlier = await tx.get(
    `select r.revision from connection_references r
      join revisions v on v.connection_id = r.connection_id and v.revision = r.revision
      where r.connection_id = $1 and v.sealed <> '{}' limit 1`,
    [row.id],
  );
  return earlier !== undefined;
}

/**
 * Keeps what a connection refers to from changing until the transaction ends; answers whether every
 * variable is still of the version that was read.
 */
export async function holdReferences(
  tx: Transaction,
  projectId: string,
  references: readonly { kind: string; name: string }[],
  versions: ReadonlyMap<string, number>,
): Promise<boolean> {
  for (const [name, version] of [...versions].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const held = await tx.run(
      'update variables set version = version where project_id = $1 and name = $2 and version = $3',
      [projectId, name, version],
    );
    if (held === 0) return false;
  }
  for (const { kind, name } of references)
    if (kind === 'keystore' || kind === 'certificate')
      await tx.run(`update ${kind}s set version = version where project_id = $1 and name = $2`, [
        projectId,
        name,
      ]);
  return true;
}

/** Replaces what a revision refers to; forgets that of revisions which are last good nowhere. */
export async function storeReferences(
  tx: Transaction,
  connectionId: string,
  revision: number,
  references: readonly { kind: string; name: string }[],
): Promise<void> {
  await tx.run(
    `delete from connection_references where connection_id = $1 and (revision = $2 or revision not in
      (select last_good_revision from deployments where connection_id = $1 and last_good_revision is not null))`,
    [connectionId, revision],
  );
  for (const { kind, name } of references)
    await tx.run(
      'insert into connection_references (connection_id, revision, kind, name) values ($1, $2, $3, $4)',
      [connectionId, revision, kind, name],
    );
}

/** Names of variables that are whole secrets of a connection's current revision. */
export async function secretVariables(db: ReadOnly, connectionId: string, revision: number) {
  const rows = await db.all<{ name: string }>(
    "select name from connection_references where connection_id = $1 and revision = $2 and kind = 'secret'",
    [connectionId, revision],
  );
  return rows.map(({ name }) => name);
}

/** The revision before another. */
export function previousRevision(db: ReadOnly, connectionId: string, revision: number) {
  return db.get<RevisionRow>(
    `select ${revisionColumns} from revisions where connection_id = $1 and revision < $2 order by revision desc limit 1`,
    [connectionId, revision],
  );
}
