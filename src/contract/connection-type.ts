import { type Static, type TObject, type TSchema, Type } from 'typebox';

/**
 * One definition a connection type: from it come the TypeScript type, the validator, OpenAPI,
 * masking, sealing, destination binding, the form and the reference page.
 */
export interface ConnectionType<
  Id extends string = string,
  Fields extends Record<string, TSchema> = Record<string, TSchema>,
  Operations extends Record<string, OperationSchema> = Record<string, OperationSchema>,
> {
  readonly type: Id;
  readonly title: string;
  /** One sentence for the gallery and the reference page. */
  readonly summary: string;
  /**
   * A field that is plain and has no `default` is required; one with a `default` is always there;
   * one wrapped in `optional()` may be unset.
   */
  readonly fields: Fields;
  /** Cross-field rules that JSON Schema can say, so that the form knows them too. */
  readonly rules?: readonly Rule[];
  /** Legacy field name → current field name; stored under the current one. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Legacy field names that are accepted, ignored and named in `warnings`. */
  readonly ignored?: readonly string[];
  /** Rewrites shorthands before validation; gets a private copy without nulls, of unknown validity, and must not throw. Runs once, before defaults. */
  normalise?(body: Record<string, unknown>): void;
  /**
   * Cross-field rules beyond JSON Schema; runs on a body whose set fields have the right form. In the
   * stored form a number or switch may be a text that is one `${VARIABLE}`.
   */
  refine?(
    config: ConnectionConfig<Fields, Id>,
    fault: (field: string, message: string) => void,
    form: 'stored' | 'resolved',
  ): void;
  /**
   * Remarks on a valid body that the writer should read (a weak choice, a setting without effect).
   * `idle` makes those on fields that were set though nothing makes use of them.
   */
  remarks?(config: ConnectionConfig<Fields, Id>, idle: IdleRemarks<Fields>): string[];
  /**
   * For fields whose destination is not their plain value: the set of places that the value leads
   * to, normalised. A change moves when the new set holds a place that the old one did not.
   */
  readonly destinations?: { [F in keyof Fields]?: (value: unknown) => string[] };
  /**
   * Of types that reach an SSH server: its `host:port` while its host key is to be pinned on first use,
   * undefined where none is shown or one is configured. The config is complete, unset fields null or absent.
   */
  hostKeyServer?(config: ConnectionConfig<Fields, Id>): string | undefined;
  /** Advice for people, shown in the reference page, the form and a failed test. */
  readonly notes?: readonly string[];
  readonly operations: Operations;
}

/** A remark for each of the fields that is neither unset nor at its default; `why` follows "has no effect, because". */
export type IdleRemarks<Fields> = (names: readonly (keyof Fields & string)[], why: string) => string[];

export interface OperationSchema<Input extends TSchema = TSchema, Output extends TSchema = TSchema> {
  readonly title: string;
  readonly description: string;
  readonly input: Input;
  readonly output: Output;
  /** Largest input in bytes; default 64 MiB. */
  readonly maxInputBytes?: number;
  /** Set where it also takes its items as NDJSON, one a line, which are passed on in batches. */
  readonly stream?: ItemStream;
}

export interface ItemStream {
  /** Field of the input that lists the items. */
  readonly items: string;
  /** Field of the output that lists a result for each; none: a batch is taken as a whole. */
  readonly results?: string;
}

type StaticFields<Fields extends Record<string, TSchema>> = Static<TObject<Fields>>;

/** A complete, resolved configuration: defaults applied, unset fields absent. */
export type ConnectionConfig<
  Fields extends Record<string, TSchema>,
  Id extends string = string,
> = StaticFields<Fields> & StaticFields<typeof commonFields> & { type: Id; name: string };

export type ConfigOf<D extends ConnectionType> =
  D extends ConnectionType<infer Id, infer Fields, infer _> ? ConnectionConfig<Fields, Id> : never;
export type InputOf<O extends OperationSchema> = Static<O['input']>;
export type OutputOf<O extends OperationSchema> = Static<O['output']>;

