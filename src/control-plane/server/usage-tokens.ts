import type { UsageToken } from '../../contract/worker-protocol.ts';
import type { Access } from '../auth/access.ts';
import { grantsCover, userGrants } from '../auth/grants.ts';
import type { Grant } from '../auth/permissions.ts';
import type { ProjectRow } from './route-access.ts';

/**
 * The tokens a worker's own port accepts: those that name CONNECTIONS:USE in projects of its
 * environment; never one for all projects, never an administrator's.
 */
export function usageTokens(
  environment: string,
  access: Access,
  projectOf: (name: string) => ProjectRow | undefined,
): UsageToken[] {
  const usable = (grant: Grant) =>
    grant.project !== '*' &&
    grant.permissions.includes('CONNECTIONS:USE') &&
    (grant.environments === undefined || grant.environments.includes(environment)) &&
    projectOf(grant.project)?.environments.includes(environment);
  const found: UsageToken[] = [];
  for (const { hash, expires_at, name, grants, user_id } of access.directory.tokens()) {
    const user = user_id === null ? undefined : access.directory.user(user_id);
    if (user_id !== null && (!user || user.disabled === 1)) continue;
    const ceiling = user && userGrants(JSON.parse(user.grants) as Grant[], user.admin === 1);
    const all = JSON.parse(grants) as Grant[];
    if (all.some(({ permissions }) => permissions.includes('ADMIN'))) continue;
    const own = all
      .filter(usable)
      .filter((grant) => !ceiling || grantsCover(ceiling, [{ ...grant, permissions: ['CONNECTIONS:USE'] }]));
    if (own.length === 0) continue;
    found.push({
      hash,
      expiresAt: expires_at,
      actor: `token:${name}`,
      grants: own.map(({ project, connections, operations }) => ({
        project,
        ...(connections ? { connections } : {}),
        ...(operations ? { operations } : {}),
      })),
    });
  }
  return found;
}
