import { AppError } from '../../errors.ts';
import type { AccessDirectory, TokenRow, UserRow } from './access.ts';
import { grantsAllow, userGrants } from './grants.ts';
import type { Grant } from './permissions.ts';

/** Whether such a user administers the installation. */
export function isAdministrator(user: Pick<UserRow, 'admin' | 'disabled' | 'grants'>): boolean {
  return user.disabled === 0 && grantsAllow(userGrants(grantsOf(user), user.admin === 1), 'ADMIN', {});
}

/** Throws conflict when nobody could administer any more without this user or token. */
export function requireOtherAdministrator(
  directory: AccessDirectory,
  without: { user?: string; token?: string },
): void {
  for (const user of directory.users()) if (user.id !== without.user && isAdministrator(user)) return;
  for (const token of directory.tokens()) {
    if (token.id !== without.token && isLastingAdminToken(token)) return;
  }
  throw new AppError('conflict', 'Nobody could administer any more; make another administrator first');
}

/** An administrator's token that no user bounds and no time ends. */
export function isLastingAdminToken(token: TokenRow): boolean {
  return token.user_id === null && token.expires_at === null && grantsAllow(grantsOf(token), 'ADMIN', {});
}

function grantsOf(row: { grants: string }): Grant[] {
  return JSON.parse(row.grants) as Grant[];
}
