import { Type } from 'typebox';
import {
  choice,
  defineConnectionType,
  defineOperation,
  flag,
  list,
  map,
  object,
  optional,
  text,
  tlsFieldNames,
  tlsFields,
} from '../../contract/connection-type.ts';
import { isHost, normaliseHost } from '../../contract/host.ts';
import { hasVariable } from '../../contract/reference-syntax.ts';
import { isCredentialProperty } from '../../contract/secret-places.ts';

const valueTypes = [
  'STRING',
  'BOOLEAN',
  'INTEGER',
  'LONG',
  'DOUBLE',
  'FLOAT',
  'STRING_LIST',
  'URI',
  'SECRET',
] as const;

const tlsVersions = ['TLS_1_3', 'TLS_1_2', 'TLS_1_1', 'TLS_1_0', 'SSL_3_0'] as const;

const serializerPackage = 'org.apache.kafka.common.serialization';

/** Names of serializers, after their package, that have a counterpart here. */
export const serializers = ['String', 'ByteArray', 'Integer', 'Long', 'Double', 'UUID'] as const;

/** Values of properties that apply when they are absent; in ms. */
export const defaultProperties = {
  'max.block.ms': 3000,
  'request.timeout.ms': 5000,
  'delivery.timeout.ms': 15000,
  'reconnect.backoff.max.ms': 3000,
  'retry.backoff.ms': 3000,
} as const;

const allowed: Readonly<Record<string, readonly string[]>> = {
  acks: ['all', '-1', '0', '1'],
  'compression.type': ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  'security.protocol': ['PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL'],
  'sasl.mechanism': ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512', 'OAUTHBEARER'],
  'key.serializer': serializers.map((name) => `${serializerPackage}.${name}Serializer`),
  'value.serializer': serializers.map((name) => `${serializerPackage}.${name}Serializer`),
};

/** Properties of the producer that are mapped to the client; any other is kept and reported as not used. */
export const usedProperties: readonly string[] = [
  'bootstrap.servers',
  ...Object.keys(allowed),
  ...Object.keys(defaultProperties),
  'reconnect.backoff.ms',
  'retries',
  'linger.ms',
  'batch.size',
  'client.id',
  'enable.idempotence',
  'max.in.flight.requests.per.connection',
  'sasl.jaas.config',
];

const harmless: readonly string[] = [
  'acks',
  'batch.size',
  'buffer.memory',
  'client.id',
  'compression.type',
  'delivery.timeout.ms',
  'enable.idempotence',
  'key.serializer',
  'linger.ms',
  'max.block.ms',
  'max.in.flight.requests.per.connection',
  'max.request.size',
  'reconnect.backoff.max.ms',
  'reconnect.backoff.ms',
  'request.timeout.ms',
  'retries',
  'retry.backoff.max.ms',
  'retry.backoff.ms',
  'value.serializer',
];

const key = Type.Union([Type.String(), Type.Number(), Type.Null()], {
  description: 'As the serializer takes it: text, base64 for ByteArray, a number, or a UUID.',
});
const headers = Type.Record(Type.String(), Type.String());
const topic = Type.String({ minLength: 1, maxLength: 249, pattern: '^(?!\\.{1,2}$)[A-Za-z0-9._-]+$' });

