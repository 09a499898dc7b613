import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { lineField, nullableText, pathSegment, TIME_PATTERN } from '../server/field-schemas.ts';
import { listed, listOf, listQuery, successAnswer } from '../server/list-query.ts';
import { callerOf } from './caller.ts';
import { grantSchema, grantsSchema } from './grants.ts';
import type { Tokens } from './tokens.service.ts';

const tags = ['tokens'];

const tokenView = Type.Object({
  id: Type.String(),
  name: Type.String(),
  kind: Type.String({ description: 'personal, access (a log-in) or admin (of the start)' }),
  username: nullableText,
  grants: Type.Array(grantSchema),
  createdAt: Type.String(),
  expiresAt: nullableText,
});

/** GET and POST /apiops/tokens/, DELETE /apiops/tokens/{id}/. */
export function tokenRoutes(instance: FastifyInstance, services: { tokens: Tokens }): void {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>();
  const { tokens } = services;

  app.get(
    '/apiops/tokens/',
    {
      config: { access: 'token' },
      schema: {
        summary: 'List the tokens that are yours; an administrator sees all',
        tags,
        querystring: listQuery,
        response: { 200: listOf(tokenView) },
      },
    },
    async (request) =>
      listed(tokens.list(request.principal), request.query, {
        searched: ['name'],
        sortable: ['name', 'kind', 'username', 'createdAt', 'expiresAt'],
      }),
  );

  app.post(
    '/apiops/tokens/',
    {
      config: { access: 'token', oneTimeSecrets: ['token'] },
      schema: {
        summary: 'Make a token, which is shown this once; it never gets more than its maker may',
        tags,
        body: Type.Object(
          {
            name: lineField('For people'),
            expiresAt: Type.Optional(
              Type.Unsafe<string | null>({
                type: ['string', 'null'],
                pattern: TIME_PATTERN,
                description: 'RFC 3339; null: never',
              }),
            ),
            grants: grantsSchema,
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object({ success: Type.Literal(true), id: Type.String(), token: nullableText }),
        },
      },
    },
    async (request, reply) => {
      const made = await tokens.create(callerOf(request), request.principal, request.body);
      reply.header('cache-control', 'no-store');
      return { success: true as const, ...made };
    },
  );

  app.delete(
    '/apiops/tokens/:id/',
    {
      config: { access: 'token' },
      schema: {
        summary: 'End a token at once',
        tags,
        params: Type.Object({ id: pathSegment }),
        response: { 200: successAnswer },
      },
    },
    async (request) => {
      await tokens.revoke(callerOf(request), request.principal, request.params.id);
      return { success: true as const };
    },
  );
}
