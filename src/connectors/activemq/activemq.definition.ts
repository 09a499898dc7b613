import { Type } from 'typebox';
import {
  choice,
  credentialUrl,
  defineConnectionType,
  defineOperation,
  integer,
  optional,
  secret,
  text,
  tlsFieldNames,
  tlsFields,
} from '../../contract/connection-type.ts';
import { credentialParts } from '../../contract/credential-url.ts';
import { normaliseEndpoint } from '../../contract/endpoint.ts';
import { itemError, oneOrMany } from '../../contract/one-or-many.ts';
import { hasVariable } from '../../contract/reference-syntax.ts';
import { type Broker, brokerSchemes, parseBrokerUrl } from './broker-url.ts';

/** Options of a broker URL that change when and how often something is tried, never where or how safely. */
const harmlessOptions = new Set(
  [
    'randomize',
    'initialReconnectDelay',
    'maxReconnectDelay',
    'maxReconnectAttempts',
    'startupMaxReconnectAttempts',
    'warnAfterReconnectAttempts',
    'useExponentialBackOff',
    'backOffMultiplier',
    'reconnectDelayExponent',
    'timeout',
    'backup',
    'backupPoolSize',
    'priorityBackup',
    'connectionTimeout',
    'soTimeout',
    'keepAlive',
    'tcpNoDelay',
    'wireFormat.maxInactivityDuration',
    'wireFormat.maxInactivityDurationInitalDelay',
    'wireFormat.cacheEnabled',
    'wireFormat.cacheSize',
    'wireFormat.tightEncodingEnabled',
    'wireFormat.sizePrefixDisabled',
    'wireFormat.tcpNoDelayEnabled',
    'wireFormat.stackTraceEnabled',
    'wireFormat.maxFrameSize',
    'jms.clientID',
    'jms.sendTimeout',
    'jms.requestTimeout',
    'jms.closeTimeout',
    'jms.connectTimeout',
    'jms.prefetchPolicy.all',
    'amqp.idleTimeout',
    'amqp.vhost',
    'amqp.maxFrameSize',
    'ha',
    'reconnectAttempts',
    'retryInterval',
    'retryIntervalMultiplier',
  ].flatMap((name) => [name.toLowerCase(), `failover.${name.toLowerCase()}`]),
);

/**
 * Where a broker URL leads: each broker as scheme and endpoint, and every option that is not known
 * to be harmless. A scheme without TLS also stands for its TLS twin: raising protection is no move.
 */
function brokerDestinations(value: unknown): string[] {
  if (value == null) return [];
  const url = withoutCredentials(String(value));
  const parsed = parseBrokerUrl(url);
  if ('fault' in parsed) return [url];
  const places = parsed.brokers.flatMap((broker) => [
    ...endpoints(broker),
    ...broker.options.map((option) => ({ ...option, of: normaliseEndpoint(broker.host, broker.port) })),
    ...parsed.options.map((option) => ({ ...option, of: 'all' })),
  ]);
  return [
    ...new Set(
      places.flatMap((place) => {
        if (typeof place === 'string') return [place];
        const name = place.name.toLowerCase().replace(/^(nested|transport)\./, '');
        return harmlessOptions.has(name) ? [] : [`option ${place.of} ${name}=${place.value}`];
      }),
    ),
  ];
}

function endpoints({ scheme, host, port }: Broker): string[] {
  const endpoint = normaliseEndpoint(host, port);
  if (scheme === 'tcp') return [`tcp://${endpoint}`, `ssl://${endpoint}`];
  if (scheme === 'amqp') return [`amqp://${endpoint}`, `amqps://${endpoint}`];
  return [`${scheme}://${endpoint}`];
}

/** A changed password is no changed destination, and none may show in one. */
function withoutCredentials(url: string): string {
  let result = url;
  for (const part of credentialParts(url, false).reverse())
    result = result.slice(0, part.start) + result.slice(part.end);
  return result;
}

function timeout(title: string, description: string) {
  return integer({
    title,
    description: `${description}; 0: no limit of its own.`,
    group: 'limits',
    unit: 'ms',
    default: 60000,
    minimum: 0,
    maximum: 2_147_483_647,
  });
}

const propertyMap = Type.Record(
  Type.String({ minLength: 1, maxLength: 255 }),
  Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()]),
  { description: 'application properties' },
);

