import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { ProjectRow } from '../server/route-access.ts';
import type { Access } from './access.ts';
import { PERMISSIONS, type Permission } from './permissions.ts';

interface Services {
  access: Access;
  projects: { list(): readonly ProjectRow[] };
}

/** GET /apiops/auth/me/: who the token is and what it may do where. */
export function meRoutes(app: FastifyInstance, { access, projects }: Services): void {
  app.withTypeProvider<TypeBoxTypeProvider>().get(
    '/apiops/auth/me/',
    {
      config: { access: 'token' },
      schema: {
        tags: ['authentication'],
        summary: 'Who the token is, until when, and what it may do in which project',
        response: {
          200: Type.Object({
            success: Type.Literal(true),
            actor: Type.String({ description: 'user:NAME or token:NAME, as audit rows say' }),
            expiresAt: Type.Unsafe<string | null>({ type: ['string', 'null'] }),
            admin: Type.Boolean(),
            projects: Type.Array(
              Type.Object({
                name: Type.String(),
                description: Type.Unsafe<string | null>({ type: ['string', 'null'] }),
                environments: Type.Array(Type.String()),
                permissions: Type.Array(Type.Unsafe<Permission>({ type: 'string', enum: [...PERMISSIONS] }), {
                  description: 'What is granted for at least some of the project’s connections',
                }),
              }),
            ),
          }),
        },
      },
    },
    async ({ principal }) => ({
      success: true as const,
      actor: principal.actor,
      expiresAt: principal.expiresAt === null ? null : new Date(principal.expiresAt).toISOString(),
      admin: access.allows(principal, 'ADMIN', {}),
      projects: projects
        .list()
        .filter(({ name }) => access.seesProject(principal, name))
        .map(({ name, description, environments }) => ({
          name,
          description,
          environments: [...environments],
          permissions: PERMISSIONS.filter((permission) =>
            access.allows(principal, permission, { project: name }),
          ),
        })),
    }),
  );
}
