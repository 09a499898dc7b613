import type { Queries } from '../store/database.ts';
import type { Place, Sealer } from '../store/sealing.ts';
import type { Tables } from '../store/tables.ts';

type ReadOnly = Pick<Queries, 'all' | 'get'>;
type ValueRow = Tables['variable_values'];

/** The `environment` of a value that holds wherever there is none of the environment's own. */
export const GLOBAL = '';

/** The variables of a project as they stand. */
export interface ProjectVariables {
  has(name: string): boolean;
  /** Counts the changes of a variable; 0 for one that is not there. */
  version(name: string): number;
  /** Whether any of its values is never read back. */
  isHidden(name: string): boolean;
  /** Host globs to which anybody may send it. */
  allowedHosts(name: string): readonly string[];
  /** Undefined where it has no value. Throws what the sealer does. */
  value(name: string, environment: string): string | undefined;
}

/** Reads all variables of a project; values stay sealed until they are asked for. */
export async function readVariables(
  queries: ReadOnly,
  sealer: Sealer,
  projectId: string,
): Promise<ProjectVariables> {
  const rows = await queries.all<Pick<Tables['variables'], 'id' | 'name' | 'version' | 'allowed_hosts'>>(
    'select id, name, version, allowed_hosts from variables where project_id = $1',
    [projectId],
  );
  const byName = new Map(rows.map((row) => [row.name, { row, values: new Map<string, ValueRow>() }]));
  if (rows.length > 0) {
    const byId = new Map([...byName.values()].map((variable) => [variable.row.id, variable]));
    for (const value of await queries.all<ValueRow>(
      'select v.* from variable_values v join variables o on o.id = v.variable_id where o.project_id = $1',
      [projectId],
    ))
      byId.get(value.variable_id)?.values.set(value.environment, value);
  }
  return {
    has: (name) => byName.has(name),
    version: (name) => Number(byName.get(name)?.row.version ?? 0),
    isHidden: (name) => [...(byName.get(name)?.values.values() ?? [])].some(({ visible }) => visible === 0),
    allowedHosts: (name) => JSON.parse(byName.get(name)?.row.allowed_hosts ?? '[]') as string[],
    value(name, environment) {
      const values = byName.get(name)?.values;
      const row = values?.get(environment) ?? values?.get(GLOBAL);
      return row && openValue(sealer, projectId, row);
    },
  };
}

/** The text of a stored value. */
export function openValue(sealer: Sealer, projectId: string, row: ValueRow): string | undefined {
  if (row.sealed !== null)
    return sealer.open(row.sealed, placeOfValue(projectId, row.variable_id, row.environment));
  return row.value ?? undefined;
}

/** Where the value of a variable is sealed. */
export function placeOfValue(projectId: string, variableId: string, environment: string): Place {
  return { project: projectId, connection: `variable:${variableId}`, field: environment };
}
