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
  tlsFieldNames,
  tlsFields,
} from '../../contract/connection-type.ts';
import { itemError, oneOrMany } from '../../contract/one-or-many.ts';

const maxTimeoutMs = 2_147_483_647;

/** Facilities of RFC 5424, table 1: the index is the number on the wire. */
export const syslogFacilities = [
  'KERN',
  'USER',
  'MAIL',
  'DAEMON',
  'AUTH',
  'SYSLOG',
  'LPR',
  'NEWS',
  'UUCP',
  'CRON',
  'AUTHPRIV',
  'FTP',
  'NTP',
  'AUDIT',
  'ALERT',
  'CLOCK',
  'LOCAL0',
  'LOCAL1',
  'LOCAL2',
  'LOCAL3',
  'LOCAL4',
  'LOCAL5',
  'LOCAL6',
  'LOCAL7',
] as const;

/** Severities of RFC 5424, table 2: the index is the number on the wire. */
export const syslogSeverities = [
  'EMERGENCY',
  'ALERT',
  'CRITICAL',
  'ERROR',
  'WARNING',
  'NOTICE',
  'INFORMATIONAL',
  'DEBUG',
] as const;

// SD-NAME and SD-ID of RFC 5424: printable ASCII without space, =, ] and ".
const sdName = '^[!#-<>-\\\\^-~]{1,32}$';

type StructuredData = Record<string, Record<string, string>>;

