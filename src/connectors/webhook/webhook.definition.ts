import { Type } from 'typebox';
import {
  choice,
  credentialUrl,
  defineConnectionType,
  defineOperation,
  flag,
  integer,
  list,
  object,
  optional,
  secret,
  text,
  tlsFieldNames,
  tlsFields,
} from '../../contract/connection-type.ts';

/** Hosts whose webhook URLs are credentials by themselves: whoever has the URL may post. */
const secretUrlHosts = [
  /^hooks\.slack(-gov)?\.com$/,
  /^(.+\.)?discord(app)?\.com$/,
  /\.webhook\.office\.com$/,
  /^outlook\.office\.com$/,
  /^chat\.googleapis\.com$/,
  /^hooks\.zapier\.com$/,
  /^hook\.[a-z0-9]+\.make\.com$/,
  /\.logic\.azure\.com$/,
  /^maker\.ifttt\.com$/,
];

const parameter = Type.Union([Type.String({ maxLength: 4096 }), Type.Number(), Type.Boolean()]);

export const webhook = defineConnectionType({
  type: 'webhook',
  title: 'Webhook',
  summary: 'Calls an HTTP or HTTPS endpoint.',
  fields: {
    httpMethod: choice(['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'TRACE'], {
      title: 'Method',
      description: 'HTTP method of every call.',
      group: 'target',
      default: 'GET',
    }),
    fullUrl: credentialUrl({
      title: 'URL',
      description:
        'http or https, with path and query. A user and password in it are sent as Basic authentication.',
      format: 'http-url',
      secretWhen: 'fullUrlSecret',
      examples: ['https://example.com/hooks/orders'],
    }),
    fullUrlSecret: flag({
      title: 'URL is a credential',
      description:
        'Hides path and query like a password. Sets itself for the webhooks of Slack, Discord, Microsoft Teams and the like.',
      group: 'target',
      default: false,
      destination: { weakestFirst: [false, true] },
    }),
    headerList: list(
      object({
        name: text({ title: 'Name', description: 'Name of the header.', minLength: 1, maxLength: 255 }),
        value: text({ title: 'Value', description: 'Value of the header.', maxLength: 8192 }),
      }),
      {
        title: 'Headers',
        description:
          'Sent with every call, in this order. Headers of framing (Content-Length, Transfer-Encoding, Connection, …) are set by the connection itself.',
        group: 'delivery',
        default: [],
        maxItems: 100,
        secret: 'header-values',
        destination: {
          harmless: ['Accept', 'Accept-Language', 'Content-Type', 'Content-Language', 'User-Agent'],
        },
      },
    ),
    timeout: integer({
      title: 'Timeout',
      description: 'For connecting, and again for the whole answer, where the two below are not set.',
      group: 'limits',
      unit: 's',
      default: 2,
      minimum: 1,
      maximum: 3600,
    }),
    connectTimeoutSeconds: optional(
      integer({
        title: 'Connect timeout',
        description:
          'For a free connection of the pool, and again for a new one: TCP and TLS together. Unset: the timeout.',
        group: 'limits',
        unit: 's',
        minimum: 1,
        maximum: 3600,
      }),
    ),
    responseTimeoutSeconds: optional(
      integer({
        title: 'Response timeout',
        description:
          'From sending the request until its answer has arrived whole; for each attempt and each redirect. Unset: the timeout.',
        group: 'limits',
        unit: 's',
        minimum: 1,
        maximum: 3600,
      }),
    ),
    connectionPoolMaxConnectionPerHost: integer({
      title: 'Connections a host',
      description: 'Most connections to one host and port at a time; further calls wait.',
      group: 'pool',
      default: 24,
      minimum: 1,
      maximum: 10000,
    }),
    connectionPoolMaxConnectionTotal: integer({
      title: 'Connections in total',
      description:
        'Most connections at a time, where redirects lead to other hosts. At least those of one host.',
      group: 'pool',
      default: 48,
      minimum: 1,
      maximum: 10000,
    }),
    signingSecret: optional(
      secret({
        title: 'Signing secret',
        description:
          'Signs every call as Standard Webhooks do: webhook-id, webhook-timestamp and webhook-signature (HMAC-SHA256). What follows whsec_ is base64; any other secret is taken as it is.',
        maxLength: 4096,
      }),
    ),
    retries: integer({
      title: 'Retries',
      description:
        'Further attempts after a failure that may pass, and after 429 or 503 with Retry-After. A POST or PATCH that may have arrived is repeated only when it carries a webhook-id.',
      group: 'delivery',
      default: 0,
      minimum: 0,
      maximum: 10,
    }),
    followRedirects: integer({
      title: 'Redirects',
      description:
        'How many redirects are followed. Never from https to http; to another origin without any credential or signature. One that is not followed is the result.',
      group: 'delivery',
      default: 0,
      minimum: 0,
      maximum: 5,
    }),
    ...tlsFields,
  },
  normalise(body) {
    if (body['fullUrlSecret'] !== undefined || typeof body['fullUrl'] !== 'string') return;
    const host = URL.parse(body['fullUrl'])?.hostname.replace(/\.$/, '');
    if (host !== undefined && secretUrlHosts.some((known) => known.test(host))) body['fullUrlSecret'] = true;
  },
  refine(config, fault) {
    if (config.connectionPoolMaxConnectionTotal < config.connectionPoolMaxConnectionPerHost)
      fault('connectionPoolMaxConnectionTotal', 'must be at least connectionPoolMaxConnectionPerHost');
  },
  remarks(config, idle) {
    const remarks: string[] = [];
    if (!config.verifyCertificate && config.fullUrl.startsWith('https:'))
      remarks.push('verifyCertificate: anyone on the way can read and change the calls');
    // A redirect may lead from http to https.
    if (/^http:/i.test(config.fullUrl) && config.followRedirects === 0)
      remarks.push(...idle(tlsFieldNames, 'fullUrl is http'));
    return remarks;
  },
  notes: [
    'The timeout is in seconds.',
    'The test connects and sends one OPTIONS request, which has no effect (RFC 9110), with the configured headers; it never sends the configured method, which may be the action itself. Any answer but 401, 403 and 407 passes.',
    'Health probes connect and close again without a request.',
    'The status of the target is the result of a call, also when it is 4xx or 5xx.',
  ],
  operations: {
    call: defineOperation({
      title: 'Call the webhook',
      description: 'Sends one request and answers what came back, whatever its status.',
      input: Type.Object(
        {
          body: Type.Optional(
            Type.Unknown({
              description:
                'A string is sent as it is; any other value as JSON, application/json unless configured.',
            }),
          ),
          headers: Type.Optional(
            Type.Record(Type.String(), Type.String({ maxLength: 8192 }), {
              description:
                'More headers, in place of configured ones. Not Host, Authorization, Cookie, Content-Length, Transfer-Encoding, Connection or Proxy-*, and no configured credential.',
              maxProperties: 100,
            }),
          ),
          query: Type.Optional(
            Type.Record(Type.String(), Type.Union([parameter, Type.Array(parameter, { maxItems: 100 })]), {
              description:
                'More parameters of the URL, in place of configured ones but no configured credential.',
              maxProperties: 100,
            }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        status: Type.Integer(),
        headers: Type.Record(Type.String(), Type.Array(Type.String())),
        body: Type.String(),
        bodyEncoding: Type.Unsafe<'utf8' | 'base64'>({ type: 'string', enum: ['utf8', 'base64'] }),
        truncated: Type.Boolean({ description: 'whether the body was longer than 1 MiB' }),
      }),
    }),
  },
});
