import { createServer } from 'node:http';
import type { Arrivals } from './arrivals.ts';
import { host, listen, type Page } from './target.ts';

interface PageContent {
  path: string;
  title: string;
  /** Shown while nothing has come in. */
  empty: string;
  arrivals: Arrivals;
}

const style = `
  :root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
  body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
  nav a { margin-right: 1rem } article { border-top: 1px solid #8886; padding: .75rem 0 }
  dl { display: flex; flex-wrap: wrap; gap: 0 1.5rem; margin: 0 } dl div { display: flex; gap: .4rem }
  dt { opacity: .65 } dd { margin: 0; font-weight: 600; overflow-wrap: anywhere }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0 0 }`;

/** Serves a page for each target that keeps what came in; a page asks anew every two seconds. */
export async function startPages(
  contents: readonly PageContent[],
): Promise<{ pages: Page[]; stop(): Promise<void> }> {
  let own = new Set<string>();
  const server = createServer((request, response) => {
    const content = contents.find(({ path }) => path === request.url);
    // A name of somebody else's that was made to lead here would let their pages read these.
    if (!own.has(request.headers.host ?? '')) response.writeHead(421).end();
    else if (!content || request.method !== 'GET') response.writeHead(404).end();
    else
      response
        .writeHead(200, {
          'content-type': 'text/html; charset=utf-8',
          'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
          'x-content-type-options': 'nosniff',
          'cache-control': 'no-store',
        })
        .end(render(content, contents));
  });
  const port = await listen(server);
  own = new Set([`${host}:${port}`, `localhost:${port}`]);
  return {
    pages: contents.map(({ path, title }) => ({ title, url: `http://${host}:${port}${path}` })),
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function render({ title, empty, arrivals, path }: PageContent, all: readonly PageContent[]): string {
  const links = all.map((page) =>
    page.path === path
      ? `<b>${escapeHtml(page.title)}</b>`
      : `<a href="${page.path}">${escapeHtml(page.title)}</a>`,
  );
  const articles = arrivals.items.map(
    ({ at, columns, text }) =>
      `<article><dl>${Object.entries({ Time: at.toLocaleTimeString('en-GB'), ...columns })
        .map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`)
        .join('')}</dl><pre>${escapeHtml(text)}</pre></article>`,
  );
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width"><title>${escapeHtml(title)} · Plugboard demo</title>
<style>${style}</style></head><body><nav>${links.join(' ')}</nav><h1>${escapeHtml(title)}</h1>
${articles.join('\n') || `<p>${escapeHtml(empty)}</p>`}</body></html>`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
