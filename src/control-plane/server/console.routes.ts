import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AppError } from '../../errors.ts';

const contentTypes: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

interface Asset {
  body: Buffer;
  /** Made by the build, beside the file. */
  gzip: Buffer | undefined;
  contentType: string;
}

interface Built {
  /** Each answer puts its own nonce in. */
  page: string;
  assets: ReadonlyMap<string, Asset>;
}

const noncePlaceholder = '__CSP_NONCE__';

/**
 * The console at `/` and `/ui/*`, its files at `/assets/*`, from what the build left in `directory`;
 * read when first asked for. A path is looked up among the built files, never on the disk.
 */
export function consoleRoutes(app: FastifyInstance, { directory }: { directory: string }): void {
  let built: Promise<Built> | undefined;

  async function read(): Promise<Built> {
    if (!existsSync(join(directory, 'index.html')))
      throw new AppError(
        'not_found',
        'The console is not built: `npm run console` builds it, `npm start` too',
      );
    built ??= readBuilt(directory);
    return built;
  }

  const page = async (request: FastifyRequest, reply: FastifyReply) => {
    // A path that leads elsewhere once somebody resolves it is nobody's page.
    if (/(^|\/)\.\.?(\/|$)|\\/.test((request.params as { '*'?: string })['*'] ?? ''))
      throw new AppError('not_found', 'There is nothing at this path');
    const { page: text } = await read();
    const nonce = randomBytes(16).toString('base64');
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', contentSecurityPolicy(nonce))
      .header('referrer-policy', 'no-referrer')
      .header('permissions-policy', 'camera=(), microphone=(), geolocation=()')
      .header('x-frame-options', 'DENY');
    return text.replaceAll(noncePlaceholder, nonce);
  };
  for (const url of ['/', '/ui', '/ui/*'])
    app.get(url, { config: { access: 'public' }, schema: { hide: true } }, page);

  app.get<{ Params: { '*': string } }>(
    '/assets/*',
    { config: { access: 'public' }, schema: { hide: true } },
    async (request, reply) => {
      const { assets } = await read();
      const asset = assets.get(request.params['*']);
      if (!asset) throw new AppError('not_found', 'There is nothing at this path');
      // The build puts a hash of the content into each name.
      reply.header('cache-control', 'public, max-age=31536000, immutable').header('vary', 'accept-encoding');
      reply.type(asset.contentType);
      if (!asset.gzip || !/\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) return asset.body;
      reply.header('content-encoding', 'gzip');
      return asset.gzip;
    },
  );
}

function contentSecurityPolicy(nonce: string): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self' 'nonce-${nonce}'`,
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

async function readBuilt(directory: string): Promise<Built> {
  const folder = join(directory, 'assets');
  const assets = new Map<string, Asset>();
  for (const name of await readdir(folder)) {
    if (name.endsWith('.gz')) continue;
    const file = join(folder, name);
    assets.set(name, {
      body: await readFile(file),
      gzip: existsSync(`${file}.gz`) ? await readFile(`${file}.gz`) : undefined,
      contentType: contentTypes[extname(name)] ?? 'application/octet-stream',
    });
  }
  return { page: await readFile(join(directory, 'index.html'), 'utf8'), assets };
}
