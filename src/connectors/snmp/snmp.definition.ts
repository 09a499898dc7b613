import { Type } from 'typebox';
import {
  choice,
  defineConnectionType,
  defineOperation,
  flag,
  integer,
  list,
  map,
  optional,
  secret,
  text,
} from '../../contract/connection-type.ts';
import { normaliseEndpoint } from '../../contract/endpoint.ts';
import { normaliseHost } from '../../contract/host.ts';
import { hasVariable } from '../../contract/reference-syntax.ts';

const oidPattern = '^\\.?[0-2](\\.(0|[1-9][0-9]{0,9}))+$';

export interface SnmpAddress {
  transport: 'udp' | 'tcp';
  host: string;
  port: number;
}

/** Reads `udp:host/port` or `tcp:host/port`, IPv6 addresses with or without brackets. Undefined when it is neither. */
export function parseConnectionString(connectionString: string): SnmpAddress | undefined {
  const match = /^(udp|tcp):(\[[0-9a-f:.]+\]|[^\s/[\]]+)\/([0-9]{1,5})$/i.exec(connectionString);
  if (!match) return undefined;
  const port = Number(match[3]);
  if (port < 1 || port > 65535) return undefined;
  return {
    transport: match[1]!.toLowerCase() === 'tcp' ? 'tcp' : 'udp',
    host: normaliseHost(match[2]!),
    port,
  };
}

const authenticationProtocols = [
  'AuthMD5',
  'AuthSHA',
  'AuthHMAC128SHA224',
  'AuthHMAC192SHA256',
  'AuthHMAC256SHA384',
  'AuthHMAC384SHA512',
] as const;

const privacyProtocols = [
  'PrivDES',
  'Priv3DES',
  'PrivAES128',
  'PrivAES192',
  'PrivAES256',
  'PrivAES192with3DES',
  'PrivAES256with3DES',
] as const;

const withAuthentication = { version: 'V3', securityLevel: ['AUTH_NOPRIV', 'AUTH_PRIV'] } as const;
const withPrivacy = { version: 'V3', securityLevel: 'AUTH_PRIV' } as const;

const authFields = ['usmUserAuthenticationProtocol', 'authPassphrase'] as const;
const privacyFields = ['usmUserPrivacyProtocol', 'privPassphrase'] as const;

