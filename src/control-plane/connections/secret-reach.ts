import { foldName } from '../../contract/validation.ts';
import type { Access } from '../auth/access.ts';
import type { Principal } from '../auth/permissions.ts';
import type { ProjectRow } from '../server/route-access.ts';

/** Under which name and in which environments a connection's secrets are used. */
export interface Reach {
  name: string;
  environments: readonly string[];
}

/**
 * The field by which a change would send secrets to further environments, or bring them within the
 * caller's own narrowed grants, without the right to read them wherever they are used (security 1 and
 * 5); undefined where it does not.
 */
export function widenedBy(
  access: Access,
  principal: Principal,
  { name: project }: ProjectRow,
  before: Reach,
  after: Reach,
): 'environments' | 'name' | undefined {
  const reads = (connection: string, environments: Iterable<string>) =>
    access.allowsInAll(principal, 'CONNECTIONS:REVEAL', { project, connection }, environments);
  if (reads(before.name, new Set([...before.environments, ...after.environments]))) return undefined;
  if (after.environments.some((environment) => !before.environments.includes(environment)))
    return 'environments';
  const isRenamed = foldName(before.name) !== foldName(after.name);
  // What stands now it does not read: here the environments are among those asked about above.
  if (reads(after.name, after.environments)) return isRenamed ? 'name' : 'environments';
  const uses = (connection: string, environment: string) =>
    access.allows(principal, 'CONNECTIONS:USE', { project, connection, environment });
  const gains = after.environments.some((each) => uses(after.name, each) && !uses(before.name, each));
  return gains ? 'name' : undefined;
}
