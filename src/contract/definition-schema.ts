import { type TSchema, Type } from 'typebox';
import { type ConnectionType, commonFields } from './connection-type.ts';
import { VARIABLE_PATTERN } from './reference-syntax.ts';

/** A JSON Schema as plain data. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly additionalProperties?: JsonSchema | false;
  readonly propertyNames?: JsonSchema;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
}

type Fields = Readonly<Record<string, TSchema & JsonSchema>>;

// Every pass over a body begins with them.
const fieldsOf = new WeakMap<ConnectionType, Fields>();

/** Every field of a type by name: those that all types have, then its own. */
export function allFields(definition: ConnectionType): Fields {
  let fields = fieldsOf.get(definition);
  if (!fields) {
    fields = { ...commonFields, ...definition.fields } as unknown as Fields;
    fieldsOf.set(definition, fields);
  }
  return fields;
}

/** Whether a body without the field is refused. */
export function isRequired(field: TSchema): boolean {
  return !Type.IsOptional(field) && !('default' in field);
}

/**
 * The schema that a configuration is validated with. In the stored form a number or a switch may
 * also be exactly one `${VARIABLE}`; in the resolved form it may not.
 */
export function configSchema(definition: ConnectionType, form: 'stored' | 'resolved'): JsonSchema {
  const fields = Object.entries(allFields(definition));
  const derive = form === 'stored' ? withVariables : (schema: JsonSchema) => mapSchema(schema, (s) => s);
  return {
    type: 'object',
    properties: {
      type: { const: definition.type },
      name: { type: 'string' },
      ...Object.fromEntries(fields.map(([name, field]) => [name, derive(field)])),
    },
    required: ['type', ...fields.filter(([, field]) => isRequired(field)).map(([name]) => name)],
    additionalProperties: false,
  };
}

/** Lets every number and switch below also be exactly one `${VARIABLE}`. */
export function withVariables(schema: JsonSchema): JsonSchema {
  return mapSchema(schema, (inner) =>
    inner.type === 'integer' || inner.type === 'number' || inner.type === 'boolean'
      ? { ...inner, type: [inner.type, 'string'], pattern: VARIABLE_PATTERN }
      : inner,
  );
}

/** A copy of a schema as plain data, each sub-schema replaced by what `change` makes of it. */
export function mapSchema(schema: JsonSchema, change: (schema: JsonSchema) => JsonSchema): JsonSchema {
  const { properties, items, additionalProperties } = schema;
  const copy: Record<string, unknown> = { ...schema };
  if (properties)
    copy['properties'] = Object.fromEntries(
      Object.entries(properties).map(([name, inner]) => [name, mapSchema(inner, change)]),
    );
  if (items) copy['items'] = mapSchema(items, change);
  if (additionalProperties) copy['additionalProperties'] = mapSchema(additionalProperties, change);
  return change(copy);
}

/** The schema of a named value within an object or a map. */
export function innerSchema(schema: JsonSchema | undefined, name: string): JsonSchema | undefined {
  if (schema?.properties && Object.hasOwn(schema.properties, name)) return schema.properties[name];
  return schema?.additionalProperties || undefined;
}