export const snmp = defineConnectionType({
  type: 'snmp',
  title: 'SNMP notifications',
  summary: 'Sends SNMP traps and informs to a manager.',
  fields: {
    version: choice(['V1', 'V2c', 'V3'], {
      title: 'Version',
      description:
        'V1 and V2c send the community, their only password, in clear. V3 can authenticate and encrypt.',
      group: 'target',
      default: 'V1',
      destination: { weakestFirst: ['V1', 'V2c', 'V3'] },
    }),
    connectionString: text({
      title: 'Receiver',
      description:
        'udp:host/port or tcp:host/port; managers usually listen for notifications on port 162. Over UDP a trap that is lost leaves no trace; an INFORM is acknowledged.',
      group: 'target',
      minLength: 1,
      maxLength: 512,
      pattern: '^([Uu][Dd][Pp]|[Tt][Cc][Pp]):[^\\s/]+/[0-9]{1,5}$',
      patternHelp: 'must be udp:host/port or tcp:host/port',
      destination: 'address',
      examples: ['udp:snmp.example.com/162'],
    }),
    securityOrCommunityName: secret({
      title: 'Community or security name',
      description:
        'V1 and V2c: the community. V3: the user name where no security name is given below. Always kept as a secret, because in V1 and V2c it is the password.',
      minLength: 1,
      maxLength: 255,
      examples: ['public'],
    }),
    messageType: choice(['TRAP', 'INFORM'], {
      title: 'Message type',
      description:
        'TRAP is sent and forgotten. INFORM is answered by the receiver and repeated until it is; it does not exist in V1.',
      group: 'delivery',
      default: 'TRAP',
    }),
    retryCount: integer({
      title: 'Retries',
      description: 'How often an INFORM that is not acknowledged is sent again; without effect for TRAP.',
      group: 'delivery',
      default: 0,
      minimum: 0,
      maximum: 100,
    }),
    timeout: integer({
      title: 'Timeout',
      description:
        'Longest wait for each acknowledgement of an INFORM, for the discovery of a V3 engine, and for a TCP connection; 0: no limit of its own.',
      group: 'limits',
      unit: 'ms',
      default: 5000,
      minimum: 0,
      maximum: 2_147_483_647,
    }),
    pduOidForMessage: text({
      title: 'OID of the message',
      description: 'OID of the variable that carries the message; a leading dot may be given.',
      group: 'delivery',
      format: 'oid',
      maxLength: 255,
      examples: ['.1.3.6.1.4.1.8072.2.3.2.1'],
    }),
    pduOidForTime: optional(
      text({
        title: 'OID of the time',
        description: 'OID of the variable that carries the time of the event; left out: no time is sent.',
        group: 'delivery',
        format: 'oid',
        maxLength: 255,
        examples: ['1.3.6.1.4.1.8072.2.3.2.2'],
      }),
    ),
    pduVariableMap: map(
      text({
        title: 'Value',
        description: 'Value of the variable, sent as an octet string.',
        maxLength: 4096,
      }),
      {
        title: 'More variables',
        description: 'OID and value of variables that go with every notification.',
        group: 'delivery',
        default: {},
        namePattern: oidPattern,
        maxProperties: 100,
        examples: [{ '1.3.6.1.4.1.8072.2.3.2.3': 'production' }],
      },
    ),
    securityLevel: optional(
      choice(['NOAUTH_NOPRIV', 'AUTH_NOPRIV', 'AUTH_PRIV'], {
        title: 'Security level',
        description: 'V3: whether messages are authenticated (AUTH) and encrypted (PRIV). Left out: neither.',
        group: 'authentication',
        labels: {
          NOAUTH_NOPRIV: 'neither authenticated nor encrypted',
          AUTH_NOPRIV: 'authenticated',
          AUTH_PRIV: 'authenticated and encrypted',
        },
        visibleWhen: { version: 'V3' },
        destination: { weakestFirst: ['NOAUTH_NOPRIV', 'AUTH_NOPRIV', 'AUTH_PRIV'] },
      }),
    ),
    enableUserAuthentication: flag({
      title: 'User authentication',
      description:
        'Kept for clients that set it; whether messages are authenticated is decided by the security level alone.',
      group: 'authentication',
      default: false,
      visibleWhen: { version: 'V3' },
    }),
    securityName: optional(
      text({
        title: 'Security name',
        description: 'V3: name of the user; left out: the community or security name above.',
        group: 'authentication',
        minLength: 1,
        maxLength: 32,
        visibleWhen: { version: 'V3' },
        examples: ['trapuser'],
      }),
    ),
    usmUserAuthenticationProtocol: optional(
      choice(authenticationProtocols, {
        title: 'Authentication protocol',
        description: 'V3: required with AUTH_NOPRIV and AUTH_PRIV. AuthSHA is SHA-1; MD5 and SHA-1 are weak.',
        group: 'authentication',
        visibleWhen: withAuthentication,
        destination: { weakestFirst: authenticationProtocols },
      }),
    ),
    authPassphrase: optional(
      secret({
        title: 'Authentication passphrase',
        description: 'V3: required with AUTH_NOPRIV and AUTH_PRIV; at least 8 characters (RFC 3414).',
        minLength: 8,
        maxLength: 1024,
        visibleWhen: withAuthentication,
        examples: ['a passphrase to authenticate'],
      }),
    ),
    usmUserPrivacyProtocol: optional(
      choice(privacyProtocols, {
        title: 'Privacy protocol',
        description:
          'V3: required with AUTH_PRIV. DES and 3DES are weak. AES with 192 and 256 bits is no standard: PrivAES192 and PrivAES256 extend the key as Blumenthal proposes, the forms with3DES as Cisco and net-snmp (AES-192-C, AES-256-C) do; the receiver must use the same.',
        group: 'authentication',
        visibleWhen: withPrivacy,
        destination: {
          weakestFirst: [
            'PrivDES',
            'Priv3DES',
            'PrivAES128',
            'PrivAES192with3DES',
            'PrivAES192',
            'PrivAES256with3DES',
            'PrivAES256',
          ],
        },
      }),
    ),
    privPassphrase: optional(
      secret({
        title: 'Privacy passphrase',
        description: 'V3: required with AUTH_PRIV; at least 8 characters (RFC 3414).',
        minLength: 8,
        maxLength: 1024,
        visibleWhen: withPrivacy,
        examples: ['a passphrase to encrypt'],
      }),
    ),
    privacyProtocolList: optional(
      list(
        choice(privacyProtocols, {
          title: 'Privacy protocol',
          description: 'One protocol of the list.',
        }),
        {
          title: 'Privacy protocols on offer',
          description: 'Kept and returned, without effect: the privacy protocol above is used.',
          group: 'advanced',
          maxItems: 20,
          visibleWhen: withPrivacy,
        },
      ),
    ),
  },
  rules: [
    {
      when: { version: 'V1' },
      demand: { messageType: 'TRAP' },
      message: 'must be TRAP with version V1: INFORM does not exist in V1',
    },
    { when: withAuthentication, require: ['usmUserAuthenticationProtocol', 'authPassphrase'] },
    { when: withPrivacy, require: ['usmUserPrivacyProtocol', 'privPassphrase'] },
  ],
  aliases: {
    pduUdpForMessage: 'pduOidForMessage',
    pduUdpForTime: 'pduOidForTime',
    enabledUserAuthentication: 'enableUserAuthentication',
  },
  destinations: {
    connectionString(value) {
      if (value == null) return [];
      const address = parseConnectionString(String(value));
      if (!address) return [String(value)];
      return [`${address.transport}:${normaliseEndpoint(address.host, address.port)}`];
    },
  },
  refine(config, fault) {
    // A ${VARIABLE} is judged when it is resolved.
    if (!hasVariable(config.connectionString) && !parseConnectionString(config.connectionString))
      fault('connectionString', 'must be udp:host/port or tcp:host/port, port 1 to 65535');
  },
  remarks(config, idle) {
    const remarks: string[] = [];
    const level = config.securityLevel ?? 'NOAUTH_NOPRIV';
    if (config.version !== 'V3') {
      remarks.push(
        ...idle(
          ['securityLevel', 'securityName', 'enableUserAuthentication', ...authFields, ...privacyFields],
          `the version is ${config.version}`,
        ),
      );
    } else {
      if (config.securityName != null)
        remarks.push(...idle(['securityOrCommunityName'], 'securityName is given'));
      if (level === 'NOAUTH_NOPRIV') remarks.push(...idle(authFields, `securityLevel is ${level}`));
      if (level !== 'AUTH_PRIV') remarks.push(...idle(privacyFields, `securityLevel is ${level}`));
      if (level === 'NOAUTH_NOPRIV')
        remarks.push(
          `securityLevel: ${level} neither authenticates nor encrypts, so anybody can forge these messages`,
        );
      if (config.enableUserAuthentication && level === 'NOAUTH_NOPRIV')
        remarks.push('enableUserAuthentication: has no effect; securityLevel decides');
      const authentication = config.usmUserAuthenticationProtocol;
      if (level !== 'NOAUTH_NOPRIV' && (authentication === 'AuthMD5' || authentication === 'AuthSHA'))
        remarks.push(`usmUserAuthenticationProtocol: ${authentication} is weak`);
      const privacy = config.usmUserPrivacyProtocol;
      if (level === 'AUTH_PRIV' && (privacy === 'PrivDES' || privacy === 'Priv3DES'))
        remarks.push(`usmUserPrivacyProtocol: ${privacy} is weak`);
    }
    if (config.messageType === 'TRAP') {
      remarks.push(...idle(['retryCount'], 'a TRAP is not acknowledged'));
      if (/^udp:/i.test(config.connectionString))
        remarks.push(...idle(['timeout'], 'a TRAP over UDP is not waited for'));
    }
    remarks.push(...idle(['privacyProtocolList'], 'usmUserPrivacyProtocol decides'));
    return remarks;
  },
  notes: [
    'Port 162 receives notifications; 161 answers queries and does not take them.',
    'A TRAP over UDP is never acknowledged: the test can only tell that it was sent. Use INFORM to have it proven.',
    'Receivers of V3 traps must know the engine id of the sender and the user under it; the test of the connection tells the engine id.',
    'A notification is identified by the OID of its message: as snmpTrapOID.0 in V2c and V3, as the enterprise with specific trap 1 in V1.',
  ],
  operations: {
    notify: defineOperation({
      title: 'Notify',
      description:
        'Sends one notification of the configured type. With INFORM it answers when the receiver has acknowledged, with TRAP when it was handed to the network.',
      input: Type.Object(
        {
          message: Type.String({ maxLength: 60_000, description: 'value of the message variable' }),
          time: Type.Optional(
            Type.String({
              maxLength: 255,
              description: 'value of the time variable, which pduOidForTime names; default: now, in ISO 8601',
            }),
          ),
          variables: Type.Optional(
            Type.Array(
              Type.Object(
                {
                  oid: Type.String({ pattern: oidPattern, maxLength: 255 }),
                  type: Type.Optional(
                    Type.Union(
                      [
                        Type.Literal('OctetString'),
                        Type.Literal('Integer'),
                        Type.Literal('OID'),
                        Type.Literal('IpAddress'),
                        Type.Literal('Counter32'),
                        Type.Literal('Gauge32'),
                        Type.Literal('TimeTicks'),
                        Type.Literal('Counter64'),
                      ],
                      { description: 'default OctetString; Counter64 does not exist in V1' },
                    ),
                  ),
                  value: Type.Union([Type.String({ maxLength: 60_000 }), Type.Integer()]),
                },
                { additionalProperties: false },
              ),
              { maxItems: 100, description: 'sent after those of the connection' },
            ),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        messageType: Type.String({ description: 'TRAP or INFORM' }),
        acknowledged: Type.Boolean({ description: 'whether the receiver has answered; false for TRAP' }),
        requestId: Type.Optional(Type.Integer()),
      }),
    }),
  },
});
