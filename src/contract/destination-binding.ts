import type { ConnectionType, Destination } from './connection-type.ts';
import { credentialParts } from './credential-url.ts';
import { allFields, innerSchema, type JsonSchema } from './definition-schema.ts';
import { type FieldPath, formatFieldPath } from './field-path.ts';
import { normaliseHost } from './host.ts';
import { hasVariable } from './reference-syntax.ts';
import { records } from './secret-places.ts';

type Config = Record<string, unknown>;

/**
 * The fields by which a connection's secrets would go somewhere else, or less protected, than
 * before. Both configurations are complete and, to count what variables hold, resolved. Raising
 * protection and removing one of several addresses is no move.
 */
export function movedFields(definition: ConnectionType, before: Config, after: Config): string[] {
  const moved: string[] = [];
  for (const [name, field] of Object.entries(allFields(definition))) {
    const places = definition.destinations?.[name];
    if (places) {
      const known = new Set(isUnset(before[name]) ? [] : places(before[name]));
      // Without the field the way is another one, such as the driver's own idea of TLS.
      const isDropped = known.size > 0 && isUnset(after[name]);
      const now = isUnset(after[name]) ? [] : places(after[name]);
      if (isDropped || now.some((place) => !known.has(place))) moved.push(name);
    } else compare(field, before[name], after[name], [name], moved);
  }
  return moved;
}

function compare(
  schema: JsonSchema,
  before: unknown,
  after: unknown,
  path: FieldPath,
  moved: string[],
): void {
  const destination = schema['x-destination'] as Destination | undefined;
  if (destination === undefined) {
    for (const [name, inner] of Object.entries(schema.properties ?? {}))
      compare(inner, own(before, name), own(after, name), [...path, name], moved);
    return;
  }
  if (hasMoved(destination, schema, before, after)) moved.push(formatFieldPath(path));
}

function hasMoved(destination: Destination, schema: JsonSchema, before: unknown, after: unknown): boolean {
  if (destination === 'address') return canonical(schema, before) !== canonical(schema, after);
  if (destination === 'address-set') {
    const known = new Set(items(schema, before));
    return items(schema, after).some((item) => !known.has(item));
  }
  if ('weakestFirst' in destination) {
    if (canonical(schema, before) === canonical(schema, after)) return false;
    if (hasVariable(before) || hasVariable(after)) return true;
    // Without a value the weakest is assumed.
    const rank = (value: unknown) => (destination.weakestFirst as readonly unknown[]).indexOf(value);
    return rank(after) <= rank(before);
  }
  const entries = (value: unknown) =>
    JSON.stringify(namedValues(value).filter(([name]) => !destination.harmless.includes(name)));
  return entries(before) !== entries(after);
}

/** The entries of a map, or of a list of `{name, value}`, by name; an order of equal names counts. */
function namedValues(value: unknown): [string, unknown][] {
  const entries: [string, unknown][] = Array.isArray(value)
    ? records(value).map(([, item]) => [String(item['name']), withoutName(item)])
    : Object.entries(isRecord(value) ? value : {}).map(([name, item]) => [name, canonical(undefined, item)]);
  return entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

function withoutName({ name: _, ...rest }: Config): string {
  return canonical(undefined, rest);
}

function items(schema: JsonSchema, value: unknown): string[] {
  if (Array.isArray(value)) return value.map((item) => canonical(schema.items, item));
  if (isRecord(value))
    return Object.entries(value).map(
      ([name, item]) => `${JSON.stringify(name)}:${canonical(undefined, item)}`,
    );
  return isUnset(value) || value === '' ? [] : [canonical(schema, value)];
}

/** A text that is the same for two values that lead to the same place. */
function canonical(schema: JsonSchema | undefined, value: unknown): string {
  if (isUnset(value) || value === '') return 'null';
  if (typeof value === 'string') return JSON.stringify(canonicalText(schema, value));
  if (Array.isArray(value)) return `[${value.map((item) => canonical(schema?.items, item)).join()}]`;
  if (!isRecord(value)) return JSON.stringify(value);
  const entries = Object.entries(value)
    .filter(([, item]) => !isUnset(item) && item !== '')
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, item]) => `${JSON.stringify(name)}:${canonical(innerSchema(schema, name), item)}`);
  return `{${entries.join()}}`;
}

function canonicalText(schema: JsonSchema | undefined, text: string): string {
  if (schema?.['format'] === 'host') return normaliseHost(text);
  if (schema?.['format'] === 'http-url' || schema?.['x-secret'] === 'url') return canonicalUrl(text);
  return text;
}

/** Origin and path of an HTTP URL; another URL without its credentials. */
function canonicalUrl(text: string): string {
  const url = /^https?:/i.test(text) ? URL.parse(text) : null;
  if (url) return `${url.protocol}//${normaliseHost(url.hostname)}:${url.port}${url.pathname}`;
  let result = '';
  let at = 0;
  for (const part of credentialParts(text, false)) {
    result += text.slice(at, part.start);
    at = part.end;
  }
  return result + text.slice(at);
}

function own(holder: unknown, name: string): unknown {
  return isRecord(holder) && Object.hasOwn(holder, name) ? holder[name] : undefined;
}

function isUnset(value: unknown): boolean {
  return value === null || value === undefined;
}

function isRecord(value: unknown): value is Config {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
