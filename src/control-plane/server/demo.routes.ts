import type { FastifyInstance } from 'fastify';

/** What a demo has started for this process: bodies of connections, ready to be created, and pages beside it. */
export interface Demo {
  connections: readonly Record<string, unknown>[];
  pages: readonly { title: string; url: string }[];
}

/** What the console offers to load into an empty project; without a demo there is no such path. */
export function demoRoutes(app: FastifyInstance, { connections, pages }: Demo): void {
  app.get('/apiops/demo/', { config: { access: 'token' }, schema: { hide: true } }, async () => ({
    success: true,
    resultList: connections,
    resultCount: connections.length,
    pages,
  }));
}
