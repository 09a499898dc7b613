import Fastify, { type FastifyInstance } from 'fastify';

const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self' 'unsafe-inline'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The OpenAPI document and, at `/docs`, a page to read it; nothing is asked of the internet. */
export function docsRoutes(app: FastifyInstance, openApi: () => object): void {
  let text: string | undefined;
  let reference: Promise<FastifyInstance> | undefined;

  app.get(
    '/apiops/openapi.json',
    { config: { access: 'public' }, schema: { tags: ['system'], summary: 'This document' } },
    async (_request, reply) => {
      text ??= JSON.stringify(openApi());
      return reply.type('application/json; charset=utf-8').send(text);
    },
  );

  // The page's script weighs megabytes and comes as a plugin of its own: loaded when first opened.
  for (const url of ['/docs', '/docs/*'])
    app.get(url, { config: { access: 'public' }, schema: { hide: true } }, async (request, reply) => {
      reference ??= openReference();
      const page = await reference;
      reply.hijack();
      page.routing(request.raw, reply.raw);
    });

  app.addHook('onClose', async () => {
    await (await reference)?.close();
  });
}

async function openReference(): Promise<FastifyInstance> {
  const { default: scalar } = await import('@scalar/fastify-api-reference');
  const page = Fastify({ logger: false });
  page.addHook('onSend', async (_request, reply) => {
    reply.header('content-security-policy', contentSecurityPolicy);
  });
  await page.register(scalar, {
    routePrefix: '/docs',
    configuration: {
      url: '/apiops/openapi.json',
      pageTitle: 'Plugboard API',
      withDefaultFonts: false,
      telemetry: false,
      hideClientButton: true,
      agent: { disabled: true },
      mcp: { disabled: true },
      showDeveloperTools: 'never',
    },
  });
  await page.ready();
  return page;
}
