import { hash, randomFillSync } from 'node:crypto';
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import type { Logger } from '../connectors/connector.ts';
import { isNdjson } from '../contract/ndjson.ts';
import { foldName } from '../contract/validation.ts';
import type { UsageToken } from '../contract/worker-protocol.ts';
import { AppError, errorBody } from '../errors.ts';
import { loggableError } from '../loggable-error.ts';
import { answerItemStream, isItemStream, registerItemStreams } from '../request-body/item-stream.ts';
import { registerJsonParser } from '../request-body/json-body.ts';
import type { LiveConnections } from './live-connections.ts';
import { RememberedAnswers } from './remembered-answers.ts';

/** What the port needs of the worker behind it. */
export interface WorkerApiSource {
  readonly connections: Pick<LiveConnections, 'find' | 'operate' | 'operateToJson' | 'operationOf'>;
  readonly tokens: readonly UsageToken[];
  readonly isConnected: boolean;
  onTokens(listener: (tokens: readonly UsageToken[]) => void): void;
}

const maxInputBytes = 64 * 1024 * 1024;
const defaultTimeoutMs = 60_000;
/** How long requests may go on when the port closes. */
const drainMs = 10_000;
const maxTimerMs = 2 ** 31 - 1;
const maxKnownHeaders = 1000;
const jsonType = 'application/json; charset=utf-8';
const requestIdBytes = 9;

interface Running {
  hash: string;
  project: string;
  connection: string;
  operation: string;
  controller: AbortController;
}

type Params = Record<'project' | 'connection' | 'operation', string>;

interface UseRoute {
  Params: Params;
  Querystring: { timeoutMs?: string; input?: string };
}

type UseRequest = FastifyRequest<UseRoute>;

declare module 'fastify' {
  interface FastifyRequest {
    usageToken: UsageToken | null;
  }
}

/**
 * The worker's own HTTP port, for applications beside it. It decides by the hashes that the control
 * plane sent, so that it works without it; what runs for a token that ends is aborted.
 */
