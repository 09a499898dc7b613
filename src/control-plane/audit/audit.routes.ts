import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { AppError } from '../../errors.ts';
import { nullableText, TIME_PATTERN } from '../server/field-schemas.ts';
import { listOf, pageOf, pageQuery } from '../server/list-query.ts';
import type { Audit } from './audit.service.ts';

const exactly = (description: string) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: '^[^\\u0000]*$', description }));
const time = (description: string) => Type.Optional(Type.String({ pattern: TIME_PATTERN, description }));

const entry = Type.Object({
  id: Type.String(),
  at: Type.String({ description: 'RFC 3339' }),
  project: nullableText,
  actor: Type.String(),
  action: Type.String(),
  target: Type.String(),
  details: Type.Object({}, { additionalProperties: true }),
  requestId: nullableText,
});

/** GET /apiops/audit/. */
export function auditRoutes(instance: FastifyInstance, services: { audit: Audit }): void {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>();

  app.get(
    '/apiops/audit/',
    {
      config: { access: 'token' },
      schema: {
        summary: 'Who did what, newest first, in the projects where the token has AUDIT:VIEW',
        description: 'Entries that belong to no project are shown to administrators.',
        tags: ['audit'],
        querystring: Type.Object(
          {
            ...pageQuery,
            project: exactly('Name of a project'),
            actor: exactly('`user:NAME` or `token:NAME`'),
            action: exactly('Such as `connection.reveal`'),
            target: exactly('Name or id of what it was done to'),
            from: time('RFC 3339, inclusive'),
            to: time('RFC 3339, exclusive'),
          },
          { additionalProperties: false },
        ),
        response: { 200: listOf(entry) },
      },
    },
    async (request) => {
      const { page: _page, size: _size, from, to, ...filter } = request.query;
      const { records, count } = await services.audit.list(request.principal, {
        ...filter,
        ...(from === undefined ? {} : { from: timeOf('from', from) }),
        ...(to === undefined ? {} : { to: timeOf('to', to) }),
        ...pageOf(request.query),
      });
      return { success: true as const, resultList: records, resultCount: count };
    },
  );
}

function timeOf(field: string, text: string): number {
  const at = Date.parse(text);
  if (!Number.isNaN(at)) return at;
  throw new AppError('bad_request', `${field} is not a time`, {
    details: { validationErrors: [{ field, message: 'is not a time' }] },
  });
}
