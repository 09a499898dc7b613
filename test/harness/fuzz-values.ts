import type { SeededRandom } from './seeded-random.ts';

export type Schema = { [keyword: string]: unknown };

/** Texts that have broken programs of this kind. */
export const oddTexts: readonly string[] = [
  '',
  ' ',
  '\u0000',
  'a\u0000b',
  '\ud800',
  'x\udfffy',
  '\u202egnirts',
  'İstanbul',
  'ﬀ ß ẞ ſ K',
  'e\u0301 é',
  '🧨'.repeat(20),
  '__proto__',
  'constructor',
  'hasOwnProperty',
  'toString',
  "' or 1=1 --",
  '"; drop table connections; --',
  '${NAME}',
  '$${NAME}',
  '${',
  '***',
  '••••',
  'secret://env/HOME',
  'secret://file/../../x',
  'a\r\nb: c',
  '\t\u000b\u007f\u0085',
  '../../x',
  'null',
  'true',
  '-1',
  '1e309',
  '0x10',
  'NaN',
  '%00',
  '%',
  '%s%n',
  '*',
  'a'.repeat(256),
  'z'.repeat(5000),
];

const oddNumbers: readonly number[] = [
  0, -0, -1, 1, 1.5, 0.1, 65535, 65536, 2147483647, 2147483648, 4294967296, 9007199254740991,
  9007199254740992, 1e21, 1e308, -1e308, 5e-324,
];

const prototypeKeys = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', ''];

/** A value that has nothing to do with any schema. */
export function oddValue(random: SeededRandom): unknown {
  switch (random.below(9)) {
    case 0:
      return null;
    case 1:
      return random.chance(0.5);
    case 2:
      return random.pick(oddNumbers);
    case 3:
      return [];
    case 4:
      return {};
    case 5:
      return [null, [random.pick(oddTexts)], { a: random.pick(oddNumbers) }];
    case 6:
      return Array.from({ length: random.pick([2, 70, 1100]) }, (_, index) => index);
    case 7:
      return nested(random.pick([3, 60, 1500]));
    default:
      return random.pick(oddTexts);
  }
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

/** A value that mostly fits the schema; `components` holds what `$ref` names. */
export function fittingValue(
  schema: Schema,
  random: SeededRandom,
  components: Record<string, Schema>,
  depth = 0,
): unknown {
  if (depth > 6) return null;
  const inner = (one: unknown) => fittingValue((one ?? {}) as Schema, random, components, depth + 1);
  if (typeof schema['$ref'] === 'string')
    return inner(components[schema['$ref'].replace('#/components/schemas/', '')]);
  if ('const' in schema) return schema['const'];
  if (Array.isArray(schema['enum'])) return random.pick(schema['enum']);
  if (Array.isArray(schema['examples']) && random.chance(0.5)) return random.pick(schema['examples']);
  if ('default' in schema && random.chance(0.3)) return schema['default'];
  const choices = (schema['oneOf'] ?? schema['anyOf']) as Schema[] | undefined;
  if (choices) return inner(random.pick(choices));
  const type = Array.isArray(schema['type']) ? random.pick(schema['type'] as string[]) : schema['type'];
  switch (type) {
    case 'null':
      return null;
    case 'boolean':
      return random.chance(0.5);
    case 'integer':
    case 'number':
      return numberOf(schema, random);
    case 'array':
      return Array.from({ length: random.below(3) + Number(schema['minItems'] ?? 0) }, () =>
        inner(schema['items']),
      );
    case 'object':
      return objectOf(schema, random, inner);
    case 'string':
      return textOf(schema, random);
    default:
      return random.chance(0.5) ? random.pick(oddTexts) : oddValue(random);
  }
}

function numberOf(schema: Schema, random: SeededRandom): number {
  const least = Number(schema['minimum'] ?? 0);
  const most = Number(schema['maximum'] ?? least + 1000);
  if (random.chance(0.2)) return random.pick([least, most, least - 1, most + 1]);
  return least + random.below(Math.min(most - least + 1, 1_000_000));
}

function objectOf(schema: Schema, random: SeededRandom, inner: (one: unknown) => unknown): unknown {
  const required = new Set((schema['required'] ?? []) as string[]);
  const body: Record<string, unknown> = {};
  for (const [name, property] of Object.entries((schema['properties'] ?? {}) as Record<string, Schema>))
    if (required.has(name) || random.chance(0.4)) body[name] = inner(property);
  if (typeof schema['additionalProperties'] === 'object')
    for (let count = random.below(3); count > 0; count--)
      body[random.pick(['one', '1.3.6.1', 'ApiProxyTraffic', random.pick(oddTexts)])] = inner(
        schema['additionalProperties'],
      );
  return body;
}

const texts: Readonly<Record<string, readonly string[]>> = {
  host: ['127.0.0.1', 'localhost', '169.254.169.254', '[::1]', 'target.example.com'],
  'http-url': ['http://127.0.0.1:9/', 'https://user:pass@localhost:9/a?b=c', 'http://169.254.169.254/'],
  'email-address': ['somebody@example.com'],
  mailbox: ['Some Body <somebody@example.com>'],
  oid: ['1.3.6.1.4.1.1'],
  base64: ['c29tZSBieXRlcw=='],
};

function textOf(schema: Schema, random: SeededRandom): string {
  if (random.chance(0.1)) return random.pick(oddTexts);
  const known = texts[String(schema['format'])];
  if (known) return random.pick(known);
  const pattern = String(schema['pattern'] ?? '');
  if (/^\^\[[01]-9\]/.test(pattern)) return String(random.below(100) + 1);
  const least = Number(schema['minLength'] ?? 1);
  const most = Number(schema['maxLength'] ?? 5000);
  if (random.chance(0.1))
    return 'm'.repeat(random.pick([least, Math.min(most, 20_000), Math.min(most, 20_000) + 1]));
  return random.pick(['one', 'two', 'select 1', 'some-text', 'Ünïcode', 'a b']).padEnd(least, 'x');
}

/** A copy with one to four things made wrong, anywhere in it. */
export function mutated(value: unknown, random: SeededRandom): unknown {
  let result = structuredClone(value);
  for (let count = 1 + random.below(4); count > 0; count--) result = mutatedOnce(result, random);
  return result;
}

function mutatedOnce(root: unknown, random: SeededRandom): unknown {
  if (random.chance(0.03)) return oddValue(random);
  let holder: unknown = root;
  // Half of the time a step deeper, so that inner values get their share.
  for (;;) {
    const children: unknown[] =
      typeof holder === 'object' && holder !== null
        ? Object.values(holder).filter((child) => typeof child === 'object' && child !== null)
        : [];
    if (children.length === 0 || random.chance(0.5)) break;
    holder = random.pick(children);
  }
  if (Array.isArray(holder)) {
    if (random.chance(0.3) || holder.length === 0) holder.push(oddValue(random));
    else holder[random.below(holder.length)] = oddValue(random);
    return root;
  }
  if (typeof holder !== 'object' || holder === null) return oddValue(random);
  const record = holder as Record<string, unknown>;
  const names = Object.keys(record);
  const set = (name: string, one: unknown) =>
    Object.defineProperty(record, name, { value: one, enumerable: true, configurable: true, writable: true });
  if (names.length === 0 || random.chance(0.2))
    set(random.chance(0.4) ? random.pick(prototypeKeys) : random.pick(oddTexts), oddValue(random));
  else if (random.chance(0.25)) delete record[random.pick(names)];
  else set(random.pick(names), oddValue(random));
  return root;
}