export const syslog = defineConnectionType({
  type: 'syslog',
  title: 'Syslog',
  summary: 'Sends log messages to a syslog server (RFC 3164, 5424, 5425).',
  fields: {
    syslogServerHostname: hostName({
      title: 'Host',
      description: 'Name or address of the syslog server.',
      examples: ['syslog.example.com'],
    }),
    syslogPort: portNumber({
      title: 'Port',
      description: '514: UDP and plain TCP · 601: TCP · 6514: TLS.',
      default: 514,
    }),
    syslogProtocolType: choice(['TCP', 'UDP'], {
      title: 'Transport',
      description: 'TCP tells when the receiver is gone; UDP loses messages without a trace.',
      group: 'target',
      default: 'TCP',
      destination: 'address',
    }),
    syslogMessageFormat: choice(['RFC_3164', 'RFC_5424', 'RFC_5425'], {
      title: 'Message format',
      description:
        'RFC_3164: the old BSD format, with neither year nor time zone. RFC_5424: the present one, with structured data. RFC_5425: that of 5424, with each message preceded by its length.',
      group: 'delivery',
      default: 'RFC_3164',
      labels: {
        RFC_3164: 'RFC 3164 (BSD)',
        RFC_5424: 'RFC 5424',
        RFC_5425: 'RFC 5425 (octet counted)',
      },
    }),
    syslogMessageHostname: optional(
      text({
        title: 'Host name in messages',
        description: "HOSTNAME of every message; left out: the worker's host name.",
        group: 'delivery',
        minLength: 1,
        maxLength: 255,
        pattern: '^[!-~]+$',
        patternHelp: 'must be printable ASCII without spaces',
        examples: ['gateway-1'],
      }),
    ),
    syslogAppName: text({
      title: 'Application',
      description: 'APP-NAME of every message (TAG in RFC 3164): printable ASCII without spaces, at most 48.',
      group: 'delivery',
      default: 'Apinizer',
      minLength: 1,
      maxLength: 48,
      pattern: '^[!-~]+$',
      patternHelp: 'must be printable ASCII without spaces',
    }),
    syslogFacility: choice(syslogFacilities, {
      title: 'Facility',
      description: 'Facility of every message, by which servers sort them into files.',
      group: 'delivery',
      default: 'AUDIT',
    }),
    syslogSeverity: choice(syslogSeverities, {
      title: 'Severity',
      description: 'Severity of messages that name none.',
      group: 'delivery',
      default: 'INFORMATIONAL',
    }),
    syslogTimeout: integer({
      title: 'Timeout',
      description:
        'TCP: longest wait for the connection and TLS, and for the system to take what is written; 0: no limit of its own. Raise it over slow lines.',
      group: 'limits',
      unit: 'ms',
      default: 500,
      minimum: 0,
      maximum: maxTimeoutMs,
      visibleWhen: { syslogProtocolType: 'TCP' },
    }),
    syslogSslEnabled: flag({
      title: 'TLS',
      description: 'Speaks TLS from the first byte, usually on port 6514; TCP only.',
      group: 'tls',
      default: false,
      visibleWhen: { syslogProtocolType: 'TCP' },
      destination: { weakestFirst: [false, true] },
    }),
    ...tlsFields,
    framing: choice(['AUTO', 'NON_TRANSPARENT', 'OCTET_COUNTING'], {
      title: 'Framing',
      description:
        'How messages are told apart on TCP (RFC 6587). OCTET_COUNTING: each preceded by its length. NON_TRANSPARENT: each ended by a newline, and newlines inside a message are escaped. AUTO: octet counting for RFC_5425, newlines for the rest.',
      group: 'advanced',
      default: 'AUTO',
      visibleWhen: { syslogProtocolType: 'TCP' },
    }),
    queueSize: integer({
      title: 'Queue',
      description:
        'Most messages that wait to be sent. The queue is memory: what is in it is lost if the worker is killed. 0: nothing waits, a message is sent at once or refused.',
      group: 'delivery',
      default: 10000,
      minimum: 0,
      maximum: 10_000_000,
    }),
    maxBufferBytes: integer({
      title: 'Queue in bytes',
      description: 'Most bytes that wait to be sent, whatever the number of messages.',
      group: 'delivery',
      unit: 'bytes',
      default: 67_108_864,
      minimum: 0,
      maximum: 4_294_967_296,
    }),
    enqueueTimeoutMs: integer({
      title: 'Wait for room',
      description:
        'How long a message waits for room in a full queue before it is refused (buffer_full). For a call with more messages than the queue takes, the opening of a connection does not count.',
      group: 'delivery',
      unit: 'ms',
      default: 100,
      minimum: 0,
      maximum: 600_000,
    }),
    connections: integer({
      title: 'Connections',
      description:
        'TCP connections that messages are spread over; with more than one their order at the server is not kept.',
      group: 'pool',
      default: 1,
      minimum: 1,
      maximum: 64,
    }),
  },
  rules: [
    {
      when: { syslogSslEnabled: true },
      demand: { syslogProtocolType: 'TCP' },
      message: 'must be TCP with syslogSslEnabled: TLS needs TCP',
    },
  ],
  remarks(config, idle) {
    const remarks: string[] = [];
    const overUdp = config.syslogProtocolType === 'UDP';
    if (config.syslogMessageFormat === 'RFC_5425' && !config.syslogSslEnabled)
      remarks.push('syslogMessageFormat: RFC_5425 is made for TLS, but syslogSslEnabled is off');
    if (overUdp)
      remarks.push(
        ...idle(['framing'], 'over UDP each datagram is one message'),
        ...idle(['syslogTimeout', 'connections'], 'UDP has no connection'),
      );
    if (config.syslogSslEnabled && !config.verifyCertificate)
      remarks.push('verifyCertificate: is off, so neither chain nor host name of the server is verified');
    if (!config.syslogSslEnabled) remarks.push(...idle(tlsFieldNames, 'syslogSslEnabled is off'));
    return remarks;
  },
  notes: [
    'Ports: 514 UDP and plain TCP, 601 TCP, 6514 TLS.',
    'Syslog is never answered: the test can tell that the connection stands and a message was sent, not that it was stored. It sends one line, “plugboard connection test” at DEBUG; health probes send nothing.',
    'A message that is under way when the server ends its connection can be lost, or arrive twice when it is sent again. Messages that wait when no connection can be made are refused (connection_refused and the like), and can be sent again.',
    'Control characters are sent as # and three octal digits (a newline is #012); RFC 5424 keeps newlines where each message is counted or a datagram of its own.',
    'Over UDP a message is one datagram: beyond 65,507 bytes it is refused (message_too_large), not cut.',
    'Servers cut long messages: RFC 3164 allows 1024 bytes, many of RFC 5424 allow 2048 or 8192.',
  ],
  operations: {
    log: defineOperation({
      title: 'Log',
      description:
        'Sends one message, or several as messages. Answers when the system has taken them for sending, which over TCP is not yet their arrival: syslog has no acknowledgement. A queue that stays full for the wait refuses. Newlines inside a message cannot begin a second one.',
      stream: { items: 'messages', results: 'results' },
      input: oneOrMany(
        {
          message: Type.String({ maxLength: 1_048_576 }),
          severity: Type.Optional(
            Type.Unsafe<(typeof syslogSeverities)[number]>(
              Type.Union(
                syslogSeverities.map((severity) => Type.Literal(severity)),
                { description: "default: the connection's" },
              ),
            ),
          ),
          msgId: Type.Optional(
            Type.String({
              pattern: '^[!-~]{1,32}$',
              description: 'MSGID: kind of message; not sent in RFC_3164',
            }),
          ),
          structuredData: Type.Optional(
            Type.Unsafe<StructuredData>({
              type: 'object',
              propertyNames: { pattern: sdName },
              additionalProperties: {
                type: 'object',
                propertyNames: { pattern: sdName },
                additionalProperties: { type: 'string', maxLength: 65_536 },
                maxProperties: 100,
              },
              maxProperties: 100,
              description: 'SD-ID → name → value, such as {"order@32473": {"id": "7"}}; not sent in RFC_3164',
            }),
          ),
          timestampMs: Type.Optional(
            Type.Integer({
              minimum: 0,
              maximum: 253_402_300_799_999,
              description: 'ms since 1970; default: now',
            }),
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
