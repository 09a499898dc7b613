import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import { AcceptedForm } from './accepted-form.ts';
import type { ConnectionConfig, ConnectionType, IdleRemarks } from './connection-type.ts';
import { credentialParts } from './credential-url.ts';
import { allFields, configSchema, innerSchema, type JsonSchema } from './definition-schema.ts';
import { expectation, unknownField } from './fault-words.ts';
import { type FieldPath, formatFieldPath, parsePointer } from './field-path.ts';
import { formats } from './formats.ts';
import { isMask, keepSecrets, URL_MASK } from './masking.ts';
import { hasVariable, isReference, parseSecretReference, variablesIn } from './reference-syntax.ts';
import { ruleFaults } from './rules.ts';
import { secretPlaces } from './secret-places.ts';

export interface FieldFault {
  /** Path such as `elasticHostList[0].port`; empty for the body as a whole. */
  field: string;
  message: string;
}

export interface ParseOptions {
  /** Variables have been put in: numbers and switches must be such. Default false, the stored form. */
  resolved?: boolean;
  /** Default true. */
  nameRequired?: boolean;
  /** The full stored configuration whose secrets a body that leaves them out keeps. */
  stored?: Record<string, unknown>;
}

export type ParseResult =
  | {
      ok: true;
      /** Defaults applied, unset fields absent, fields in the definition's order. */
      config: Record<string, unknown> & { type: string; name: string };
      warnings: string[];
      /** Fields whose secret came from `stored`. */
      kept: string[];
      /** Of the stored form alone. */
      accepted?: AcceptedForm;
    }
  | { ok: false; faults: FieldFault[] };

const MAX_DEPTH = 16;
const MAX_FAULTS = 1000;
const MAX_HINTS = 50;

const legacyNames = ['_class', 'id', 'projectId', 'keyStoreId', 'trustStoreId'];

/**
 * Reads a connection's body against its type: every fault together, one for each field, or the
 * configuration to store. Never throws, whatever the body is, and does not change it.
 */
export function parseConnection(
  definition: ConnectionType,
  body: unknown,
  options: ParseOptions = {},
): ParseResult {
  if (!isRecord(body)) return { ok: false, faults: [{ field: '', message: 'must be a JSON object' }] };
  const form = options.resolved ? 'resolved' : 'stored';
  const faults = new Faults();
  const warnings: string[] = [];
  let config = privateCopy(body, [], faults) as Record<string, unknown>;
  dropLegacyNames(definition, config, warnings);
  applyAliases(definition, config, faults);

  let kept: string[] = [];
  if (options.stored) ({ config, kept } = keepSecrets(definition, config, options.stored));
  stripUnset(config);
  for (const name of wholeSecretsOf(definition)) if (config[name] === '') delete config[name];
  definition.normalise?.(config);
  stripUnset(config);
  checkCharacters(definition, config, faults);
  cutOverlong({ properties: allFields(definition) }, config);

  checkIdentity(definition, config, options.nameRequired ?? true, faults);
  checkSecrets(definition, config, faults, warnings);
  checkSchema(definition, config, form, faults);
  for (const { field, message } of ruleFaults(definition, config)) faults.addMissing(field, message);
  refine(definition, config, form, faults);
  if (!faults.isEmpty) return { ok: false, faults: faults.list() };
  const remarks =
    definition.remarks?.(
      config as ConnectionConfig<Record<string, never>>,
      idleRemarks(definition, config),
    ) ?? [];
  warnings.push(...remarks);
  const ordered = inOrder(definition, config);
  return {
    ok: true,
    config: ordered as never,
    warnings,
    kept,
    ...(form === 'stored' ? { accepted: new AcceptedForm(ordered, remarks) } : {}),
  };
}

const wholeSecrets = new WeakMap<ConnectionType, string[]>();

/** Fields that are a secret as a whole. */
function wholeSecretsOf(definition: ConnectionType): string[] {
  let names = wholeSecrets.get(definition);
  if (!names) {
    const fields = Object.entries(allFields(definition));
    names = fields.filter(([, field]) => field['x-secret'] === 'value').map(([name]) => name);
    wholeSecrets.set(definition, names);
  }
  return names;
}

