import type { ConnectionType, OperationSchema, Rule } from './connection-type.ts';
import { allFields, isRequired, type JsonSchema } from './definition-schema.ts';
import { NDJSON } from './ndjson.ts';
import { ruleCondition } from './rules.ts';

const generated = '<!-- Written by `npm run docs` from the source; edit the definition, not this page. -->';

/** The reference page of a connection type, in Markdown. */
export function referencePage(definition: ConnectionType): string {
  const fields = Object.entries(allFields(definition));
  const own = fields.filter(([name]) => Object.hasOwn(definition.fields, name));
  const common = fields.filter(([name]) => !Object.hasOwn(definition.fields, name));
  const rules = (definition.rules ?? []).map((rule) => `- ${ruleText(rule)}`);
  const aliases = Object.entries(definition.aliases ?? {}).map(
    ([alias, name]) => `\`${alias}\` for \`${name}\``,
  );
  const legacy = [
    ...(aliases.length > 0 ? [`Older names are taken: ${aliases.join(', ')}.`] : []),
    ...(definition.ignored?.length
      ? [`Ignored, with a warning: ${definition.ignored.map((name) => `\`${name}\``).join(', ')}.`]
      : []),
  ];
  return `${[
    generated,
    `# ${definition.title}`,
    `\`type\`: \`${definition.type}\``,
    definition.summary,
    '## Fields',
    fieldTable(own, definition),
    ...nestedTables(own, definition),
    ...(rules.length > 0 ? ['### Rules', rules.join('\n')] : []),
    '### Fields of every type',
    fieldTable(common, definition),
    ...nestedTables(common, definition),
    ...(legacy.length > 0 ? ['### Legacy names', legacy.join('\n\n')] : []),
    '## Operations',
    ...Object.entries(definition.operations).map(([name, operation]) => operationText(name, operation)),
    ...(definition.notes?.length
      ? ['## Notes', definition.notes.map((note) => `- ${escapeText(note)}`).join('\n')]
      : []),
  ].join('\n\n')}\n`;
}

interface PublishedError {
  readonly status: number;
  readonly error?: string;
  readonly retryable: boolean;
  readonly message: string;
}

/** The reference page of all errors, in Markdown. */
export function errorsPage(errors: Readonly<Record<string, PublishedError>>): string {
  const rows = Object.entries(errors).map(
    ([code, { status, error, retryable, message }]) =>
      `| \`${code}\` | ${status} | \`${error ?? code}\` | ${retryable ? 'yes' : 'no'} | ${cell(message)} |`,
  );
  return `${[
    generated,
    '# Errors',
    'An error answers `{"error": …, "error_description": …}`. A code that differs from `error` is a finer reason of it and stands in `reason`. Retryable: the same request can succeed later without a change.',
    ['| code | status | `error` | retryable | message |', '|---|---|---|---|---|', ...rows].join('\n'),
  ].join('\n\n')}\n`;
}

type Named = readonly [name: string, field: JsonSchema];

function fieldTable(
  fields: readonly Named[],
  definition?: ConnectionType,
  required?: readonly string[],
): string {
  const rows = fields.map(([name, field]) => {
    const isNeeded = required ? required.includes(name) : isRequired(field as never);
    const needed = isNeeded ? 'yes' : requiredWhen(name, definition);
    return `| \`${name}\` | ${typeText(field)} | ${needed} | ${defaultText(field)} | ${boundsText(field)} | ${secretText(field)} | ${cell(String(field['description'] ?? ''))} |`;
  });
  return [
    '| field | type | required | default | bounds | secret | |',
    '|---|---|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}

/** Tables of the members of nested objects, under the path of each. */
function nestedTables(fields: readonly Named[], definition: ConnectionType): string[] {
  return fields.flatMap(([name, field]) => {
    const [path, inner] = nestedObject(name, field);
    if (!inner?.properties) return [];
    const members = Object.entries(inner.properties);
    return [
      `\`${path}\`:`,
      fieldTable(members, undefined, inner.required ?? []),
      ...nestedTables(members, definition),
    ];
  });
}

function nestedObject(name: string, field: JsonSchema): [string, JsonSchema | undefined] {
  if (field.properties) return [name, field];
  if (field.items) return nestedObject(`${name}[]`, field.items);
  if (field.additionalProperties) return nestedObject(`${name}[NAME]`, field.additionalProperties);
  return [name, undefined];
}

function requiredWhen(name: string, definition: ConnectionType | undefined): string {
  const conditions = (definition?.rules ?? []).flatMap((rule) =>
    (rule.require ?? []).flatMap((wanted) => {
      if (wanted === name) return [ruleCondition(rule).trim() || 'or told from others'];
      if (typeof wanted === 'string' || !wanted.includes(name)) return [];
      const others = wanted.filter((other) => other !== name);
      return [`unless ${others.map((other) => `\`${other}\``).join(', ')}${ruleCondition(rule)}`];
    }),
  );
  return cell(conditions.join('; ')) || 'no';
}

function ruleText(rule: Rule): string {
  const condition = ruleCondition(rule);
  const parts = [
    ...(rule.require ?? []).map((wanted) =>
      typeof wanted === 'string'
        ? `\`${wanted}\` is required${condition}`
        : `one of ${wanted.map((name) => `\`${name}\``).join(', ')} is required${condition}`,
    ),
    ...Object.entries(rule.demand ?? {}).map(
      ([name, values]) => `\`${name}\` must be ${[values].flat().join(' or ')}${condition}`,
    ),
  ];
  return escapeText(`${parts.join('; ')}${rule.message ? ` (${rule.message})` : ''}.`);
}

