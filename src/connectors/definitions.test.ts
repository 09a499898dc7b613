import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { ConnectionType, Rule } from '../contract/connection-type.ts';
import { allFields, isRequired, type JsonSchema } from '../contract/definition-schema.ts';
import { movedFields } from '../contract/destination-binding.ts';
import { type FieldPath, formatFieldPath } from '../contract/field-path.ts';
import { connectionBodySchema, describeType, publishedSchema } from '../contract/json-schema.ts';
import { joinSecrets, secretFields, secretValues, splitSecrets } from '../contract/masking.ts';
import { completeConfig, createCompiler, parseConnection } from '../contract/validation.ts';
import { arbitraryBody, arbitraryBreaks, broke } from './arbitrary-body.ts';
import { definitions } from './definitions.ts';
import { bodyWith, fullBody, minimalBody, repaired, sampleValue } from './sample-body.ts';

type Body = Record<string, unknown>;

/** Names that sound like a secret and are none, with the reason. */
const notSecret: Readonly<Record<string, string>> = {
  'ftp.hostKeyFingerprint': 'fingerprint of a public key',
  'linux-script.hostKeyFingerprint': 'fingerprint of a public key',
  'rabbitMq.channelRoutingKey': 'address of messages within the broker',
};

const soundsSecret = /pass|secret|token|key|credential|community|jaas|private|auth(?!entic|or)/i;
/** Names of stored objects, switches and choices are no secrets however they sound. */
const soundsHarmless = /^(keyStoreName|keyStoreId|trustStoreName)$|ContentType$|FileName$/;

const ids = Object.keys(definitions) as (keyof typeof definitions)[];
const all: ConnectionType[] = ids.map((id) => definitions[id] as unknown as ConnectionType);

function accept(definition: ConnectionType, body: unknown, options?: Parameters<typeof parseConnection>[2]) {
  const result = parseConnection(definition, body, options);
  assert.ok(result.ok, result.ok ? '' : `refused: ${JSON.stringify(result.faults)}`);
  return result;
}

function faultsOf(definition: ConnectionType, body: unknown): Map<string, string> {
  const result = parseConnection(definition, body);
  assert.ok(!result.ok, `taken, but should not be: ${JSON.stringify(body)}`);
  const faults = new Map(result.faults.map(({ field, message }) => [field, message]));
  assert.equal(faults.size, result.faults.length, 'one fault for each field');
  return faults;
}

test('no field is judged by what stands beside it, so that one pass fills in the defaults and judges', () => {
  const words = ['if', 'not', 'allOf', 'anyOf', 'oneOf', 'contains', 'dependentRequired', 'dependentSchemas'];
  const conditions = ({ items, properties = {}, additionalProperties, ...schema }: JsonSchema): string[] => [
    ...words.filter((word) => schema[word] !== undefined),
    ...[...Object.values(properties), items, additionalProperties].flatMap((inner) =>
      inner ? conditions(inner) : [],
    ),
  ];
  for (const definition of all)
    for (const [name, field] of Object.entries(allFields(definition)))
      assert.deepEqual(conditions(field), [], `${definition.type}.${name}`);
});

test('all fifteen types are there, each under its own name', () => {
  assert.deepEqual(
    ids.toSorted(),
    [
      'activeMq',
      'database',
      'elasticsearch',
      'email',
      'ftp',
      'graylog',
      'kafka',
      'ldap',
      'linux-script',
      'logback',
      'ops-genie',
      'rabbitMq',
      'snmp',
      'syslog',
      'webhook',
    ].toSorted(),
  );
  for (const id of ids) assert.equal(definitions[id].type, id);
  assert.equal((connectionBodySchema(all)['oneOf'] as unknown[]).length, ids.length);
});

test('every exemption of a name that sounds like a secret is needed', () => {
  const sounding = all.flatMap((definition) =>
    soundingSecret(allFields(definition)).map((path) => `${definition.type}.${path}`),
  );
  assert.deepEqual(Object.keys(notSecret).toSorted(), sounding.toSorted());
});

