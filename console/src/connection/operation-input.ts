interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  examples?: unknown[];
  maxLength?: number;
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

/** A field of an operation's input, and how it is entered. */
export interface InputField {
  name: string;
  label: string;
  help: string;
  required: boolean;
  kind: 'choice' | 'boolean' | 'number' | 'secret' | 'text' | 'longText' | 'lines' | 'json' | 'any';
  /** Of a choice. */
  choices: readonly unknown[];
}

/** Longer ones are written over several lines. */
const longFrom = 8192;

/** The input's fields with their meaning, in the order of the schema. */
export function inputFields(schema: Schema): InputField[] {
  return Object.entries(schema.properties ?? {}).map(([name, field]) => {
    const choices = choicesOf(field);
    return {
      name,
      label: field.title ?? name,
      help: field.description ?? '',
      required: schema.required?.includes(name) ?? false,
      kind: choices.length > 0 ? 'choice' : kindOf(name, field),
      choices,
    };
  });
}

function choicesOf({ enum: values, anyOf, oneOf }: Schema): readonly unknown[] {
  if (values) return values;
  const alternatives = anyOf ?? oneOf ?? [];
  return alternatives.every((one) => one.const !== undefined) ? alternatives.map((one) => one.const) : [];
}

function kindOf(name: string, { type, items, anyOf, maxLength = Number.POSITIVE_INFINITY }: Schema) {
  switch (type) {
    case 'boolean':
      return 'boolean';
    case 'integer':
    case 'number':
      return 'number';
    case 'string':
      return /password|secret/i.test(name) ? 'secret' : maxLength > longFrom ? 'longText' : 'text';
    case 'array':
      return items?.type === 'string' ? 'lines' : 'json';
    case undefined:
      return anyOf ? 'json' : 'any';
    default:
      return 'json';
  }
}
