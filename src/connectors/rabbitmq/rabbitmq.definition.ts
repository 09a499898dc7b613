import { Type } from 'typebox';
import {
  choice,
  defineConnectionType,
  defineOperation,
  flag,
  hostName,
  integer,
  list,
  map,
  object,
  optional,
  portNumber,
  secret,
  text,
  tlsFieldNames,
  tlsFields,
} from '../../contract/connection-type.ts';
import { endpointsOf } from '../../contract/endpoint.ts';
import { itemError, oneOrMany } from '../../contract/one-or-many.ts';

/** Client properties that only describe the client to the server. */
const descriptiveProperties = [
  'product',
  'version',
  'platform',
  'information',
  'copyright',
  'connection_name',
  'client_id',
];

// AMQP 0-9-1 short strings hold at most 255 bytes; their length is checked again when encoded.
const shortString = 255;

function basicProperty(title: string, description: string, examples: string[]) {
  return optional(text({ title, description, group: 'delivery', maxLength: shortString, examples }));
}

const headers = Type.Record(
  Type.String({ maxLength: shortString }),
  Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()]),
  { description: 'application headers' },
);
const bodyEncoding = Type.Union([Type.Literal('utf8'), Type.Literal('base64')], {
  description: 'how body is written in JSON; default utf8',
});
const short = (description: string) => Type.String({ maxLength: shortString, description });

