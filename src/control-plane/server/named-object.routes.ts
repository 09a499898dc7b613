import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type TSchema, Type } from 'typebox';
import { AppError } from '../../errors.ts';
import { callerOf } from '../auth/caller.ts';
import type { Permission, Principal } from '../auth/permissions.ts';
import type { Redeployment, ReferrerCaller, Referrers } from '../connections/referrers.ts';
import { type Precondition, preconditionOf } from './entity-tag.ts';
import { pathSegment } from './field-schemas.ts';
import { listed, listOf, listQuery, single } from './list-query.ts';
import type { ProjectRow } from './route-access.ts';

/** A stored change, with the connections that take it up. */
export interface NamedChange {
  warnings?: string[];
  redeployment: Redeployment;
}

/** What a feature does with the objects that connections refer to by name. */
export interface NamedObjects<Input, View> {
  list(principal: Principal, project: ProjectRow): Promise<View[]>;
  /** Throws not_found. */
  get(principal: Principal, project: ProjectRow, name: string): Promise<{ view: View; tag: string }>;
  create(caller: ReferrerCaller, project: ProjectRow, input: Input & { name: string }): Promise<NamedChange>;
  /** Replaces; `input.name` is another one only where it is to be renamed. */
  update(
    caller: ReferrerCaller,
    project: ProjectRow,
    name: string,
    input: Input & { name: string },
    precondition: Precondition,
  ): Promise<NamedChange>;
  remove(
    caller: ReferrerCaller,
    project: ProjectRow,
    name: string,
    precondition: Precondition,
  ): Promise<void>;
}

export interface NamedObjectRoutes<Input, View> {
  /** Segment of the path, which is also the tag: `keystores`. */
  path: string;
  /** For people, in the singular. */
  title: string;
  permissions: { view: Permission; manage: Permission };
  objects: NamedObjects<Input, View>;
  body: TSchema;
  view: TSchema;
  bodyLimit: number;
  /** Takes multipart/form-data too. */
  multipart?: (fields: Record<string, unknown>) => Record<string, unknown>;
  referrers: Referrers;
  deployTimeoutMs: number;
}

/** The answer of a change. */
const changeAnswer = Type.Object({
  success: Type.Literal(true),
  warnings: Type.Optional(Type.Array(Type.String())),
  redeployedConnections: Type.Optional(
    Type.Array(Type.String(), { description: 'Connections that refer to it and take it up.' }),
  ),
  deploymentResult: Type.Optional(
    Type.Object({
      success: Type.Boolean(),
      deploymentResults: Type.Array(
        Type.Object({
          environmentName: Type.String(),
          success: Type.Boolean(),
          message: Type.String(),
        }),
      ),
    }),
  ),
});

const writeQuery = {
  deployTimeoutMs: Type.Optional(
    Type.String({ pattern: '^[0-9]{1,6}$', description: 'How long workers have to answer, ms (10000).' }),
  ),
};

/** List, Get, Create (on the list or on the name), Update and Delete of objects that connections name. */
export function namedObjectRoutes<
  Input extends object,
  View extends { name: string; description: string | null },
