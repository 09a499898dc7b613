export const PERMISSIONS = [
  'CONNECTIONS:VIEW',
  'CONNECTIONS:REVEAL',
  'CONNECTIONS:MANAGE',
  'CONNECTIONS:TEST',
  'CONNECTIONS:USE',
  'CONNECTIONS:DEPLOY',
  'KEYS:VIEW',
  'KEYS:MANAGE',
  'VARIABLES:VIEW',
  'VARIABLES:MANAGE',
  'AUDIT:VIEW',
  'PROJECT:MANAGE',
  'METRICS:VIEW',
  'ADMIN',
] as const;

export type Permission = (typeof PERMISSIONS)[number];

/** Of the installation and of no project: granted for `*` alone, and by it nobody sees a project. */
export const METRICS: Permission = 'METRICS:VIEW';

/** What a token or user may do in one project, or in all (`*`). */
export interface Grant {
  project: string;
  permissions: Permission[];
  /** Narrows to these environments; absent: all. */
  environments?: string[];
  /** Narrows to connections whose name matches one of these globs, without regard to case; absent: all. */
  connections?: string[];
  /** Narrows USE to these operations; absent: all. */
  operations?: string[];
}

/** Who makes a request. */
export interface Principal {
  /** Id of the token. */
  id: string;
  /** Name for audit rows and revisions: `user:NAME` or `token:NAME`. */
  actor: string;
  /** Id of the user behind it; null for the first admin token. */
  userId: string | null;
  grants: readonly Grant[];
  /** What the user behind a token may now, where that bounds the token; never granted more than this. */
  ceiling?: readonly Grant[];
  /** ms since the epoch. */
  expiresAt: number | null;
  /** Aborted when the token is revoked, expires, or its user is disabled. */
  ended: AbortSignal;
}

/** What a permission is asked for; an absent part asks for "any". */
export interface Scope {
  project?: string;
  connection?: string;
  environment?: string;
  operation?: string;
}
