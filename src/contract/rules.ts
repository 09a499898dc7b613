import type { ConnectionType, Rule } from './connection-type.ts';
import { allFields, type JsonSchema } from './definition-schema.ts';
import { hasVariable } from './reference-syntax.ts';

type Values = Rule['when'][string];

/** Faults of a configuration, defaults applied, against its type's rules; what hangs on a variable is not judged. */
export function ruleFaults(
  definition: ConnectionType,
  config: Record<string, unknown>,
): { field: string; message: string }[] {
  const faults: { field: string; message: string }[] = [];
  for (const rule of definition.rules ?? []) {
    if (!Object.entries(rule.when).every(([name, values]) => oneOf(values).includes(config[name] as never)))
      continue;
    for (const wanted of rule.require ?? []) {
      const names = typeof wanted === 'string' ? [wanted] : wanted;
      if (names.some((name) => isSet(config[name]))) continue;
      const what = names.length === 1 ? 'is required' : `one of ${names.join(', ')} is required`;
      faults.push({ field: names[0]!, message: rule.message ?? `${what}${ruleCondition(rule)}` });
    }
    for (const [name, values] of Object.entries(rule.demand ?? {})) {
      const value = config[name];
      if (hasVariable(value) || oneOf(values).includes(value as never)) continue;
      faults.push({
        field: name,
        message: rule.message ?? `must be ${alternatives(values)}${ruleCondition(rule)}`,
      });
    }
  }
  return faults;
}

/** A rule's condition in words: ` when auth is true`; empty for a rule that always applies. */
export function ruleCondition(rule: Rule): string {
  const conditions = Object.entries(rule.when).map(([name, values]) => `${name} is ${alternatives(values)}`);
  return conditions.length === 0 ? '' : ` when ${conditions.join(' and ')}`;
}

/** A rule as JSON Schema: `if` over the listed fields, a left-out field counting as its default. */
export function ruleSchema(definition: ConnectionType, rule: Rule): JsonSchema {
  const fields = allFields(definition);
  const condition: Record<string, JsonSchema> = {};
  const present: string[] = [];
  for (const [name, values] of Object.entries(rule.when)) {
    const isDefault = oneOf(values).includes(fields[name]?.default as never);
    condition[name] = isDefault ? { enum: [...oneOf(values), null] } : exactly(values);
    if (!isDefault) present.push(name);
  }
  const required: string[] = [];
  const alternativesOf: JsonSchema[] = [];
  for (const wanted of rule.require ?? []) {
    if (typeof wanted === 'string') required.push(wanted);
    else alternativesOf.push({ anyOf: wanted.map((name) => ({ required: [name] })) });
  }
  const demanded: Record<string, JsonSchema> = {};
  for (const [name, values] of Object.entries(rule.demand ?? {})) {
    const isDefault = oneOf(values).includes(fields[name]?.default as never);
    demanded[name] = isDefault ? { enum: [...oneOf(values), null] } : exactly(values);
    if (!isDefault) required.push(name);
  }
  return {
    if: { properties: condition, ...(present.length > 0 ? { required: present } : {}) },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: {
      ...(required.length > 0 ? { required } : {}),
      ...(Object.keys(demanded).length > 0 ? { properties: demanded } : {}),
      ...(alternativesOf.length > 0 ? { allOf: alternativesOf } : {}),
    },
  };
}

function exactly(values: Values): JsonSchema {
  const list = oneOf(values);
  return list.length === 1 ? { const: list[0] } : { enum: [...list] };
}

function oneOf(values: Values): readonly unknown[] {
  return (Array.isArray(values) ? values : [values]) as readonly unknown[];
}

function alternatives(values: Values): string {
  return oneOf(values).map(String).join(' or ');
}

function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === '') return false;
  if (Array.isArray(value)) return value.length > 0;
  return typeof value !== 'object' || Object.keys(value).length > 0;
}
