import { hash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { AppError } from '../../errors.ts';

/** Throws precondition_failed when the tag of what stands now is none that the request was made for. */
export type Precondition = (tag: string) => void;

/** Strong entity tag of what Get answers (RFC 9110, 8.8.3), for what has no revision. */
export function contentTag(view: object): string {
  return `"${hash('sha256', JSON.stringify(view), 'base64url').slice(0, 22)}"`;
}

/**
 * The request's If-Match (RFC 9110, 13.1.1), to be asked within the turn of the change, and after every
 * check that would refuse the change without it (13.2.1).
 */
export function preconditionOf(request: FastifyRequest): Precondition {
  const header = request.headers['if-match'];
  if (header === undefined) return () => {};
  const tags = header.split(',').map((tag) => tag.trim());
  return (tag) => {
    if (!tags.includes('*') && !tags.includes(tag)) throw new AppError('precondition_failed');
  };
}
