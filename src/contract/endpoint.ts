import { normaliseHost } from './host.ts';

/** `host:port` as two spellings of one place compare; IPv6 addresses in brackets. */
export function normaliseEndpoint(host: string, port: number | string): string {
  const name = normaliseHost(host);
  return `${name.includes(':') ? `[${name}]` : name}:${port}`;
}

/**
 * The places that a list of `{host, port}` leads to, for destination binding; what is no such
 * list stands for itself.
 */
export function endpointsOf(value: unknown, defaultPort: number): string[] {
  if (!Array.isArray(value)) return value == null ? [] : [JSON.stringify(value)];
  return value.map((item: unknown) => {
    const { host, port } = (item ?? {}) as { host?: unknown; port?: unknown };
    if (typeof host !== 'string') return JSON.stringify(item);
    return normaliseEndpoint(host, typeof port === 'number' || typeof port === 'string' ? port : defaultPort);
  });
}
