import { Type } from 'typebox';
import {
  choice,
  credentialUrl,
  defineConnectionType,
  defineOperation,
  integer,
  list,
  object,
  optional,
  secret,
  text,
  tlsFieldNames,
  tlsFields,
} from '../../contract/connection-type.ts';

const priorities = ['P1', 'P2', 'P3', 'P4', 'P5'] as const;
const responderTypes = ['team', 'user', 'escalation', 'schedule'] as const;

/** What Opsgenie identifies each kind of responder by. */
const identifiers: Record<string, readonly ('id' | 'name' | 'username')[]> = {
  team: ['id', 'name'],
  user: ['id', 'username'],
  escalation: ['id', 'name'],
  schedule: ['id', 'name'],
};

/** One of several texts; a union that is mapped from an array would be of no type. */
function literals<Value extends string>(values: readonly Value[], options: { description?: string } = {}) {
  return Type.Unsafe<Value>(
    Type.Union(
      values.map((value) => Type.Literal(value)),
      options,
    ),
  );
}

const responderInput = Type.Object(
  {
    type: literals(responderTypes),
    id: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    username: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
  },
  { additionalProperties: false },
);

const outcome = {
  requestId: Type.String({ description: 'id of the request at Opsgenie' }),
  status: Type.String({ description: 'what Opsgenie said when the request was processed' }),
  alertId: Type.Optional(Type.String()),
  alias: Type.Optional(Type.String()),
};

const identifying = {
  identifier: Type.String({ minLength: 1, maxLength: 512 }),
  identifierType: Type.Optional(
    Type.Union([Type.Literal('id'), Type.Literal('tiny'), Type.Literal('alias')], {
      description: 'what the identifier is: the alert id, its short number, or the alias; default id',
    }),
  ),
  user: Type.Optional(Type.String({ maxLength: 100, description: 'shown as who did it' })),
  source: Type.Optional(Type.String({ maxLength: 100, description: "default: the connection's source" })),
};

/** An operation on an alert that is there; all of them but addNote take an optional note. */
function onAlert(title: string, description: string) {
  return defineOperation({
    title,
    description: `${description} Answers when Opsgenie has processed the request.`,
    input: Type.Object(
      { ...identifying, note: Type.Optional(Type.String({ maxLength: 25_000 })) },
      { additionalProperties: false },
    ),
    output: Type.Object(outcome),
  });
}

