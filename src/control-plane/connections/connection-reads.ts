import { AppError } from '../../errors.ts';
import type { Database } from '../store/database.ts';
import { type ConnectionRow, findConnection } from './connections.store.ts';

/** Kept at most, in characters and what they are held by. */
const maxKeptBytes = 24 * 1024 * 1024;

/** Of the objects around the texts of one connection, estimated. */
const bytesAround = 1024;

/** A connection as Get answers it. */
export type ReadConnection = Pick<
  ConnectionRow,
  'id' | 'project_id' | 'name' | 'revision' | 'environments' | 'masked' | 'sealed'
>;

/**
 * Reads connections by their folded name, and keeps what it has read until a commit that may have
 * changed one: looking a row up takes longer than all else that Get does of its own. Kept is what the
 * row holds, secrets sealed. Answers what is kept at once, `not_found` with a rejected promise.
 */
export function createConnectionReads(
  db: Database,
): (projectId: string, nameKey: string, name: string) => ReadConnection | Promise<ReadConnection> {
  const kept = new Map<string, ReadConnection>();
  let keptBytes = 0;
  let keptVersion: number | undefined;

  const forgetAll = () => {
    kept.clear();
    keptBytes = 0;
  };

  const read = async (key: string, projectId: string, nameKey: string, name: string) => {
    const version = db.connectionsVersion();
    const row = await findConnection(db, projectId, nameKey);
    if (!row) throw new AppError('not_found', `Connection (name: ${name}) was not found!`);
    if (version === undefined || version !== db.connectionsVersion()) return row;
    const bytes = key.length + row.masked.length + row.sealed.length + row.environments.length + bytesAround;
    if (version !== keptVersion || keptBytes + bytes > maxKeptBytes) forgetAll();
    keptVersion = version;
    if (!kept.has(key)) keptBytes += bytes;
    kept.set(key, row);
    return row;
  };

  return (projectId, nameKey, name) => {
    const key = `${projectId}/${nameKey}`;
    const found = db.connectionsVersion() === keptVersion ? kept.get(key) : undefined;
    return found ?? read(key, projectId, nameKey, name);
  };
}