for (const definition of all) {
  const fields = allFields(definition);
  const names = Object.keys(fields);

  describe(definition.type, () => {
    test('a minimal body is taken and every default applied', () => {
      const body = minimalBody(definition);
      const { config } = accept(definition, body);
      for (const name of names) {
        if (name in body) continue;
        if ('default' in fields[name]!) assert.deepEqual(config[name], fields[name]!.default, name);
      }
      const complete = completeConfig(definition, config);
      assert.deepEqual(Object.keys(complete), ['type', 'name', ...names]);
      for (const name of names)
        if (config[name] === undefined) assert.equal(complete[name], null, `${name} is null when unset`);
    });

    test('a worker would make of an accepted body what the control plane has made of it', () => {
      const bodies = names.flatMap((name) =>
        [false, true].map((other) => bodyWith(definition, { [name]: sampleValue(definition, name, other) })),
      );
      for (const body of [minimalBody(definition), fullBody(definition), ...bodies]) {
        const { config: kept, accepted } = accept(definition, body);
        const complete = completeConfig(definition, kept);
        const stored = JSON.parse(JSON.stringify(complete)) as Body;
        assert.deepEqual(stored, complete);
        if (JSON.stringify(complete).includes('${')) continue;
        const { config, warnings, ...rest } = accept(definition, stored, { resolved: true });
        assert.deepEqual({ ...accepted }, { config, warnings });
        assert.equal(rest.accepted, undefined);
        assert.equal(JSON.stringify({ accepted }), '{}');
      }
    });

    test('a full body is taken, and so is every field on its own', () => {
      accept(definition, fullBody(definition));
      for (const name of names) {
        for (const other of [false, true]) {
          const value = sampleValue(definition, name, other);
          const { config } = accept(definition, bodyWith(definition, { [name]: value }));
          assert.partialDeepStrictEqual(config[name], value, name);
        }
      }
    });

    test('null stands for every field that need not be set, and for its default', () => {
      const body = minimalBody(definition);
      const nulls = Object.fromEntries(names.map((name) => [name, null]));
      assert.deepEqual(accept(definition, { ...nulls, ...body }).config, accept(definition, body).config);
    });

    test('each required field that is missing is a fault of that field', () => {
      for (const name of names.filter((candidate) => isRequired(fields[candidate]!))) {
        const { [name]: _, ...rest } = minimalBody(definition);
        for (const body of [rest, { ...rest, [name]: null }])
          assert.equal(faultsOf(definition, body).get(name), 'is required');
      }
      for (const name of ['type', 'name']) {
        const { [name]: _, ...rest } = minimalBody(definition);
        assert.equal(faultsOf(definition, rest).get(name), 'is required');
      }
    });

    test('all faults of a body come together', () => {
      const faults = faultsOf(definition, {
        ...minimalBody(definition),
        enabled: 'yes',
        environments: {},
        zzz: 1,
      });
      for (const name of ['enabled', 'environments', 'zzz']) assert.ok(faults.has(name), name);
    });

    test('every enum, bound, length, pattern, format and type that is violated is a fault of that field', () => {
      let checked = 0;
      for (const name of names) {
        for (const other of [false, true]) {
          const body = bodyWith(definition, { [name]: sampleValue(definition, name, other) });
          for (const { path, schema } of leaves(fields[name]!, [name], body[name])) {
            for (const wrong of wrongValues(schema)) {
              const faults = faultsOf(definition, withValue(body, path, wrong));
              const field = formatFieldPath(path);
              assert.ok(
                faults.has(field),
                `${field} = ${shown(wrong)} should be a fault of it, not of ${[...faults.keys()].join(', ')}`,
              );
              checked++;
            }
          }
        }
      }
      assert.ok(checked > names.length);
    });

    for (const rule of definition.rules ?? [])
      test(`the rule when ${JSON.stringify(rule.when)}, both ways`, () => checkRule(definition, rule));

    test('the published schema takes what is taken, as it is read back', () => {
      const validate = createCompiler().compile(structuredClone(publishedSchema(definition)));
      for (const body of [minimalBody(definition), fullBody(definition)]) {
        const complete = completeConfig(definition, accept(definition, body).config);
        assert.ok(validate(structuredClone(body)), JSON.stringify(validate.errors));
        assert.ok(validate(structuredClone(complete)), JSON.stringify(validate.errors));
        const { masked } = splitSecrets(definition, complete);
        assert.ok(validate(masked), JSON.stringify(validate.errors));
        assert.ok(!validate({ ...body, zzz: 1 }), 'an unknown field');
      }
      const described = describeType(definition);
      assert.deepEqual(described, JSON.parse(JSON.stringify(described)));
      assert.deepEqual(Object.keys(described['operations'] as object), Object.keys(definition.operations));
    });

    test('a stream of items names lists of the input and the output', () => {
      for (const { stream, input, output } of Object.values(definition.operations)) {
        if (!stream) continue;
        const properties = (schema: unknown) =>
          (schema as { properties: Record<string, { type: string }> }).properties;
        assert.equal(properties(input)[stream.items]?.type, 'array');
        if (stream.results !== undefined) assert.equal(properties(output)[stream.results]?.type, 'array');
      }
    });

    test('the operations have schemas that compile', () => {
      const ajv = createCompiler();
      assert.ok(Object.keys(definition.operations).length > 0);
      for (const operation of Object.values(definition.operations)) {
        ajv.compile(JSON.parse(JSON.stringify(operation.input)));
        ajv.compile(JSON.parse(JSON.stringify(operation.output)));
        assert.equal((operation.input as JsonSchema).additionalProperties, false, operation.title);
      }
    });

    test('masking hides every secret, and its inverse restores all of it', () => {
      for (const body of [minimalBody(definition), fullBody(definition)]) {
        const complete = completeConfig(definition, accept(definition, body).config);
        const { masked, secrets } = splitSecrets(definition, complete);
        assert.deepEqual(joinSecrets(masked, secrets), complete);
        assert.deepEqual(Object.keys(joinSecrets(masked, secrets)), Object.keys(complete));
        const text = JSON.stringify(masked);
        for (const secret of secretValues(definition, complete))
          assert.ok(!text.includes(secret), 'a secret is left in the masked form');
        for (const name of names)
          if (fields[name]!['x-secret'] === 'value') assert.equal(masked[name], null, name);
      }
    });

    test('what Get returns, with secrets or with masks, changes nothing as an Update', () => {
      for (const body of [minimalBody(definition), fullBody(definition)]) {
        const { config } = accept(definition, body);
        const complete = completeConfig(definition, config);
        assert.deepEqual(accept(definition, complete).config, config);
        const { masked } = splitSecrets(definition, complete);
        const updated = accept(definition, masked, { stored: config });
        assert.deepEqual(updated.config, config);
        assert.deepEqual(updated.kept.toSorted(), secretFields(definition, config).toSorted());
        assert.deepEqual(movedFields(definition, config, updated.config), []);
      }
    });

    test('an empty string clears a secret that need not be there', () => {
      const full = accept(definition, fullBody(definition)).config;
      for (const name of names) {
        if (fields[name]!['x-secret'] !== 'value' || isRequired(fields[name]!)) continue;
        const result = parseConnection(definition, { ...full, [name]: '' }, { stored: full });
        if (result.ok) assert.equal(result.config[name], undefined);
        else assert.match(result.faults.find(({ field }) => field === name)?.message ?? '', /required/, name);
      }
    });

    test('a mask is refused as a secret', () => {
      for (const name of names) {
        if (fields[name]!['x-secret'] !== 'value') continue;
        for (const mask of ['***', '*', '••••••••'])
          assert.match(
            faultsOf(definition, {
              ...bodyWith(definition, { [name]: sampleValue(definition, name) }),
              [name]: mask,
            }).get(name) ?? '',
            /mask/,
          );
      }
    });

    test('kept secrets are bound: every address that changes is named', () => {
      const full = accept(definition, bodyWithSecrets(definition)).config;
      let checked = 0;
      for (const name of names) {
        const destination = fields[name]!['x-destination'];
        if (destination === undefined && !definition.destinations?.[name]) continue;
        if (typeof destination === 'object' && 'weakestFirst' in (destination as object)) {
          const { weakestFirst } = destination as { weakestFirst: unknown[] };
          const strong = { ...full, [name]: weakestFirst.at(-1) };
          const weak = { ...full, [name]: weakestFirst[0] };
          assert.deepEqual(movedFields(definition, strong, weak), [name]);
          assert.deepEqual(movedFields(definition, weak, strong), [], `raising ${name} is no move`);
        } else {
          const before = { ...full, [name]: sampleValue(definition, name) };
          const after = { ...full, [name]: sampleValue(definition, name, true) };
          assert.deepEqual(movedFields(definition, before, after), [name]);
        }
        checked++;
      }
      if (names.some((name) => fields[name]!['x-secret'] !== undefined))
        assert.ok(checked > 0, 'a type with secrets has a destination');
    });

    test('every host, address and URL that secrets are sent to counts as a destination', () => {
      if (!names.some((name) => fields[name]!['x-secret'] !== undefined)) return;
      for (const name of names) {
        const format = fields[name]!['format'];
        if (format !== 'host' && format !== 'http-url' && !/^(port|.*Port|proxyUrl|apiUrl)$/.test(name))
          continue;
        if (/^(syslogMessageHostname|logPodName)$/.test(name)) continue;
        assert.ok(
          fields[name]!['x-destination'] !== undefined || definition.destinations?.[name],
          `${name} has no destination mark`,
        );
      }
    });

    test('legacy names are taken, and said', () => {
      const body = minimalBody(definition);
      const ignored = ['_class', 'id', 'projectId', ...(definition.ignored ?? [])];
      const { warnings, config } = accept(definition, {
        ...body,
        ...Object.fromEntries(ignored.map((name) => [name, 'x'])),
      });
      for (const name of ignored) {
        assert.ok(
          warnings.some((warning) => warning.startsWith(`${name}:`)),
          name,
        );
        assert.ok(!(name in config), name);
      }
      for (const [alias, name] of Object.entries(definition.aliases ?? {})) {
        const value = sampleValue(definition, name);
        const { [name]: _, ...rest } = bodyWith(definition, { [name]: value });
        assert.deepEqual(accept(definition, { ...rest, [alias]: value }).config[name], value, alias);
        const other = sampleValue(definition, name, true);
        assert.ok(faultsOf(definition, { ...rest, [name]: other, [alias]: value }).has(alias), alias);
      }
    });

    test('an unknown field is refused by name, with the nearest known one', () => {
      for (const name of names.filter((candidate) => candidate.length > 4)) {
        const swapped = name.slice(0, -2) + name.at(-1) + name.at(-2);
        if (swapped === name || names.includes(swapped)) continue;
        const faults = faultsOf(definition, { ...minimalBody(definition), [swapped]: 1 });
        assert.equal(faults.get(swapped), `is not known; did you mean \`${name}\`?`);
      }
    });

    test('whatever sounds like a secret is one, or exempted by name', () => {
      for (const path of soundingSecret(fields))
        assert.ok(
          `${definition.type}.${path}` in notSecret,
          `${path} sounds like a secret; mark it, or exempt it with a reason`,
        );
    });

    test('control characters are refused in every string, and line breaks where there is one line', () => {
      for (const name of names) {
        const body = bodyWith(definition, { [name]: sampleValue(definition, name) });
        for (const { path, schema } of leaves(fields[name]!, [name], body[name])) {
          if (schema.type !== 'string' || schema.enum) continue;
          const value = String(valueAt(body, path));
          const multiline = schema['x-multiline'] === true;
          for (const bad of ['\0', '\u0007', ...(multiline ? [] : ['\r\nX: y', '\n', '\t'])])
            assert.ok(
              faultsOf(definition, withValue(body, path, value + bad)).has(formatFieldPath(path)),
              `${formatFieldPath(path)} with ${JSON.stringify(bad)}`,
            );
        }
      }
    });

    test('any valid body survives parse, split, join, complete and parse', () => {
      const published = createCompiler().compile(structuredClone(publishedSchema(definition)));
      fc.assert(
        fc.property(arbitraryBody(definition), (body) => {
          const { config } = accept(definition, body);
          const complete = completeConfig(definition, config);
          const { masked, secrets } = splitSecrets(definition, complete);
          const read = joinSecrets(JSON.parse(JSON.stringify(masked)), secrets);
          assert.deepEqual(read, complete);
          assert.deepEqual(accept(definition, read).config, config);
          assert.deepEqual(accept(definition, masked, { stored: config }).config, config);
          assert.ok(published(structuredClone(complete)), JSON.stringify(published.errors));
        }),
        { numRuns: 40, seed: 20260, endOnFailure: true },
      );
    });

    test('no body, however broken, makes it throw, and every fault is of a field of body or schema', () => {
      fc.assert(
        fc.property(arbitraryBody(definition), arbitraryBreaks, (body, breaks) => {
          const broken = breaks.reduce((current, change) => broke(current, change), body);
          const result = parseConnection(definition, broken);
          if (result.ok) return;
          assert.ok(result.faults.length > 0);
          const roots = new Set(['', 'type', 'name', '__proto__', ...names, ...Object.keys(broken)]);
          for (const { field, message } of result.faults) {
            const root = [...roots].find(
              (name) => field === name || field.startsWith(`${name}.`) || field.startsWith(`${name}[`),
            );
            assert.ok(root !== undefined, `${field} is a field of neither body nor schema`);
            assert.ok(message.length > 0);
          }
        }),
        { numRuns: 60, seed: 20261, endOnFailure: true },
      );
      for (const body of [null, undefined, 'text', 1, [], [1], true, () => 1])
        assert.ok(!parseConnection(definition, body).ok);
    });
  });
}