function typeText(field: JsonSchema): string {
  if (field.enum) return cell(field.enum.map((value) => `\`${String(value)}\``).join(' '));
  if (field.items) return `list of ${typeText(field.items)}`;
  if (field.additionalProperties) return `map to ${typeText(field.additionalProperties)}`;
  const format = field['format'];
  return `${String(field.type)}${format ? ` (${String(format)})` : ''}`;
}

function defaultText(field: JsonSchema): string {
  return 'default' in field ? cell(`\`${JSON.stringify(field.default)}\``) : '';
}

function boundsText(field: JsonSchema): string {
  const number = (keyword: string) => field[keyword] as number | undefined;
  const unit = field['x-unit'] ? ` ${String(field['x-unit'])}` : '';
  const maximum = number('maximum');
  const top = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER ? maximum : undefined;
  const range = (bottom: number | undefined, upper: number | undefined, what: string) => {
    if (upper === undefined) return bottom === undefined ? [] : [`at least ${bottom}${what}`];
    return [bottom === undefined ? `at most ${upper}${what}` : `${bottom}–${upper}${what}`];
  };
  const bounds = [
    ...range(number('minimum'), top, unit),
    ...range(number('minLength'), number('maxLength'), ' characters'),
    ...range(number('minItems'), number('maxItems'), ' items'),
    ...range(undefined, number('maxProperties'), ' names'),
  ];
  if (bounds.length === 0 && unit) bounds.push(unit.trim());
  return cell(bounds.join(', '));
}

function secretText(field: JsonSchema): string {
  switch (field['x-secret']) {
    case 'value':
      return 'yes';
    case 'url':
      return 'credentials in it';
    case 'header-values':
    case 'property-values':
      return 'values of credentials';
    default:
      return '';
  }
}

function operationText(name: string, operation: OperationSchema): string {
  const schema = (value: unknown) => `\`\`\`json\n${JSON.stringify(value, null, 2)}\n\`\`\``;
  return [
    `### \`${name}\``,
    `${escapeText(operation.title)}. ${escapeText(operation.description)}`,
    ...(operation.stream
      ? [
          `Takes a stream: \`Content-Type: ${NDJSON}\`, one item of \`${operation.stream.items}\` a line, of any length in all. With \`Accept: ${NDJSON}\` ${operation.stream.results === undefined ? 'what became of each line' : `an entry of \`${operation.stream.results}\` for each line`} is answered as it goes. The fields beside them go into the query parameter \`input\`, as JSON.`,
        ]
      : []),
    'Input:',
    schema(operation.input),
    'Result:',
    schema(operation.output),
  ].join('\n\n');
}

function cell(text: string): string {
  return escapeText(text)
    .replaceAll('|', '\\|')
    .replaceAll(/\s*\n\s*/g, ' ');
}

/** Keeps `<` and `*` of plain text from being taken for markup; what stands in backticks stays. */
function escapeText(text: string): string {
  return text
    .split(/(`[^`]*`)/)
    .map((part, index) => (index % 2 === 1 ? part : part.replaceAll(/[<*]/g, '\\$&')))
    .join('');
}