function idleRemarks(
  definition: ConnectionType,
  config: Record<string, unknown>,
): IdleRemarks<ConnectionType['fields']> {
  const isSet = (name: string) => {
    const value = config[name] ?? undefined;
    if (value === undefined) return false;
    const standard = (definition.fields[name] as { default?: unknown } | undefined)?.default;
    return value !== standard && JSON.stringify(value) !== JSON.stringify(standard);
  };
  return (names: readonly string[], why) =>
    names.filter(isSet).map((name) => `${name}: has no effect, because ${why}`);
}

/** Every field in order, null for what is unset, as Get answers it. */
export function completeConfig(
  definition: ConnectionType,
  config: Record<string, unknown>,
): Record<string, unknown> {
  const fields = allFields(definition);
  const { preset, ownPresets } = presetsOf(definition);
  const complete: Record<string, unknown> = { ...preset, name: config['name'] ?? null };
  for (const name in config)
    if (Object.hasOwn(fields, name)) complete[name] = completeValue(fields[name]!, config[name]);
  for (const name of ownPresets)
    if (isUnset(config[name])) complete[name] = completeValue(fields[name]!, undefined);
  return complete;
}

interface Presets {
  /** A body with nothing but its type: every field in order. */
  preset: Record<string, unknown>;
  /** Fields whose default is an object, which no two bodies may share. */
  ownPresets: string[];
}

const presets = new WeakMap<ConnectionType, Presets>();

function presetsOf(definition: ConnectionType): Presets {
  let found = presets.get(definition);
  if (!found) {
    const values = Object.entries(allFields(definition)).map(
      ([name, field]) => [name, completeValue(field, undefined)] as const,
    );
    const preset = { type: definition.type, name: null, ...Object.fromEntries(values) };
    found = {
      // Parsed, or V8 takes an object of so many fields for a dictionary, and every copy of it: ten times as slow.
      preset: JSON.parse(JSON.stringify(preset)) as Record<string, unknown>,
      ownPresets: values
        .filter(([, value]) => typeof value === 'object' && value !== null)
        .map(([name]) => name),
    };
    presets.set(definition, found);
  }
  return found;
}

/** The key by which names are compared: NFC, lower case by Unicode alone, whatever the locale. */
export function foldName(name: string): string {
  // Nearly every name, on every request: a tenth of the time.
  if (/^[\x20-\x7e]*$/.test(name)) return name.toLowerCase();
  // Code point by code point, since lower-casing a word makes a final sigma of its own.
  return [...name.normalize('NFC')]
    .map((character) => character.toLowerCase())
    .join('')
    .replaceAll('ς', 'σ')
    .normalize('NFC');
}

/** What is wrong with a name of a connection, keystore and the like; undefined when nothing is. */
export function nameFault(name: unknown): string | undefined {
  if (typeof name !== 'string') return 'must be text';
  // Nearly every name, on every request.
  if (/^[A-Za-z0-9][A-Za-z0-9 ._-]{0,254}$/.test(name)) return undefined;
  const length = [...name.normalize('NFC')].length;
  if (length < 1 || length > 255) return 'must have 1 to 255 characters';
  if (!/^[\p{L}\p{Nd}][\p{L}\p{M}\p{Nd} ._-]*$/u.test(name.normalize('NFC')))
    return 'must start with a letter or digit and consist of letters, digits, space, `.`, `_` and `-`';
  return undefined;
}

// ---- the steps ----

class Faults {
  readonly #byField = new Map<string, string>();
  readonly #wrong = new Set<string>();
  #unknown = 0;

  add(field: string, message: string): void {
    this.#wrong.add(topOf(field));
    this.#note(field, message);
  }

  /** A fault that leaves the fields that are set in their right form. */
  addMissing(field: string, message: string): void {
    this.#note(field, message);
  }

