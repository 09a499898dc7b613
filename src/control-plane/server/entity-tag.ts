import { hash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { AppError } from '../../errors.ts';

/** Throws precondition_failed when what stands now is not what the request was made for. */
export type Precondition = (current: object) => void;

/** Strong entity tag of what Get answers (RFC 9110, 8.8.3), for what has no revision. */
export function contentTag(view: object): string {
  return `"${hash('sha256', JSON.stringify(view), 'base64url').slice(0, 22)}"`;
}

/** The request's If-Match (RFC 9110, 13.1.1), to be asked within the turn of the change. */
export function preconditionOf(request: FastifyRequest): Precondition {
  const header = request.headers['if-match'];
  if (header === undefined) return () => {};
  const tags = header.split(',').map((tag) => tag.trim());
  return (current) => {
    if (!tags.includes('*') && !tags.includes(contentTag(current))) throw new AppError('precondition_failed');
  };
}
