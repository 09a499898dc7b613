import type { FastifyRequest } from 'fastify';
import { type Caller, callerOf } from '../auth/caller.ts';
import type { Principal } from '../auth/permissions.ts';

/** Who asks, and what the token may do beyond what the route demanded. */
export interface ConnectionCaller extends Caller {
  principal: Principal;
}

/** The caller of a connection route. */
export function connectionCaller(request: FastifyRequest): ConnectionCaller {
  return { ...callerOf(request), principal: request.principal };
}
