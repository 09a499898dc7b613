import { hash, randomFillSync } from 'node:crypto';
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import type { Logger } from '../connectors/connector.ts';
import type { OperationSchema } from '../contract/connection-type.ts';
import { isNdjson } from '../contract/ndjson.ts';
import type { UsageToken } from '../contract/worker-protocol.ts';
import { AppError, errorBody } from '../errors.ts';
import { loggableError } from '../loggable-error.ts';
import { answerItemStream, isItemStream, registerItemStreams } from '../request-body/item-stream.ts';
import { readJsonBody, registerJsonParser } from '../request-body/json-body.ts';
import { DirectRequests } from './direct-requests.ts';
import type { LiveConnections } from './live-connections.ts';
import { RememberedAnswers } from './remembered-answers.ts';
import { type Permit, type RunningUse, UsageTokens, type UseTarget } from './usage-tokens.ts';

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
const jsonType = 'application/json; charset=utf-8';
const requestIdBytes = 9;
/** Of a use, where nothing in it has to be read twice; the others are the router's. */
const plainTarget =
  /^\/apiops\/projects\/((?:[\w.~-]|%20|%[89A-Fa-f][\dA-Fa-f])+)\/connections\/((?:[\w.~-]|%20|%[89A-Fa-f][\dA-Fa-f])+)\/operations\/([\w.~-]+)\/?$/;

interface UseRoute {
  Params: UseTarget;
  Querystring: { timeoutMs?: string; input?: string };
}

type UseRequest = FastifyRequest<UseRoute>;

declare module 'fastify' {
  interface FastifyRequest {
    permit: Permit | null;
  }
}

/**
 * The worker's own HTTP port, for applications beside it. It decides by the hashes that the control
 * plane sent, so that it works without it; what runs for a token that ends is aborted.
 */
export function buildWorkerApi(worker: WorkerApiSource, log: Logger): FastifyInstance {
  const remembered = new RememberedAnswers();
  const tokens = new UsageTokens();
  tokens.learn(worker.tokens);
  worker.onTokens((next) => tokens.learn(next));

  const app = Fastify({
    logger: false,
    bodyLimit: maxInputBytes,
    genReqId: newRequestId,
    forceCloseConnections: 'idle',
    exposeHeadRoutes: false,
    routerOptions: { ignoreTrailingSlash: true, caseSensitive: true, maxParamLength: 4096 },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  });
  registerJsonParser(app);
  registerItemStreams(app);
  app.decorateRequest('permit', null);
  app.addHook('preClose', async () => {
    const stopping = new AppError('unavailable', 'The worker is stopping');
    setTimeout(() => tokens.abortAll(stopping), drainMs).unref();
    direct.close();
  });

  app.setErrorHandler((raised, request, reply) => {
    const { status, headers, body } = failed(raised, request.id);
    return reply.status(status).headers(headers).type(jsonType).send(body);
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
          request.permit = tokens.authorize(request.headers.authorization, request.params as UseTarget);
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
        JSON.stringify([request.permit!.token.hash, key, request.url]),
        hash('sha256', JSON.stringify(request.body ?? null), 'base64url'),
        async () => {
          try {
            return { status: 200, body: (await use(request, reply)) as string };
          } catch (raised) {
            if (toAppError(raised).code === 'internal_error') throw raised;
            const { status, headers, body } = failed(raised, request.id);
            reply.headers(headers);
            return { status, body };
          }
        },
      );
      if (replayed) reply.header('idempotency-replayed', 'true');
      return reply.status(answer.status).type(jsonType).send(answer.body);
    },
  );

  const direct = new DirectRequests<Permit>(app.server, {
    target: plainTarget,
    permit({ authorization, parts: [project, connection, operation] }) {
      try {
        return tokens.authorize(authorization, {
          project: project!,
          connection: connection!,
          operation: operation!,
        });
      } catch {
        // Said by the one that says it of every other request.
        return undefined;
      }
    },
    async answer(permit, given, onGone) {
      try {
        const body = readJsonBody(given);
        const { id, schema } = find(permit.target);
        const running = tokens.begin(permit);
        onGone(() => running.end(new AppError('cancelled')));
        try {
          return { status: 200, body: await answerOf(id, schema, body, running, defaultTimeoutMs) };
        } finally {
          running.done();
        }
      } catch (raised) {
        return failed(raised, newRequestId());
      }
    },
  });

  /** Where the target is; fails with `not_found`. */
  function find({ project, connection, operation }: UseTarget): {
    id: string;
    schema: OperationSchema | undefined;
  } {
    const id = worker.connections.find(project, connection);
    if (id === undefined) throw new AppError('not_found', `Connection (name: ${connection}) was not found!`);
    return { id, schema: worker.connections.operationOf(id, operation) };
  }

  /** The body of a success as JSON text. */
  async function answerOf(
    id: string,
    schema: OperationSchema | undefined,
    body: unknown,
    running: RunningUse,
    timeoutMs: number,
  ): Promise<string> {
    // Without a schema it fails, whatever it is given.
    const input = schema ? (body ?? {}) : {};
    const { operation } = running.permit.target;
    const result = await worker.connections.operateToJson(id, operation, input, {
      timeoutMs,
      asker: running,
    });
    return `{"success":true,"result":${result}}`;
  }

  /** Answers the body of a success, or goes on with a stream. */
  async function use(request: UseRequest, reply: FastifyReply): Promise<unknown> {
    const permit = request.permit!;
    const { operation } = permit.target;
    const timeoutMs = readTimeout(request.query.timeoutMs);
    const { id, schema } = find(permit.target);
    const isStream = schema !== undefined && isItemStream(request, operation, schema);
    const running = tokens.begin(permit);
    const onGone = () => {
      if (!reply.raw.writableFinished) running.end(new AppError('cancelled'));
    };
    const done = () => {
      running.done();
      reply.raw.off('close', onGone);
    };
    reply.raw.once('close', onGone);
    try {
      if (isStream) {
        const { signal } = running;
        const run = (input: unknown) =>
          worker.connections.operate(id, operation, input, { timeoutMs, asker: running });
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
      reply.type(jsonType);
      return await answerOf(id, schema, request.body, running, timeoutMs);
    } finally {
      if (!isStream) done();
    }
  }

  function failed(raised: unknown, requestId: string) {
    const error = toAppError(raised);
    if (error.code === 'internal_error')
      log.error({ err: loggableError(raised), requestId }, 'the worker API failed in an unknown way');
    const headers: Record<string, string> = {};
    if (error.details.retryAfter !== undefined) headers['retry-after'] = String(error.details.retryAfter);
    if (error.entry.status === 401) headers['www-authenticate'] = 'Bearer';
    return { status: error.entry.status, headers, body: JSON.stringify(errorBody(error, requestId)) };
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
