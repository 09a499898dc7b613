import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseConnection } from '../contract/validation.ts';
import { type ConnectionTypeId, definitions } from './definitions.ts';

type Body = Record<string, unknown>;

const tls = {
  verifyCertificate: false,
  trustStoreName: 'trusted',
  keyStoreName: 'own',
  certificateName: 'authority',
};
const tlsNames = Object.keys(tls);
const pem = 'LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==';

const minimal: Record<ConnectionTypeId, Body> = {
  email: { host: 'mail.example.com' },
  kafka: { topicName: 'events', bootstrapServers: 'kafka.example.com:9092' },
  elasticsearch: { elasticHostList: [{ host: 'es.example.com' }] },
  database: { jdbcUrl: 'jdbc:postgresql://db.example.com/orders', username: 'u', password: 'some-password' },
  ldap: { serverAddress: 'ldap://ldap.example.com', username: 'cn=a', password: 'secret', baseDn: 'dc=a' },
  ftp: { host: 'ftp.example.com', protocol: 'FTP', username: 'u', password: 'some-password' },
  rabbitMq: { hostPortList: [{ host: 'mq.example.com' }] },
  activeMq: {
    activeMqConnectionProtocolType: 'TCP',
    brokerURL: 'tcp://mq.example.com:61616',
    destinationType: 'QUEUE',
    destinationName: 'orders',
  },
  snmp: {
    connectionString: 'udp:snmp.example.com/162',
    securityOrCommunityName: 'public',
    pduOidForMessage: '1.3.6.1',
  },
  'linux-script': { hostName: 'app.example.com', username: 'u', password: 'some-password' },
  'ops-genie': { apiKey: 'some-api-key' },
  graylog: { hostname: 'graylog.example.com' },
  syslog: { syslogServerHostname: 'syslog.example.com' },
  webhook: { fullUrl: 'https://example.com/hook' },
  logback: { logPath: '/var/log/plugboard/' },
};

