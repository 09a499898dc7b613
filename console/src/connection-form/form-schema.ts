import { Validator } from '@cfworker/json-schema';
import type { JsonSchema } from '../../../src/contract/definition-schema.ts';
import { hasVariable } from '../../../src/contract/reference-syntax.ts';

/** A connection's body as the form holds it. */
export type Body = Record<string, unknown>;

/**
 * Schema of a field as the form knows it: one type alone, never null; the default apart, so that
 * nothing fills it in; a map as an object with the schema of its values in `x-values`.
 */
export interface FieldSchema {
  readonly [keyword: string]: unknown;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'array' | 'object';
  readonly title?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, FieldSchema>>;
  readonly required?: readonly string[];
  readonly items?: FieldSchema;
  readonly enum?: readonly unknown[];
  readonly 'x-values'?: FieldSchema;
  readonly 'x-default'?: unknown;
  readonly 'x-group'?: string;
  readonly 'x-unit'?: string;
  readonly 'x-secret'?: string;
  readonly 'x-visible-when'?: Readonly<Record<string, unknown>>;
}

export type SectionName =
  | 'identity'
  | 'target'
  | 'authentication'
  | 'tls'
  | 'delivery'
  | 'pool'
  | 'limits'
  | 'test'
  | 'advanced'
  | 'deployment';

/** The sections in order, and which of them begin open. */
export const sections: readonly { name: SectionName; open: boolean }[] = [
  { name: 'identity', open: true },
  { name: 'target', open: true },
  { name: 'authentication', open: true },
  { name: 'tls', open: true },
  { name: 'delivery', open: false },
  { name: 'pool', open: false },
  { name: 'limits', open: false },
  { name: 'test', open: false },
  { name: 'advanced', open: false },
  { name: 'deployment', open: true },
];

const deploymentFields = new Set(['enabled', 'deployToWorker', 'environments', 'labels']);

/** The form's schema of a type's published one: every field but `type`, without conditions, nulls and defaults. */
export function formSchema(published: JsonSchema): FieldSchema {
  const { type: _, ...fields } = published.properties ?? {};
  return {
    type: 'object',
    properties: Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, formField(field)])),
    required: (published.required ?? []).filter((name) => name !== 'type'),
  };
}

function formField(schema: JsonSchema): FieldSchema {
  const { type, enum: values, properties, items, additionalProperties, propertyNames: _, ...rest } = schema;
  const { default: fallback, ...kept } = rest;
  const types = ([] as string[]).concat((type as string | string[] | undefined) ?? 'string');
  const exact = types.find((one) => one !== 'null' && one !== 'string') ?? 'string';
  return {
    ...kept,
    type: exact as FieldSchema['type'],
    ...(values ? { enum: values.filter((value) => value !== null) } : {}),
    ...(fallback === undefined ? {} : { 'x-default': fallback }),
    ...(properties
      ? {
          properties: Object.fromEntries(
            Object.entries(properties).map(([name, inner]) => [name, formField(inner)]),
          ),
        }
      : {}),
    ...(items ? { items: formField(items) } : {}),
    ...(additionalProperties ? { 'x-values': formField(additionalProperties) } : {}),
  };
}

/** The section in which a top-level field stands. */
export function sectionOf(name: string, field: FieldSchema): SectionName {
  if (deploymentFields.has(name)) return 'deployment';
  const group = field['x-group'] ?? 'general';
  return group === 'general' ? 'identity' : (group as SectionName);
}

/** Whether a field matters with what the form holds; a condition on a variable may hold. */
export function matters(schema: FieldSchema, name: string, body: Body): boolean {
  const condition = schema.properties?.[name]?.['x-visible-when'];
  return Object.entries(condition ?? {}).every(([other, wanted]) => {
    const value = body[other] ?? schema.properties?.[other]?.['x-default'];
    return hasVariable(value) || ([] as unknown[]).concat(wanted).includes(value);
  });
}

/** Whether a value is what holds without it. */
export function isDefault(field: FieldSchema | undefined, value: unknown): boolean {
  if (value === null || value === undefined) return true;
  if (field && 'x-default' in field) return canonical(value) === canonical(field['x-default']);
  return canonical(value) === '[]' || canonical(value) === '{}' || value === '';
}

/** JSON in which neither the order of names nor what is null counts. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(
          Object.entries(inner)
            .filter(([, member]) => member !== null && member !== undefined)
            .sort(([a], [b]) => (a < b ? -1 : 1)),
        )
      : inner,
  );
}

/** Tells which fields the type's rules ask for with what the form holds. */
export function conditionallyRequired(published: JsonSchema): (body: Body) => Set<string> {
  const rules = ((published['allOf'] ?? []) as { if: object; then: { required?: string[] } }[]).map(
    (rule) => ({ validator: new Validator(rule.if, '2020-12'), required: rule.then.required ?? [] }),
  );
  return (body) => {
    const given = withoutUnset(body);
    return new Set(
      rules.flatMap(({ validator, required }) => (validator.validate(given).valid ? required : [])),
    );
  };
}

/** The body of a new connection: what lists must have is begun. */
export function newBody(type: string, schema: FieldSchema): Body {
  const lists = Object.entries(schema.properties ?? {}).filter(
    ([name, field]) => field.items?.type === 'object' && schema.required?.includes(name),
  );
  return { type, name: '', ...Object.fromEntries(lists.map(([name]) => [name, [{}]])) };
}

/** A body as it is sent: without what is not set. */
export function withoutUnset(body: Body): Body {
  return Object.fromEntries(
    Object.entries(body).filter(
      ([name, value]) => value !== null && value !== undefined && !(name === 'name' && value === ''),
    ),
  );
}