export const opsGenie = defineConnectionType({
  type: 'ops-genie',
  title: 'Opsgenie',
  summary: 'Creates, closes and acknowledges alerts in Opsgenie.',
  fields: {
    apiKey: secret({
      title: 'API key',
      description:
        'Key of an API integration (GenieKey). A key of a team integration creates alerts for that team only. The test needs read access as well.',
      minLength: 1,
      maxLength: 255,
    }),
    apiUrl: text({
      title: 'API URL',
      description:
        'https://api.opsgenie.com, or https://api.eu.opsgenie.com for accounts of the EU instance: a key is known in its own instance alone.',
      group: 'target',
      default: 'https://api.opsgenie.com',
      minLength: 1,
      maxLength: 2048,
      pattern: '^https?://[^\\s/?#@\\\\]+(/[^\\s?#@\\\\]*)?$',
      patternHelp: 'must be an http or https URL without credentials, query and fragment',
      destination: 'address',
      examples: ['https://api.opsgenie.com', 'https://api.eu.opsgenie.com'],
    }),
    responders: list(
      object(
        {
          type: choice(responderTypes, { title: 'Type', description: 'What kind of responder it is.' }),
          id: optional(
            text({
              title: 'Id',
              description: 'Id in Opsgenie; identifies every type.',
              minLength: 1,
              maxLength: 255,
            }),
          ),
          name: optional(
            text({
              title: 'Name',
              description: 'Name of a team, escalation or schedule.',
              minLength: 1,
              maxLength: 255,
            }),
          ),
          username: optional(
            text({
              title: 'User name',
              description: 'Name of a user, usually an e-mail address.',
              minLength: 1,
              maxLength: 255,
            }),
          ),
        },
        { title: 'Responder', description: 'Who is told.' },
      ),
      {
        title: 'Responders',
        description:
          'Who is told of an alert that names none. A team, escalation or schedule by id or name, a user by id or user name.',
        group: 'delivery',
        default: [],
        maxItems: 50,
        examples: [[{ type: 'team', name: 'Operations' }]],
      },
    ),
    priority: choice(priorities, {
      title: 'Priority',
      description: 'Priority of alerts that name none.',
      group: 'delivery',
      default: 'P3',
      labels: { P1: 'P1 critical', P2: 'P2 high', P3: 'P3 moderate', P4: 'P4 low', P5: 'P5 informational' },
    }),
    tags: list(text({ title: 'Tag', description: 'At most 50 characters.', minLength: 1, maxLength: 50 }), {
      title: 'Tags',
      description: "Added to every alert's own tags; Opsgenie keeps 20 of them.",
      group: 'delivery',
      default: [],
      maxItems: 20,
    }),
    source: optional(
      text({
        title: 'Source',
        description:
          'Where alerts come from, when they name none; left out: the address of the worker as Opsgenie sees it.',
        group: 'delivery',
        maxLength: 100,
      }),
    ),
    entity: optional(
      text({
        title: 'Entity',
        description: 'What alerts are about, such as a service or machine, when they name none.',
        group: 'delivery',
        maxLength: 512,
      }),
    ),
    timeout: integer({
      title: 'Timeout',
      description: 'Longest wait for the answer to one request; 0: no limit of its own.',
      group: 'limits',
      unit: 's',
      default: 10,
      minimum: 0,
      maximum: 3600,
    }),
    proxyUrl: optional(
      credentialUrl({
        title: 'Proxy',
        description:
          'HTTP proxy to go through, http://user:password@host:port; the credentials are kept secret.',
        format: 'http-url',
        examples: ['http://proxy.example.com:3128'],
      }),
    ),
    ...tlsFields,
  },
  destinations: {
    // In clear also stands for its TLS twin on the same port: raising protection is no move.
    apiUrl(value) {
      if (value == null) return [];
      if (!URL.canParse(String(value))) return [String(value)];
      const { protocol, hostname, port, pathname } = new URL(String(value));
      const rest = `${hostname.replace(/\.$/, '')}:${port || (protocol === 'http:' ? 80 : 443)}${pathname.replace(/\/+$/, '')}`;
      return protocol === 'http:' ? [`http://${rest}`, `https://${rest}`] : [`https://${rest}`];
    },
  },
  refine(config, fault) {
    for (const [index, responder] of config.responders.entries()) {
      const allowed = identifiers[responder.type];
      if (!allowed) continue;
      const given = (['id', 'name', 'username'] as const).filter((name) => responder[name] != null);
      const wrong = given.filter((name) => !allowed.includes(name));
      for (const name of wrong)
        fault(
          `responders[${index}].${name}`,
          `does not identify a ${responder.type}; give ${allowed.join(' or ')}`,
        );
      if (given.length === 0)
        fault(`responders[${index}]`, `needs ${allowed.join(' or ')} to identify the ${responder.type}`);
      else if (wrong.length === 0 && given.length > 1)
        fault(`responders[${index}]`, `must have one of ${allowed.join(' and ')}, not both`);
    }
  },
  remarks(config, idle) {
    const remarks: string[] = [];
    if (/^http:/i.test(config.apiUrl))
      remarks.push('apiUrl: is http, so the API key travels in clear over the network');
    if (/^http:/i.test(config.apiUrl) && !/^https:/i.test(config.proxyUrl ?? ''))
      remarks.push(...idle(tlsFieldNames, 'neither apiUrl nor proxyUrl is https'));
    else if (!config.verifyCertificate)
      remarks.push('verifyCertificate: is off, so neither chain nor host name of the server is verified');
    return remarks;
  },
  notes: [
    'Opsgenie answers 202 and works later: operations follow the request until it is processed.',
    'The instance in the EU has its own address; with the wrong one every key is refused.',
  ],
  operations: {
    createAlert: defineOperation({
      title: 'Create an alert',
      description:
        'Creates an alert. While an alert with the same alias is open, it is counted there and no second one is made, so a repeated call does no harm.',
      input: Type.Object(
        {
          message: Type.String({ minLength: 1, maxLength: 130, description: 'headline' }),
          alias: Type.Optional(
            Type.String({
              minLength: 1,
              maxLength: 512,
              description: 'by which repeated alerts are recognised',
            }),
          ),
          description: Type.Optional(Type.String({ maxLength: 15_000 })),
          responders: Type.Optional(
            Type.Array(responderInput, { maxItems: 50, description: "default: the connection's" }),
          ),
          visibleTo: Type.Optional(
            Type.Array(responderInput, {
              maxItems: 50,
              description: 'teams and users who see the alert without being told',
            }),
          ),
          actions: Type.Optional(Type.Array(Type.String({ maxLength: 50 }), { maxItems: 10 })),
          tags: Type.Optional(
            Type.Array(Type.String({ minLength: 1, maxLength: 50 }), {
              maxItems: 20,
              description: "added to the connection's",
            }),
          ),
          details: Type.Optional(
            Type.Record(Type.String({ maxLength: 255 }), Type.String({ maxLength: 8000 }), {
              description: 'free names and values, 8000 characters in all',
            }),
          ),
          entity: Type.Optional(Type.String({ maxLength: 512, description: "default: the connection's" })),
          source: Type.Optional(Type.String({ maxLength: 100, description: "default: the connection's" })),
          priority: Type.Optional(literals(priorities, { description: "default: the connection's" })),
          user: Type.Optional(Type.String({ maxLength: 100, description: 'shown as who created it' })),
          note: Type.Optional(Type.String({ maxLength: 25_000 })),
        },
        { additionalProperties: false },
      ),
      output: Type.Object(outcome),
    }),
    closeAlert: onAlert('Close an alert', 'Closes an alert.'),
    acknowledgeAlert: onAlert('Acknowledge an alert', 'Acknowledges an alert, which ends its escalation.'),
    addNote: defineOperation({
      title: 'Add a note',
      description: 'Adds a note to an alert. Answers when Opsgenie has processed the request.',
      input: Type.Object(
        { ...identifying, note: Type.String({ minLength: 1, maxLength: 25_000 }) },
        { additionalProperties: false },
      ),
      output: Type.Object(outcome),
    }),
  },
});
