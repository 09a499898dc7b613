import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify';
import { AppError } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import type { Principal, Scope } from '../auth/permissions.ts';
import type { ProjectRow, RouteAccess } from './route-access.ts';

/** What is said of a project that is not there and of one that the token does not see, alike. */
export function projectNotFound(name: string): AppError {
  return new AppError('not_found', `Project '${name}' not found`);
}

/**
 * Checks token, project and permission before the body is read, in this order; a route that says
 * nothing of its access cannot be registered. `publicPrefixes` are the paths of plugins that bring
 * routes of their own. Registered on the root, before any route.
 */
export function registerAccess(
  app: FastifyInstance,
  services: {
    access: Access;
    projects: { find(name: string): ProjectRow | undefined };
    publicPrefixes?: readonly string[];
  },
): void {
  const { access, projects, publicPrefixes = [] } = services;
  app.decorateRequest('principal', null as never);
  app.decorateRequest('project', null as never);

  const isPublic = (url: string) =>
    publicPrefixes.some((prefix) => url === prefix || url.startsWith(`${prefix}/`));

  const visible = (principal: Principal, name: string): ProjectRow => {
    const project = projects.find(name);
    if (!project || !access.seesProject(principal, project.name)) throw projectNotFound(name);
    return project;
  };

  const admit = (request: FastifyRequest, required: RouteAccess): void => {
    const principal = access.authenticate(request.headers.authorization);
    request.principal = principal;
    if (required === 'token') return;
    const params = request.params as Record<string, string>;
    const name = params.project;
    if (typeof required === 'string') {
      if (name !== undefined) request.project = visible(principal, name);
      access.require(principal, 'ADMIN', {});
      return;
    }

    const project = visible(principal, name ?? '');
    request.project = project;
    const scope = scopeOf(project.name, params, request.query as Record<string, unknown>);
    for (const permission of required.project) access.require(principal, permission, scope);
  };

  app.addHook('onRoute', (route) => {
    const required = route.config?.access;
    if (required === undefined && !isPublic(route.url))
      throw new Error(`The route ${String(route.method)} ${route.url} does not say who may call it`);
    if (required === undefined || required === 'public') return;
    // Of the route and not the app, which would have to ask for the route's options at each request.
    const check: onRequestHookHandler = (request, _reply, done) => {
      admit(request, required);
      done();
    };
    route.onRequest = [check, ...[route.onRequest ?? []].flat()];
  });
}

/** What the path and query name already; a handler checks what only the body or the state tells. */
function scopeOf(
  project: string,
  { connection, operation }: Record<string, string>,
  query: Record<string, unknown>,
): Scope {
  const scope: Scope = { project };
  if (connection !== undefined) scope.connection = connection;
  if (operation !== undefined) scope.operation = operation;
  if (typeof query.environment === 'string') scope.environment = query.environment;
  return scope;
}