export const rabbitMq = defineConnectionType({
  type: 'rabbitMq',
  title: 'RabbitMQ',
  summary: 'Publishes messages to a RabbitMQ exchange over AMQP 0-9-1.',
  fields: {
    hostPortList: list(
      object(
        {
          host: hostName({
            title: 'Host',
            description: 'Name or address of one node.',
            examples: ['rabbit1.example.com'],
          }),
          port: portNumber({
            title: 'Port',
            description: '5672: AMQP · 5671: AMQP over TLS.',
            default: 5672,
          }),
        },
        { title: 'Host', description: 'One node of the cluster.', group: 'target' },
      ),
      {
        title: 'Hosts',
        description:
          'Nodes of one cluster, tried in turn until one answers; a lost connection is made again in the same way.',
        group: 'target',
        minItems: 1,
        maxItems: 100,
        destination: 'address-set',
        examples: [[{ host: 'rabbit1.example.com', port: 5672 }]],
      },
    ),
    connectionFactoryVirtualHost: text({
      title: 'Virtual host',
      description: 'Virtual host to open; the one that every server has is /.',
      group: 'target',
      default: '/',
      minLength: 1,
      maxLength: shortString,
    }),
    authenticationEnabled: flag({
      title: 'Authenticate',
      description:
        'Logs in with user name and password. Off: as guest, whom RabbitMQ lets in from its own machine only.',
      group: 'authentication',
      default: false,
    }),
    connectionFactoryUsername: optional(
      text({
        title: 'User name',
        description: 'Required when authentication is on.',
        group: 'authentication',
        maxLength: shortString,
        visibleWhen: { authenticationEnabled: true },
      }),
    ),
    connectionFactoryPassword: optional(
      secret({
        title: 'Password',
        description: 'Required when authentication is on. Without TLS it travels in clear over the network.',
        maxLength: 4096,
        visibleWhen: { authenticationEnabled: true },
      }),
    ),
    connectionFactoryConnectionTimeout: integer({
      title: 'Connect timeout',
      description: 'Longest wait for TCP, TLS and the opening of the connection, for each host; 0: none.',
      group: 'limits',
      unit: 'ms',
      default: 60000,
      minimum: 0,
      maximum: 2_147_483_647,
    }),
    connectionFactoryClientProperties: map(
      text({ title: 'Value', description: 'Value of the property.', maxLength: 4096 }),
      {
        title: 'Client properties',
        description:
          "Told to the server when connecting and shown in its management page; connection_name names the connection there. The client's capabilities cannot be set.",
        group: 'advanced',
        default: {},
        maxProperties: 100,
        secret: 'property-values',
        destination: { harmless: descriptiveProperties },
        examples: [{ connection_name: 'plugboard' }],
      },
    ),
    connectionFactoryRequestedChannelMax: integer({
      title: 'Most channels',
      description:
        'Channels to ask for on one connection; the server may allow fewer. 0: as the server says.',
      group: 'advanced',
      default: 2047,
      minimum: 0,
      maximum: 65535,
    }),
    connectionFactoryRequestedFrameMax: integer({
      title: 'Largest frame',
      description:
        'Frame size to ask for, at least 4096; the server may allow less. 0: as the server says. Does not limit the size of messages.',
      group: 'advanced',
      unit: 'bytes',
      default: 0,
      minimum: 0,
      maximum: 2_147_483_647,
    }),
    connectionFactoryRequestedHeartbeat: integer({
      title: 'Heartbeat',
      description:
        'A silent connection is found dead after about twice this time; the lower of both sides is taken. 0: none, a dead connection may go unnoticed for very long.',
      group: 'advanced',
      unit: 's',
      default: 60,
      minimum: 0,
      maximum: 65535,
    }),
    connectionFactoryUseSslProtocol: flag({
      title: 'TLS',
      description: 'Speaks TLS from the first byte; the port is usually 5671.',
      group: 'tls',
      default: false,
      destination: { weakestFirst: [false, true] },
    }),
    connectionFactorySslProtocol: choice(['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'], {
      title: 'Lowest TLS version',
      description: 'The lowest version that is accepted; the highest that both sides know is taken.',
      group: 'tls',
      default: 'TLSv1.2',
      visibleWhen: { connectionFactoryUseSslProtocol: true },
      destination: { weakestFirst: ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] },
    }),
    ...tlsFields,
    channelExchange: text({
      title: 'Exchange',
      description:
        'Exchange that messages are published to when they name none; must exist. Empty: the default exchange, where the routing key is the name of a queue.',
      group: 'delivery',
      default: '',
      maxLength: shortString,
    }),
    channelRoutingKey: optional(
      text({
        title: 'Routing key',
        description: 'Routing key of messages that name none; left out: the empty one.',
        group: 'delivery',
        maxLength: shortString,
      }),
    ),
    basicPropertiesAppId: text({
      title: 'Application',
      description: 'app_id of messages: who sent them.',
      group: 'delivery',
      default: 'apinizer',
      maxLength: shortString,
    }),
    basicPropertiesContentType: text({
      title: 'Content type',
      description: 'content_type of messages: media type of the body.',
      group: 'delivery',
      default: 'application/json',
      maxLength: shortString,
    }),
    basicPropertiesContentEncoding: basicProperty(
      'Content encoding',
      'content_encoding of messages. Says what the body is; nothing is compressed by it.',
      ['utf-8'],
    ),
    basicPropertiesDeliveryMode: optional(
      integer({
        title: 'Delivery mode',
        description:
          '1: kept in memory. 2: persistent, survives a restart of the server in a durable queue. Left out: 1.',
        group: 'delivery',
        minimum: 1,
        maximum: 2,
      }),
    ),
    basicPropertiesPriority: optional(
      integer({
        title: 'Priority',
        description: 'Priority of messages; counts only in queues declared with x-max-priority.',
        group: 'delivery',
        minimum: 0,
        maximum: 255,
      }),
    ),
    basicPropertiesReplyTo: basicProperty('Reply to', 'reply_to of messages: usually the name of a queue.', [
      'replies',
    ]),
    basicPropertiesExpiration: optional(
      text({
        title: 'Expiration',
        description:
          'Milliseconds after which an undelivered message is dropped or dead-lettered, as text; 0: unless it can be delivered at once.',
        group: 'delivery',
        maxLength: 10,
        pattern: '^[0-9]{1,10}$',
        patternHelp: 'must be a whole number of milliseconds, written as a string',
        examples: ['60000'],
      }),
    ),
    basicPropertiesType: basicProperty('Type', 'type of messages, a name that applications agree on.', [
      'order.created',
    ]),
    basicPropertiesUserId: basicProperty(
      'User',
      'user_id of messages. The server checks it: any other than the account that is logged in closes the channel.',
      ['publisher'],
    ),
    basicPropertiesClusterId: basicProperty(
      'Cluster',
      'cluster_id of messages; deprecated in AMQP 0-9-1 and without meaning to RabbitMQ.',
      ['cluster-1'],
    ),
  },
  rules: [
    {
      when: { authenticationEnabled: true },
      require: ['connectionFactoryUsername', 'connectionFactoryPassword'],
    },
  ],
  destinations: { hostPortList: (value) => endpointsOf(value, 5672) },
  refine(config, fault) {
    const frameMax = config.connectionFactoryRequestedFrameMax;
    if (frameMax > 0 && frameMax < 4096)
      fault('connectionFactoryRequestedFrameMax', 'must be 0 or at least 4096, the smallest frame of AMQP');
  },
  remarks(config, idle) {
    const remarks: string[] = [];
    if (!config.connectionFactoryUseSslProtocol) {
      if (config.authenticationEnabled)
        remarks.push(
          'connectionFactoryUseSslProtocol: is off, so the password travels in clear over the network',
        );
      if (config.hostPortList.some(({ port }) => port === 5671))
        remarks.push('hostPortList: port 5671 is usually AMQP over TLS, but TLS is off');
      remarks.push(
        ...idle(['connectionFactorySslProtocol', ...tlsFieldNames], 'connectionFactoryUseSslProtocol is off'),
      );
    } else {
      if (!config.verifyCertificate)
        remarks.push('verifyCertificate: is off, so neither chain nor host name of the server is verified');
      if (
        config.connectionFactorySslProtocol === 'TLSv1' ||
        config.connectionFactorySslProtocol === 'TLSv1.1'
      )
        remarks.push(
          `connectionFactorySslProtocol: ${config.connectionFactorySslProtocol} is broken and long deprecated; TLSv1.2 is safe`,
        );
    }
    if (!config.authenticationEnabled)
      remarks.push(
        ...idle(['connectionFactoryUsername', 'connectionFactoryPassword'], 'authenticationEnabled is off'),
      );
    if (config.basicPropertiesClusterId != null)
      remarks.push('basicPropertiesClusterId: is sent, but RabbitMQ makes nothing of it');
    return remarks;
  },
  notes: [
    'Ports: 5672 AMQP, 5671 AMQP over TLS; 15672 is the management page and does not work here.',
    'The account guest may log in from the machine of the server only.',
    'Refused after the log-in: the account needs permissions in the virtual host (configure, write, read).',
  ],
  operations: {
    publish: defineOperation({
      title: 'Publish',
      description:
        "Publishes one message, or several as messages, and answers when the server has confirmed them. A message that reaches no queue is an error. One message that fails fails the call; of several each has its own result. What the message leaves out is taken from the connection's fields.",
      stream: { items: 'messages', results: 'results' },
      input: oneOrMany(
        {
          body: Type.String({ description: 'as bodyEncoding says' }),
          bodyEncoding: Type.Optional(bodyEncoding),
          exchange: Type.Optional(short("default: the connection's exchange")),
          routingKey: Type.Optional(short("default: the connection's routing key")),
          mandatory: Type.Optional(
            Type.Boolean({
              description: 'default true: a message that reaches no queue is an error; false: it is dropped',
            }),
          ),
          headers: Type.Optional(headers),
          messageId: Type.Optional(short('message_id')),
          correlationId: Type.Optional(short('correlation_id')),
          replyTo: Type.Optional(short('reply_to')),
          contentType: Type.Optional(short('content_type')),
          contentEncoding: Type.Optional(short('content_encoding')),
          type: Type.Optional(short('type')),
          priority: Type.Optional(Type.Integer({ minimum: 0, maximum: 255 })),
          deliveryMode: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 2, description: '1 transient, 2 persistent' }),
          ),
          expirationMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 4_294_967_295 })),
        },
        { identifying: 'body', maxItems: 10_000 },
      ),
      output: Type.Object({
        published: Type.Integer({ description: 'messages that the server has confirmed' }),
        results: Type.Array(Type.Object({ confirmed: Type.Boolean(), error: Type.Optional(itemError) }), {
          description: 'one for each message, in order',
        }),
      }),
    }),
    get: defineOperation({
      title: 'Look into a queue',
      description: 'Takes waiting messages of a queue, for checking; it does not wait for more to come.',
      input: Type.Object(
        {
          queue: Type.String({ minLength: 1, maxLength: shortString }),
          maxMessages: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'default 1' })),
          acknowledge: Type.Optional(
            Type.Boolean({
              description:
                'true: what is returned is removed from the queue; default false: put back, marked as redelivered',
            }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        messages: Type.Array(
          Type.Object({
            body: Type.String(),
            bodyEncoding: Type.String({ description: 'utf8, or base64 when the body is not UTF-8 text' }),
            exchange: Type.String(),
            routingKey: Type.String(),
            redelivered: Type.Boolean(),
            headers: Type.Record(Type.String(), Type.Unknown()),
            properties: Type.Record(Type.String(), Type.Unknown(), {
              description: 'the other basic properties that are set, such as messageId and contentType',
            }),
          }),
        ),
        remaining: Type.Integer({ description: 'messages that still wait, as the server counts' }),
      }),
    }),
  },
});
