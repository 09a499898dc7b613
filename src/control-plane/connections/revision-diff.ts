import type { ConnectionType } from '../../contract/connection-type.ts';
import { splitSecrets } from '../../contract/masking.ts';

/** One changed field; a secret's values are never shown, only what became of it. */
export type RevisionDiff =
  | { field: string; before: unknown; after: unknown }
  | { field: string; secret: 'set' | 'changed' | 'cleared' };

/** What changed from one revision to the next, in order of fields; against nothing for the first. */
export function diffRevisions(
  definition: ConnectionType,
  before: Record<string, unknown> | undefined,
  after: Record<string, unknown>,
): RevisionDiff[] {
  if (!before) return [];
  const old = splitSecrets(definition, before);
  const now = splitSecrets(definition, after);
  const diff: RevisionDiff[] = [];
  const oldFields = old.masked as Record<string, unknown>;
  const newFields = now.masked as Record<string, unknown>;
  for (const field of new Set([...Object.keys(oldFields), ...Object.keys(newFields)])) {
    const [a, b] = [oldFields[field] ?? null, newFields[field] ?? null];
    if (JSON.stringify(a) !== JSON.stringify(b)) diff.push({ field, before: a, after: b });
  }
  for (const pointer of new Set([...Object.keys(old.secrets), ...Object.keys(now.secrets)])) {
    const [a, b] = [old.secrets[pointer], now.secrets[pointer]];
    if (a === b) continue;
    const secret = a === undefined ? 'set' : b === undefined ? 'cleared' : 'changed';
    diff.push({ field: pointer.slice(1).replaceAll('/', '.'), secret });
  }
  return diff;
}
