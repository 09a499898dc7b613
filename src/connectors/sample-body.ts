import type { ConnectionType } from '../contract/connection-type.ts';
import { allFields, isRequired, type JsonSchema } from '../contract/definition-schema.ts';
import { parseConnection } from '../contract/validation.ts';

type Body = Record<string, unknown>;

const formatSamples: Readonly<Record<string, readonly [string, string]>> = {
  host: ['target.example.com', 'other.example.net'],
  'http-url': ['https://target.example.com/path', 'https://other.example.net/path'],
  'email-address': ['somebody@example.com', 'other@example.net'],
  mailbox: ['Some Body <somebody@example.com>', 'other@example.net'],
  oid: ['1.3.6.1.4.1.1', '1.3.6.1.4.1.2'],
  base64: ['c29tZSBieXRlcw==', 'b3RoZXIgYnl0ZXM='],
};

/** Values that a schema cannot tell: a first one and another, by type and field. */
const samples: Readonly<Record<string, Readonly<Record<string, readonly [unknown, unknown]>>>> = {
  database: {
    jdbcUrl: [
      'jdbc:postgresql://target.example.com:5432/data?user=some-username&password=some-password',
      'jdbc:postgresql://other.example.net:5432/data?user=some-username&password=some-password',
    ],
    dbType: ['POSTGRES', 'MYSQL'],
    host: ['target.example.com', 'other.example.net'],
    port: [5432, 5433],
    databaseName: ['data', 'other'],
    driverClassName: ['org.postgresql.Driver', 'com.mysql.jdbc.Driver'],
  },
  kafka: {
    bootstrapServers: ['target.example.com:9092', 'other.example.net:9092'],
    propertiesMap: [
      { 'sasl.jaas.config': { value: 'password="in-the-map"', valueType: 'STRING' } },
      {
        'sasl.jaas.config': { value: 'password="in-the-map"', valueType: 'STRING' },
        'sasl.oauthbearer.token.endpoint.url': { value: 'https://other.example.net/', valueType: 'URI' },
      },
    ],
  },
  webhook: {
    fullUrl: ['https://u:in-the-url@target.example.com/path', 'https://u:in-the-url@other.example.net/path'],
    headerList: [
      [{ name: 'Authorization', value: 'Bearer in-the-header' }],
      [
        { name: 'Authorization', value: 'Bearer in-the-header' },
        { name: 'Host', value: 'other.example.net' },
      ],
    ],
  },
  email: {
    additionalProperties: [
      [{ name: 'mail.smtp.password', value: 'in-the-list' }],
      [
        { name: 'mail.smtp.password', value: 'in-the-list' },
        { name: 'mail.smtp.ssl.trust', value: '*' },
      ],
    ],
  },
  elasticsearch: {
    indexName: ['logs', 'other'],
    indexTemplateName: ['logs', 'other'],
    indexTemplateRefreshInterval: ['1s', '2s'],
  },
  ldap: { serverAddress: ['ldap://target.example.com:389', 'ldap://other.example.net:389'] },
  ftp: {
    protocol: ['FTP', 'SFTP'],
    hostKeyFingerprint: [`SHA256:${'a'.repeat(43)}`, `SHA256:${'b'.repeat(43)}`],
  },
  rabbitMq: {
    connectionFactoryRequestedFrameMax: [0, 4096],
    basicPropertiesExpiration: ['60000', '1000'],
  },
  activeMq: {
    brokerURL: ['tcp://target.example.com:61616', 'tcp://other.example.net:61616'],
  },
  snmp: { connectionString: ['udp:target.example.com/162', 'udp:other.example.net/162'] },
  'linux-script': {
    hostKeyFingerprint: [`SHA256:${'a'.repeat(43)}`, `SHA256:${'b'.repeat(43)}`],
  },
  'ops-genie': {
    responders: [[{ type: 'team', id: 'one' }], [{ type: 'user', username: 'other@example.net' }]],
  },
  logback: {
    logPath: ['/var/log/one/', '/var/log/other/'],
    logFilenamePattern: ['%d{yyyy-MM-dd}.%i.log', '%d{yyyy-MM}.%i.log'],
  },
};

/** What must stand beside a value, where that does not follow from the faults. */
const companions: Readonly<Record<string, (name: string, value: unknown) => Body>> = {
  database: (name) =>
    name === 'jdbcUrl' ? {} : { dbType: 'POSTGRES', host: 'target.example.com', jdbcUrl: null },
  ldap: (name, value) =>
    name === 'useSsl' && value === true ? { serverAddress: 'ldaps://target.example.com:636' } : {},
  ftp: (_, value): Body => (value === 'FTPS' ? { useExplicit: true } : {}),
  activeMq: (_, value): Body => (value === 'AMQP' ? { brokerURL: 'amqp://target.example.com:5672' } : {}),
  snmp: (_, value): Body => (value === 'INFORM' ? { version: 'V2c' } : {}),
};