/** Declares a connection type; identity at run time, inference at compile time. */
export function defineConnectionType<
  const Id extends string,
  Fields extends Record<string, TSchema>,
  Operations extends Record<string, OperationSchema>,
>(definition: ConnectionType<Id, Fields, Operations>): ConnectionType<Id, Fields, Operations> {
  return definition;
}

/** Declares one operation of a type; identity at run time, inference at compile time. */
export function defineOperation<Input extends TSchema, Output extends TSchema>(
  operation: OperationSchema<Input, Output>,
): OperationSchema<Input, Output> {
  return operation;
}

// ---- rules ----

/** When every listed field has the listed value (or one of the listed values), then … */
export interface Rule {
  readonly when: Readonly<Record<string, Scalar | readonly Scalar[]>>;
  /** these fields must be set; each entry that is a list asks for one of its names. */
  readonly require?: readonly (string | readonly string[])[];
  /** these fields must have this value (or one of these values). */
  readonly demand?: Readonly<Record<string, Scalar | readonly Scalar[]>>;
  /** Said in place of a generated message. */
  readonly message?: string;
  /** `normalise` usually satisfies it, so writers need not: left out of the published schema. */
  readonly afterNormalise?: true;
}

type Scalar = string | number | boolean;

// ---- field builders ----

export type FieldGroup =
  | 'general'
  | 'target'
  | 'authentication'
  | 'tls'
  | 'pool'
  | 'delivery'
  | 'limits'
  | 'test'
  | 'advanced';

/** What a change of the field means for secrets that are kept (security: redirected secret). */
export type Destination =
  /** any change after normalisation moves */
  | 'address'
  /** a list: adding or changing an item moves, removing one does not */
  | 'address-set'
  /** a choice or switch: a change towards the front of the list lowers the protection and moves */
  | { readonly weakestFirst: readonly Scalar[] }
  /** a map or list of named values: every change but of these names moves */
  | { readonly harmless: readonly string[] };

/** How a field holds secrets. */
export type SecretKind =
  /** the whole value */
  | 'value'
  /** the credential parts of a URL (user-info, credential parameters) */
  | 'url'
  /** list of `{name, value}`: values of names that carry credentials in HTTP */
  | 'header-values'
  /** list of `{name, value}`, or map: values of names that carry credentials in properties, or of valueType SECRET */
  | 'property-values';

export interface FieldHelp {
  title: string;
  /** Help text; names units, effects and pitfalls. */
  description: string;
  group?: FieldGroup;
  unit?: 'ms' | 's' | 'bytes' | 'MB' | 'GB' | 'days' | 'periods';
  /** Shown only while every listed field has the listed value; a hint for the form, no rule. */
  visibleWhen?: Rule['when'];
  destination?: Destination;
  examples?: unknown[];
}

function marks(help: FieldHelp): Record<string, unknown> {
  return {
    title: help.title,
    description: help.description,
    'x-group': help.group ?? 'general',
    ...(help.unit ? { 'x-unit': help.unit } : {}),
    ...(help.visibleWhen ? { 'x-visible-when': help.visibleWhen } : {}),
    ...(help.destination ? { 'x-destination': help.destination } : {}),
    ...(help.examples ? { examples: help.examples } : {}),
  };
}

/** The field may be left out and then has no value. */
export const optional = Type.Optional;

/** A single-line string; control characters are refused, at most 4096 characters unless told. */
export function text(
  help: FieldHelp & {
    default?: string;
    minLength?: number;
    maxLength?: number;
    pattern?: string;
    /** Said when the pattern does not match. */
    patternHelp?: string;
    format?: 'email-address' | 'mailbox' | 'http-url' | 'oid' | 'host' | 'base64';
    /** CR, LF and tab are allowed. */
    multiline?: boolean;
  },
) {
  const { default: value, minLength, maxLength, pattern, patternHelp, format, multiline } = help;
  return Type.String({
    ...marks(help),
    ...(value === undefined ? {} : { default: value }),
    ...(minLength === undefined ? {} : { minLength }),
    maxLength: maxLength ?? 4096,
    ...(pattern === undefined ? {} : { pattern }),
    ...(patternHelp === undefined ? {} : { 'x-pattern-help': patternHelp }),
    ...(format === undefined ? {} : { format }),
    ...(multiline ? { 'x-multiline': true } : {}),
  });
}