>(app: FastifyInstance, routes: NamedObjectRoutes<Input, View>): void {
  const { path, title, permissions, objects, referrers } = routes;
  const list = `/apiops/projects/:project/${path}/`;
  const one = `${list}:name/`;
  const tags = [path];
  const article = /^[aeiou]/.test(title) ? 'an' : 'a';
  const listParams = Type.Object({ project: pathSegment });
  const params = Type.Object({ project: pathSegment, name: pathSegment });
  const viewConfig = { access: { project: [permissions.view] } };
  const body = routes.multipart ? ('multipart' as const) : undefined;
  const writeConfig = { access: { project: [permissions.manage] }, ...(body ? { body } : {}) };

  type Params = { project: string; name?: string };
  type Query = { deployTimeoutMs?: string; rename?: 'true' | 'false' };
  type Write = FastifyRequest<{ Params: Params; Querystring: Query }>;

  const inputOf = (request: Write): Input & { name: string } => {
    const input = request.body as Input & { name?: string };
    const name = input.name ?? request.params.name;
    if (name === undefined)
      throw new AppError('bad_request', 'name is required', {
        details: { validationErrors: [{ field: 'name', message: 'is required' }] },
      });
    return { ...input, name };
  };
  const demandSameName = (request: Write, name: string) => {
    if (request.params.name === undefined || name === request.params.name) return;
    const message = `must match the name in the path, '${request.params.name}'`;
    throw new AppError('bad_request', `name ${message}`, {
      details: { validationErrors: [{ field: 'name', message }] },
    });
  };
  const callerIn = (request: FastifyRequest): ReferrerCaller => ({
    ...callerOf(request),
    principal: request.principal,
  });
  const answer = async (request: Write, { warnings = [], redeployment }: NamedChange) => ({
    success: true as const,
    ...(warnings.length > 0 ? { warnings } : {}),
    ...(await referrers.settle(
      request.project,
      redeployment,
      Number(request.query.deployTimeoutMs ?? routes.deployTimeoutMs),
    )),
  });

  app.get<{ Params: Params; Querystring: Record<string, string> }>(
    list,
    {
      config: viewConfig,
      schema: {
        tags,
        summary: `List ${title}s; what is secret is null`,
        params: listParams,
        querystring: listQuery,
        response: { 200: listOf(routes.view) },
      },
    },
    async (request) =>
      listed(await objects.list(request.principal, request.project), request.query, {
        searched: ['name', 'description'],
        sortable: ['name'],
      }),
  );

  app.get<{ Params: Params }>(
    one,
    {
      config: viewConfig,
      schema: {
        tags,
        summary: `Get ${article} ${title}; what is secret is never read back`,
        params,
        response: { 200: listOf(routes.view) },
      },
    },
    async (request, reply: FastifyReply) => {
      const { view, tag } = await objects.get(request.principal, request.project, request.params.name!);
      reply.header('etag', tag);
      return single(view);
    },
  );

  for (const url of [list, one])
    app.post<{ Params: Params; Querystring: Query }>(
      url,
      {
        bodyLimit: routes.bodyLimit,
        config: writeConfig,
        schema: {
          tags,
          summary: `Create ${article} ${title}; connections that refer to it already are deployed again`,
          params: url === list ? listParams : params,
          querystring: Type.Object(writeQuery),
          body: routes.body,
          response: { 200: changeAnswer },
        },
        ...preCreationOf(routes),
      },
      async (request) => {
        const input = inputOf(request);
        demandSameName(request, input.name);
        return answer(request, await objects.create(callerIn(request), request.project, input));
      },
    );

  app.put<{ Params: Params; Querystring: Query }>(
    one,
    {
      bodyLimit: routes.bodyLimit,
      config: writeConfig,
      schema: {
        tags,
        summary: `Replace ${article} ${title}; every connection that refers to it is deployed again`,
        description: 'Needs CONNECTIONS:REVEAL on each connection with secrets that refers to it.',
        params,
        querystring: Type.Object({
          ...writeQuery,
          rename: Type.Optional(
            Type.Union([Type.Literal('true'), Type.Literal('false')], {
              description: 'Takes another name in the body; connections follow, with a new revision each.',
            }),
          ),
        }),
        body: routes.body,
        response: { 200: changeAnswer },
      },
      ...preValidationOf(routes),
    },
    async (request) => {
      const input = inputOf(request);
      if (request.query.rename !== 'true') demandSameName(request, input.name);
      const { project, params: place } = request;
      return answer(
        request,
        await objects.update(callerIn(request), project, place.name!, input, preconditionOf(request)),
      );
    },
  );

  app.delete<{ Params: Params }>(
    one,
    {
      config: { access: { project: [permissions.manage] } },
      schema: {
        tags,
        summary: `Delete ${article} ${title} that no connection refers to`,
        params,
        response: { 200: Type.Object({ success: Type.Literal(true) }) },
      },
    },
    async (request) => {
      await objects.remove(callerIn(request), request.project, request.params.name!, preconditionOf(request));
      return { success: true as const };
    },
  );
}

/** A form becomes the body that JSON would have been, before either is checked. */
function preValidationOf<Input, View>({ multipart }: NamedObjectRoutes<Input, View>) {
  if (!multipart) return {};
  return {
    preValidation: async (request: FastifyRequest) => takeForm(request, multipart),
  };
}

/** As for every write; and the name of a new object is checked like one in the body when the path gives it. */
function preCreationOf<Input, View>({ multipart }: NamedObjectRoutes<Input, View>) {
  return {
    preValidation: async (request: FastifyRequest) => {
      if (multipart) takeForm(request, multipart);
      const { name } = request.params as { name?: string };
      const { body } = request;
      if (name !== undefined && isObject(body) && body['name'] === undefined)
        request.body = { ...body, name };
    },
  };
}

function takeForm(
  request: FastifyRequest,
  multipart: (fields: Record<string, unknown>) => Record<string, unknown>,
): void {
  const isForm = request.headers['content-type']?.toLowerCase().startsWith('multipart/form-data');
  const fields = request.body as Record<string, unknown>;
  request.body = isForm || typeof fields === 'object' ? multipart(fields ?? {}) : fields;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
