import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { contentTag, preconditionOf } from '../server/entity-tag.ts';
import { pathSegment } from '../server/field-schemas.ts';
import { listed, listOf, listQuery, requireSameName, single, successAnswer } from '../server/list-query.ts';
import { callerOf } from './caller.ts';
import { grantSchema, grantsSchema } from './grants.ts';
import type { Users } from './users.service.ts';

const tags = ['users'];

const username = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^[A-Za-z0-9][A-Za-z0-9._@-]*$',
  description: 'Unique without regard to case',
});
const PASSWORD = { minLength: 8, maxLength: 1024, pattern: '^[^\\u0000]*$' };

const userView = Type.Object({
  username: Type.String(),
  admin: Type.Boolean(),
  disabled: Type.Boolean(),
  grants: Type.Array(grantSchema),
  createdAt: Type.String(),
});

const settings = {
  admin: Type.Optional(Type.Boolean({ description: 'May do everything' })),
  disabled: Type.Optional(Type.Boolean({ description: 'Its tokens are refused' })),
  grants: Type.Optional(grantsSchema),
};

/** GET and POST /apiops/users/, GET, PUT and DELETE /apiops/users/{username}/. */
export function userRoutes(instance: FastifyInstance, services: { users: Users }): void {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>();
  const { users } = services;
  const params = Type.Object({ username: pathSegment });
  const config = { access: 'admin' } as const;

  app.get(
    '/apiops/users/',
    {
      config,
      schema: {
        summary: 'List users',
        tags,
        querystring: listQuery,
        response: { 200: listOf(userView) },
      },
    },
    async (request) =>
      listed(users.list(), request.query, { searched: ['username'], sortable: ['username', 'createdAt'] }),
  );

  app.get(
    '/apiops/users/:username/',
    { config, schema: { summary: 'Get a user', tags, params, response: { 200: listOf(userView) } } },
    async (request, reply) => {
      const user = users.get(request.params.username);
      reply.header('etag', contentTag(user));
      return single(user);
    },
  );

  const create = Type.Object(
    { username, password: Type.String(PASSWORD), ...settings },
    { additionalProperties: false },
  );
  app.post(
    '/apiops/users/',
    {
      config,
      schema: { summary: 'Create a user', tags, body: create, response: { 200: successAnswer } },
    },
    async (request) => {
      await users.create(callerOf(request), request.body);
      return { success: true as const };
    },
  );

  app.post(
    '/apiops/users/:username/',
    {
      config,
      schema: {
        summary: 'Create a user of this name',
        tags,
        params: Type.Object({ username }),
        body: Type.Object(
          { username: Type.Optional(username), password: Type.String(PASSWORD), ...settings },
          { additionalProperties: false },
        ),
        response: { 200: successAnswer },
      },
    },
    async (request) => {
      const { username: named = request.params.username } = request.body;
      requireSameName('username', request.params.username.toLowerCase(), named.toLowerCase());
      await users.create(callerOf(request), { ...request.body, username: named });
      return { success: true as const };
    },
  );

  app.put(
    '/apiops/users/:username/',
    {
      config,
      schema: {
        summary: 'Change a user; what is left out stays',
        description: 'Disabling suspends the user’s tokens at once; a new password ends its log-ins.',
        tags,
        params,
        body: Type.Object(
          {
            username: Type.Optional(username),
            password: Type.Optional(
              Type.Unsafe<string | null>({
                type: ['string', 'null'],
                ...PASSWORD,
                description: 'Null: stays',
              }),
            ),
            ...settings,
          },
          { additionalProperties: false },
        ),
        response: { 200: successAnswer },
      },
    },
    async (request) => {
      const { username: named, ...change } = request.body;
      requireSameName('username', request.params.username.toLowerCase(), named?.toLowerCase());
      await users.update(callerOf(request), request.params.username, change, preconditionOf(request));
      return { success: true as const };
    },
  );

  app.delete(
    '/apiops/users/:username/',
    {
      config,
      schema: { summary: 'Delete a user and its tokens', tags, params, response: { 200: successAnswer } },
    },
    async (request) => {
      await users.remove(callerOf(request), request.params.username, preconditionOf(request));
      return { success: true as const };
    },
  );
}