/** DNS name, IPv4 or IPv6 address. */
export function hostName(help: FieldHelp & { default?: string }) {
  return text({
    destination: 'address',
    group: 'target',
    ...help,
    format: 'host',
    minLength: 1,
    maxLength: 255,
  });
}

/** A whole number, or exactly one `${VARIABLE}`. */
export function integer(help: FieldHelp & { default?: number; minimum?: number; maximum?: number }) {
  const { default: value, minimum, maximum } = help;
  return Type.Integer({
    ...marks(help),
    ...(value === undefined ? {} : { default: value }),
    ...(minimum === undefined ? {} : { minimum }),
    maximum: maximum ?? Number.MAX_SAFE_INTEGER,
  });
}

/** TCP or UDP port, 1 to 65535. */
export function portNumber(help: FieldHelp & { default?: number }) {
  return integer({ destination: 'address', group: 'target', ...help, minimum: 1, maximum: 65535 });
}

/** A switch, or exactly one `${VARIABLE}`. */
export function flag(help: FieldHelp & { default?: boolean }) {
  return Type.Boolean({
    ...marks(help),
    ...(help.default === undefined ? {} : { default: help.default }),
  });
}

/** One of a fixed list of strings. */
export function choice<const Values extends readonly string[]>(
  values: Values,
  help: FieldHelp & { default?: Values[number]; labels?: Partial<Record<Values[number], string>> },
) {
  return Type.Unsafe<Values[number]>({
    type: 'string',
    enum: [...values],
    ...marks(help),
    ...(help.default === undefined ? {} : { default: help.default }),
    ...(help.labels ? { 'x-labels': help.labels } : {}),
  });
}

/** Encrypted at rest, null in lists, never in logs, errors, diffs or results. */
export function secret(
  help: FieldHelp & { multiline?: boolean; minLength?: number; maxLength?: number; format?: 'base64' },
) {
  const { multiline, minLength, maxLength, format } = help;
  return Type.String({
    ...marks({ group: 'authentication', ...help }),
    'x-secret': 'value' satisfies SecretKind,
    ...(minLength === undefined ? {} : { minLength }),
    maxLength: maxLength ?? 65536,
    ...(format === undefined ? {} : { format }),
    ...(multiline ? { 'x-multiline': true } : {}),
  });
}

/** A URL whose credential parts are secret. `secretWhen` names a switch that makes path and query secret too. */
export function credentialUrl(
  help: FieldHelp & { format?: 'http-url'; secretWhen?: string; pattern?: string; patternHelp?: string },
) {
  return Type.String({
    ...marks({ group: 'target', destination: 'address', ...help }),
    'x-secret': 'url' satisfies SecretKind,
    ...(help.format ? { format: help.format } : {}),
    ...(help.secretWhen ? { 'x-secret-when': help.secretWhen } : {}),
    ...(help.pattern ? { pattern: help.pattern } : {}),
    ...(help.patternHelp ? { 'x-pattern-help': help.patternHelp } : {}),
    minLength: 1,
    maxLength: 4096,
  });
}

/** A list of `item`; at most 1000 of them unless told. */
export function list<Item extends TSchema>(
  item: Item,
  help: FieldHelp & { default?: unknown[]; minItems?: number; maxItems?: number; secret?: SecretKind },
) {
  return Type.Array(item, {
    ...marks(help),
    ...(help.default === undefined ? {} : { default: help.default }),
    ...(help.minItems === undefined ? {} : { minItems: help.minItems }),
    maxItems: help.maxItems ?? 1000,
    ...(help.secret ? { 'x-secret': help.secret } : {}),
  });
}

