interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  examples?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
}

/** An operation as `GET /apiops/connection-types/{type}/` describes it. */
export interface OperationSchema {
  title?: string;
  description?: string;
  input: Schema;
  output: Schema;
}

/** A body to start from: what is required, by its example, default or an empty value of its type. */
export function exampleOf(schema: Schema): unknown {
  if (schema.examples && schema.examples.length > 0) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  const first = schema.anyOf?.[0] ?? schema.oneOf?.[0];
  if (first && !schema.type && !schema.properties) return exampleOf(first);
  switch ([schema.type].flat()[0]) {
    case 'object':
      return Object.fromEntries(
        (schema.required ?? []).map((name) => [name, exampleOf(schema.properties?.[name] ?? {})]),
      );
    case 'array':
      return schema.items ? [exampleOf(schema.items)] : [];
    case 'integer':
    case 'number':
      return 0;
    case 'boolean':
      return false;
    case 'null':
      return null;
    default:
      return '';
  }
}

/** The input's fields with their meaning. */
export function inputFields(
  schema: Schema,
): { name: string; type: string; required: boolean; help: string }[] {
  return Object.entries(schema.properties ?? {}).map(([name, field]) => ({
    name,
    type: field.enum ? field.enum.join(' | ') : [field.type ?? 'any'].flat().join(' | '),
    required: schema.required?.includes(name) ?? false,
    help: [field.title, field.description].filter(Boolean).join(': '),
  }));
}
