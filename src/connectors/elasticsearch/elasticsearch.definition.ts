import { Type } from 'typebox';
import {
  choice,
  defineConnectionType,
  defineOperation,
  flag,
  hostName,
  integer,
  list,
  object,
  optional,
  portNumber,
  secret,
  text,
  tlsFields,
} from '../../contract/connection-type.ts';
import { endpointsOf } from '../../contract/endpoint.ts';
import { itemError } from '../../contract/one-or-many.ts';
import { hasVariable } from '../../contract/reference-syntax.ts';

// Trust material and client certificate are said by the files below; chain verification is not.
const { verifyCertificate } = tlsFields;

// A body is at most 1 MiB; a file in it may fill most of that.
const maxFileLength = 1_000_000;
const maxTimeoutMs = 2_147_483_647;
const pkcs12Example = 'MIIKPAIBAzCCCfYGCSqGSIb3DQEHAaCCCecEggnjMIIJ3zA=';
const pemExample = 'LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==';

const withCaPkcs12 = {
  encryptCommunication: true,
  encryptCommunicationType: 'CA_CERTIFICATE_IN_PKCS_12',
} as const;
const withCaPem = { encryptCommunication: true, encryptCommunicationType: 'CA_IN_PEM_FILE' } as const;
const withKeystore = {
  encryptCommunication: true,
  encryptCommunicationType: 'CERT_AND_PRIVATE_KEY_IN_PKCS_12',
} as const;

function days(title: string, description: string) {
  return optional(integer({ title, description, unit: 'days', minimum: 0, maximum: 36500 }));
}

function contentType(of: string, value: string) {
  return text({
    title: `Content type of ${of}`,
    description: 'Media type of the file as it was uploaded; kept and returned, without effect.',
    group: 'advanced',
    default: value,
    maxLength: 255,
  });
}

/** Each phase's switch, and what belongs to it. */
const phaseFields = [
  ['enableHotPhase', 'maxAgeOfRollover', 'maxIndexSizeOfRollover', 'maxDocCountOfRollover'],
  ['enableWarmPhase', 'numberOfReplicasForWarm', 'maxNumShardsForShrink', 'maxNumSegmentsForForceMerge'],
  ['enableColdPhase', 'minAgeOfCold', 'numberOfReplicasForCold'],
  ['enableDeletePhase', 'minAgeOfDelete'],
] as const;
const phases = phaseFields.map(([phase]) => phase);

const indexNameInput = Type.String({
  minLength: 1,
  maxLength: 255,
  description: "index, alias or data stream; default: the connection's indexName",
});
const documentId = Type.String({
  minLength: 1,
  maxLength: 512,
  description: 'default: Elasticsearch makes one',
});
const documentBody = Type.Record(Type.String(), Type.Unknown(), {
  description: 'the document, a JSON object',
});

