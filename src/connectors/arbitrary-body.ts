import fc from 'fast-check';
import type { ConnectionType } from '../contract/connection-type.ts';
import { allFields } from '../contract/definition-schema.ts';
import { minimalBody, repaired, sampleValue } from './sample-body.ts';

type Body = Record<string, unknown>;

const arbitraryText = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 24 })
  .filter((text) => text.isWellFormed() && !/\p{Cc}|\$\{|^[*•]+$|secret:/u.test(text));

function arbitraryValue(definition: ConnectionType, name: string): fc.Arbitrary<unknown> {
  const schema = allFields(definition)[name]!;
  const samples = [sampleValue(definition, name), sampleValue(definition, name, true)];
  const own: fc.Arbitrary<unknown>[] = [];
  if (schema.type === 'string' && schema.enum) own.push(fc.constantFrom(...schema.enum));
  else if (schema.type === 'string' && schema['x-secret'] !== 'url') own.push(arbitraryText);
  else if (schema.type === 'boolean') own.push(fc.boolean());
  else if (schema.type === 'integer') {
    const { minimum = 0, maximum = 1_000_000 } = schema as { minimum?: number; maximum?: number };
    own.push(fc.integer({ min: minimum, max: Math.min(maximum, 2 ** 31 - 1) }));
  }
  return fc.oneof(
    fc.constantFrom(...samples).map((value) => structuredClone(value)),
    ...own,
    fc.constant(null),
  );
}

/** Random values for a random part of the fields, on the ground of a valid body; faulty ones give way. */
export function arbitraryBody(definition: ConnectionType): fc.Arbitrary<Body> {
  const ground = minimalBody(definition);
  const random = fc.record(
    Object.fromEntries(
      Object.keys(allFields(definition)).map((name) => [name, arbitraryValue(definition, name)]),
    ),
    { requiredKeys: [] },
  );
  return random.map((values) => {
    const body = { ...ground, ...values };
    for (const [name, value] of Object.entries(ground)) if (body[name] === null) body[name] = value;
    try {
      return repaired(definition, body, new Set());
    } catch {
      // Random values may exclude each other; then the ground alone is the sample.
      return ground;
    }
  });
}

export type Break = {
  kind: 'delete' | 'replace' | 'add' | 'inner';
  at: number;
  name: string;
  value: unknown;
};

/** Up to four ways to spoil a body. */
export const arbitraryBreaks: fc.Arbitrary<Break[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('delete' as const, 'replace' as const, 'add' as const, 'inner' as const),
    at: fc.nat(100),
    name: fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length', ''),
    ),
    value: fc.oneof(
      fc.jsonValue({ maxDepth: 4 }),
      fc.constantFrom('${X}', '$${X}', 'secret://env/X', 'secret://', '***', '\0', '\ud800', -1, 1e308),
      fc.constant(JSON.parse('{"__proto__": {"polluted": true}, "constructor": {"prototype": 1}}')),
    ),
  }),
  { minLength: 1, maxLength: 4 },
);

/** The body after one of them. */
export function broke(body: Body, { kind, at, name, value }: Break): Body {
  const copy = structuredClone(body);
  const keys = Object.keys(copy);
  const key = keys[at % Math.max(keys.length, 1)] ?? 'x';
  if (kind === 'delete') delete copy[key];
  else if (kind === 'replace') copy[key] = value;
  else if (kind === 'add')
    Object.defineProperty(copy, name, { value, enumerable: true, configurable: true, writable: true });
  else if (typeof copy[key] === 'object' && copy[key] !== null)
    Object.defineProperty(copy[key], name === 'length' ? 'x' : name, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  return copy;
}
