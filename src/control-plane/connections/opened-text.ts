import type { Sealer } from '../store/sealing.ts';
import type { ConnectionRow } from './connections.store.ts';
import { openConfig } from './sealed-config.ts';

/**
 * Answers what makes the body of a row with its secrets, as JSON text, time and again. Secrets are
 * spliced into the stored text where their place is plain to see, which costs a third of parsing it
 * and serialising it again.
 */
export function textOpener(
  sealer: Sealer,
  row: Pick<ConnectionRow, 'id' | 'project_id' | 'masked' | 'sealed'>,
): () => string {
  const { masked } = row;
  const spliced: { at: number; open: () => string }[] = [];
  const sealed = JSON.parse(row.sealed) as Record<string, string>;
  for (const field in sealed) {
    const at = placeOfNull(masked, field);
    if (at === undefined) return () => JSON.stringify(openConfig(sealer, row));
    const place = { project: row.project_id, connection: row.id, field };
    spliced.push({ at, open: sealer.opener(sealed[field]!, place) });
  }
  spliced.sort((a, b) => a.at - b.at);
  return () => {
    let text = '';
    let end = 0;
    for (const { at, open } of spliced) {
      text += masked.slice(end, at) + JSON.stringify(open());
      end = at + 'null'.length;
    }
    return text + masked.slice(end);
  };
}

/**
 * Where the null stands that a field of the body itself has in its text; undefined unless its key
 * occurs but once at any depth. Within a string the quotes around it would be escaped.
 */
function placeOfNull(text: string, pointer: string): number | undefined {
  if (pointer.lastIndexOf('/') !== 0 || pointer.includes('~')) return undefined;
  const key = `"${pointer.slice(1)}":`;
  const at = text.indexOf(key);
  const before = text[at - 1];
  if (at < 0 || (before !== '{' && before !== ',') || text.includes(key, at + 1)) return undefined;
  return text.startsWith('null', at + key.length) ? at + key.length : undefined;
}