/** Paths of unmarked texts whose names sound like a secret, those within nested objects included. */
function soundingSecret(fields: Readonly<Record<string, JsonSchema>>): string[] {
  return Object.entries(fields).flatMap(([name, field]) => {
    if (field['x-secret'] !== undefined) return [];
    const nested = field.properties ?? field.items?.properties;
    if (nested) return soundingSecret(nested).map((path) => `${name}.${path}`);
    const isText = field.type === 'string' && !field.enum;
    return isText && soundsSecret.test(name) && !soundsHarmless.test(name) ? [name] : [];
  });
}

// ---- rules ----

function checkRule(definition: ConnectionType, rule: Rule): void {
  const held = Object.fromEntries(
    Object.entries(rule.when).map(([name, values]) => [name, Array.isArray(values) ? values[0] : values]),
  );
  const body = bodyWith(definition, held);
  const published = createCompiler().compile(structuredClone(publishedSchema(definition)));
  const violations: [string, Body][] = [];
  for (const wanted of rule.require ?? []) {
    const names = typeof wanted === 'string' ? [wanted] : [...wanted];
    const without = { ...body };
    for (const name of names) delete without[name];
    // What `normalise` fills in by itself cannot be left out in this way.
    if (rule.afterNormalise)
      for (const name of Object.keys(body)) if (/Url$/.test(name)) delete without[name];
    violations.push([names[0]!, without]);
  }
  for (const [name, values] of Object.entries(rule.demand ?? {})) {
    const allowed: readonly unknown[] = Array.isArray(values) ? values : [values];
    const schema = allFields(definition)[name]!;
    const others = (schema.enum ?? [true, false]).filter((value) => !allowed.includes(value));
    assert.ok(others.length > 0, `${name} can violate the rule`);
    violations.push([name, { ...body, [name]: others[0] }]);
  }
  assert.ok(violations.length > 0);
  for (const [field, violating] of violations) {
    assert.ok(faultsOf(definition, violating).has(field), `${field}: ${JSON.stringify(violating)}`);
    if (!rule.afterNormalise)
      assert.ok(!published(structuredClone(violating)), `the published schema sees it too: ${field}`);
  }
  if (Object.keys(rule.when).length === 0) return;
  // With the condition not holding, its own message is not said.
  const [name, values] = Object.entries(rule.when)[0]!;
  const holding: readonly unknown[] = Array.isArray(values) ? values : [values];
  const schema = allFields(definition)[name]!;
  const free = (schema.enum ?? [true, false]).filter((value) => !holding.includes(value));
  const condition = `when ${name} is ${holding.map(String).join(' or ')}`;
  for (const value of free) {
    for (const [field, violating] of violations) {
      if (field === name) continue;
      const result = parseConnection(definition, { ...violating, [name]: value });
      const message = result.ok ? undefined : result.faults.find((fault) => fault.field === field)?.message;
      assert.ok(
        !message?.includes(condition),
        `${field} is still required with ${name} ${value}: ${message}`,
      );
    }
  }
}

