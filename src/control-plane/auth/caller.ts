import type { FastifyRequest } from 'fastify';

/** Who makes a change and in which request, as audit rows tell it. */
export interface Caller {
  actor: string;
  requestId?: string;
}

/** The caller of a request whose token was checked. */
export function callerOf(request: FastifyRequest): Caller {
  return { actor: request.principal.actor, requestId: request.id };
}