/** What was set to no effect: a body, the fields to be named, and what gives every one of them its effect. */
const cases: [ConnectionTypeId, Body, string[], Body?][] = [
  [
    'email',
    {
      ...tls,
      username: 'robot',
      password: 'some-password',
      additionalProperties: [
        'mail.smtp.ssl.trust=*',
        'mail.smtp.ssl.protocols=TLSv1.3',
        'mail.smtp.auth.mechanisms=PLAIN',
      ],
    },
    [
      ...tlsNames,
      'username',
      'password',
      'additionalProperties: mail.smtp.ssl.trust',
      'additionalProperties: mail.smtp.ssl.protocols',
      'additionalProperties: mail.smtp.auth.mechanisms',
    ],
    { enableStartTls: true, auth: true },
  ],
  ['email', { username: 'robot@example.com' }, []],
  ['email', tls, tlsNames, { port: 465 }],
  ['email', { ...tls, port: '${PORT}' }, []],
  [
    'kafka',
    { ...tls, protocolTypes: ['TLS_1_3'] },
    ['protocolTypes', ...tlsNames],
    { propertiesMap: { 'security.protocol': { value: 'SSL' } } },
  ],
  ['kafka', { ...tls, protocolTypes: ['TLS_1_3'] }, ['protocolTypes', ...tlsNames], { enableSecure: true }],
  [
    'kafka',
    {
      propertiesMap: {
        'sasl.mechanism': { value: 'PLAIN' },
        'sasl.jaas.config': { value: 'x required;', valueType: 'SECRET' },
      },
    },
    ['propertiesMap: sasl.mechanism', 'propertiesMap: sasl.jaas.config'],
  ],
  [
    'elasticsearch',
    {
      verifyCertificate: false,
      disableHostnameVerification: true,
      encryptCommunication: true,
      encryptCommunicationType: 'CERT_AND_PRIVATE_KEY_IN_PKCS_12',
      caKeystoreFile: 'QQ==',
      caKeystoreFilePass: 'some-password',
    },
    ['verifyCertificate', 'disableHostnameVerification', 'encryptCommunication'],
    { elasticHostList: [{ scheme: 'https', host: 'es.example.com' }] },
  ],
  [
    'elasticsearch',
    { elasticUsername: 'u', elasticPassword: 'some-password' },
    ['elasticUsername', 'elasticPassword'],
    { authenticate: true },
  ],
  [
    'elasticsearch',
    { caKeystoreFilePass: 'some-password', caTruststoreFilePass: 'other-password' },
    ['caKeystoreFilePass', 'caTruststoreFilePass'],
  ],
  [
    'elasticsearch',
    { bulkBufferCapacity: 1, bulkFlushIntervalMs: 1, bulkMaxBatchSize: 1, elasticsearchType: 'READ' },
    ['bulkBufferCapacity', 'bulkFlushIntervalMs', 'bulkMaxBatchSize'],
    { elasticsearchType: 'READ_WRITE' },
  ],
  [
    'elasticsearch',
    {
      indexName: 'logs',
      indexTemplateName: 'logs',
      indexTemplateNumberOfShards: 1,
      indexTemplateNumberOfReplicas: 0,
      indexTemplateRefreshInterval: '1s',
      indexLifecyclePolicy: { enableHotPhase: true, maxAgeOfRollover: 1 },
    },
    [
      'indexTemplateName',
      'indexTemplateNumberOfShards',
      'indexTemplateNumberOfReplicas',
      'indexTemplateRefreshInterval',
      'indexLifecyclePolicy',
    ],
    { administrate: true, indexTemplateCreated: true, indexLifecyclePolicyCreated: true },
  ],
  [
    'elasticsearch',
    {
      indexName: 'logs',
      administrate: true,
      indexLifecyclePolicyCreated: true,
      indexLifecyclePolicy: {
        enableDeletePhase: true,
        maxAgeOfRollover: 1,
        maxIndexSizeOfRollover: 1,
        maxDocCountOfRollover: 1,
        numberOfReplicasForWarm: 0,
        maxNumShardsForShrink: 1,
        maxNumSegmentsForForceMerge: 1,
        minAgeOfCold: 1,
        numberOfReplicasForCold: 0,
        minAgeOfDelete: 1,
      },
    },
    [
      'indexLifecyclePolicy.maxAgeOfRollover',
      'indexLifecyclePolicy.maxIndexSizeOfRollover',
      'indexLifecyclePolicy.maxDocCountOfRollover',
      'indexLifecyclePolicy.numberOfReplicasForWarm',
      'indexLifecyclePolicy.maxNumShardsForShrink',
      'indexLifecyclePolicy.maxNumSegmentsForForceMerge',
      'indexLifecyclePolicy.minAgeOfCold',
      'indexLifecyclePolicy.numberOfReplicasForCold',
    ],
  ],
  [
    'elasticsearch',
    {
      caCertInPkcs12FileContentType: 'text/plain',
      caInPemFileContentType: 'text/plain',
      caKeystoreFileContentType: 'text/plain',
      caTruststoreFileContentType: 'text/plain',
    },
    [
      'caCertInPkcs12FileContentType',
      'caInPemFileContentType',
      'caKeystoreFileContentType',
      'caTruststoreFileContentType',
    ],
  ],
  ['database', { useCredentials: false }, ['username', 'password'], { useCredentials: true }],
  [
    'database',
    {
      defaultLogSchema: 'logs',
      logTableSchemaOverrides: { AuditEvent: 'audit' },
      logTableNameOverrides: { AuditEvent: 'audit' },
    },
    ['defaultLogSchema', 'logTableSchemaOverrides', 'logTableNameOverrides'],
  ],
  ...['jdbc:mongodb://a/b', 'jdbc:trino://a', 'jdbc:sqlserver://a', 'jdbc:hive2://a'].map(
    (jdbcUrl): [ConnectionTypeId, Body, string[], Body] => [
      'database',
      { jdbcUrl, maxStatements: 7 },
      ['maxStatements'],
      { jdbcUrl: 'jdbc:mysql://a/b' },
    ],
  ),
  [
    'ldap',
    {
      requireCertificateType: 'REQUIRED_CN',
      certificateName: 'authority',
      trustStoreName: 'trusted',
      keyStoreName: 'own',
    },
    ['requireCertificateType', 'certificateName', 'trustStoreName', 'keyStoreName'],
    { startTls: true },
  ],
  [
    'ldap',
    { startTls: true, certificateName: 'authority', trustStoreName: 'trusted', keyStoreName: 'own' },
    ['certificateName', 'trustStoreName'],
    { requireCertificateType: 'REQUIRED_CN' },
  ],
  ['ldap', { certificateName: 'authority', certificateId: '17' }, ['certificateName', 'certificateId']],
  [
    'ftp',
    { ...tls, sslProtocol: 'TLSv1.3', useExplicit: true },
    [...tlsNames, 'sslProtocol', 'useExplicit'],
    { protocol: 'FTPS' },
  ],
  [
    'ftp',
    { privateKey: 'some-key', passphrase: 'some-phrase', hostKeyFingerprint: `SHA256:${'a'.repeat(43)}` },
    ['privateKey', 'passphrase', 'hostKeyFingerprint'],
    { protocol: 'SFTP' },
  ],
  ['ftp', { protocol: 'SFTP', passphrase: 'some-phrase' }, ['passphrase'], { privateKey: 'some-key' }],
  [
    'rabbitMq',
    { ...tls, connectionFactorySslProtocol: 'TLSv1.3' },
    [...tlsNames, 'connectionFactorySslProtocol'],
    { connectionFactoryUseSslProtocol: true },
  ],
  [
    'rabbitMq',
    { connectionFactoryUsername: 'u', connectionFactoryPassword: 'some-password' },
    ['connectionFactoryUsername', 'connectionFactoryPassword'],
    { authenticationEnabled: true },
  ],
  ['activeMq', tls, tlsNames, { brokerURL: 'ssl://mq.example.com:61617' }],
  [
    'snmp',
    {
      securityLevel: 'AUTH_PRIV',
      securityName: 'user',
      enableUserAuthentication: true,
      usmUserAuthenticationProtocol: 'AuthHMAC192SHA256',
      authPassphrase: 'some-passphrase',
      usmUserPrivacyProtocol: 'PrivAES128',
      privPassphrase: 'other-passphrase',
      timeout: 1,
      retryCount: 1,
    },
    [
      'securityLevel',
      'securityName',
      'enableUserAuthentication',
      'usmUserAuthenticationProtocol',
      'authPassphrase',
      'usmUserPrivacyProtocol',
      'privPassphrase',
      'timeout',
      'retryCount',
    ],
  ],
  [
    'snmp',
    {
      version: 'V3',
      messageType: 'INFORM',
      securityLevel: 'NOAUTH_NOPRIV',
      usmUserAuthenticationProtocol: 'AuthHMAC192SHA256',
      authPassphrase: 'some-passphrase',
      usmUserPrivacyProtocol: 'PrivAES128',
      privPassphrase: 'other-passphrase',
      timeout: 1,
      retryCount: 1,
    },
    ['usmUserAuthenticationProtocol', 'authPassphrase', 'usmUserPrivacyProtocol', 'privPassphrase'],
    { securityLevel: 'AUTH_PRIV' },
  ],
  ['snmp', { version: 'V3', securityName: 'user' }, ['securityOrCommunityName'], { securityName: null }],
  ['snmp', { timeout: 1 }, ['timeout'], { connectionString: 'tcp:snmp.example.com/162' }],
  ['snmp', { privacyProtocolList: ['PrivDES'] }, ['privacyProtocolList']],
  ['linux-script', { passphrase: 'some-phrase' }, ['passphrase'], { privateKey: 'some-key' }],
  [
    'ops-genie',
    { ...tls, apiUrl: 'http://opsgenie.example.com' },
    tlsNames,
    { proxyUrl: 'https://proxy.example.com:3128' },
  ],
  [
    'graylog',
    { tlsTrustCertChainFile: pem, tlsCertVerificationEnabled: false, keyStoreName: 'own' },
    ['tlsTrustCertChainFile', 'keyStoreName'],
    { tlsEnabled: true, tlsCertVerificationEnabled: true },
  ],
  [
    'graylog',
    {
      transportType: 'UDP',
      reconnectDelay: 1,
      connectTimeout: 1,
      tcpNoDelay: false,
      tcpKeepAlive: true,
      maxInflightSends: 1,
    },
    ['reconnectDelay', 'connectTimeout', 'tcpNoDelay', 'tcpKeepAlive', 'maxInflightSends'],
    { transportType: 'TCP' },
  ],
  ['graylog', { compressionType: 'GZIP' }, ['compressionType'], { transportType: 'UDP' }],
  [
    'graylog',
    { threads: 2, tlsTrustCertChainFileName: 'chain.pem' },
    ['threads', 'tlsTrustCertChainFileName'],
  ],
  ['syslog', tls, tlsNames, { syslogSslEnabled: true }],
  [
    'syslog',
    { syslogProtocolType: 'UDP', framing: 'OCTET_COUNTING', syslogTimeout: 1, connections: 2 },
    ['framing', 'syslogTimeout', 'connections'],
    { syslogProtocolType: 'TCP' },
  ],
  ['webhook', { ...tls, fullUrl: 'http://example.com/' }, tlsNames, { fullUrl: 'https://example.com/' }],
  ['webhook', { ...tls, fullUrl: 'http://example.com/' }, tlsNames, { followRedirects: 1 }],
];