/** A body in which as many secrets as possible are set. */
function bodyWithSecrets(definition: ConnectionType): Body {
  const fields = allFields(definition);
  let body = minimalBody(definition);
  for (const name of Object.keys(fields)) {
    if (fields[name]!['x-secret'] === undefined) continue;
    body = repaired(definition, { ...body, [name]: sampleValue(definition, name) }, new Set());
  }
  return body;
}

// ---- walking values ----

function leaves(
  schema: JsonSchema,
  path: FieldPath,
  value: unknown,
): { path: FieldPath; schema: JsonSchema }[] {
  const own = [{ path, schema }];
  if (Array.isArray(value) && schema.items && value.length > 0)
    return [...own, ...leaves(schema.items, [...path, 0], value[0])];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return own;
  return [
    ...own,
    ...Object.entries(value).flatMap(([name, inner]) => {
      const member = schema.properties?.[name] ?? (schema.additionalProperties || undefined);
      return member ? leaves(member, [...path, name], inner) : [];
    }),
  ];
}

function wrongValues(schema: JsonSchema): unknown[] {
  const number = (keyword: string) => schema[keyword] as number | undefined;
  switch (schema.type) {
    case 'integer': {
      const minimum = number('minimum');
      const maximum = number('maximum');
      return [
        1.5,
        '17',
        true,
        [],
        {},
        ...(minimum === undefined ? [] : [minimum - 1]),
        ...(maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? [] : [maximum + 1]),
      ];
    }
    case 'boolean':
      return ['true', 1, 0, [], {}];
    case 'array': {
      const [minimum, maximum] = [number('minItems'), number('maxItems')];
      return [
        'text',
        17,
        {},
        ...(minimum ? [[]] : []),
        ...(maximum === undefined ? [] : [Array.from({ length: maximum + 1 }, () => 'x')]),
      ];
    }
    case 'object': {
      const maximum = number('maxProperties');
      return [
        'text',
        17,
        [],
        ...(maximum === undefined
          ? []
          : [Object.fromEntries(Array.from({ length: maximum + 1 }, (_, index) => [`n${index}`, 'x']))]),
      ];
    }
    default: {
      const [minimum, maximum] = [number('minLength'), number('maxLength')];
      return [
        17,
        true,
        [],
        {},
        ...(schema.enum ? ['NOT_ONE_OF_THEM', `${schema.enum[0]}_`] : []),
        ...(minimum && schema['x-secret'] !== 'value' ? [''] : []),
        ...(minimum && minimum > 1 ? ['x'.repeat(minimum - 1)] : []),
        ...(maximum === undefined ? [] : ['x'.repeat(maximum + 1)]),
        ...outOfForm(schema),
      ];
    }
  }
}

function outOfForm(schema: JsonSchema): string[] {
  if (schema['format'] !== undefined) return ['\u2603 not of the form'];
  if (schema['pattern'] === undefined) return [];
  const pattern = new RegExp(String(schema['pattern']), 'u');
  const wrong = ['\u2603 not of the form', '/', 'a:b', '..', '#', ' '].filter((text) => !pattern.test(text));
  assert.ok(wrong.length > 0, `what would not match ${pattern}?`);
  return wrong;
}

function withValue(body: Body, path: FieldPath, value: unknown): Body {
  const copy = structuredClone(body);
  let holder: Record<string | number, unknown> = copy;
  for (const step of path.slice(0, -1)) holder = holder[step] as Record<string | number, unknown>;
  holder[path.at(-1)!] = value;
  return copy;
}

function valueAt(body: Body, path: FieldPath): unknown {
  return path.reduce<unknown>((holder, step) => (holder as Record<string | number, unknown>)[step], body);
}

function shown(value: unknown): string {
  return JSON.stringify(value).slice(0, 60);
}
