import { formatFieldPath } from '../../../src/contract/field-path.ts';
import type { Body, FieldSchema } from './form-schema.ts';

export interface Fault {
  field: string;
  message: string;
}

/** Paths of all that the form shows for a body: fields, members, and the members of list items. */
export function shownPaths(schema: FieldSchema, body: Body): Set<string> {
  const paths = new Set<string>();
  const visit = (field: FieldSchema, value: unknown, path: (string | number)[]) => {
    if (path.length > 0) paths.add(formatFieldPath(path));
    for (const [name, inner] of Object.entries(field.properties ?? {}))
      visit(inner, (value as Body | null | undefined)?.[name], [...path, name]);
    if (field.items?.type === 'object' && Array.isArray(value))
      for (const [index, item] of value.entries()) visit(field.items, item, [...path, index]);
  };
  visit(schema, body, []);
  return paths;
}

/**
 * Faults at the fields that show them: their own, or the nearest around them, then with the rest of
 * the path said; what no field shows is in `elsewhere`.
 */
export function placeFaults(
  schema: FieldSchema,
  body: Body,
  faults: readonly Fault[],
): { byPath: Map<string, string>; elsewhere: Fault[] } {
  const shown = shownPaths(schema, body);
  const byPath = new Map<string, string>();
  const elsewhere: Fault[] = [];
  for (const fault of faults) {
    let path = fault.field;
    while (path !== '' && !shown.has(path)) path = path.slice(0, lastStep(path));
    if (path === '') {
      elsewhere.push(fault);
      continue;
    }
    const rest = fault.field.slice(path.length);
    const message = rest === '' ? fault.message : `${rest} ${fault.message}`;
    byPath.set(path, byPath.has(path) ? `${byPath.get(path)}; ${message}` : message);
  }
  return { byPath, elsewhere };
}

function lastStep(path: string): number {
  return Math.max(0, path.lastIndexOf('.'), path.lastIndexOf('['));
}

/** The top-level field of a path. */
export function topOf(path: string): string {
  return /^[^.[]+/.exec(path)?.[0] ?? '';
}
