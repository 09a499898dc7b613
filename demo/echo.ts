import { createServer } from 'node:http';
import type { Arrivals } from './arrivals.ts';
import { host, listen, type Target } from './target.ts';

const maxBodyBytes = 1024 * 1024;

/** An HTTP endpoint that answers each request with what it was. */
export async function startEcho(arrivals: Arrivals): Promise<Target> {
  const server = createServer(async (request, response) => {
    try {
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of request as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > maxBodyBytes) return void response.writeHead(413, { connection: 'close' }).end();
        chunks.push(chunk);
      }
      const body = Buffer.concat(chunks).toString();
      const { method = '', url = '', headers } = request;
      arrivals.add({ Method: method, Path: url }, body);
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ method, path: url, headers, body }));
    } catch {
      // The client went away.
      response.destroy();
    }
  });
  const port = await listen(server);
  return {
    connections: [
      {
        type: 'webhook',
        name: 'order-hook',
        description: 'Tells a partner about new orders. It answers with what it was sent.',
        httpMethod: 'POST',
        fullUrl: `http://${host}:${port}/hooks/orders`,
      },
    ],
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
