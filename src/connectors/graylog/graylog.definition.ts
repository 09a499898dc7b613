import { Type } from 'typebox';
import {
  choice,
  defineConnectionType,
  defineOperation,
  flag,
  hostName,
  integer,
  optional,
  portNumber,
  text,
  tlsFields,
} from '../../contract/connection-type.ts';
import { itemError, oneOrMany } from '../../contract/one-or-many.ts';

// Verification and trust are said by the tls… fields of this type; the client certificate is not.
const { keyStoreName } = tlsFields;

const maxTimeoutMs = 2_147_483_647;

/** GELF levels, in the order of syslog: the index is the number on the wire. */
export const gelfLevels = [
  'EMERGENCY',
  'ALERT',
  'CRITICAL',
  'ERROR',
  'WARNING',
  'NOTICE',
  'INFO',
  'DEBUG',
] as const;

export const graylog = defineConnectionType({
  type: 'graylog',
  title: 'Graylog (GELF)',
  summary: 'Sends log messages to Graylog as GELF 1.1 over TCP or UDP.',
  fields: {
    hostname: hostName({
      title: 'Host',
      description: 'Name or address of the Graylog node, or of a load balancer before several.',
      examples: ['graylog.example.com'],
    }),
    port: portNumber({
      title: 'Port',
      description: 'Port of the GELF input in Graylog, which must be of the same transport.',
      default: 12201,
    }),
    transportType: choice(['TCP', 'UDP'], {
      title: 'Transport',
      description:
        'TCP tells when the receiver is gone; UDP loses messages without a trace. Messages over 8192 bytes are chunked on UDP, at most 128 chunks.',
      group: 'target',
      default: 'TCP',
      destination: 'address',
    }),
    tlsEnabled: flag({
      title: 'TLS',
      description: 'Speaks TLS from the first byte; TCP only, and the input must have TLS switched on.',
      group: 'tls',
      default: false,
      visibleWhen: { transportType: 'TCP' },
      destination: { weakestFirst: [false, true] },
    }),
    tlsCertVerificationEnabled: flag({
      title: 'Verify certificate',
      description:
        'Verifies chain and host name of the server against the trust certificates below. Off: neither is verified, and whoever sits in between can read the logs.',
      group: 'tls',
      default: false,
      visibleWhen: { tlsEnabled: true },
      destination: { weakestFirst: [false, true] },
    }),
    tlsTrustCertChainFile: optional(
      text({
        title: 'Trust certificates (PEM)',
        description:
          'PEM file with the certificates to trust, once more encoded in base64; required for verification. Whether it can be read is found out by the worker.',
        group: 'tls',
        maxLength: 1_000_000,
        multiline: true,
        visibleWhen: { tlsEnabled: true, tlsCertVerificationEnabled: true },
        destination: 'address',
        examples: ['LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=='],
      }),
    ),
    tlsTrustCertChainFileName: optional(
      text({
        title: 'Name of the file',
        description: 'Name that the file was uploaded under; kept and returned, without effect.',
        group: 'tls',
        maxLength: 255,
        visibleWhen: { tlsEnabled: true, tlsCertVerificationEnabled: true },
      }),
    ),
    keyStoreName,
    compressionType: choice(['NONE', 'GZIP', 'ZLIB'], {
      title: 'Compression',
      description: 'How UDP datagrams are compressed. Without effect on TCP: GELF TCP has no compression.',
      group: 'delivery',
      default: 'NONE',
    }),
    gelfMessageLevel: choice(gelfLevels, {
      title: 'Level',
      description: 'Level of messages that name none.',
      group: 'delivery',
      default: 'INFO',
    }),
    queueSize: integer({
      title: 'Queue',
      description:
        'Most messages that wait to be sent; further ones are refused (buffer_full). The queue is memory: what is in it is lost if the worker is killed. 0: nothing waits, a message is sent at once or refused.',
      group: 'delivery',
      default: 512,
      minimum: 0,
      maximum: 1_000_000,
    }),
    reconnectDelay: integer({
      title: 'Reconnect delay',
      description: 'Wait before a lost TCP connection is made again.',
      group: 'delivery',
      unit: 'ms',
      default: 2500,
      minimum: 0,
      maximum: maxTimeoutMs,
    }),
    connectTimeout: integer({
      title: 'Connect timeout',
      description: 'Longest wait for TCP and TLS; 0: no limit of its own.',
      group: 'limits',
      unit: 'ms',
      default: 10000,
      minimum: 0,
      maximum: maxTimeoutMs,
    }),
    tcpNoDelay: flag({
      title: 'No delay',
      description: 'TCP_NODELAY: sends small messages at once instead of gathering them.',
      group: 'advanced',
      default: true,
      visibleWhen: { transportType: 'TCP' },
    }),
    tcpKeepAlive: flag({
      title: 'Keep alive',
      description: 'SO_KEEPALIVE: finds out, in hours by default of the system, that a silent peer is gone.',
      group: 'advanced',
      default: false,
      visibleWhen: { transportType: 'TCP' },
    }),
    sendBufferSize: integer({
      title: 'Send buffer',
      description:
        'SO_SNDBUF of a UDP socket, and the most that is handed to a TCP socket ahead; -1: as the system says.',
      group: 'advanced',
      unit: 'bytes',
      default: -1,
      minimum: -1,
      maximum: 1_073_741_824,
    }),
    maxInflightSends: integer({
      title: 'Sends in flight',
      description: 'Most messages handed to the socket and not yet taken by the system.',
      group: 'advanced',
      default: 512,
      minimum: 0,
      maximum: 1_000_000,
    }),
    threads: integer({
      title: 'Threads',
      description: 'Kept and returned, without effect: sending needs no threads here.',
      group: 'advanced',
      default: 0,
      minimum: 0,
      maximum: 1024,
    }),
    appendToAttributes: flag({
      title: 'Fields as attributes',
      description:
        'Sends the fields of a message as additional GELF fields (_name), which Graylog can search.',
      group: 'delivery',
      default: true,
    }),
    appendToMessage: flag({
      title: 'Fields in the message',
      description:
        'Also appends the fields to the full message as a line of JSON, so that they are read with the text.',
      group: 'delivery',
      default: true,
    }),
  },
  rules: [
    {
      when: { tlsEnabled: true },
      demand: { transportType: 'TCP' },
      message: 'must be TCP with tlsEnabled: GELF over UDP has no TLS',
    },
    { when: { tlsCertVerificationEnabled: true }, require: ['tlsTrustCertChainFile'] },
  ],
  remarks(config, idle) {
    const remarks: string[] = [];
    if (config.tlsEnabled && !config.tlsCertVerificationEnabled)
      remarks.push(
        "tlsCertVerificationEnabled: is off, so neither chain nor name of the server's certificate is verified",
      );
    if (!config.tlsEnabled)
      remarks.push(...idle(['tlsCertVerificationEnabled', 'keyStoreName'], 'tlsEnabled is off'));
    if (!config.tlsCertVerificationEnabled)
      remarks.push(...idle(['tlsTrustCertChainFile'], 'tlsCertVerificationEnabled is off'));
    if (config.transportType === 'TCP') {
      remarks.push(...idle(['compressionType'], 'GELF TCP has no compression'));
      if (config.sendBufferSize > 0)
        remarks.push(
          "sendBufferSize: limits on TCP what is handed to the socket at a time; the system's own buffer keeps its size",
        );
    } else {
      remarks.push(
        ...idle(['reconnectDelay', 'connectTimeout', 'tcpNoDelay', 'tcpKeepAlive'], 'UDP has no connection'),
        ...idle(['maxInflightSends'], 'over UDP one message is sent after the other'),
      );
    }
    remarks.push(
      ...idle(['threads'], 'sending needs no threads here'),
      ...idle(['tlsTrustCertChainFileName'], 'the file is in tlsTrustCertChainFile'),
    );
    if (!config.appendToAttributes && !config.appendToMessage)
      remarks.push(
        'appendToAttributes, appendToMessage: are both off, so the fields of messages are dropped',
      );
    return remarks;
  },
  notes: [
    'Graylog needs an input of the same kind: GELF TCP or GELF UDP, usually on port 12201.',
    'GELF is never answered: the test can only tell that a message was sent, “plugboard connection test” at DEBUG; health probes send nothing.',
    'A message that is under way when Graylog ends its connection can be lost, or arrive twice when it is sent again.',
    'The field _id is reserved by Graylog and refused.',
  ],
  operations: {
    log: defineOperation({
      title: 'Log',
      description:
        'Sends one message, or several as messages. Answers when the system has taken them for sending, which is not yet their arrival: GELF has no acknowledgement. A full queue refuses.',
      stream: { items: 'messages', results: 'results' },
      input: oneOrMany(
        {
          message: Type.String({ minLength: 1, maxLength: 1_048_576, description: 'short_message' }),
          fullMessage: Type.Optional(
            Type.String({
              maxLength: 16_777_216,
              description: 'full_message: details, such as a stack trace',
            }),
          ),
          level: Type.Optional(
            Type.Unsafe<(typeof gelfLevels)[number]>(
              Type.Union(
                gelfLevels.map((level) => Type.Literal(level)),
                { description: "default: the connection's" },
              ),
            ),
          ),
          fields: Type.Optional(
            Type.Unsafe<Record<string, string | number | boolean | null>>({
              type: 'object',
              propertyNames: { pattern: '^(?!_?id$)[\\w.-]+$', maxLength: 255 },
              additionalProperties: { type: ['string', 'number', 'boolean', 'null'] },
              maxProperties: 1000,
              description:
                'additional fields; a leading _ is added where it is missing, and _id is refused. Booleans are sent as text, null is left out',
            }),
          ),
          host: Type.Optional(
            Type.String({ minLength: 1, maxLength: 255, description: "default: the worker's host name" }),
          ),
          timestampMs: Type.Optional(
            Type.Integer({ minimum: 0, description: 'ms since 1970; default: now' }),
          ),
        },
        { identifying: 'message', maxItems: 10_000 },
      ),
      output: Type.Object({
        accepted: Type.Integer({ description: 'messages that the system has taken for sending' }),
        results: Type.Array(Type.Object({ accepted: Type.Boolean(), error: Type.Optional(itemError) }), {
          description: 'one for each message, in order',
        }),
      }),
    }),
  },
});