  addUnknown(field: string, message: () => string): void {
    if (this.#byField.has(field)) return;
    this.#note(field, message());
    this.#unknown++;
  }

  #note(field: string, message: string): void {
    if (this.#byField.size < MAX_FAULTS && !this.#byField.has(field)) this.#byField.set(field, message);
  }

  get isEmpty(): boolean {
    return this.#byField.size === 0;
  }

  /** Top-level fields that are not as they should be. */
  get wrong(): ReadonlySet<string> {
    return this.#wrong;
  }

  get unknown(): number {
    return this.#unknown;
  }

  list(): FieldFault[] {
    return [...this.#byField].map(([field, message]) => ({ field, message }));
  }
}

function topOf(field: string): string {
  return /^[^.[]*/.exec(field)![0];
}

function refine(
  definition: ConnectionType,
  config: Record<string, unknown>,
  form: 'stored' | 'resolved',
  faults: Faults,
): void {
  const isComplete = faults.isEmpty;
  const wrong = new Set(faults.wrong);
  const sound =
    wrong.size === 0
      ? config
      : Object.fromEntries(Object.entries(config).filter(([name]) => !wrong.has(name)));
  try {
    definition.refine?.(
      sound as ConnectionConfig<Record<string, never>>,
      (field, message) => {
        // What is wrong by itself is said; what it would do to another field is not known yet.
        if (!wrong.has(topOf(field))) faults.add(field, message);
      },
      form,
    );
  } catch (error) {
    // It may stumble over a field whose absence is already a fault; anything else is a mistake of ours.
    if (isComplete) throw error;
  }
}

/** A copy that shares nothing with the body and holds no name that reaches a prototype. */
function privateCopy(value: unknown, path: FieldPath, faults: Faults): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (path.length > MAX_DEPTH) {
    faults.add(formatFieldPath(path.slice(0, 4)), `is nested deeper than ${MAX_DEPTH} levels`);
    return null;
  }
  if (Array.isArray(value)) return value.map((item, index) => privateCopy(item, [...path, index], faults));
  // Parsed JSON can hold the name as any other; written as below, it would be the prototype.
  const { ['__proto__']: unwanted, ...copy } = value as Record<string, unknown>;
  if (Object.hasOwn(value, '__proto__'))
    faults.add(formatFieldPath([...path, '__proto__']), 'is not allowed as a name');
  for (const name in copy) {
    const inner = copy[name];
    if (typeof inner === 'object' && inner !== null) copy[name] = privateCopy(inner, [...path, name], faults);
  }
  return copy;
}

function dropLegacyNames(
  definition: ConnectionType,
  config: Record<string, unknown>,
  warnings: string[],
): void {
  for (const name of [...legacyNames, ...(definition.ignored ?? [])]) {
    if (!Object.hasOwn(config, name) || Object.hasOwn(definition.fields, name)) continue;
    delete config[name];
    warnings.push(`${name}: a legacy field, ignored`);
  }
}

function applyAliases(definition: ConnectionType, config: Record<string, unknown>, faults: Faults): void {
  for (const [alias, name] of Object.entries(definition.aliases ?? {})) {
    if (!Object.hasOwn(config, alias)) continue;
    const value = config[alias];
    delete config[alias];
    if (isUnset(value)) continue;
    if (isUnset(config[name])) config[name] = value;
    else if (JSON.stringify(config[name]) !== JSON.stringify(value))
      faults.add(alias, `is an older name of ${name}, which has another value`);
  }
}

/** Removes what is null from objects and maps; a null in a list stays, for the schema to refuse. */
function stripUnset(value: unknown): void {
  if (Array.isArray(value)) for (const item of value) stripUnset(item);
  else if (isRecord(value))
    for (const name in value)
      if (isUnset(value[name])) delete value[name];
      else stripUnset(value[name]);
}

function checkIdentity(
  definition: ConnectionType,
  config: Record<string, unknown>,
  nameRequired: boolean,
  faults: Faults,
): void {
  if (config['type'] === undefined) faults.add('type', 'is required');
  else if (config['type'] !== definition.type) faults.add('type', `must be ${definition.type}`);
  if (config['name'] === undefined) {
    if (nameRequired) faults.add('name', 'is required');
    return;
  }
  const fault = nameFault(config['name']);
  if (fault) faults.add('name', fault);
  else config['name'] = (config['name'] as string).normalize('NFC');
}

function checkCharacters(definition: ConnectionType, config: Record<string, unknown>, faults: Faults): void {
  const visit = (value: unknown, schema: JsonSchema | undefined, path: FieldPath): void => {
    if (typeof value === 'string') {
      const message = characterFault(value, schema?.['x-multiline'] === true);
      if (message) faults.add(formatFieldPath(path), message);
    } else if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) visit(item, schema?.items, [...path, index]);
    } else if (isRecord(value)) {
      for (const [name, inner] of Object.entries(value)) {
        const message = characterFault(name, false);
        if (message) faults.add(formatFieldPath([...path, shorten(name)]), `its name ${message}`);
        if (typeof inner !== 'number' && typeof inner !== 'boolean')
          visit(inner, innerSchema(schema, name), [...path, shorten(name)]);
      }
    }
  };
  visit(config, { properties: allFields(definition) }, []);
}

