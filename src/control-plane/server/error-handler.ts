import type { Socket } from 'node:net';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AppError, errorBody, type FieldFault } from '../../errors.ts';
import { loggableError } from '../../loggable-error.ts';
import { patternWords } from './pattern-words.ts';

/** Makes every failure an answer of the error table; what is our own fault is logged under the request's id. */
export function registerErrorHandler(app: FastifyInstance): void {
  app.setErrorHandler((raised, request, reply) => {
    const error = toAppError(raised);
    const { status } = error.entry;
    if (error.code === 'internal_error')
      request.log.error({ reqId: request.id, err: loggableError(raised) }, 'internal error');
    else if (status >= 500)
      request.log.info({ reqId: request.id, code: error.code, reason: error.message }, 'request failed');
    if (error.details.retryAfter !== undefined) reply.header('retry-after', error.details.retryAfter);
    if (status === 401) reply.header('www-authenticate', 'Bearer');
    return reply.status(status).type('application/json; charset=utf-8').send(errorBody(error, request.id));
  });
  app.setNotFoundHandler((request, reply) => {
    const error = new AppError('not_found', 'There is nothing at this path');
    return reply.status(404).type('application/json; charset=utf-8').send(errorBody(error, request.id));
  });
}

/** For a path that cannot be decoded: Fastify answers it before any hook or handler of ours is asked. */
export function answerBadPath(_error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const error = new AppError('bad_request', 'The path is not valid: its percent-encoding cannot be decoded');
  reply
    .status(400)
    .header('x-content-type-options', 'nosniff')
    .header('cache-control', 'no-store')
    .type('application/json; charset=utf-8')
    .send(errorBody(error, request.id));
}

/** For what is not HTTP, arrives too slowly, or has headers beyond Node's limit; closes the connection. */
export function answerMalformedHttp(raised: Error & { code?: string }, socket: Socket): void {
  if (raised.code === 'ECONNRESET' || socket.destroyed) return;
  const why =
    raised.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? 'The request did not arrive in time'
      : raised.code === 'HPE_HEADER_OVERFLOW'
        ? 'The headers of the request are too large'
        : 'The request is not valid HTTP';
  const body = JSON.stringify(errorBody(new AppError('bad_request', why)));
  if (socket.writable)
    socket.write(
      `HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  socket.destroy(raised);
}

function toAppError(raised: unknown): AppError {
  if (raised instanceof AppError) return raised;
  const error = raised as Partial<FastifyError>;
  if (error.validation) return validationError(error as FastifyError);
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new AppError('payload_too_large', undefined, { cause: raised });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new AppError('unsupported_media_type', 'The body must be application/json', { cause: raised });
    default:
      break;
  }
  const status = error.statusCode ?? 500;
  if (status === 413) return new AppError('payload_too_large', undefined, { cause: raised });
  if (status === 415) return new AppError('unsupported_media_type', undefined, { cause: raised });
  if (status >= 400 && status < 500) return new AppError('bad_request', malformed(error), { cause: raised });
  return new AppError('internal_error', undefined, { cause: raised });
}

/** Fastify's own words where they are safe; a parser's would quote the body. */
function malformed(error: Partial<FastifyError>): string {
  if (error.code?.startsWith('FST_ERR_CTP_EMPTY')) return 'The body is empty; send a JSON object';
  if (error.code?.startsWith('FST_')) return String(error.message);
  return 'The body is not valid JSON';
}

function validationError(error: FastifyError): AppError {
  const faults: FieldFault[] = (error.validation ?? []).map((entry) => {
    const params = entry.params as Record<string, unknown>;
    const missing = entry.keyword === 'required' ? String(params['missingProperty']) : '';
    const unknown = entry.keyword === 'additionalProperties' ? String(params['additionalProperty']) : '';
    const path = entry.instancePath
      .split('/')
      .slice(1)
      .map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part}`))
      .join('')
      .replace(/^\./, '');
    const field = [path, missing || unknown].filter(Boolean).join('.');
    const message = missing
      ? 'is required'
      : unknown
        ? 'is not a known field'
        : wording(entry.keyword, params, entry.message);
    return { field: field || (error.validationContext ?? 'body'), message };
  });
  const merged = [...new Map(faults.map((fault) => [fault.field, fault])).values()];
  return new AppError('bad_request', merged.map(({ field, message }) => `${field} ${message}`).join('; '), {
    details: { validationErrors: merged },
  });
}

function wording(keyword: string, params: Record<string, unknown>, message: string | undefined): string {
  if (keyword === 'enum') return `must be one of ${(params['allowedValues'] as unknown[]).join(', ')}`;
  if (keyword === 'const') return `must be ${JSON.stringify(params['allowedValue'])}`;
  const inWords = keyword === 'pattern' ? patternWords(String(params['pattern'])) : undefined;
  return inWords ?? message ?? 'is not valid';
}
