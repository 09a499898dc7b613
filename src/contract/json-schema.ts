import type { ConnectionType, ItemStream, OperationSchema } from './connection-type.ts';
import { allFields, isRequired, type JsonSchema, mapSchema, withVariables } from './definition-schema.ts';
import { ruleSchema } from './rules.ts';

/** JSON Schema 2020-12 of the body of Create and Update, with titles, defaults, form hints and rules. */
export function publishedSchema(definition: ConnectionType): JsonSchema {
  const fields = Object.entries(allFields(definition));
  const rules = (definition.rules ?? [])
    .filter((rule) => !rule.afterNormalise)
    .map((rule) => ruleSchema(definition, rule));
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: definition.title,
    description: definition.summary,
    type: 'object',
    properties: {
      type: { title: 'Type', description: 'Discriminates the connection types.', const: definition.type },
      name: {
        title: 'Name',
        description: 'Unique in its project without regard to case.',
        type: 'string',
        minLength: 1,
        maxLength: 255,
        pattern: '^[\\p{L}\\p{Nd}][\\p{L}\\p{M}\\p{Nd} ._-]*$',
      },
      ...Object.fromEntries(
        fields.map(([name, field]) => {
          const schema = withNullableMembers(withVariables(field));
          // A required secret may be null too: an Update keeps the stored one.
          const mayBeNull = !isRequired(field) || field['x-secret'] === 'value';
          return [name, mayBeNull ? nullable(schema) : schema];
        }),
      ),
    },
    required: ['type', 'name', ...fields.filter(([, field]) => isRequired(field)).map(([name]) => name)],
    additionalProperties: false,
    ...(rules.length > 0 ? { allOf: rules } : {}),
  };
}

/** What `GET /apiops/connection-types/{type}/` answers. */
export function describeType(definition: ConnectionType): Record<string, unknown> {
  return {
    type: definition.type,
    title: definition.title,
    summary: definition.summary,
    notes: [...(definition.notes ?? [])],
    schema: publishedSchema(definition),
    operations: Object.fromEntries(
      Object.entries(definition.operations).map(([name, operation]) => [name, describeOperation(operation)]),
    ),
  };
}

/** Name of a type's schema among the components of the OpenAPI document: `linux-script` → `LinuxScriptConnection`. */
export function schemaName(definition: ConnectionType): string {
  const words = definition.type.split('-').map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  return `${words.join('')}Connection`;
}

/** The body of any type, for OpenAPI 3.1; refers to `components.schemas` by `schemaName`. */
export function connectionBodySchema(definitions: Iterable<ConnectionType>): JsonSchema {
  const references = [...definitions].map(
    (definition) => [definition.type, `#/components/schemas/${schemaName(definition)}`] as const,
  );
  return {
    oneOf: references.map(([, $ref]) => ({ $ref })),
    discriminator: { propertyName: 'type', mapping: Object.fromEntries(references) },
  };
}

/** The schemas that `connectionBodySchema` refers to, by name. */
export function connectionSchemas(definitions: Iterable<ConnectionType>): Record<string, JsonSchema> {
  return Object.fromEntries(
    [...definitions].map((definition) => [schemaName(definition), publishedSchema(definition)]),
  );
}

/** Schema of one item of an operation that takes a stream of them. */
export function itemSchema({ input }: OperationSchema, { items }: ItemStream): JsonSchema {
  return (input as JsonSchema).properties![items]!.items!;
}

function describeOperation(operation: OperationSchema): Record<string, unknown> {
  return {
    title: operation.title,
    description: operation.description,
    input: plain(operation.input as JsonSchema),
    output: plain(operation.output as JsonSchema),
    ...(operation.stream ? { stream: operation.stream } : {}),
    ...(operation.maxInputBytes === undefined ? {} : { maxInputBytes: operation.maxInputBytes }),
  };
}

function nullable(schema: JsonSchema): JsonSchema {
  const types = ([] as string[]).concat((schema.type as string | string[] | undefined) ?? []);
  return {
    ...schema,
    ...(types.length > 0 ? { type: [...types, 'null'] } : {}),
    ...(schema.enum ? { enum: [...schema.enum, null] } : {}),
  };
}

/** Lets the members of nested objects that need not be set be null, and kept secrets among them. */
function withNullableMembers(field: JsonSchema): JsonSchema {
  const holdsSecrets = field['x-secret'] !== undefined;
  return mapSchema(field, (inner) => {
    if (!inner.properties) return inner;
    const required = inner.required ?? [];
    return {
      ...inner,
      properties: Object.fromEntries(
        Object.entries(inner.properties).map(([name, member]) => [
          name,
          required.includes(name) && !(holdsSecrets && name === 'value') ? member : nullable(member),
        ]),
      ),
    };
  });
}

function plain(schema: JsonSchema): JsonSchema {
  return JSON.parse(JSON.stringify(schema)) as JsonSchema;
}
