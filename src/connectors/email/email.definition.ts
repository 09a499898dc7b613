import { Type } from 'typebox';
import {
  defineConnectionType,
  defineOperation,
  flag,
  hostName,
  list,
  object,
  optional,
  portNumber,
  secret,
  text,
  tlsFieldNames,
  tlsFields,
} from '../../contract/connection-type.ts';

/** JavaMail properties that have an effect here. */
export const usedProperties = [
  'mail.smtp.connectiontimeout',
  'mail.smtp.timeout',
  'mail.smtp.writetimeout',
  'mail.smtp.localhost',
  'mail.smtp.ssl.trust',
  'mail.smtp.ssl.protocols',
  'mail.smtp.auth.mechanisms',
] as const;

const address = Type.String({ format: 'mailbox', maxLength: 1000 });
const addresses = Type.Array(address, { maxItems: 1000 });

export const email = defineConnectionType({
  type: 'email',
  title: 'Email (SMTP)',
  summary: 'Sends mail through an SMTP server.',
  fields: {
    host: hostName({
      title: 'Host',
      description: 'Name or address of the SMTP server.',
      examples: ['smtp.example.com'],
    }),
    port: portNumber({
      title: 'Port',
      description: '25: plain, often blocked · 587: STARTTLS, recommended · 465: implicit TLS.',
      default: 587,
    }),
    enableStartTls: flag({
      title: 'STARTTLS',
      description:
        'Demands STARTTLS: a server that does not offer it is an error, there is no fallback to plain text.',
      group: 'tls',
      default: false,
      destination: { weakestFirst: [false, true] },
    }),
    useSsl: flag({
      title: 'Implicit TLS',
      description: 'Speaks TLS from the first byte; port 465 implies it.',
      group: 'tls',
      default: false,
      destination: { weakestFirst: [false, true] },
    }),
    auth: flag({
      title: 'Authenticate',
      description: 'Whether to log in.',
      group: 'authentication',
      default: false,
    }),
    username: optional(
      text({
        title: 'User name',
        description: 'Required when authentication is on.',
        group: 'authentication',
        maxLength: 255,
        visibleWhen: { auth: true },
      }),
    ),
    password: optional(
      secret({
        title: 'Password',
        description: 'Required when authentication is on. Gmail wants an app password, not the regular one.',
        visibleWhen: { auth: true },
      }),
    ),
    defaultEncoding: text({
      title: 'Encoding',
      description: 'Character set of body and headers.',
      group: 'delivery',
      default: 'UTF-8',
      maxLength: 64,
      pattern: '^[A-Za-z0-9][A-Za-z0-9._:+-]*$',
      patternHelp: 'must be the name of a character set, such as UTF-8',
    }),
    addressToTest: optional(
      text({
        title: 'Address for tests',
        description: 'The test sends one real mail there.',
        group: 'test',
        format: 'email-address',
        maxLength: 320,
      }),
    ),
    from: optional(
      text({
        title: 'Sender',
        description: 'Default sender: an address, or "Name <address>".',
        group: 'delivery',
        format: 'mailbox',
        maxLength: 1000,
      }),
    ),
    additionalProperties: list(
      object({
        name: text({
          title: 'Name',
          description: 'JavaMail name of the property.',
          minLength: 1,
          maxLength: 255,
        }),
        value: text({ title: 'Value', description: 'Value of the property.', maxLength: 4096 }),
      }),
      {
        title: 'Additional properties',
        description: `JavaMail names; used are ${usedProperties.join(', ')}. Any other is kept and reported as not used. "name=value" is accepted as a shorthand.`,
        group: 'advanced',
        default: [],
        secret: 'property-values',
        destination: {
          harmless: [
            'mail.smtp.connectiontimeout',
            'mail.smtp.timeout',
            'mail.smtp.writetimeout',
            'mail.smtp.localhost',
          ],
        },
      },
    ),
    ...tlsFields,
  },
  rules: [{ when: { auth: true }, require: ['username', 'password'] }],
  normalise(body) {
    if (!Array.isArray(body['additionalProperties'])) return;
    body['additionalProperties'] = body['additionalProperties'].map((item) => {
      if (typeof item !== 'string') return item;
      const at = item.indexOf('=');
      return at < 0 ? item : { name: item.slice(0, at), value: item.slice(at + 1) };
    });
  },
  refine(config, fault) {
    if (config.useSsl && config.enableStartTls)
      fault('enableStartTls', 'cannot be combined with useSsl: implicit TLS leaves nothing to upgrade');
    if (config.port === 465 && config.enableStartTls)
      fault('enableStartTls', 'cannot be used on port 465, which speaks implicit TLS');
  },
  remarks(config, idle) {
    const remarks = config.additionalProperties
      .filter(({ name }) => !(usedProperties as readonly string[]).includes(name))
      .map(({ name }) => `additionalProperties: ${name} is kept but not used`);
    const idleProperties = (names: readonly string[], why: string) =>
      config.additionalProperties
        .filter(({ name }) => names.includes(name))
        .map(({ name }) => `additionalProperties: ${name} has no effect, because ${why}`);
    // Whether a ${VARIABLE} is 465 is not known yet.
    const isPlain = !config.useSsl && !config.enableStartTls && Number(config.port) !== 465;
    if (isPlain && typeof config.port === 'number')
      remarks.push(
        ...idle(tlsFieldNames, 'TLS is not spoken'),
        ...idleProperties(['mail.smtp.ssl.trust', 'mail.smtp.ssl.protocols'], 'TLS is not spoken'),
      );
    if (!config.auth)
      remarks.push(
        ...idle(['password'], 'auth is off'),
        // An address is the sender where nothing else says one.
        ...(config.from === undefined && config.username?.includes('@')
          ? []
          : idle(['username'], 'auth is off')),
        ...idleProperties(['mail.smtp.auth.mechanisms'], 'auth is off'),
      );
    return remarks;
  },
  notes: [
    'Ports: 25 standard SMTP (often blocked), 587 SMTP with STARTTLS (recommended), 465 SMTP with SSL/TLS.',
    'Gmail: use an app password instead of your regular password.',
  ],
  operations: {
    send: defineOperation({
      title: 'Send a mail',
      description: 'Sends one mail and answers what the server said.',
      input: Type.Object(
        {
          to: addresses,
          cc: Type.Optional(addresses),
          bcc: Type.Optional(addresses),
          replyTo: Type.Optional(address),
          from: Type.Optional(address),
          subject: Type.String({ maxLength: 998 }),
          text: Type.Optional(Type.String()),
          html: Type.Optional(Type.String()),
          headers: Type.Optional(Type.Record(Type.String(), Type.String())),
          attachments: Type.Optional(
            Type.Array(
              Type.Object(
                {
                  filename: Type.String({ maxLength: 255 }),
                  content: Type.String({ description: 'base64' }),
                  contentType: Type.Optional(Type.String({ maxLength: 255 })),
                },
                { additionalProperties: false },
              ),
              { maxItems: 100 },
            ),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        messageId: Type.String(),
        accepted: Type.Array(Type.String()),
        rejected: Type.Array(Type.String()),
        response: Type.String({ description: "the server's answer" }),
      }),
    }),
  },
});