/** Cuts texts to little more than is allowed: as wrong as before, and cheap for every pattern. */
function cutOverlong(schema: JsonSchema, value: unknown): unknown {
  if (typeof value === 'string') {
    const maximum = schema['maxLength'];
    // A character is at most two of its units.
    return typeof maximum === 'number' ? value.slice(0, 2 * (maximum + 1)) : value;
  }
  if (Array.isArray(value))
    return schema.items ? value.map((item) => cutOverlong(schema.items!, item)) : value;
  if (!isRecord(value)) return value;
  for (const name in value) {
    const member = innerSchema(schema, name);
    const inner = value[name];
    const cut = member ? cutOverlong(member, inner) : inner;
    if (cut !== inner) value[name] = cut;
  }
  return value;
}

function characterFault(text: string, multiline: boolean): string | undefined {
  // Nearly every text and every name, on every request.
  if (/^[\x20-\x7e]*$/.test(text)) return undefined;
  if (!text.isWellFormed()) return 'must be well-formed Unicode';
  if (text.includes('\0')) return 'must not contain U+0000';
  const found = (multiline ? /[^\P{Cc}\r\n\t]/u : /\p{Cc}/u).exec(text);
  if (!found) return undefined;
  const code = found[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
  return `must not contain control characters (U+${code})`;
}

function checkSecrets(
  definition: ConnectionType,
  config: Record<string, unknown>,
  faults: Faults,
  warnings: string[],
): void {
  for (const { path, kind, value, wholePath } of secretPlaces(definition, config)) {
    const field = () => formatFieldPath(path);
    if (kind === 'url') {
      const isMasked = credentialParts(value, wholePath).some((part) =>
        isMask(value.slice(part.start, part.end)),
      );
      if (isMasked || value.includes(URL_MASK))
        faults.add(
          field(),
          `${URL_MASK} stands for a stored part, but there is none to keep: give it in full`,
        );
    } else if (isMask(value))
      faults.add(field(), 'is a mask, not a secret: give the secret itself, or null to keep it');
    else if (value.startsWith('secret://') && !parseSecretReference(value))
      faults.add(field(), 'must be secret://env/NAME, secret://file/PATH or secret://vault/MOUNT/PATH#KEY');
    else if (!isReference(value) && variablesIn(value).length > 0)
      warnings.push(
        `${field()}: contains text of the form \${NAME}, which stays as it is: a secret is a reference only as a whole`,
      );
  }
}

// ---- the schema ----

const validators = new WeakMap<ConnectionType, Partial<Record<'stored' | 'resolved', ValidateFunction>>>();
let compiler: Ajv2020 | undefined;

/** The words that our schemas use beyond JSON Schema. */
export const vocabulary = [
  'x-group',
  'x-unit',
  'x-visible-when',
  'x-destination',
  'x-secret',
  'x-secret-when',
  'x-multiline',
  'x-pattern-help',
  'x-labels',
];

function validatorOf(definition: ConnectionType, form: 'stored' | 'resolved'): ValidateFunction {
  const forms = validators.get(definition) ?? {};
  validators.set(definition, forms);
  compiler ??= createCompiler();
  forms[form] ??= compiler.compile(configSchema(definition, form));
  return forms[form];
}

/** Ajv with our words and formats, strict, filling in defaults and reporting every error. */
export function createCompiler(): Ajv2020 {
  const ajv = new Ajv2020({
    strict: true,
    allErrors: true,
    useDefaults: true,
    verbose: true,
    allowUnionTypes: true,
    strictRequired: false,
    ownProperties: true,
  });
  ajv.addVocabulary(vocabulary);
  for (const [name, { validate }] of Object.entries(formats))
    ajv.addFormat(name, { type: 'string', validate });
  return ajv;
}

function checkSchema(
  definition: ConnectionType,
  config: Record<string, unknown>,
  form: 'stored' | 'resolved',
  faults: Faults,
): void {
  const validate = validatorOf(definition, form);
  // Ajv fills in the defaults before it looks at the fields: no schema of ours has a word such as `if`
  // that is judged earlier.
  if (validate(config)) return;
  const secretPaths = new Set(secretPlaces(definition, config).map(({ path }) => formatFieldPath(path)));
  for (const error of validate.errors ?? []) {
    const path = pathOf(config, error.instancePath);
    const field = formatFieldPath(path);
    if (isDecidedLater(error, form, secretPaths.has(field))) continue;
    addSchemaFault(error, path, faults, definition);
  }
}

/** What a variable or a secret reference stands for is judged when it is resolved. */
function isDecidedLater(error: ErrorObject, form: 'stored' | 'resolved', isSecret: boolean): boolean {
  if (typeof error.data !== 'string') return false;
  if (!['format', 'pattern', 'enum', 'minLength'].includes(error.keyword)) return false;
  if (isSecret) return form === 'stored' ? isReference(error.data) : error.data.startsWith('secret://');
  if (form === 'resolved') return false;
  const type = (error.parentSchema as JsonSchema).type;
  return type === 'string' && hasVariable(error.data);
}

function addSchemaFault(
  error: ErrorObject,
  path: FieldPath,
  faults: Faults,
  definition: ConnectionType,
): void {
  const schema = error.parentSchema as JsonSchema;
  const { params } = error;
  switch (error.keyword) {
    case 'required':
      faults.addMissing(formatFieldPath([...path, params['missingProperty']]), 'is required');
      break;
    case 'additionalProperties': {
      const name = String(params['additionalProperty']);
      faults.addUnknown(formatFieldPath([...path, shorten(name)]), () => {
        const aliases = path.length === 0 ? Object.keys(definition.aliases ?? {}) : [];
        const known = [...Object.keys(schema.properties ?? {}), ...aliases];
        return unknownField(name, faults.unknown < MAX_HINTS ? known : []);
      });
      break;
    }
    case 'propertyNames':
      faults.add(
        formatFieldPath([...path, shorten(String(params['propertyName']))]),
        'is not a name that is allowed here',
      );
      break;
    default:
      // Errors of a map's name come with the name; `propertyNames` says it for all of them.
      if (error.propertyName === undefined) faults.add(formatFieldPath(path), expectation(schema, error));
  }
}

/** Ajv's pointer as a path, with indexes of lists as numbers. */
function pathOf(root: unknown, pointer: string): FieldPath {
  let holder = root;
  return parsePointer(pointer).map((step) => {
    const isIndex = Array.isArray(holder);
    holder = (holder as Record<string, unknown> | undefined)?.[step];
    return isIndex ? Number(step) : shorten(step);
  });
}

function inOrder(definition: ConnectionType, config: Record<string, unknown>): Record<string, unknown> {
  const ordered: Record<string, unknown> = {};
  for (const name of ['type', 'name', ...Object.keys(allFields(definition))])
    if (config[name] !== undefined) ordered[name] = config[name];
  return ordered;
}

function completeValue(schema: JsonSchema, value: unknown): unknown {
  if (value === undefined || value === null) {
    const { default: preset = null } = schema;
    return typeof preset === 'object' && preset !== null ? structuredClone(preset) : preset;
  }
  if (Array.isArray(value))
    return value.map((item) => (schema.items ? completeValue(schema.items, item) : item));
  if (!isRecord(value) || !schema.properties) return value;
  return Object.fromEntries(
    Object.entries(schema.properties).map(([name, inner]) => [name, completeValue(inner, value[name])]),
  );
}

function shorten(name: string): string {
  return name.length > 100 ? `${name.slice(0, 100)}…` : name;
}

function isUnset(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
