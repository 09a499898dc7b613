import type { Database } from '../store/database.ts';
import { type ConnectionRow, entityTag, findConnection, notFound } from './connections.store.ts';

/** Kept at most, in characters and what they are held by. */
const maxKeptBytes = 32 * 1024 * 1024;

/** Of the objects around the texts of one connection, measured with one secret. */
const bytesAround = 2048;

/** A connection as Get answers it. */
export interface ReadConnection
  extends Pick<ConnectionRow, 'id' | 'project_id' | 'name' | 'environments' | 'masked' | 'sealed'> {
  /** Its entity tag. */
  tag: string;
  /** Makes the body with its secrets; set once it has. */
  open: (() => string) | undefined;
}

/**
 * Reads connections by their folded name, and keeps what it has read until a commit that may have
 * changed one: looking a row up takes longer than all else that Get does of its own. Kept is what the
 * row holds, secrets sealed. Answers what is kept at once, `not_found` with a rejected promise.
 */
export function createConnectionReads(
  db: Database,
): (projectId: string, nameKey: string, name: string) => ReadConnection | Promise<ReadConnection> {
  /** By project and name. */
  const kept = new Map<string, Map<string, ReadConnection>>();
  let keptBytes = 0;
  let keptVersion: number | undefined;

  const keep = (version: number, nameKey: string, row: ReadConnection) => {
    const { project_id, masked, sealed, environments } = row;
    const bytes = masked.length + sealed.length + environments.length + 2 * nameKey.length + bytesAround;
    if (version !== keptVersion || keptBytes + bytes > maxKeptBytes) {
      kept.clear();
      keptBytes = 0;
      keptVersion = version;
    }
    const ofProject = kept.get(project_id) ?? new Map<string, ReadConnection>();
    kept.set(project_id, ofProject);
    if (!ofProject.has(nameKey)) keptBytes += bytes;
    ofProject.set(nameKey, row);
  };

  const read = async (projectId: string, nameKey: string, name: string) => {
    const version = db.connectionsVersion();
    const found = await findConnection(db, projectId, nameKey);
    if (!found) throw notFound(name);
    const row = {
      id: found.id,
      project_id: projectId,
      name: found.name,
      environments: found.environments,
      masked: found.masked,
      sealed: found.sealed,
      tag: entityTag(found),
      open: undefined,
    };
    if (version !== undefined && version === db.connectionsVersion()) keep(version, nameKey, row);
    return row;
  };

  return (projectId, nameKey, name) => {
    const found = db.connectionsVersion() === keptVersion ? kept.get(projectId)?.get(nameKey) : undefined;
    return found ?? read(projectId, nameKey, name);
  };
}
