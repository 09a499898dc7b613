import type { Permission, Principal } from '../auth/permissions.ts';

/** What a route asks of its caller; checked before the body is read, in the order token, project, permission. */
export type RouteAccess =
  /** no token */
  | 'public'
  /** any valid token */
  | 'token'
  /** ADMIN of the installation; where the path names a project, only after seeing it */
  | 'admin'
  /** sees the project of the path (any grant in it), then has every listed permission */
  | { project: readonly Permission[] };

export interface ProjectRow {
  id: string;
  name: string;
  description: string | null;
  /** Names, sorted. */
  environments: readonly string[];
}

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: RouteAccess;
  }
  interface FastifySchema {
    tags?: readonly string[];
    summary?: string;
    description?: string;
    /** Left out of the OpenAPI document. */
    hide?: boolean;
  }
  interface FastifyRequest {
    /** Set on every route but public ones. */
    principal: Principal;
    /** Set on routes with `access: { project: … }`, and for `admin` where the path names a project. */
    project: ProjectRow;
  }
}