export const activeMq = defineConnectionType({
  type: 'activeMq',
  title: 'ActiveMQ',
  summary: 'Sends messages to a queue or topic of ActiveMQ Classic or Artemis.',
  fields: {
    activeMqConnectionProtocolType: choice(['TCP', 'AMQP'], {
      title: 'Protocol',
      description:
        'TCP is OpenWire, the native protocol (usually port 61616). AMQP is AMQP 1.0 (usually port 5672). The scheme of the broker URL must agree.',
      group: 'target',
      labels: { TCP: 'OpenWire (TCP)', AMQP: 'AMQP 1.0' },
    }),
    brokerURL: credentialUrl({
      title: 'Broker URL',
      description:
        'tcp://host:port or ssl://host:port for TCP, amqp:// or amqps:// for AMQP; several separated by commas, or failover:(a,b)?options. ssl and amqps speak TLS. Credentials in it are kept secret, but the fields below are the better place.',
      destination: 'address',
      examples: [
        'tcp://broker.example.com:61616',
        'amqp://broker.example.com:5672',
        'failover:(tcp://a.example.com:61616,tcp://b.example.com:61616)?randomize=false',
      ],
    }),
    username: optional(
      text({
        title: 'User name',
        description: 'Account to log in with; left out: anonymous, or as the broker URL says.',
        group: 'authentication',
        maxLength: 255,
      }),
    ),
    password: optional(
      secret({
        title: 'Password',
        description: 'Password of the account. Without TLS it travels in clear over the network.',
        maxLength: 4096,
      }),
    ),
    destinationType: choice(['QUEUE', 'TOPIC'], {
      title: 'Destination type',
      description: 'A message of a queue goes to one consumer, one of a topic to every subscriber there is.',
      group: 'delivery',
    }),
    destinationName: text({
      title: 'Destination name',
      description: 'Name of the queue or topic; brokers usually make it when it is first used.',
      group: 'delivery',
      minLength: 1,
      maxLength: 1024,
      examples: ['orders'],
    }),
    sessionAcknowledgement: choice(
      ['AUTO_ACKNOWLEDGE', 'CLIENT_ACKNOWLEDGE', 'DUPS_OK_ACKNOWLEDGE', 'SESSION_TRANSACTED'],
      {
        title: 'Acknowledgement',
        description:
          'SESSION_TRANSACTED commits all messages of one send, or none of them. For receive: AUTO_ACKNOWLEDGE and CLIENT_ACKNOWLEDGE acknowledge when the messages are answered, DUPS_OK_ACKNOWLEDGE lazily, so that a message may come twice.',
        group: 'delivery',
        default: 'AUTO_ACKNOWLEDGE',
      },
    ),
    sendTimeout: timeout('Send timeout', "Longest wait for the broker's word that it has a message"),
    requestTimeout: timeout('Request timeout', 'Longest wait for the answer to any other request'),
    closeTimeout: timeout('Close timeout', 'Longest wait for an orderly end of the connection'),
    connectTimeout: timeout('Connect timeout', 'Longest wait for TCP, TLS and log-in, for each broker'),
    contentType: optional(
      text({
        title: 'Content type',
        description: 'Media type of the body, for messages that name none.',
        group: 'delivery',
        maxLength: 255,
        examples: ['application/json'],
      }),
    ),
    clientID: optional(
      text({
        title: 'Client id',
        description:
          'Name of the client at the broker, which lets in one connection a client id; workers therefore add their own name. Left out: the client makes one.',
        group: 'advanced',
        maxLength: 255,
        examples: ['plugboard'],
      }),
    ),
    contentEncoding: optional(
      text({
        title: 'Content encoding',
        description: 'Says how the body is encoded, such as utf-8 or gzip; nothing is compressed by it.',
        group: 'delivery',
        maxLength: 255,
        examples: ['utf-8'],
      }),
    ),
    ...tlsFields,
  },
  destinations: { brokerURL: brokerDestinations },
  refine(config, fault) {
    // A ${VARIABLE} in the URL is judged when it is resolved.
    if (hasVariable(config.brokerURL)) return;
    const parsed = parseBrokerUrl(config.brokerURL);
    if ('fault' in parsed) {
      fault('brokerURL', parsed.fault);
      return;
    }
    const allowed: readonly string[] | undefined = brokerSchemes[config.activeMqConnectionProtocolType];
    const wrong = parsed.brokers.find(({ scheme }) => allowed && !allowed.includes(scheme));
    if (wrong)
      fault(
        'brokerURL',
        `has the scheme ${wrong.scheme}, but activeMqConnectionProtocolType ${config.activeMqConnectionProtocolType} needs ${allowed?.join(' or ')}`,
      );
  },
  remarks(config, idle) {
    const remarks: string[] = [];
    const parsed = parseBrokerUrl(config.brokerURL);
    if ('fault' in parsed) return remarks;
    const secure = parsed.brokers.filter(({ scheme }) => scheme === 'ssl' || scheme === 'amqps');
    if (config.password != null && secure.length < parsed.brokers.length)
      remarks.push('brokerURL: not every broker is reached over TLS, so the password travels in clear');
    if (secure.length === 0)
      remarks.push(...idle(tlsFieldNames, 'no broker is reached by ssl:// or amqps://'));
    else if (!config.verifyCertificate)
      remarks.push('verifyCertificate: is off, so neither chain nor host name of the broker is verified');
    if (
      config.activeMqConnectionProtocolType === 'AMQP' &&
      config.sessionAcknowledgement === 'DUPS_OK_ACKNOWLEDGE'
    )
      remarks.push(
        'sessionAcknowledgement: DUPS_OK_ACKNOWLEDGE acknowledges over AMQP as AUTO_ACKNOWLEDGE does',
      );
    return remarks;
  },
  notes: [
    'Ports: 61616 OpenWire, 61617 OpenWire over TLS, 5672 AMQP, 5671 AMQP over TLS; 8161 is the web console and does not work here.',
    'The queue and topic prefixes of Artemis (anycast, multicast) are applied by the broker: give the plain name.',
  ],
  operations: {
    send: defineOperation({
      title: 'Send',
      description:
        'Sends one message, or several as messages, and answers when the broker has them. With SESSION_TRANSACTED several are committed together or not at all; else each has its own result.',
      stream: { items: 'messages', results: 'results' },
      input: oneOrMany(
        {
          body: Type.String({ description: 'as bodyEncoding says' }),
          bodyEncoding: Type.Optional(
            Type.Union([Type.Literal('utf8'), Type.Literal('base64')], {
              description: 'utf8 makes a text message, base64 a bytes message; default utf8',
            }),
          ),
          properties: Type.Optional(propertyMap),
          correlationId: Type.Optional(Type.String({ maxLength: 1024 })),
          replyTo: Type.Optional(Type.String({ maxLength: 1024, description: 'name of a queue' })),
          type: Type.Optional(Type.String({ maxLength: 1024, description: 'JMSType' })),
          priority: Type.Optional(Type.Integer({ minimum: 0, maximum: 9, description: 'default 4' })),
          timeToLiveMs: Type.Optional(
            Type.Integer({ minimum: 0, description: 'after which it expires; default 0: never' }),
          ),
          persistent: Type.Optional(
            Type.Boolean({ description: 'whether it survives a restart of the broker; default true' }),
          ),
        },
        { identifying: 'body', maxItems: 10_000 },
      ),
      output: Type.Object({
        sent: Type.Integer({ description: 'messages that the broker has' }),
        results: Type.Array(
          Type.Object({
            messageId: Type.Optional(Type.String()),
            error: Type.Optional(itemError),
          }),
          { description: 'one for each message, in order' },
        ),
      }),
    }),
    receive: defineOperation({
      title: 'Receive',
      description:
        'Takes messages from the destination until there are maxMessages or 8 MiB of them, or the time is over. From a queue they are removed; of a topic only those are seen that arrive meanwhile.',
      input: Type.Object(
        {
          maxMessages: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'default 1' })),
          timeoutMs: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 60_000, description: 'default 1000' }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        messages: Type.Array(
          Type.Object({
            messageId: Type.String(),
            body: Type.String(),
            bodyEncoding: Type.String({ description: 'utf8, or base64 when the body is not UTF-8 text' }),
            properties: Type.Record(Type.String(), Type.Unknown()),
            correlationId: Type.Optional(Type.String()),
            replyTo: Type.Optional(Type.String()),
            type: Type.Optional(Type.String()),
            contentType: Type.Optional(Type.String()),
            priority: Type.Optional(Type.Integer()),
            timestamp: Type.Optional(Type.String({ description: 'ISO 8601, as the sender said' })),
            redelivered: Type.Boolean(),
          }),
        ),
      }),
    }),
  },
});