/** What the warnings on a valid body say to have no effect. */
function idleIn(type: ConnectionTypeId, body: Body): string[] {
  const result = parseConnection(definitions[type], { type, name: 'n', ...minimal[type], ...body });
  assert.ok(result.ok, JSON.stringify(result));
  return result.warnings.flatMap((warning) => /^(.*?):? has no effect, because /.exec(warning)?.[1] ?? []);
}

describe('a field that was set to no effect is named', () => {
  for (const type of Object.keys(definitions) as ConnectionTypeId[])
    test(`${type}: nothing that was not set is`, () => assert.deepEqual(idleIn(type, {}), []));
  for (const [type, body, idle, remedy] of cases)
    test(`${type}: ${Object.keys(body).join(', ')}`, () => {
      assert.deepEqual(idleIn(type, body).toSorted(), idle.toSorted());
      if (remedy) assert.deepEqual(idleIn(type, { ...body, ...remedy }), []);
    });
});

test('sendBufferSize is said to be another one over TCP', () => {
  const remarks = (transportType: string) => {
    const body = { type: 'graylog', name: 'n', ...minimal.graylog, transportType, sendBufferSize: 4096 };
    const result = parseConnection(definitions.graylog, body);
    assert.ok(result.ok);
    return result.warnings.filter((warning) => warning.startsWith('sendBufferSize: ')).length;
  };
  assert.deepEqual([remarks('TCP'), remarks('UDP')], [1, 0]);
});

test('a driver class that is not that of the database is kept but not used', () => {
  const remarks = (driverClassName: string) => {
    const body = { type: 'database', name: 'n', ...minimal.database, driverClassName };
    const result = parseConnection(definitions.database, body);
    assert.ok(result.ok);
    return result.warnings;
  };
  assert.deepEqual(remarks('org.postgresql.Driver'), []);
  for (const other of ['com.mysql.cj.jdbc.Driver', 'com.example.Driver'])
    assert.deepEqual(remarks(other), ['driverClassName: is kept but not used, as the database is POSTGRES']);
});
