import type { HostKey } from '../../contract/worker-protocol.ts';
import type { Queries, Transaction } from '../store/database.ts';
import type { Tables } from '../store/tables.ts';

type ReadOnly = Pick<Queries, 'all' | 'get'>;
export type HostKeyRow = Tables['host_keys'];

/** Where a key is pinned. */
export interface Place {
  connectionId: string;
  environmentId: string;
}

/** The keys that an environment's workers trust for a connection. */
export function pinnedHostKeys(db: ReadOnly, { connectionId, environmentId }: Place) {
  return db.all<HostKey>(
    'select server, algorithm, fingerprint from host_keys where connection_id = $1 and environment_id = $2 order by server',
    [connectionId, environmentId],
  );
}

/** Everything known of a connection's host keys. */
export function hostKeysOf(db: ReadOnly, connectionId: string) {
  return db.all<HostKeyRow>(
    `select connection_id, environment_id, server, algorithm, fingerprint, pinned_at, pinned_by,
      refused_algorithm, refused_fingerprint, refused_at from host_keys where connection_id = $1`,
    [connectionId],
  );
}

/** Pins a server's key, unless one is pinned already; answers whether it did. */
export async function pinHostKey(
  tx: Transaction,
  { connectionId, environmentId }: Place,
  { server, algorithm, fingerprint }: HostKey,
  by: string,
  now: number,
): Promise<boolean> {
  const inserted = await tx.run(
    `insert into host_keys (connection_id, environment_id, server, algorithm, fingerprint, pinned_at, pinned_by)
      values ($1, $2, $3, $4, $5, $6, $7) on conflict (connection_id, environment_id, server) do nothing`,
    [connectionId, environmentId, server, algorithm, fingerprint, now, by],
  );
  return inserted === 1;
}

/** Notes a key that is not the pinned one. */
export async function noteRefusedHostKey(
  tx: Transaction,
  { connectionId, environmentId }: Place,
  { server, algorithm, fingerprint }: HostKey,
  now: number,
): Promise<void> {
  await tx.run(
    `update host_keys set refused_algorithm = $4, refused_fingerprint = $5, refused_at = $6
      where connection_id = $1 and environment_id = $2 and server = $3 and fingerprint <> $5`,
    [connectionId, environmentId, server, algorithm, fingerprint, now],
  );
}

/** Pins the refused key of that fingerprint in place of the one that is pinned. */
export async function acceptHostKey(
  tx: Transaction,
  { connectionId, environmentId }: Place,
  server: string,
  fingerprint: string,
  by: string,
  now: number,
): Promise<void> {
  await tx.run(
    `update host_keys set algorithm = refused_algorithm, fingerprint = refused_fingerprint, pinned_at = $5, pinned_by = $6,
      refused_algorithm = null, refused_fingerprint = null, refused_at = null
      where connection_id = $1 and environment_id = $2 and server = $3 and refused_fingerprint = $4`,
    [connectionId, environmentId, server, fingerprint, now, by],
  );
}

export async function deleteHostKeys(tx: Transaction, connectionId: string): Promise<void> {
  await tx.run('delete from host_keys where connection_id = $1', [connectionId]);
}

/** Keeps a connection from changing until the transaction ends; answers it, unless it is gone. */
export async function holdConnection(tx: Transaction, id: string) {
  const held = await tx.run('update connections set seq = seq where id = $1 and deleted_at is null', [id]);
  return held === 0
    ? undefined
    : tx.get<Pick<Tables['connections'], 'id' | 'project_id' | 'name' | 'type' | 'environments'>>(
        'select id, project_id, name, type, environments from connections where id = $1',
        [id],
      );
}

/** Has the workers take a connection anew; the last statement of its transaction. */
export async function stampConnection(tx: Transaction, id: string): Promise<void> {
  await tx.run('update connections set seq = $1 where id = $2', [await tx.nextSequence(), id]);
}
