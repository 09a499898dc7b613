import type { TrustObjects } from '../../contract/worker-protocol.ts';
import type { Queries } from '../store/database.ts';
import type { Place, Sealer } from '../store/sealing.ts';
import type { Tables } from '../store/tables.ts';

type ReadOnly = Pick<Queries, 'all' | 'get'>;
type FileRow = Tables['keystore_files'];

/** Trust material that a configuration names. */
export interface ObjectReference {
  kind: 'keystore' | 'certificate';
  name: string;
}

/** Where the parts of a keystore are sealed. */
export function placeOfKeystore(
  projectId: string,
  keystoreId: string,
  environment: string,
  part: 'file' | 'password',
): Place {
  return { project: projectId, connection: `keystore:${keystoreId}`, field: `${environment}/${part}` };
}

/** Environments for which an object exists; undefined when there is none of that name. */
export async function environmentsOfObject(
  queries: ReadOnly,
  projectId: string,
  { kind, name }: ObjectReference,
): Promise<'all' | string[] | undefined> {
  if (kind === 'certificate') {
    const row = await queries.get<{ environments: string }>(
      'select environments from certificates where project_id = $1 and name = $2',
      [projectId, name],
    );
    const environments = row && (JSON.parse(row.environments) as string[]);
    return environments?.length === 0 ? 'all' : environments;
  }
  const rows = await queries.all<{ environment: string | null }>(
    'select f.environment from keystores k left join keystore_files f on f.keystore_id = k.id where k.project_id = $1 and k.name = $2',
    [projectId, name],
  );
  if (rows.length === 0) return undefined;
  return rows.flatMap(({ environment }) => (environment === null ? [] : [environment]));
}

/** What of the named objects an environment has, opened; undefined when nothing is named. */
export async function trustObjects(
  queries: ReadOnly,
  sealer: Sealer,
  projectId: string,
  environment: string,
  references: readonly ObjectReference[],
): Promise<TrustObjects | undefined> {
  if (references.length === 0) return undefined;
  const objects: TrustObjects = { keystores: {}, certificates: {} };
  for (const { kind, name } of references) {
    if (kind === 'certificate') {
      const row = await queries.get<{ pem: string; environments: string }>(
        'select pem, environments from certificates where project_id = $1 and name = $2',
        [projectId, name],
      );
      const listed = row ? (JSON.parse(row.environments) as string[]) : [];
      if (row && (listed.length === 0 || listed.includes(environment))) objects.certificates[name] = row.pem;
      continue;
    }
    const row = await queries.get<FileRow>(
      'select f.* from keystore_files f join keystores k on k.id = f.keystore_id where k.project_id = $1 and k.name = $2 and f.environment = $3',
      [projectId, name, environment],
    );
    if (!row) continue;
    const place = (part: 'file' | 'password') =>
      placeOfKeystore(projectId, row.keystore_id, environment, part);
    objects.keystores[name] = {
      type: row.type as 'JKS' | 'PKCS12' | 'PEM',
      file: sealer.open(row.sealed_file, place('file')),
      password: sealer.open(row.sealed_password, place('password')),
      ...(row.alias === null ? {} : { alias: row.alias }),
    };
  }
  return objects;
}