export const kafka = defineConnectionType({
  type: 'kafka',
  title: 'Kafka',
  summary: 'Produces messages to a Kafka topic.',
  fields: {
    topicName: text({
      title: 'Topic',
      description: 'Topic of messages that name none of their own.',
      group: 'target',
      maxLength: 249,
      pattern: '^(?!\\.{1,2}$)[A-Za-z0-9._-]+$',
      patternHelp: 'must be a topic name: letters, digits, `.`, `_` and `-`, at most 249 of them',
      examples: ['events'],
    }),
    bootstrapServers: optional(
      text({
        title: 'Bootstrap servers',
        description:
          'host:port, several separated by commas; short for the property bootstrap.servers. Given both, they must agree.',
        group: 'target',
        minLength: 1,
        destination: 'address',
        examples: ['localhost:9092', 'broker-1.example.com:9092,broker-2.example.com:9092'],
      }),
    ),
    propertiesMap: map(
      object({
        value: text({
          title: 'Value',
          description: 'Must parse as its type.',
          maxLength: 65536,
          multiline: true,
        }),
        valueType: choice(valueTypes, {
          title: 'Type',
          description: 'STRING_LIST is separated by commas; SECRET is kept like a password.',
          default: 'STRING',
        }),
      }),
      {
        title: 'Properties',
        description: `Java names of the producer's properties. Without bootstrapServers it must hold bootstrap.servers, key.serializer and value.serializer. Used are ${usedProperties.join(', ')}; any other is kept and reported as not used.`,
        group: 'advanced',
        default: {},
        secret: 'property-values',
        destination: { harmless },
      },
    ),
    enableSecure: flag({
      title: 'TLS',
      description: 'Whether TLS is spoken to the brokers.',
      group: 'tls',
      default: false,
      destination: { weakestFirst: [false, true] },
    }),
    protocolTypes: list(choice(tlsVersions, { title: 'Version', description: 'A version of TLS.' }), {
      title: 'TLS versions',
      description:
        'Versions that may be spoken; required with TLS. SSL_3_0, TLS_1_0 and TLS_1_1 are refused at deployment where the runtime cannot speak them.',
      group: 'tls',
      default: [],
      maxItems: tlsVersions.length,
      visibleWhen: { enableSecure: true },
      destination: 'address-set',
    }),
    ...tlsFields,
  },
  rules: [
    {
      when: {},
      require: [['bootstrapServers', 'propertiesMap']],
      message: 'is required unless propertiesMap is given',
    },
    { when: { enableSecure: true }, require: ['protocolTypes'] },
  ],
  refine(config, fault) {
    const { bootstrapServers, propertiesMap, enableSecure, keyStoreName } = config;
    const property = (name: string) =>
      Object.hasOwn(propertiesMap, name) ? propertiesMap[name]!.value : undefined;
    const faultAt = (name: string, message: string) =>
      fault(`propertiesMap[${JSON.stringify(name)}].value`, message);

    const servers = bootstrapServers === undefined ? undefined : readServers(bootstrapServers);
    if (servers === null) fault('bootstrapServers', 'must be host:port, several separated by commas');
    const inMap = property('bootstrap.servers');
    const serversInMap = inMap === undefined ? undefined : readServers(inMap);
    if (serversInMap === null) faultAt('bootstrap.servers', 'must be host:port, several separated by commas');
    if (servers && serversInMap && servers.toSorted().join() !== serversInMap.toSorted().join())
      fault('bootstrapServers', 'must agree with the property bootstrap.servers');
    if (bootstrapServers === undefined && Object.keys(propertiesMap).length > 0)
      for (const name of ['bootstrap.servers', 'key.serializer', 'value.serializer'])
        if (property(name) === undefined)
          fault(`propertiesMap[${JSON.stringify(name)}]`, 'is required unless bootstrapServers is given');

    for (const [name, { value, valueType }] of Object.entries(propertiesMap)) {
      if (hasVariable(value) || hasVariable(valueType)) continue;
      const message = valueFault(value, valueType);
      const values = allowed[name];
      if (message) faultAt(name, message);
      else if (values && !values.includes(value)) faultAt(name, `must be one of ${values.join(', ')}`);
    }

    const protocol = property('security.protocol');
    if (enableSecure === true && protocol !== undefined && protocol.endsWith('PLAINTEXT'))
      faultAt('security.protocol', 'must be SSL or SASL_SSL when enableSecure is true');
    if (enableSecure === true && keyStoreName === undefined && !hasSasl(propertiesMap))
      fault('keyStoreName', 'is required when enableSecure is true, unless SASL over TLS is configured');
  },
  remarks(config, idle) {
    const remarks = Object.keys(config.propertiesMap)
      .filter((name) => !usedProperties.includes(name))
      .map((name) => `propertiesMap: ${name} is kept but not used`);
    const old = config.protocolTypes.filter((version) => version !== 'TLS_1_3' && version !== 'TLS_1_2');
    if (old.length > 0) remarks.push(`protocolTypes: ${old.join(', ')} can hardly be spoken any more`);
    const protocol = Object.hasOwn(config.propertiesMap, 'security.protocol')
      ? config.propertiesMap['security.protocol']!.value.trim()
      : 'PLAINTEXT';
    if (!config.enableSecure && protocol.endsWith('PLAINTEXT'))
      remarks.push(
        ...idle(
          ['protocolTypes', ...tlsFieldNames],
          'neither enableSecure nor the property security.protocol asks for TLS',
        ),
      );
    if (!protocol.startsWith('SASL_') && !hasVariable(protocol))
      for (const name of ['sasl.mechanism', 'sasl.jaas.config'])
        if (Object.hasOwn(config.propertiesMap, name))
          remarks.push(
            `propertiesMap: ${name} has no effect, because security.protocol is neither SASL_SSL nor SASL_PLAINTEXT`,
          );
    return remarks;
  },
  destinations: {
    bootstrapServers: (value) => readServers(String(value)) ?? [String(value)],
    propertiesMap: destinationsOfProperties,
  },
  notes: [
    `Without such properties these apply: ${Object.entries(defaultProperties)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}.`,
    `Serializers, of ${serializerPackage}: ${serializers.join(', ')}; with bootstrapServers alone String for both.`,
    'Brokers answer with addresses of their own (advertised listeners); the worker must reach those too.',
  ],
  operations: {
    produce: defineOperation({
      title: 'Produce messages',
      description: 'Sends messages and answers where the brokers stored them.',
      stream: { items: 'messages', results: 'messages' },
      input: Type.Object(
        {
          topic: Type.Optional(topic),
          messages: Type.Array(
            Type.Object(
              {
                key: Type.Optional(key),
                value: key,
                headers: Type.Optional(headers),
                partition: Type.Optional(Type.Integer({ minimum: 0, maximum: 2_147_483_647 })),
                timestamp: Type.Optional(
                  Type.Integer({
                    minimum: 0,
                    maximum: 253_402_300_799_999,
                    description: 'ms since the epoch; default now',
                  }),
                ),
              },
              { additionalProperties: false },
            ),
            { minItems: 1, maxItems: 100_000 },
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        messages: Type.Array(
          Type.Object({
            topic: Type.String(),
            partition: Type.Integer(),
            offset: Type.Optional(Type.String({ description: 'absent when acks is 0, and with an error' })),
            error: Type.Optional(
              Type.Object(
                { code: Type.String(), message: Type.String(), retryable: Type.Boolean() },
                { description: 'set where others of the messages were stored, but not this one' },
              ),
            ),
          }),
        ),
      }),
    }),
    consume: defineOperation({
      title: 'Consume messages',
      description: 'Reads a bounded number of messages, for checking; commits nothing.',
      input: Type.Object(
        {
          topic: Type.Optional(topic),
          from: Type.Optional(
            Type.Unsafe<'earliest' | 'latest'>({
              type: 'string',
              enum: ['earliest', 'latest'],
              description:
                'earliest (default): what is stored, ending with the last of it; latest: what arrives until the time is over',
            }),
          ),
          partition: Type.Optional(Type.Integer({ minimum: 0, maximum: 2_147_483_647 })),
          offset: Type.Optional(Type.String({ pattern: '^\\d{1,19}$', description: 'with partition' })),
          maxMessages: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 10_000, description: 'default 10' }),
          ),
          timeoutMs: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 60_000, description: 'default 5000' }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        messages: Type.Array(
          Type.Object({
            topic: Type.String(),
            partition: Type.Integer(),
            offset: Type.String(),
            timestamp: Type.Integer({ description: 'ms since the epoch' }),
            key,
            value: key,
            headers,
          }),
        ),
      }),
    }),
  },
});

