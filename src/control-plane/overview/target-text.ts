import type { ConnectionType } from '../../contract/connection-type.ts';
import { allFields, type JsonSchema } from '../../contract/definition-schema.ts';

/** Where a connection points, for people: `smtp.example.com:587`, `a:9200, b:9200`, a URL; null when it does not say. */
export function targetText(definition: ConnectionType, masked: Record<string, unknown>): string | null {
  const fields = Object.entries(allFields(definition)).filter(([, field]) => field['x-group'] === 'target');
  for (const [name, field] of fields) {
    const value = masked[name];
    if (Array.isArray(value) && value.length > 0)
      return value
        .map((server: { host?: unknown; port?: unknown }) => withPort(server.host, server.port))
        .join(', ');
    if (typeof value !== 'string' || value === '' || !leadsThere(field)) continue;
    const port = fields.find(([, other]) => other.type === 'integer' && leadsThere(other));
    return withPort(value, port && masked[port[0]]);
  }
  return null;
}

function leadsThere(field: JsonSchema): boolean {
  return field['x-destination'] === 'address' && !field.enum;
}

function withPort(host: unknown, port: unknown): string {
  const text = String(host);
  return port === undefined || port === null || text.includes('://') || text.startsWith('jdbc:')
    ? text
    : `${text}:${String(port)}`;
}
