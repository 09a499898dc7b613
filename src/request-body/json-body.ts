import { isUtf8 } from 'node:buffer';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { AppError } from '../errors.ts';

/** Far beyond any real body, and far below what overflows the stack of code that recurs into one. */
const maxDepth = 128;
/** A level costs two characters at least. */
const shallowLength = 2 * maxDepth;

/** As Fastify's own, but an empty body is no body (clients send the header on every request), errors say what is wrong, and plain text is no JSON. */
export function registerJsonParser(app: FastifyInstance): void {
  app.removeContentTypeParser('text/plain');
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      demandPlainUtf8(request);
      done(null, readJsonBody(body as Buffer));
    } catch (error) {
      done(error as AppError);
    }
  });
}

/** Another encoding would be read as something else than was sent, passwords too. */
function demandPlainUtf8({ headers }: FastifyRequest): void {
  const encoding = headers['content-encoding'] ?? 'identity';
  const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(headers['content-type'] ?? '')?.[1] ?? 'utf-8';
  if (!/^identity$/i.test(encoding) || !/^(utf-?8|us-ascii)$/i.test(charset))
    throw new AppError('unsupported_media_type', 'The body must be sent in UTF-8, and not compressed');
}

/** `parseJson` of a whole body; an empty one is none. Fails with `bad_request` for what is not UTF-8. */
export function readJsonBody(body: Buffer): unknown {
  if (body.length === 0) return undefined;
  if (!isUtf8(body)) throw new AppError('bad_request', 'The body is not valid UTF-8');
  return parseJson(body.toString(), 'The body');
}

/**
 * Parses what a client sent; fails with `bad_request` for what is not JSON, is nested too deeply, or
 * could reach a prototype. `what` begins the sentence; the text is not quoted.
 */
export function parseJson(text: string, what: string): unknown {
  const fault = (why: string, cause?: unknown) => new AppError('bad_request', `${what} ${why}`, { cause });
  let value: unknown;
  try {
    // Some editors begin a file by it.
    value = JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);
  } catch (error) {
    throw fault('is not valid JSON', error);
  }
  if (text.length <= shallowLength && !/__proto__|constructor|\\u/.test(text)) return value;
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth) throw fault(`is nested deeper than ${maxDepth} levels`);
    const next: unknown[] = [];
    for (const one of level) {
      if (typeof one !== 'object' || one === null) continue;
      if (Object.hasOwn(one, '__proto__') || reachesPrototype(one))
        throw fault('has a field named __proto__ or constructor.prototype, which is not accepted');
      for (const inner of Object.values(one)) next.push(inner);
    }
    level = next;
  }
  return value;
}

function reachesPrototype(one: object): boolean {
  if (!Object.hasOwn(one, 'constructor')) return false;
  const held: unknown = one.constructor;
  return typeof held === 'object' && held !== null && Object.hasOwn(held, 'prototype');
}
