import type { ConnectionType, SecretKind } from './connection-type.ts';
import { allFields, innerSchema, type JsonSchema } from './definition-schema.ts';
import type { FieldPath } from './field-path.ts';
import { hasVariable } from './reference-syntax.ts';

/** Where a configuration holds a secret. */
export interface SecretPlace {
  readonly path: FieldPath;
  /** `url`: only its credential parts are secret. */
  readonly kind: 'value' | 'url';
  /** For a URL: path and query are credentials too. */
  readonly wholePath: boolean;
  readonly value: string;
}

/** Whether a header of this name carries a credential; unknown names (a variable) count as such. */
export function isCredentialHeader(name: unknown): boolean {
  if (typeof name !== 'string') return false;
  return (
    /^(proxy-)?authorization$|^cookie$|token|key|secret|password/i.test(name.trim()) || hasVariable(name)
  );
}

/** Whether a property carries a credential, by its name or by its declared type. */
export function isCredentialProperty(name: unknown, valueType?: unknown): boolean {
  if (valueType === 'SECRET' || hasVariable(valueType)) return true;
  if (typeof name !== 'string') return false;
  return (
    /(password|passphrase|secret)$|^sasl\.jaas\.config$|^ssl\.keystore\.key$/i.test(name.trim()) ||
    hasVariable(name)
  );
}

/** Every place of a configuration that holds a secret, in field order. */
export function secretPlaces(definition: ConnectionType, config: Record<string, unknown>): SecretPlace[] {
  const places: SecretPlace[] = [];
  for (const [name, field] of secretFieldsOf(definition))
    collect(config[name], field, [name], config, places);
  return places;
}

// A body is asked several times on its way, and most of its fields never hold a secret.
const secretFields = new WeakMap<ConnectionType, [string, JsonSchema][]>();

function secretFieldsOf(definition: ConnectionType): [string, JsonSchema][] {
  let fields = secretFields.get(definition);
  if (!fields) {
    fields = Object.entries(allFields(definition)).filter(([, field]) => mayHoldSecret(field));
    secretFields.set(definition, fields);
  }
  return fields;
}

function mayHoldSecret(schema: JsonSchema): boolean {
  const { items, properties = {}, additionalProperties } = schema;
  const inner = [...Object.values(properties), items, additionalProperties];
  return schema['x-secret'] !== undefined || inner.some((one) => one && mayHoldSecret(one));
}

function collect(
  value: unknown,
  schema: JsonSchema | undefined,
  path: FieldPath,
  config: Record<string, unknown>,
  places: SecretPlace[],
): void {
  if (!schema || value === null || value === undefined) return;
  const add = (at: FieldPath, text: unknown, kind: SecretPlace['kind'] = 'value', wholePath = false) => {
    if (typeof text === 'string' && text !== '') places.push({ path: at, kind, wholePath, value: text });
  };
  switch (schema['x-secret'] as SecretKind | undefined) {
    case 'value':
      add(path, value);
      return;
    case 'url':
      add(path, value, 'url', isWholePathSecret(schema, config));
      return;
    case 'header-values':
      for (const [index, item] of records(value))
        if (isCredentialHeader(item['name'])) add([...path, index, 'value'], item['value']);
      return;
    case 'property-values':
      if (Array.isArray(value)) {
        for (const [index, item] of records(value))
          if (isCredentialProperty(item['name'], item['valueType']))
            add([...path, index, 'value'], item['value']);
        return;
      }
      if (typeof value !== 'object') return;
      for (const [name, item] of Object.entries(value)) {
        if (typeof item !== 'object' || item === null) {
          if (isCredentialProperty(name)) add([...path, name], item);
        } else if (isCredentialProperty(name, item.valueType)) add([...path, name, 'value'], item.value);
      }
      return;
  }
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries())
      collect(item, schema.items, [...path, index], config, places);
  } else if (typeof value === 'object') {
    for (const [name, item] of Object.entries(value))
      collect(item, innerSchema(schema, name), [...path, name], config, places);
  }
}

/** Whether the switch that makes a URL's path and query secret is on; a variable counts as on. */
export function isWholePathSecret(schema: JsonSchema, config: Record<string, unknown>): boolean {
  const name = schema['x-secret-when'];
  if (typeof name !== 'string') return false;
  return config[name] === true || hasVariable(config[name]);
}

/** Items of a list that are objects, with their index. */
export function records(value: unknown): [number, Record<string, unknown>][] {
  if (!Array.isArray(value)) return [];
  return [...value.entries()].filter(
    (entry): entry is [number, Record<string, unknown>] => typeof entry[1] === 'object' && entry[1] !== null,
  );
}
