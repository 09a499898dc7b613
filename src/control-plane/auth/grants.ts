import { Type } from 'typebox';
import { matchesGlob, matchesStars } from '../../contract/glob.ts';
import { foldName } from '../../contract/validation.ts';
import { AppError, type FieldFault } from '../../errors.ts';
import { type Grant, METRICS, PERMISSIONS, type Permission, type Scope } from './permissions.ts';

const GLOB_MAX_LENGTH = 255;
const LIST_MAX_LENGTH = 200;

const narrowing = (description: string) =>
  Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: GLOB_MAX_LENGTH }), {
      minItems: 1,
      maxItems: LIST_MAX_LENGTH,
      uniqueItems: true,
      description,
    }),
  );

export const grantSchema = Type.Object(
  {
    project: Type.String({ minLength: 1, maxLength: 255, description: 'A project, or `*` for all' }),
    permissions: Type.Array(Type.Unsafe<Permission>({ type: 'string', enum: [...PERMISSIONS] }), {
      minItems: 1,
      maxItems: PERMISSIONS.length,
      uniqueItems: true,
    }),
    environments: narrowing('Only these environments; without it all'),
    connections: narrowing(
      'Only connections whose name matches one of these globs (`*`, `?`); without it all',
    ),
    operations: narrowing('Narrows CONNECTIONS:USE to these operations; without it all'),
  },
  { additionalProperties: false },
);

export const grantsSchema = Type.Array(grantSchema, { maxItems: 1000 });

const NEVER_BY_ENVIRONMENT: readonly Permission[] = ['ADMIN', 'PROJECT:MANAGE', 'AUDIT:VIEW', METRICS];

/** Refuses grants that would mean nothing, or less than they say: bad_request naming each. */
export function checkGrants(grants: readonly Grant[]): void {
  const faults: FieldFault[] = [];
  for (const [index, grant] of grants.entries()) {
    const refuse = (by: string, permissions: readonly Permission[]) => {
      if (permissions.length > 0) {
        faults.push({
          field: `grants[${index}].${by}`,
          message: `cannot narrow ${permissions.join(', ')}; put it into a grant of its own`,
        });
      }
    };
    const beyondConnections = grant.permissions.filter((name) => !name.startsWith('CONNECTIONS:'));
    if (grant.project !== '*' && grant.permissions.includes(METRICS))
      faults.push({
        field: `grants[${index}].project`,
        message: `must be * for ${METRICS}, which is of the installation; put it into a grant of its own`,
      });
    if (grant.connections) refuse('connections', beyondConnections);
    if (grant.operations) refuse('operations', beyondConnections);
    if (grant.environments) {
      refuse(
        'environments',
        grant.permissions.filter((name) => NEVER_BY_ENVIRONMENT.includes(name)),
      );
    }
  }
  if (faults.length > 0) {
    throw new AppError('bad_request', 'A grant is not valid', { details: { validationErrors: faults } });
  }
}

/** A user's own grants: VIEW brings REVEAL, and an administrator has everything. */
export function userGrants(grants: readonly Grant[], admin: boolean): Grant[] {
  const own = grants.map((grant) =>
    grant.permissions.includes('CONNECTIONS:VIEW') && !grant.permissions.includes('CONNECTIONS:REVEAL')
      ? { ...grant, permissions: [...grant.permissions, 'CONNECTIONS:REVEAL' as const] }
      : grant,
  );
  return admin ? [{ project: '*', permissions: ['ADMIN'] }, ...own] : own;
}

/** Whether one of the grants gives the permission; a part absent from the scope asks for "any". */
export function grantsAllow(grants: readonly Grant[], permission: Permission, scope: Scope): boolean {
  return grants.some((grant) => grantAllows(grant, permission, scope));
}

function grantAllows(grant: Grant, permission: Permission, scope: Scope): boolean {
  if (!gives(grant, permission)) return false;
  if (grant.project !== '*') {
    if (scope.project !== undefined && scope.project !== grant.project) return false;
    // ADMIN of one project administers that project, never the installation.
    if (scope.project === undefined && (permission === 'ADMIN' || permission === METRICS)) return false;
  }
  if (
    grant.environments &&
    scope.environment !== undefined &&
    !grant.environments.includes(scope.environment)
  )
    return false;
  const { connection, operation } = scope;
  if (grant.connections && connection !== undefined) {
    const name = foldName(connection);
    if (!grant.connections.some((glob) => matchesGlob(foldName(glob), name))) return false;
  }
  const narrowsUse = permission === 'CONNECTIONS:USE' && grant.operations && operation !== undefined;
  return !narrowsUse || grant.operations!.includes(operation);
}

function gives(grant: Grant, permission: Permission): boolean {
  const { permissions } = grant;
  return (
    permissions.includes(permission) ||
    permissions.includes('ADMIN') ||
    (permission === 'CONNECTIONS:DEPLOY' && permissions.includes('CONNECTIONS:MANAGE'))
  );
}

/** Whether everything that `wanted` gives is given by `held` as well; may refuse an exotic overlap of globs. */
export function grantsCover(held: readonly Grant[], wanted: readonly Grant[]): boolean {
  return wanted.every((grant) => grant.permissions.every((permission) => covers(held, grant, permission)));
}

function covers(held: readonly Grant[], wanted: Grant, permission: Permission): boolean {
  const operations = permission === 'CONNECTIONS:USE' ? wanted.operations : undefined;
  const candidates = held.filter(
    (grant) => gives(grant, permission) && (grant.project === '*' || grant.project === wanted.project),
  );
  const each = <T>(items: readonly T[] | undefined) => items ?? [undefined];
  return each(wanted.environments).every((environment) =>
    each(wanted.connections).every((glob) =>
      each(operations).every((operation) =>
        candidates.some(
          (grant) =>
            (!grant.environments ||
              (environment !== undefined && grant.environments.includes(environment))) &&
            (!grant.connections ||
              (glob !== undefined &&
                grant.connections.some((wider) => globCovers(foldName(wider), foldName(glob))))) &&
            (permission !== 'CONNECTIONS:USE' ||
              !grant.operations ||
              (operation !== undefined && grant.operations.includes(operation))),
        ),
      ),
    ),
  );
}

/**
 * Whether every name that `narrow` matches is matched by `wide`: its wildcards are read as
 * characters of their own, which only an equal or a stronger wildcard matches.
 */
function globCovers(wide: string, narrow: string): boolean {
  return matchesStars([...wide], [...narrow], (wildcard, character) =>
    wildcard === '?' ? character !== '*' : wildcard === character,
  );
}
