import type { ErrorObject } from 'ajv/dist/2020.js';
import type { JsonSchema } from './definition-schema.ts';
import { formats } from './formats.ts';

const typeWords: Readonly<Record<string, string>> = {
  array: 'a list',
  boolean: 'true or false',
  integer: 'a whole number',
  number: 'a number',
  object: 'an object',
  string: 'text',
};

/** What a value must be that a schema refused, in words. */
export function expectation(schema: JsonSchema, error: ErrorObject): string {
  const types = ([] as unknown[]).concat(schema.type ?? []).filter((type) => type !== 'null');
  if (types.length > 1 && error.keyword === 'type')
    return `must be ${types.map((type) => typeWords[String(type)]).join(' or ')}`;
  if (types.includes('integer') || types.includes('number')) return `must be ${range(schema, types)}`;
  if (types.includes('boolean')) return 'must be true or false';
  if (schema.enum) return `must be one of ${schema.enum.join(', ')}`;
  if ('const' in schema) return `must be ${String(schema['const'])}`;
  switch (error.keyword) {
    case 'format':
      return formats[String(schema['format'])]?.message ?? 'has a wrong format';
    case 'pattern':
      return String(schema['x-pattern-help'] ?? 'has a form that is not allowed here');
    case 'minLength':
      return schema['minLength'] === 1
        ? 'must not be empty'
        : `must have at least ${schema['minLength']} characters`;
    case 'maxLength':
      return `must have at most ${schema['maxLength']} characters`;
    case 'minItems':
      return schema['minItems'] === 1
        ? 'must have at least one item'
        : `must have at least ${schema['minItems']} items`;
    case 'maxItems':
      return `must have at most ${schema['maxItems']} items`;
    case 'maxProperties':
      return `must have at most ${schema['maxProperties']} names`;
    case 'uniqueItems':
      return 'must not name the same item twice';
  }
  if (types.includes('array')) return 'must be a list';
  if (types.includes('object')) return 'must be an object';
  if (types.includes('string')) return 'must be text';
  return error.message ?? 'is not valid';
}

function range(schema: JsonSchema, types: unknown[]): string {
  const what = types.includes('integer') ? 'a whole number' : 'a number';
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number };
  const bounded = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER;
  if (minimum !== undefined && bounded) return `${what} from ${minimum} to ${maximum}`;
  if (minimum !== undefined) return `${what} of at least ${minimum}`;
  return bounded ? `${what} of at most ${maximum}` : what;
}

/** What is said of a field that is not known, with the known one that may be meant. */
export function unknownField(name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  return `is not known${near ? `; did you mean \`${near}\`?` : ''}`;
}

/** The known name that is most like another, if any is. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 4)) + 1;
  for (const candidate of known) {
    if (Math.abs(candidate.length - name.length) >= bestDistance) continue;
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance && distance < candidate.length) [best, bestDistance] = [candidate, distance];
  }
  return best ?? partOf(name, known);
}

/** The one field that says more or less of the same, as `topicName` for `topic`; undefined where there are several. */
function partOf(name: string, known: readonly string[]): string | undefined {
  const asked = name.toLowerCase();
  const near = known.filter((candidate) => {
    const field = candidate.toLowerCase();
    return Math.min(asked.length, field.length) >= 3 && (field.includes(asked) || asked.includes(field));
  });
  return near.length === 1 ? near[0] : undefined;
}

/** Optimal string alignment: insertions, deletions, substitutions, and swaps of neighbours count one each. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let distance = Math.min(row[j - 1]! + 1, previous[j]! + 1, previous[j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        distance = Math.min(distance, before[j - 2]! + 1);
      row.push(distance);
    }
    [before, previous] = [previous, row];
  }
  return previous[b.length]!;
}