export function buildWorkerApi(worker: WorkerApiSource, log: Logger): FastifyInstance {
  const byHash = new Map<string, UsageToken>();
  /** By the Authorization header, of those that were found by it: a hash for each request costs more than looking it up. */
  const byHeader = new Map<string, UsageToken>();
  const running = new Set<Running>();
  const remembered = new RememberedAnswers();
  const learn = (tokens: readonly UsageToken[]) => {
    byHash.clear();
    byHeader.clear();
    for (const token of tokens) byHash.set(token.hash, token);
    for (const { controller, ...what } of running)
      if (!mayStill(what)) controller.abort(new AppError('unauthorized_client', 'Invalid token'));
  };
  learn(worker.tokens);
  worker.onTokens(learn);

  function mayStill({ hash: key, project, connection, operation }: Omit<Running, 'controller'>): boolean {
    const token = byHash.get(key);
    return token !== undefined && isCurrent(token) && mayUse(token, project, connection, operation);
  }

  const app = Fastify({
    logger: false,
    bodyLimit: maxInputBytes,
    genReqId: newRequestId,
    forceCloseConnections: 'idle',
    exposeHeadRoutes: false,
    routerOptions: { ignoreTrailingSlash: true, caseSensitive: true, maxParamLength: 4096 },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  });
  app.removeContentTypeParser('text/plain');
  registerJsonParser(app);
  registerItemStreams(app);
  app.decorateRequest('usageToken', null);
  app.addHook('preClose', async () => {
    const stopping = new AppError('unavailable', 'The worker is stopping');
    setTimeout(() => {
      for (const { controller } of running) controller.abort(stopping);
    }, drainMs).unref();
  });

  app.setErrorHandler((raised, request, reply) => {
    const error = toAppError(raised);
    if (error.code === 'internal_error')
      log.error(
        { err: loggableError(raised), requestId: request.id },
        'the worker API failed in an unknown way',
      );
    if (error.details.retryAfter !== undefined) reply.header('retry-after', error.details.retryAfter);
    if (error.entry.status === 401) reply.header('www-authenticate', 'Bearer');
    return reply.status(error.entry.status).send(errorBody(error, request.id));
  });
  app.setNotFoundHandler((request, reply) =>
    reply.status(404).send(errorBody(new AppError('not_found', 'There is nothing at this path'), request.id)),
  );

  app.get('/healthz', async () => ({
    status: 'ok',
    controlPlane: worker.isConnected ? 'connected' : 'away',
  }));

  app.post<UseRoute>(
    '/apiops/projects/:project/connections/:connection/operations/:operation/',
    {
      // Before the body is read: token, project, permission, in this order.
      onRequest: (request, _reply, done) => {
        try {
          request.usageToken = authorize(request.headers.authorization, request.params as Params);
          done();
        } catch (error) {
          done(error as Error);
        }
      },
    },
    async (request, reply) => {
      const key = request.headers['idempotency-key'];
      if (key === undefined) return use(request, reply);
      if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key))
        throw new AppError('bad_request', 'Idempotency-Key must be 1 to 255 visible ASCII characters');
      if (isNdjson(request.headers['content-type']))
        throw new AppError('bad_request', 'Idempotency-Key cannot be used with a streamed body');
      const { answer, replayed } = await remembered.once(
        JSON.stringify([request.usageToken!.hash, key, request.url]),
        hash('sha256', JSON.stringify(request.body ?? null), 'base64url'),
        async () => {
          try {
            return { status: 200, body: (await use(request, reply)) as string };
          } catch (raised) {
            const error = toAppError(raised);
            if (error.code === 'internal_error') throw raised;
            if (error.details.retryAfter !== undefined) reply.header('retry-after', error.details.retryAfter);
            return { status: error.entry.status, body: JSON.stringify(errorBody(error, request.id)) };
          }
        },
      );
      if (replayed) reply.header('idempotency-replayed', 'true');
      return reply.status(answer.status).type(jsonType).send(answer.body);
    },
  );

  function authorize(header: string | undefined, { project, connection, operation }: Params): UsageToken {
    const known = header === undefined ? undefined : byHeader.get(header);
    const token = known ?? authenticate(header, byHash);
    if (known && !isCurrent(known)) throw new AppError('unauthorized_client', 'Invalid token');
    if (!known && byHeader.size < maxKnownHeaders) byHeader.set(header!, token);
    if (!token.grants.some((grant) => grant.project === project))
      throw new AppError('not_found', `Project '${project}' not found`);
    if (!mayUse(token, project, connection, operation))
      throw new AppError(
        'forbidden',
        `The token lacks the permission CONNECTIONS:USE in project '${project}'`,
      );
    return token;
  }

  /** Answers the body of a success as JSON text, or goes on with a stream. */
  async function use(request: UseRequest, reply: FastifyReply): Promise<unknown> {
    const { project, connection, operation } = request.params;
    const timeoutMs = readTimeout(request.query.timeoutMs);
    const id = worker.connections.find(project, connection);
    if (id === undefined) throw new AppError('not_found', `Connection (name: ${connection}) was not found!`);
    const schema = worker.connections.operationOf(id, operation);
    const isStream = schema !== undefined && isItemStream(request, operation, schema);
    const token = request.usageToken!;
    const controller = new AbortController();
    const entry: Running = { hash: token.hash, project, connection, operation, controller };
    const onGone = () => {
      if (!reply.raw.writableFinished) controller.abort(new AppError('cancelled'));
    };
    const expiry =
      token.expiresAt === null
        ? undefined
        : setTimeout(
            () => controller.abort(new AppError('unauthorized_client', 'Invalid token')),
            Math.min(maxTimerMs, Math.max(0, token.expiresAt - Date.now())),
          );
    const done = () => {
      clearTimeout(expiry);
      running.delete(entry);
      reply.raw.off('close', onGone);
    };
    running.add(entry);
    reply.raw.once('close', onGone);
    try {
      const { signal } = controller;
      if (isStream) {
        const run = (input: unknown) =>
          worker.connections.operate(id, operation, input, { timeoutMs, signal });
        // Its answer goes on after this.
        reply.raw.once('close', done);
        return await answerItemStream(request, reply, {
          name: operation,
          operation: schema,
          input: request.query.input,
          run,
          log,
          signal,
          timeoutMs,
        });
      }
      // Without a schema it fails, whatever it is given.
      const input = schema ? (request.body ?? {}) : {};
      const result = await worker.connections.operateToJson(id, operation, input, { timeoutMs, signal });
      reply.type(jsonType);
      return `{"success":true,"result":${result}}`;
    } finally {
      if (!isStream) done();
    }
  }
  return app;
}

