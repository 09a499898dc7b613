import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { AppError } from '../../errors.ts';
import type { Database } from '../store/database.ts';

/** Probes and the two texts of the seed's system. */
export function systemRoutes(
  app: FastifyInstance,
  { db, isReady }: { db: Database; isReady: () => boolean },
): void {
  app.get(
    '/healthz',
    { config: { access: 'public' }, schema: { tags: ['system'], summary: 'Whether the process lives' } },
    async () => ({ success: true }),
  );

  app.get(
    '/readyz',
    { config: { access: 'public' }, schema: { tags: ['system'], summary: 'Whether it can serve' } },
    async () => {
      if (!isReady()) throw new AppError('unavailable', 'Starting or shutting down');
      await db.demandWritable();
      return { success: true };
    },
  );

  app.get(
    '/apiops/test/healthcheck',
    { config: { access: 'public' }, schema: { tags: ['system'], summary: 'Answers OK' } },
    async (_request, reply) => reply.type('text/plain; charset=utf-8').send('OK'),
  );

  app.get<{ Params: { name: string } }>(
    '/apiops/test/hello/:name',
    {
      config: { access: 'token' },
      schema: {
        tags: ['system'],
        summary: 'Answers Hello NAME',
        params: Type.Object({ name: Type.String() }),
      },
    },
    async (request, reply) => reply.type('text/plain; charset=utf-8').send(`Hello ${request.params.name}`),
  );
}
