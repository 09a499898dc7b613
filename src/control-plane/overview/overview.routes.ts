import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { Access } from '../auth/access.ts';
import { pageOf, pageQuery } from '../server/list-query.ts';
import { type OverviewParts, overviewOf, STATES, type State } from './overview.service.ts';

interface Services extends OverviewParts {
  access: Access;
}

const state = Type.Unsafe<State>({ type: 'string', enum: [...STATES] });

/** GET /apiops/projects/{project}/overview/: what works, from where, and what does not. */
export function overviewRoutes(app: FastifyInstance, { access, ...parts }: Services): void {
  app.withTypeProvider<TypeBoxTypeProvider>().get(
    '/apiops/projects/:project/overview/',
    {
      config: { access: { project: ['CONNECTIONS:VIEW'] } },
      schema: {
        tags: ['connections'],
        summary:
          'Connections with where they point, how each does in each environment, and when it was last used',
        params: Type.Object({ project: Type.String() }),
        querystring: Type.Object({
          ...pageQuery,
          name: Type.Optional(Type.String({ maxLength: 255, description: 'This connection alone' })),
          type: Type.Optional(Type.String({ maxLength: 1000, description: 'Types, separated by commas' })),
          environment: Type.Optional(Type.String({ maxLength: 255 })),
          state: Type.Optional(state),
          q: Type.Optional(Type.String({ maxLength: 255, description: 'Part of the name or description' })),
        }),
      },
    },
    async ({ principal, project, query }) => {
      const scope = { project: project.name };
      const seesAll = access.grantsWithin(principal, [{ ...scope, permissions: ['CONNECTIONS:VIEW'] }]);
      const visible = (connection: string) =>
        seesAll || access.allows(principal, 'CONNECTIONS:VIEW', { ...scope, connection });
      const { name, type, environment, state: wanted, q } = query;
      const page = await overviewOf(
        parts,
        project,
        {
          ...pageOf(query),
          ...(name === undefined ? {} : { name }),
          ...(type === undefined ? {} : { type }),
          ...(environment === undefined ? {} : { environment }),
          ...(wanted === undefined ? {} : { state: wanted }),
          ...(q === undefined ? {} : { q }),
        },
        visible,
      );
      return { success: true, ...page };
    },
  );
}