export const elasticsearch = defineConnectionType({
  type: 'elasticsearch',
  title: 'Elasticsearch',
  summary: 'Indexes and searches documents in an Elasticsearch cluster.',
  fields: {
    elasticHostList: list(
      object(
        {
          scheme: choice(['http', 'https'], {
            title: 'Scheme',
            description: 'https speaks TLS to this host, http does not; nothing else decides it.',
            group: 'target',
            default: 'http',
          }),
          host: hostName({
            title: 'Host',
            description: 'Name or address of one node of the cluster, or of a proxy before it.',
            examples: ['es1.example.com'],
          }),
          port: portNumber({ title: 'Port', description: 'HTTP port of the node.', default: 9200 }),
        },
        { title: 'Host', description: 'One node of the cluster.', group: 'target' },
      ),
      {
        title: 'Hosts',
        description:
          'Nodes of one cluster. Requests go round them in turn; a node that does not answer is skipped until it does again.',
        group: 'target',
        minItems: 1,
        maxItems: 100,
        destination: 'address-set',
        examples: [[{ scheme: 'https', host: 'es1.example.com', port: 9200 }]],
      },
    ),
    elasticsearchType: choice(['READ_WRITE', 'READ'], {
      title: 'Access',
      description: 'READ refuses index and bulk before anything is sent.',
      group: 'target',
      default: 'READ_WRITE',
      labels: { READ_WRITE: 'read and write', READ: 'read only' },
    }),
    elasticsearchMajorVersion: choice(['AUTO_DETECT', 'ES_7', 'ES_8', 'ES_9'], {
      title: 'Major version',
      description:
        'AUTO_DETECT asks the cluster before the first operation and refuses what is no Elasticsearch of 7 or later, nor OpenSearch. With a fixed version operations go ahead unasked, and a cluster of another version is remarked on. Requests are the same plain JSON to all of them.',
      group: 'target',
      default: 'AUTO_DETECT',
    }),
    administrate: flag({
      title: 'Administrate',
      description:
        'Lets the worker make the lifecycle policy, index template and first index that are switched on below, once an environment, when it has connected. The account needs manage_ilm and manage_index_templates. Not with READ.',
      group: 'advanced',
      default: false,
    }),
    authenticate: flag({
      title: 'Authenticate',
      description: 'Sends user name and password with every request (HTTP Basic).',
      group: 'authentication',
      default: false,
    }),
    elasticUsername: optional(
      text({
        title: 'User name',
        description: 'Required when authentication is on.',
        group: 'authentication',
        maxLength: 255,
        visibleWhen: { authenticate: true },
        examples: ['elastic'],
      }),
    ),
    elasticPassword: optional(
      secret({
        title: 'Password',
        description:
          'Required when authentication is on. To a host with scheme http it travels in clear over the network.',
        maxLength: 4096,
        visibleWhen: { authenticate: true },
      }),
    ),
    encryptCommunication: flag({
      title: 'Own TLS material',
      description:
        "Uses the TLS material below for the https hosts. Off: https hosts are verified against the system's roots.",
      group: 'tls',
      default: false,
      destination: 'address',
    }),
    encryptCommunicationType: optional(
      choice(['CA_CERTIFICATE_IN_PKCS_12', 'CA_IN_PEM_FILE', 'CERT_AND_PRIVATE_KEY_IN_PKCS_12'], {
        title: 'Kind of material',
        description: 'Required when own TLS material is on; says which of the files below are used.',
        group: 'tls',
        labels: {
          CA_CERTIFICATE_IN_PKCS_12: 'CA certificate in a PKCS #12 file',
          CA_IN_PEM_FILE: 'CA certificates in a PEM file',
          CERT_AND_PRIVATE_KEY_IN_PKCS_12: 'client certificate and private key in a PKCS #12 file',
        },
        visibleWhen: { encryptCommunication: true },
        destination: 'address',
      }),
    ),
    caCertInPkcs12File: optional(
      text({
        title: 'CA certificate (PKCS #12)',
        description:
          'The PKCS #12 file with the CA certificates to trust, in base64. Opened with the truststore password. Whether it can be opened is found out by the worker.',
        group: 'tls',
        maxLength: maxFileLength,
        multiline: true,
        visibleWhen: withCaPkcs12,
        destination: 'address',
        examples: [pkcs12Example],
      }),
    ),
    caCertInPkcs12FileContentType: contentType('the CA certificate', 'application/x-pkcs12'),
    caInPemFile: optional(
      text({
        title: 'CA certificates (PEM)',
        description: 'The PEM file with one or more CA certificates to trust, once more encoded in base64.',
        group: 'tls',
        maxLength: maxFileLength,
        multiline: true,
        visibleWhen: withCaPem,
        destination: 'address',
        examples: [pemExample],
      }),
    ),
    caInPemFileContentType: contentType('the PEM file', 'application/x-pem-file'),
    caKeystoreFile: optional(
      secret({
        title: 'Client keystore (PKCS #12)',
        description:
          'The PKCS #12 file with client certificate and private key, in base64. Whether it can be opened is found out by the worker.',
        group: 'tls',
        maxLength: maxFileLength,
        multiline: true,
        visibleWhen: withKeystore,
        examples: ['MIIJqQIBAzCCCW8GCSqGSIb3DQEHAaCCCWAEgglcMIIJWDA='],
      }),
    ),
    caKeystoreFilePass: optional(
      secret({
        title: 'Keystore password',
        description: 'Opens the client keystore.',
        group: 'tls',
        maxLength: 4096,
        visibleWhen: withKeystore,
      }),
    ),
    caKeystoreFileContentType: contentType('the client keystore', 'application/x-pkcs12'),
    caTruststoreFile: optional(
      text({
        title: 'Truststore (PKCS #12)',
        description:
          "PKCS #12 file with the certificates to trust beside the client keystore, in base64. Without it the server is verified against the system's roots.",
        group: 'tls',
        maxLength: maxFileLength,
        multiline: true,
        visibleWhen: withKeystore,
        destination: 'address',
        examples: [pkcs12Example],
      }),
    ),
    caTruststoreFilePass: optional(
      secret({
        title: 'Truststore password',
        description: 'Opens the truststore, and also the CA certificate in a PKCS #12 file.',
        group: 'tls',
        maxLength: 4096,
        visibleWhen: { encryptCommunication: true },
      }),
    ),
    caTruststoreFileContentType: contentType('the truststore', 'application/x-pkcs12'),
    disableHostnameVerification: flag({
      title: 'Ignore host name in certificate',
      description:
        'Accepts a certificate that is issued to another host name; the chain is still verified. Whoever holds any certificate of that CA can then read the traffic.',
      group: 'tls',
      default: false,
      destination: { weakestFirst: [true, false] },
    }),
    verifyCertificate,
    connectionTimeoutInMs: integer({
      title: 'Connect timeout',
      description:
        'Longest wait for TCP and TLS to one host before the next is tried; 0: no limit of its own.',
      group: 'limits',
      unit: 'ms',
      default: 5000,
      minimum: 0,
      maximum: maxTimeoutMs,
    }),
    bulkBufferCapacity: integer({
      title: 'Bulk buffer',
      description:
        'Most documents that wait in the buffer of bulk; further ones are refused (buffer_full) until it has drained. The buffer is memory: what is in it is lost if the worker is killed.',
      group: 'delivery',
      default: 50000,
      minimum: 1,
      maximum: 10_000_000,
    }),
    bulkFlushIntervalMs: integer({
      title: 'Bulk flush interval',
      description: 'Longest time that a document waits for its batch to fill; 0: sent at once.',
      group: 'delivery',
      unit: 'ms',
      default: 100,
      minimum: 0,
      maximum: 3_600_000,
    }),
    bulkMaxBatchSize: integer({
      title: 'Bulk batch size',
      description:
        'Most documents in one _bulk request; a full batch is sent without waiting for the interval.',
      group: 'delivery',
      default: 2500,
      minimum: 1,
      maximum: 1_000_000,
    }),
    indexName: optional(
      text({
        title: 'Index',
        description:
          'Index, alias or data stream that operations use when they name none; for searching also a pattern (logs-*) or several separated by commas. With administration it is also the alias that the first index is made for.',
        group: 'target',
        minLength: 1,
        maxLength: 255,
        pattern: '^(?!\\.{1,2}$)[^A-Z\\s"+\\\\<|>/?#_-][^A-Z\\s"\\\\<|>/?#]*$',
        patternHelp:
          'must be a legal index name: lower case, no spaces, none of " \\ < | > / ? #, and not starting with _, - or +',
        examples: ['apinizer-log'],
      }),
    ),
    indexTemplateCreated: flag({
      title: 'Make the index template',
      description: 'With administration on, makes the index template below when it is not there.',
      group: 'advanced',
      default: false,
    }),
    indexTemplateName: optional(
      text({
        title: 'Template name',
        description: 'Required when the index template is to be made.',
        group: 'advanced',
        minLength: 1,
        maxLength: 255,
        pattern: '^[^A-Z\\s,*#_][^A-Z\\s,*#]*$',
        patternHelp: 'must be lower case, without spaces, commas, * and #, and not start with _',
        visibleWhen: { indexTemplateCreated: true },
        examples: ['apinizer-log-template'],
      }),
    ),
    indexTemplateNumberOfShards: optional(
      integer({
        title: 'Primary shards',
        description: "number_of_shards of the template; without it the cluster's default.",
        group: 'advanced',
        minimum: 1,
        maximum: 1024,
        visibleWhen: { indexTemplateCreated: true },
      }),
    ),
    indexTemplateNumberOfReplicas: optional(
      integer({
        title: 'Replicas',
        description:
          "number_of_replicas of the template; without it the cluster's default. More than nodes minus one leaves the index yellow.",
        group: 'advanced',
        minimum: 0,
        maximum: 1000,
        visibleWhen: { indexTemplateCreated: true },
      }),
    ),
    indexTemplateRefreshInterval: optional(
      text({
        title: 'Refresh interval',
        description:
          'refresh_interval of the template: a number with a unit such as 1s or 500ms, or -1 for never. Documents can be searched after a refresh only.',
        group: 'advanced',
        maxLength: 32,
        pattern: '^(?:-1|[0-9]+(?:nanos|micros|ms|s|m|h|d))$',
        patternHelp: 'must be a number with a unit (nanos, micros, ms, s, m, h, d), such as 1s, or -1',
        visibleWhen: { indexTemplateCreated: true },
        examples: ['1s'],
      }),
    ),
    indexLifecyclePolicyCreated: flag({
      title: 'Make the lifecycle policy',
      description: 'With administration on, makes the lifecycle policy below when it is not there.',
      group: 'advanced',
      default: false,
    }),
    indexLifecyclePolicy: optional(
      object(
        {
          policyName: text({
            title: 'Policy name',
            description: 'Name of the policy in the cluster; one that is already there is left as it is.',
            default: 'apinizer-log-ilm-policy-default',
            minLength: 1,
            maxLength: 255,
            pattern: '^[^_,\\s][^,\\s]*$',
            patternHelp: 'must not contain spaces or commas, nor start with _',
          }),
          enableHotPhase: flag({
            title: 'Hot phase',
            description: 'The index rolls over to a new one at whichever of the three limits comes first.',
            default: false,
          }),
          maxAgeOfRollover: optional(
            integer({
              title: 'Roll over at age',
              description: 'Age of the index at which it rolls over.',
              unit: 'days',
              minimum: 1,
              maximum: 36500,
            }),
          ),
          maxIndexSizeOfRollover: optional(
            integer({
              title: 'Roll over at size',
              description: 'Size of all primary shards at which the index rolls over.',
              unit: 'GB',
              minimum: 1,
              maximum: 1_000_000,
            }),
          ),
          maxDocCountOfRollover: optional(
            integer({
              title: 'Roll over at documents',
              description: 'Number of documents at which the index rolls over.',
              minimum: 1,
            }),
          ),
          enableWarmPhase: flag({
            title: 'Warm phase',
            description: 'After the roll-over the index is shrunk, merged and replicated as said below.',
            default: false,
          }),
          numberOfReplicasForWarm: optional(
            integer({
              title: 'Replicas when warm',
              description: 'number_of_replicas in the warm phase; left out: unchanged.',
              minimum: 0,
              maximum: 1000,
            }),
          ),
          maxNumShardsForShrink: optional(
            integer({
              title: 'Shards after shrinking',
              description:
                'Number of primary shards to shrink to; must divide the present number. Left out: no shrinking.',
              minimum: 1,
              maximum: 1024,
            }),
          ),
          maxNumSegmentsForForceMerge: optional(
            integer({
              title: 'Segments after merging',
              description: 'Number of segments a shard is merged to; left out: no forced merge.',
              minimum: 1,
              maximum: 10000,
            }),
          ),
          enableColdPhase: flag({
            title: 'Cold phase',
            description: 'The index becomes cold at the age said below.',
            default: false,
          }),
          minAgeOfCold: days(
            'Cold at age',
            'Days after the roll-over at which the cold phase begins; left out: 0.',
          ),
          numberOfReplicasForCold: optional(
            integer({
              title: 'Replicas when cold',
              description: 'number_of_replicas in the cold phase; left out: unchanged.',
              minimum: 0,
              maximum: 1000,
            }),
          ),
          enableDeletePhase: flag({
            title: 'Delete phase',
            description: 'The index is deleted at the age said below. What it held is gone.',
            default: false,
          }),
          minAgeOfDelete: days(
            'Delete at age',
            'Days after the roll-over at which the index is deleted; left out: 0, deleted as soon as it has rolled over.',
          ),
        },
        {
          title: 'Lifecycle policy',
          description:
            'Required when the policy is to be made; at least one phase is on. Ages count from the roll-over, or from the creation of an index that never rolls over.',
          group: 'advanced',
          visibleWhen: { indexLifecyclePolicyCreated: true },
          examples: [
            {
              policyName: 'apinizer-log-ilm-policy-default',
              enableHotPhase: true,
              maxAgeOfRollover: 1,
              maxIndexSizeOfRollover: 25,
              enableWarmPhase: false,
              enableColdPhase: false,
              enableDeletePhase: true,
              minAgeOfDelete: 30,
            },
          ],
        },
      ),
    ),
  },
  rules: [
    {
      when: { elasticsearchType: 'READ' },
      demand: { administrate: false },
      message: 'cannot be combined with elasticsearchType READ: administration writes',
    },
    { when: { authenticate: true }, require: ['elasticUsername', 'elasticPassword'] },
    { when: { encryptCommunication: true }, require: ['encryptCommunicationType'] },
    { when: withCaPkcs12, require: ['caCertInPkcs12File'] },
    { when: withCaPem, require: ['caInPemFile'] },
    { when: withKeystore, require: ['caKeystoreFile', 'caKeystoreFilePass'] },
    { when: { indexTemplateCreated: true }, require: ['indexTemplateName'] },
    { when: { indexLifecyclePolicyCreated: true }, require: ['indexLifecyclePolicy'] },
  ],
  ignored: [
    'socketReuseAddress',
    'socketKeepAlive',
    'ioThreads',
    'maxConnectionPerHost',
    'maxConnectionTotal',
  ],
  destinations: {
    // A host with scheme http also stands for its https twin: raising protection is no move.
    elasticHostList(value) {
      const hosts = endpointsOf(value, 9200);
      return hosts.flatMap((host, at) => {
        const item = Array.isArray(value) ? (value[at] as { scheme?: unknown } | null) : null;
        return item?.scheme === 'https' ? [`https://${host}`] : [`http://${host}`, `https://${host}`];
      });
    },
  },
  refine(config, fault) {
    if (config.elasticUsername?.includes(':') && !hasVariable(config.elasticUsername))
      fault('elasticUsername', 'must not contain a colon, which ends the user name in HTTP Basic');
    const policy = config.indexLifecyclePolicy;
    // A phase may be a ${VARIABLE}; then the deployment decides.
    if (policy && phases.every((phase) => policy[phase] === false))
      fault('indexLifecyclePolicy', `at least one phase must be on: ${phases.join(', ')}`);
  },
  remarks(config, idle) {
    const remarks: string[] = [];
    const schemes = new Set(config.elasticHostList.map(({ scheme }) => scheme));
    if (!schemes.has('https'))
      remarks.push(
        ...idle(
          ['encryptCommunication', 'verifyCertificate', 'disableHostnameVerification'],
          'no host has the scheme https',
        ),
      );
    if (!config.authenticate)
      remarks.push(...idle(['elasticUsername', 'elasticPassword'], 'authenticate is off'));
    if (config.authenticate && schemes.has('http'))
      remarks.push('authenticate: the password travels in clear to the hosts with scheme http');
    if (!config.verifyCertificate && schemes.has('https'))
      remarks.push('verifyCertificate: is off, so neither chain nor host name of the servers is verified');
    else if (config.disableHostnameVerification && schemes.has('https'))
      remarks.push('disableHostnameVerification: is on, so any certificate of a trusted CA is accepted');
    const used: Record<string, readonly string[]> = {
      CA_CERTIFICATE_IN_PKCS_12: ['caCertInPkcs12File'],
      CA_IN_PEM_FILE: ['caInPemFile'],
      CERT_AND_PRIVATE_KEY_IN_PKCS_12: ['caKeystoreFile', 'caTruststoreFile'],
    };
    const effective = config.encryptCommunication ? (used[config.encryptCommunicationType ?? ''] ?? []) : [];
    for (const name of ['caCertInPkcs12File', 'caInPemFile', 'caKeystoreFile', 'caTruststoreFile'] as const)
      if (config[name] != null && !effective.includes(name))
        remarks.push(`${name}: is kept but not used with these settings of encryptCommunication`);
    const settings = 'the settings of encryptCommunication do not use it';
    if (!effective.includes('caKeystoreFile')) remarks.push(...idle(['caKeystoreFilePass'], settings));
    const opensTruststore =
      effective.includes('caCertInPkcs12File') ||
      (effective.includes('caTruststoreFile') && config.caTruststoreFile != null);
    if (!opensTruststore) remarks.push(...idle(['caTruststoreFilePass'], settings));
    remarks.push(
      ...idle(
        [
          'caCertInPkcs12FileContentType',
          'caInPemFileContentType',
          'caKeystoreFileContentType',
          'caTruststoreFileContentType',
        ],
        'the file is read as what encryptCommunicationType says',
      ),
    );
    if (config.elasticsearchType === 'READ')
      remarks.push(
        ...idle(['bulkBufferCapacity', 'bulkFlushIntervalMs', 'bulkMaxBatchSize'], 'READ refuses bulk'),
      );
    if (!config.administrate)
      remarks.push(...idle(['indexTemplateCreated', 'indexLifecyclePolicyCreated'], 'administrate is off'));
    if (!config.indexTemplateCreated)
      remarks.push(
        ...idle(
          [
            'indexTemplateName',
            'indexTemplateNumberOfShards',
            'indexTemplateNumberOfReplicas',
            'indexTemplateRefreshInterval',
          ],
          'indexTemplateCreated is off',
        ),
      );
    if (!config.indexLifecyclePolicyCreated)
      remarks.push(...idle(['indexLifecyclePolicy'], 'indexLifecyclePolicyCreated is off'));
    else
      for (const [phase, ...names] of phaseFields)
        if (config.indexLifecyclePolicy?.[phase] === false)
          for (const name of names)
            if (config.indexLifecyclePolicy[name] != null)
              remarks.push(`indexLifecyclePolicy.${name}: has no effect, because ${phase} is off`);
    if (config.administrate && config.indexName == null)
      remarks.push('indexName: is not set, so no template and no first index can be made');
    if (config.elasticsearchType === 'READ_WRITE' && /[*,]/.test(config.indexName ?? ''))
      remarks.push('indexName: names several indices, so only searches can do without an index of their own');
    const policy = config.indexLifecyclePolicy;
    if (
      policy?.enableHotPhase &&
      policy.maxAgeOfRollover == null &&
      policy.maxIndexSizeOfRollover == null &&
      policy.maxDocCountOfRollover == null
    )
      remarks.push('indexLifecyclePolicy: the hot phase has no limit, so the index never rolls over');
    if (policy?.enableDeletePhase && !policy.minAgeOfDelete)
      remarks.push(
        'indexLifecyclePolicy.minAgeOfDelete: is 0, so an index is deleted as soon as it has rolled over',
      );
    return remarks;
  },
  notes: [
    'Port 9200 serves HTTP; 9300 is the transport port between nodes and does not work here.',
    'Elasticsearch 8 and later turn on TLS and log-in by themselves: use scheme https and the http_ca.crt of the cluster as CA_IN_PEM_FILE.',
  ],
  operations: {
    index: defineOperation({
      title: 'Index a document',
      description: 'Stores one document and answers when the primary shard has it. Refused with READ.',
      input: Type.Object(
        {
          index: Type.Optional(indexNameInput),
          id: Type.Optional(documentId),
          document: documentBody,
          opType: Type.Optional(
            Type.Union([Type.Literal('index'), Type.Literal('create')], {
              description: 'create fails when the id exists, index replaces it; default index',
            }),
          ),
          refresh: Type.Optional(
            Type.Union([Type.Literal('true'), Type.Literal('false'), Type.Literal('wait_for')], {
              description: 'whether the document can be searched when the answer comes; default false',
            }),
          ),
          routing: Type.Optional(
            Type.String({ maxLength: 512, description: 'value that selects the shard' }),
          ),
          pipeline: Type.Optional(Type.String({ maxLength: 255, description: 'ingest pipeline to run' })),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        index: Type.String({ description: 'index that holds it; behind an alias the concrete one' }),
        id: Type.String(),
        result: Type.String({ description: 'created, updated or noop' }),
        version: Type.Optional(Type.Integer()),
        seqNo: Type.Optional(Type.Integer()),
        primaryTerm: Type.Optional(Type.Integer()),
      }),
    }),
    bulk: defineOperation({
      title: 'Write documents in bulk',
      description:
        'Puts writes into the buffer, which is sent in batches as configured, and answers what became of each. A buffer without room for all of them refuses the call (buffer_full) and takes none. Refused with READ.',
      stream: { items: 'actions', results: 'results' },
      input: Type.Object(
        {
          actions: Type.Array(
            Type.Object(
              {
                action: Type.Optional(
                  Type.Union(
                    [
                      Type.Literal('index'),
                      Type.Literal('create'),
                      Type.Literal('update'),
                      Type.Literal('delete'),
                    ],
                    { description: 'default index; update merges the document into the stored one' },
                  ),
                ),
                index: Type.Optional(indexNameInput),
                id: Type.Optional(
                  Type.String({
                    minLength: 1,
                    maxLength: 512,
                    description: 'required for update and delete',
                  }),
                ),
                routing: Type.Optional(Type.String({ maxLength: 512 })),
                document: Type.Optional(documentBody),
              },
              { additionalProperties: false },
            ),
            { minItems: 1, maxItems: 100_000 },
          ),
          wait: Type.Optional(
            Type.Boolean({
              description:
                'default true: answer when all are written. false: answer when they are in the buffer; what fails later is only counted in the health report',
            }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        accepted: Type.Integer({ description: 'writes taken into the buffer' }),
        failed: Type.Integer({ description: 'of them refused by Elasticsearch; 0 with wait false' }),
        results: Type.Array(
          Type.Object({
            index: Type.Optional(Type.String()),
            id: Type.Optional(Type.String()),
            status: Type.Integer({ description: 'HTTP status of this write' }),
            result: Type.Optional(
              Type.String({ description: 'created, updated, deleted, noop or not_found' }),
            ),
            error: Type.Optional(itemError),
          }),
          { description: 'one for each write, in order; empty with wait false' },
        ),
      }),
    }),
    search: defineOperation({
      title: 'Search',
      description: 'Runs one search and answers the hits.',
      input: Type.Object(
        {
          index: Type.Optional(
            Type.String({
              minLength: 1,
              maxLength: 4096,
              description:
                "indices, aliases or patterns, separated by commas; default: the connection's indexName",
            }),
          ),
          query: Type.Optional(
            Type.Record(Type.String(), Type.Unknown(), {
              description:
                'Elasticsearch query DSL, such as {"match": {"message": "error"}}; default match_all',
            }),
          ),
          from: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000, description: 'default 0' })),
          size: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000, description: 'default 10' })),
          sort: Type.Optional(
            Type.Array(
              Type.Union([Type.String({ maxLength: 512 }), Type.Record(Type.String(), Type.Unknown())]),
              { maxItems: 32, description: 'such as [{"@timestamp": "desc"}]' },
            ),
          ),
          searchAfter: Type.Optional(
            Type.Array(Type.Unknown(), {
              maxItems: 32,
              description: 'sort values of the last hit of the page before; the way past 10,000 hits',
            }),
          ),
          sourceIncludes: Type.Optional(
            Type.Array(Type.String({ maxLength: 512 }), {
              maxItems: 1000,
              description: 'fields of the documents to return; default all',
            }),
          ),
          aggregations: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
          trackTotalHits: Type.Optional(
            Type.Boolean({ description: 'count beyond 10,000 exactly; slower; default false' }),
          ),
          timeoutMs: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 600_000,
              description: 'after which the shards answer with what they have; timedOut tells',
            }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        total: Type.Integer(),
        totalIsLowerBound: Type.Boolean({ description: 'true: there are at least so many' }),
        tookMs: Type.Integer(),
        timedOut: Type.Boolean({ description: 'true: the hits are incomplete' }),
        hits: Type.Array(
          Type.Object({
            index: Type.String(),
            id: Type.String(),
            score: Type.Union([Type.Number(), Type.Null()]),
            source: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
            sort: Type.Optional(Type.Array(Type.Unknown())),
          }),
        ),
        aggregations: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
      }),
    }),
  },
});
