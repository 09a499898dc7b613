import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { nullableText } from '../server/field-schemas.ts';
import { listOf } from '../server/list-query.ts';
import type { Expiring } from './expiring.ts';

const defaultDays = 30;

/** `GET /apiops/expiring/`: what ends soon. */
export function expiringRoutes(app: FastifyInstance, { expiring }: { expiring: Expiring }): void {
  app.get<{ Querystring: { days?: string } }>(
    '/apiops/expiring/',
    {
      config: { access: 'token' },
      schema: {
        tags: ['keys'],
        summary:
          'Certificates and keystores (KEYS:VIEW) and tokens that end soon or have ended, the soonest first',
        querystring: Type.Object(
          { days: Type.Optional(Type.String({ pattern: '^[0-9]{1,5}$', description: 'Default 30.' })) },
          { additionalProperties: false },
        ),
        response: {
          200: listOf(
            Type.Object({
              kind: Type.String({ description: 'certificate, keystore or token' }),
              project: nullableText,
              name: Type.String(),
              environmentName: nullableText,
              expiresAt: Type.String(),
              expired: Type.Boolean(),
            }),
          ),
        },
      },
    },
    async (request) => {
      const resultList = await expiring.list(request.principal, Number(request.query.days ?? defaultDays));
      return { success: true as const, resultList, resultCount: resultList.length };
    },
  );
}
