import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { definitions } from '../../connectors/definitions.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { describeType } from '../../contract/json-schema.ts';
import { AppError } from '../../errors.ts';

/** What connection types there are, from their definitions alone. */
export function connectionTypeRoutes(app: FastifyInstance): void {
  const all: Record<string, ConnectionType> = definitions as never;

  app.get(
    '/apiops/connection-types/',
    { config: { access: 'token' }, schema: { tags: ['connection types'], summary: 'All connection types' } },
    async () => {
      const resultList = Object.values(all).map(({ type, title, summary, operations }) => ({
        type,
        title,
        summary,
        operations: Object.keys(operations),
      }));
      return { success: true, resultList, resultCount: resultList.length };
    },
  );

  app.get<{ Params: { type: string } }>(
    '/apiops/connection-types/:type/',
    {
      config: { access: 'token' },
      schema: {
        tags: ['connection types'],
        summary:
          'One type: JSON Schema 2020-12 with titles, defaults, secret marks, form hints, and operations',
        params: Type.Object({ type: Type.String() }),
      },
    },
    async (request) => {
      const { type } = request.params;
      if (!Object.hasOwn(all, type))
        throw new AppError(
          'not_found',
          `Connection type '${type.slice(0, 64)}' not found; there are ${Object.keys(all).join(', ')}`,
        );
      return { success: true, ...describeType(all[type]!) };
    },
  );
}