/** A value that the field takes; `other` asks for a second one, which differs. */
export function sampleValue(definition: ConnectionType, name: string, other = false): unknown {
  const own = samples[definition.type]?.[name];
  if (own) return structuredClone(own[other ? 1 : 0]);
  return sampleOf(allFields(definition)[name]!, name, other);
}

function sampleOf(schema: JsonSchema, name: string, other: boolean): unknown {
  // Of its own, so that a leak of this secret is told from a field that holds the same.
  if (schema['format'] === 'base64' && schema['x-secret'] === 'value')
    return btoa(`${other ? 'other' : 'some'}-${name}`);
  const examples = schema['examples'] as unknown[] | undefined;
  if (examples && !other) return structuredClone(examples[0]);
  if (examples && examples.length > 1) return structuredClone(examples[1]);
  if (schema.enum) return schema.enum[other ? schema.enum.length - 1 : 0];
  switch (schema.type) {
    case 'boolean':
      return other;
    case 'integer':
    case 'number': {
      const { minimum, maximum } = schema as { minimum?: number; maximum?: number };
      const first = (schema.default as number | undefined) ?? minimum ?? 1;
      if (!other) return first;
      return maximum !== undefined && first + 1 > maximum ? first - 1 : first + 1;
    }
    case 'array':
      return [sampleOf(schema.items!, name, other)];
    case 'object':
      if (schema.properties)
        return Object.fromEntries(
          Object.entries(schema.properties).map(([key, inner]) => [key, sampleOf(inner, key, other)]),
        );
      return { [mapKey(schema)]: sampleOf(schema.additionalProperties as JsonSchema, name, other) };
    default:
      return sampleText(schema, name, other);
  }
}

function mapKey(schema: JsonSchema): string {
  const pattern = String((schema.propertyNames as JsonSchema | undefined)?.['pattern'] ?? '');
  return /[A-Za-z]{4,}/.exec(pattern)?.[0] ?? (pattern === '' ? 'one' : '1.3.6.1.4.1.3');
}

function sampleText(schema: JsonSchema, name: string, other: boolean): string {
  const format = schema['format'] as string | undefined;
  // Of its own, so that a leak of this secret is told from a field that holds the same.
  if (format === 'base64' && schema['x-secret'] === 'value')
    return btoa(`${other ? 'other' : 'some'}-${name}`);
  const known = format === undefined ? undefined : formatSamples[format];
  if (known) return known[other ? 1 : 0];
  if (typeof schema.default === 'string' && !other) return schema.default;
  const text = `${other ? 'other' : 'some'}-${name}`;
  return text.padEnd((schema['minLength'] as number | undefined) ?? 0, 'x');
}

/** The smallest body that is taken: what is required, and what faults then ask for. */
export function minimalBody(definition: ConnectionType): Body {
  const body: Body = { type: definition.type, name: `a ${definition.type}` };
  for (const [name, field] of Object.entries(allFields(definition)))
    if (isRequired(field)) body[name] = sampleValue(definition, name);
  return repaired(definition, body, new Set());
}

/** A body that is taken with `wanted` set; fields that `wanted` makes necessary are added. */
export function bodyWith(definition: ConnectionType, wanted: Body): Body {
  const beside = Object.entries(wanted).map(([name, value]) => companions[definition.type]?.(name, value));
  const body = Object.assign({}, minimalBody(definition), ...beside, wanted);
  return repaired(definition, body, new Set(Object.keys(wanted)));
}

/** A body with as many fields as can be set together. */
export function fullBody(definition: ConnectionType): Body {
  const body: Body = { type: definition.type, name: `a ${definition.type}` };
  for (const name of Object.keys(allFields(definition))) body[name] = sampleValue(definition, name);
  return repaired(definition, body, new Set());
}

/** Adds what faults say is missing and takes away what cannot stand beside the rest, but for `fixed`. */
export function repaired(definition: ConnectionType, body: Body, fixed: ReadonlySet<string>): Body {
  const fields = allFields(definition);
  let current = { ...body };
  const tried = new Set<string>();
  for (let round = 0; round < 30; round++) {
    const result = parseConnection(definition, current);
    if (result.ok) return current;
    const next = { ...current };
    for (const { field } of result.faults) {
      const name = field.split(/[.[]/)[0]!;
      if (!(name in fields)) delete next[name];
      else if (fixed.has(name)) continue;
      else if (next[name] === undefined || next[name] === null) next[name] = sampleValue(definition, name);
      else if (!tried.has(name)) {
        tried.add(name);
        next[name] = sampleValue(definition, name);
      } else delete next[name];
    }
    if (JSON.stringify(next) === JSON.stringify(current)) break;
    current = next;
  }
  const result = parseConnection(definition, current);
  const faults = result.ok ? [] : result.faults.map(({ field, message }) => `${field} ${message}`);
  throw new Error(`no valid ${definition.type} body: ${faults.join('; ')}`);
}
