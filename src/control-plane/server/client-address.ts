import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';
import { isLoopback } from '../../contract/host.ts';

/**
 * The address that a request comes from. Where the peer is a proxy, on loopback or declared
 * (PLUGBOARD_INSECURE), it is what the proxy put at the end of X-Forwarded-For; what stands before that a
 * client can have made up.
 */
export function clientAddress(
  { ip, headers }: Pick<FastifyRequest, 'ip' | 'headers'>,
  isBehindProxy: boolean,
): string {
  if (!isBehindProxy && !isLoopback(ip)) return ip;
  const told = String(headers['x-forwarded-for'] ?? '')
    .split(',')
    .at(-1)!
    .trim();
  return isIP(told) === 0 ? ip : told;
}