/** Brokers as normalised `host:port`; null for a text that is no such list; of a template its text. */
function readServers(servers: string): string[] | null {
  if (hasVariable(servers)) return [servers];
  const read: string[] = [];
  for (const item of servers.split(',')) {
    const form = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(item.trim());
    const host = form?.[1] ?? form?.[2];
    const port = Number(form?.[3]);
    if (host === undefined || !isHost(host) || port < 1 || port > 65535) return null;
    read.push(`${normaliseHost(host)}:${port}`);
  }
  return read;
}

type Properties = Readonly<Record<string, { value: string; valueType: string }>>;

/** Whether the properties log in by SASL over TLS, which needs no client certificate. */
function hasSasl(properties: Properties): boolean {
  const has = (name: string) => Object.hasOwn(properties, name);
  return (
    properties['security.protocol']?.value === 'SASL_SSL' &&
    (has('sasl.mechanism') || has('sasl.jaas.config'))
  );
}

function destinationsOfProperties(value: unknown): string[] {
  const properties = value as Properties;
  const protocol = properties['security.protocol']?.value;
  const places = protocol === 'SSL' || protocol === 'SASL_SSL' ? [] : ['in clear unless enableSecure'];
  for (const [name, property] of Object.entries(properties)) {
    // A credential is no place; one that is new is no kept one.
    if (name === 'security.protocol' || harmless.includes(name) || isCredentialProperty(name)) continue;
    if (name === 'bootstrap.servers')
      places.push(...(readServers(property.value) ?? [property.value]).map((server) => `${name}=${server}`));
    else places.push(`${name}=${property.value}`);
  }
  return places;
}

function valueFault(value: string, valueType: string): string | undefined {
  switch (valueType) {
    case 'BOOLEAN':
      return value === 'true' || value === 'false' ? undefined : 'must be true or false';
    case 'INTEGER':
      return isWhole(value, 31n) ? undefined : 'must be a whole number of 32 bits';
    case 'LONG':
      return isWhole(value, 63n) ? undefined : 'must be a whole number of 64 bits';
    case 'DOUBLE':
    case 'FLOAT':
      return /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(value) ? undefined : 'must be a number';
    case 'URI':
      return URL.canParse(value) ? undefined : 'must be a URI';
    case 'STRING_LIST':
      return value.split(',').every((item) => item.trim() !== '')
        ? undefined
        : 'must be values separated by commas, none of them empty';
    default:
      return undefined;
  }
}

function isWhole(value: string, bits: bigint): boolean {
  if (!/^[+-]?\d{1,19}$/.test(value)) return false;
  const number = BigInt(value.replace(/^\+/, ''));
  return number >= -(2n ** bits) && number < 2n ** bits;
}