/** A map from a name to `value`; at most 1000 names unless told. */
export function map<Value extends TSchema>(
  value: Value,
  help: FieldHelp & {
    default?: Record<string, unknown>;
    secret?: SecretKind;
    maxProperties?: number;
    /** ECMAScript pattern that every name must match. */
    namePattern?: string;
  },
) {
  return Type.Unsafe<Record<string, Static<Value>>>({
    type: 'object',
    ...marks(help),
    ...(help.default === undefined ? {} : { default: help.default }),
    propertyNames: {
      minLength: 1,
      maxLength: 255,
      ...(help.namePattern ? { pattern: help.namePattern } : {}),
    },
    additionalProperties: value,
    maxProperties: help.maxProperties ?? 1000,
    ...(help.secret ? { 'x-secret': help.secret } : {}),
  });
}

/** A nested object; unknown fields are refused. Fields follow the rules of the top level. */
export function object<Fields extends Record<string, TSchema>>(
  fields: Fields,
  help?: FieldHelp & { default?: Record<string, unknown> },
) {
  const required = Object.entries(fields)
    .filter(([, field]) => !Type.IsOptional(field) && !('default' in field))
    .map(([name]) => name);
  const properties = Object.fromEntries(Object.entries(fields));
  return Type.Unsafe<StaticFields<Fields>>({
    type: 'object',
    properties,
    required,
    additionalProperties: false,
    ...(help ? marks(help) : {}),
    ...(help?.default === undefined ? {} : { default: help.default }),
  });
}

// ---- fields that every type has ----

export const commonFields = {
  description: optional(
    text({
      title: 'Description',
      description: 'What the connection is for. At most 1000 characters.',
      maxLength: 1000,
      multiline: true,
    }),
  ),
  deployToWorker: flag({
    title: 'Deploy to workers',
    description: 'Whether workers hold this connection; false closes the live clients.',
    default: true,
  }),
  enabled: flag({
    title: 'Enabled',
    description: 'Whether the connection may be used; false closes the live clients.',
    default: true,
  }),
  environments: list(text({ title: 'Environment', description: 'Name of an environment.', maxLength: 255 }), {
    title: 'Environments',
    description: "Where it is deployed; empty: in all of the project's environments.",
    default: [],
  }),
  labels: map(text({ title: 'Value', description: 'Value of the label.', maxLength: 255 }), {
    title: 'Labels',
    description: 'Free names and values to find connections by.',
    default: {},
    maxProperties: 64,
  }),
  circuitBreaker: object(
    {
      enabled: flag({ title: 'Enabled', description: 'Whether failures open the circuit.', default: false }),
      errorThreshold: integer({
        title: 'Error threshold',
        description: 'Failed operations in a row after which further ones are refused at once.',
        default: 5,
        minimum: 1,
        maximum: 10000,
      }),
      sleepWindowSeconds: integer({
        title: 'Sleep window',
        description: 'How long operations are refused before one is let through to probe.',
        unit: 's',
        default: 30,
        minimum: 1,
        maximum: 3600,
      }),
    },
    {
      title: 'Circuit breaker',
      description: 'Refuses operations for a while after repeated failures.',
      group: 'limits',
      default: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    },
  ),
} satisfies Record<string, TSchema>;

/** TLS material by name, for every type that speaks TLS and does not say it by fields of its own. */
export const tlsFields = {
  verifyCertificate: flag({
    title: 'Verify certificate',
    description: "Whether the target's certificate chain and host name are verified.",
    group: 'tls',
    default: true,
    destination: { weakestFirst: [false, true] },
  }),
  trustStoreName: optional(
    text({
      title: 'Truststore',
      description:
        "Name of a keystore of the project whose certificates are trusted; without any, the system's roots are.",
      group: 'tls',
      maxLength: 255,
      destination: 'address',
    }),
  ),
  keyStoreName: optional(
    text({
      title: 'Keystore',
      description: 'Name of a keystore of the project with the client certificate and its key.',
      group: 'tls',
      maxLength: 255,
      destination: 'address',
    }),
  ),
  certificateName: optional(
    text({
      title: 'Certificate',
      description: 'Name of one stored certificate to trust.',
      group: 'tls',
      maxLength: 255,
      destination: 'address',
    }),
  ),
} satisfies Record<string, TSchema>;

export type TlsFields = StaticFields<typeof tlsFields>;

/** Names of `tlsFields`, for what is said of all of them. */
export const tlsFieldNames = Object.keys(tlsFields) as (keyof TlsFields)[];
