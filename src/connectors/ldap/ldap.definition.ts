import { Type } from 'typebox';
import {
  choice,
  defineConnectionType,
  defineOperation,
  flag,
  integer,
  optional,
  secret,
  text,
  tlsFields,
} from '../../contract/connection-type.ts';
import { normaliseEndpoint } from '../../contract/endpoint.ts';
import { normaliseHost } from '../../contract/host.ts';
import { hasVariable } from '../../contract/reference-syntax.ts';

// requireCertificateType says how the server is verified; certificateName is a field of its own.
const { verifyCertificate: _verify, certificateName: _certificate, ...namedTlsFields } = tlsFields;

const scopes = ['OBJECT', 'ONE_LEVEL', 'SUBTREE'] as const;

export interface LdapAddress {
  secure: boolean;
  host: string;
  port: number;
}

/** Reads `ldap://host:389` or `ldaps://host:636`; the ports may be left out. Undefined when it is neither. */
export function parseServerAddress(address: string): LdapAddress | undefined {
  const match = /^(ldaps?):\/\/(\[[0-9a-f:.]+\]|[^\s:/?#@[\]]+)(?::([0-9]{1,5}))?\/?$/i.exec(address);
  if (!match) return undefined;
  const secure = match[1]!.toLowerCase() === 'ldaps';
  const port = match[3] === undefined ? (secure ? 636 : 389) : Number(match[3]);
  if (port < 1 || port > 65535) return undefined;
  return { secure, host: normaliseHost(match[2]!), port };
}

/** A literal parenthesis is written \28 or \29 in a filter (RFC 4515), so the bare ones must pair up. */
function hasBalancedParentheses(filter: string): boolean {
  let depth = 0;
  for (const character of filter) {
    if (character === '(') depth += 1;
    else if (character === ')') depth -= 1;
    if (depth < 0) return false;
  }
  return depth === 0;
}

const attributeMap = Type.Record(Type.String(), Type.Array(Type.String()), {
  description: 'values by attribute name; values that are not UTF-8 text are base64, under name;binary',
});

export const ldap = defineConnectionType({
  type: 'ldap',
  title: 'LDAP directory',
  summary: 'Authenticates users against, and searches in, an LDAP directory or Active Directory.',
  fields: {
    serverAddress: text({
      title: 'Server address',
      description:
        'ldap://host:389 or ldaps://host:636; without a port 389 and 636 are taken. ldaps speaks TLS from the first byte and wants SSL switched on below. Active Directory also answers for the whole forest on 3268 and, with TLS, 3269.',
      group: 'target',
      minLength: 1,
      maxLength: 512,
      pattern: '^[Ll][Dd][Aa][Pp][Ss]?://[^\\s/?#@]+/?$',
      patternHelp: 'must be ldap://host:port or ldaps://host:port',
      destination: 'address',
      examples: ['ldap://ldap.example.com:389', 'ldaps://ldap.example.com:636'],
    }),
    useSsl: flag({
      title: 'SSL',
      description: 'On for an ldaps:// address, off for an ldap:// address; must agree with it.',
      group: 'tls',
      default: false,
      destination: { weakestFirst: [false, true] },
    }),
    startTls: flag({
      title: 'StartTLS',
      description:
        'Turns an ldap:// connection into TLS before logging in. A server that does not offer it is an error, there is no fallback to clear text.',
      group: 'tls',
      default: false,
      destination: { weakestFirst: [false, true] },
    }),
    requireCertificateType: choice(['NOT_REQUIRED', 'REQUIRED_CN', 'REQUIRED_AN_PN'], {
      title: "Verification of the server's certificate",
      description:
        'NOT_REQUIRED verifies neither chain nor name: whoever sits in between can read the passwords. REQUIRED_CN verifies the chain and the common name, REQUIRED_AN_PN the chain and the subject alternative names. Without effect when no TLS is spoken.',
      group: 'tls',
      default: 'NOT_REQUIRED',
      labels: {
        NOT_REQUIRED: 'none (unsafe)',
        REQUIRED_CN: 'chain and common name',
        REQUIRED_AN_PN: 'chain and alternative name',
      },
      destination: { weakestFirst: ['NOT_REQUIRED', 'REQUIRED_CN', 'REQUIRED_AN_PN'] },
    }),
    certificateName: optional(
      text({
        title: 'Certificate',
        description: 'Name of a stored certificate of the project to trust; required for REQUIRED_AN_PN.',
        group: 'tls',
        minLength: 1,
        maxLength: 255,
        visibleWhen: { requireCertificateType: ['REQUIRED_CN', 'REQUIRED_AN_PN'] },
        destination: 'address',
        examples: ['directory-ca'],
      }),
    ),
    certificateId: optional(
      text({
        title: 'Certificate id',
        description: 'Kept and returned, without effect: the certificate is found by its name.',
        group: 'tls',
        maxLength: 255,
        visibleWhen: { requireCertificateType: ['REQUIRED_CN', 'REQUIRED_AN_PN'] },
      }),
    ),
    ...namedTlsFields,
    username: text({
      title: 'Bind DN',
      description:
        'Distinguished name to log in with, such as cn=reader,dc=example,dc=com; Active Directory also takes reader@example.com.',
      group: 'authentication',
      minLength: 1,
      maxLength: 1024,
      examples: ['cn=reader,dc=example,dc=com'],
    }),
    password: secret({
      title: 'Password',
      description: 'Password of the bind DN. Without TLS it travels in clear over the network.',
      minLength: 1,
      maxLength: 4096,
    }),
    baseDn: text({
      title: 'Base DN',
      description: 'Entry under which users are searched.',
      group: 'target',
      minLength: 1,
      maxLength: 1024,
      examples: ['ou=people,dc=example,dc=com'],
    }),
    customFilter: optional(
      text({
        title: 'User filter',
        description:
          'Filter (RFC 4515) by which authenticate finds the user; every {0} is the user name, escaped. Without it (uid={0}) is used; for Active Directory give (sAMAccountName={0}).',
        group: 'target',
        minLength: 1,
        maxLength: 4096,
        examples: ['(&(objectClass=person)(uid={0}))'],
      }),
    ),
    searchScope: choice(scopes, {
      title: 'Search scope',
      description: 'OBJECT: the base entry alone. ONE_LEVEL: its children. SUBTREE: everything below it.',
      group: 'target',
      default: 'SUBTREE',
    }),
    connectionTimeout: integer({
      title: 'Timeout',
      description: 'Longest wait for the connection, and for the answer to one request.',
      group: 'limits',
      unit: 'ms',
      default: 30000,
      minimum: 1000,
      maximum: 300000,
    }),
    selectedEnvironmentId: optional(
      text({
        title: 'Environment',
        description: 'Name of the one environment to be deployed to; left out: as Environments says.',
        group: 'advanced',
        maxLength: 255,
      }),
    ),
  },
  rules: [
    {
      when: { useSsl: true },
      demand: { startTls: false },
      message: 'cannot be combined with useSsl: ldaps leaves nothing to upgrade',
    },
    { when: { requireCertificateType: 'REQUIRED_AN_PN' }, require: ['certificateName'] },
  ],
  destinations: {
    serverAddress(value) {
      if (value == null) return [];
      const address = parseServerAddress(String(value));
      if (!address) return [String(value)];
      return [`${address.secure ? 'ldaps' : 'ldap'}://${normaliseEndpoint(address.host, address.port)}`];
    },
  },
  refine(config, fault) {
    // A ${VARIABLE} in the address is judged when it is resolved.
    if (!hasVariable(config.serverAddress)) {
      const address = parseServerAddress(config.serverAddress);
      if (!address) fault('serverAddress', 'must be ldap://host:port or ldaps://host:port, port 1 to 65535');
      else if (address.secure && config.useSsl === false)
        fault('useSsl', 'must be true for an ldaps:// address');
      else if (!address.secure && config.useSsl === true)
        fault('useSsl', 'must be false for an ldap:// address; use startTls, or an ldaps:// address');
      if (address?.secure && config.startTls === true)
        fault('startTls', 'cannot be used with an ldaps:// address, which speaks TLS already');
    }
    const filter = config.customFilter;
    if (filter !== undefined && !hasVariable(filter) && !hasBalancedParentheses(filter))
      fault('customFilter', 'has parentheses that do not pair up; a literal one is written \\28 or \\29');
  },
  remarks(config, idle) {
    const remarks: string[] = [];
    const speaksTls = config.useSsl || config.startTls;
    if (!speaksTls) remarks.push('useSsl, startTls: are off, so passwords travel in clear over the network');
    else if (config.requireCertificateType === 'NOT_REQUIRED')
      remarks.push(
        "requireCertificateType: NOT_REQUIRED verifies neither chain nor name of the server's certificate",
      );
    if (!speaksTls)
      remarks.push(
        ...idle(
          ['requireCertificateType', 'certificateName', 'trustStoreName', 'keyStoreName'],
          'useSsl and startTls are off',
        ),
      );
    else if (config.requireCertificateType === 'NOT_REQUIRED')
      remarks.push(...idle(['certificateName', 'trustStoreName'], 'requireCertificateType is NOT_REQUIRED'));
    remarks.push(...idle(['certificateId'], 'the certificate is found by certificateName'));
    const filter = config.customFilter;
    if (filter !== undefined && !hasVariable(filter) && !filter.includes('{0}'))
      remarks.push('customFilter: holds no {0}, so every user name finds the same entries');
    return remarks;
  },
  notes: [
    'Ports: 389 LDAP and StartTLS, 636 LDAPS, 3268 and 3269 global catalogue of Active Directory.',
    'Active Directory answers invalid credentials with a sub-code: 52e wrong password, 525 no such user, 532 and 773 password expired, 533 disabled, 775 locked.',
  ],
  operations: {
    authenticate: defineOperation({
      title: 'Authenticate a user',
      description:
        'Searches the user by the filter, then logs in as what was found with the given password. Nothing tells an unknown user from a wrong password. An empty password is refused before it reaches the server, which would take it for an anonymous log-in.',
      input: Type.Object(
        {
          username: Type.String({ minLength: 1, maxLength: 1024 }),
          password: Type.String({ minLength: 1, maxLength: 4096 }),
          attributes: Type.Optional(
            Type.Array(Type.String({ minLength: 1, maxLength: 255 }), {
              maxItems: 1000,
              description: 'attributes of the user to return; default none',
            }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        authenticated: Type.Boolean(),
        dn: Type.Optional(Type.String({ description: 'entry of the user, when authenticated' })),
        attributes: Type.Optional(attributeMap),
      }),
    }),
    search: defineOperation({
      title: 'Search entries',
      description: 'Searches as the bind DN and answers the entries found.',
      input: Type.Object(
        {
          filter: Type.String({
            minLength: 1,
            maxLength: 16384,
            description: 'RFC 4515; {0}, {1} … stand for the parameters',
          }),
          parameters: Type.Optional(
            Type.Array(Type.String({ maxLength: 4096 }), {
              maxItems: 100,
              description: 'put into the filter escaped, so that they cannot change its meaning',
            }),
          ),
          baseDn: Type.Optional(
            Type.String({ maxLength: 1024, description: "default: the connection's baseDn" }),
          ),
          scope: Type.Optional(
            Type.Unsafe<(typeof scopes)[number]>(
              Type.Union(
                scopes.map((scope) => Type.Literal(scope)),
                { description: "default: the connection's searchScope" },
              ),
            ),
          ),
          attributes: Type.Optional(
            Type.Array(Type.String({ minLength: 1, maxLength: 255 }), {
              maxItems: 1000,
              description: 'default all user attributes; + asks for the operational ones',
            }),
          ),
          sizeLimit: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 10_000,
              description: 'most entries to return; default 1000',
            }),
          ),
          timeLimitSeconds: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 300, description: 'default: the timeout of the connection' }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        entries: Type.Array(Type.Object({ dn: Type.String(), attributes: attributeMap })),
        truncated: Type.Boolean({ description: 'true: there are more than the size limit allows' }),
      }),
    }),
  },
});