/** Listens; `close` lets running requests end, for ten seconds at most. */
export async function startWorkerApi(options: {
  worker: WorkerApiSource;
  host: string;
  port: number;
  log: Logger;
}): Promise<{ url: string; close(): Promise<void> }> {
  const app = buildWorkerApi(options.worker, options.log);
  const url = await app.listen({ host: options.host, port: options.port });
  return {
    url,
    async close() {
      await app.close();
    },
  };
}

let randomness = Buffer.alloc(0);

/** Random bytes are drawn for many at a time: for each by itself they cost as much as the operation around them. */
function newRequestId(): string {
  if (randomness.length < requestIdBytes) randomness = randomFillSync(Buffer.alloc(256 * requestIdBytes));
  const id = randomness.toString('base64url', 0, requestIdBytes);
  randomness = randomness.subarray(requestIdBytes);
  return id;
}

/** Every reason is the same answer, so that none can be told from another. */
function authenticate(header: string | undefined, byHash: ReadonlyMap<string, UsageToken>): UsageToken {
  const credential = /^bearer +([\x21-\x7e]{1,512}) *$/i.exec(header ?? '')?.[1];
  const token = byHash.get(hash('sha256', credential ?? '', 'base64url'));
  if (credential === undefined || !token || !isCurrent(token))
    throw new AppError('unauthorized_client', 'Invalid token');
  return token;
}

function isCurrent({ expiresAt }: UsageToken): boolean {
  return expiresAt === null || expiresAt > Date.now();
}

function mayUse({ grants }: UsageToken, project: string, connection: string, operation: string): boolean {
  const name = foldName(connection);
  return grants.some(
    (grant) =>
      grant.project === project &&
      (grant.connections === undefined ||
        grant.connections.some((glob) => matchesGlob(foldName(glob), name))) &&
      (grant.operations === undefined || grant.operations.includes(operation)),
  );
}

/** `*` stands for any characters, `?` for one; linear in both, so that no glob costs more than its length. */
function matchesGlob(glob: string, name: string): boolean {
  let at = 0;
  let inGlob = 0;
  let star = -1;
  let retryAt = 0;
  while (at < name.length) {
    if (glob[inGlob] === '*') {
      star = inGlob++;
      retryAt = at;
    } else if (glob[inGlob] === '?' || glob[inGlob] === name[at]) {
      inGlob++;
      at++;
    } else if (star >= 0) {
      inGlob = star + 1;
      at = ++retryAt;
    } else return false;
  }
  while (glob[inGlob] === '*') inGlob++;
  return inGlob === glob.length;
}

function readTimeout(text: unknown): number {
  if (text === undefined) return defaultTimeoutMs;
  if (typeof text === 'string' && /^[1-9][0-9]{0,5}$/.test(text)) return Number(text);
  throw new AppError('bad_request', 'timeoutMs must be a number of milliseconds', {
    details: { validationErrors: [{ field: 'timeoutMs', message: 'must be from 1 to 999999' }] },
  });
}

function toAppError(raised: unknown): AppError {
  if (raised instanceof AppError) return raised;
  const { code = '', statusCode = 500 } = raised as Partial<FastifyError>;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE' || statusCode === 413) return new AppError('payload_too_large');
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE' || statusCode === 415)
    return new AppError('unsupported_media_type', 'The body must be application/json');
  // A parser's own words would quote the body.
  if (statusCode >= 400 && statusCode < 500) return new AppError('bad_request', 'The body is not valid JSON');
  return new AppError('internal_error', undefined, { cause: raised });
}
