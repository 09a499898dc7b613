import { type Driver, harmlessTimes } from './jdbc-driver.ts';
import { slashed } from './jdbc-grammar.ts';

/** The driver of Microsoft, and jTDS. */
export const sqlServer: Driver = {
  dbType: 'SQL_SERVER',
  prefix: /^jdbc:(sqlserver|jtds:sqlserver):\/\//i,
  honoured: [
    'databaseName',
    'database',
    'encrypt',
    'trustServerCertificate',
    'ssl',
    'applicationName',
    'appName',
  ],
  harmless: [
    ...harmlessTimes,
    'sendStringParametersAsUnicode',
    'packetSize',
    'lockTimeout',
    'responseBuffering',
    'selectMethod',
    'workstationID',
    'disableStatementPooling',
    'statementPoolingCacheSize',
    'sendTimeAsDatetime',
    'cancelQueryTimeout',
    'applicationIntent',
    'multiSubnetFailover',
  ],
  refused: [
    'socketFactoryClass',
    'socketFactoryConstructorArg',
    'trustManagerClass',
    'trustManagerConstructorArg',
    'accessTokenCallbackClass',
    'accessToken',
    'jaasConfigurationName',
    'integratedSecurity',
    'authentication',
    'authenticationScheme',
    'realm',
    'domain',
    'serverCertificate',
    'hostNameInCertificate',
    'clientCertificate',
    'clientKey',
    'clientKeyPassword',
    'enclaveAttestationUrl',
    'columnEncryptionSetting',
    'serverNameAsACE',
    'serverSpn',
  ],
  body: (rest) => slashed(rest, { separator: ';' }),
};

/** jTDS for Sybase. */
export const jtdsSybase: Driver = {
  dbType: 'SYBASE',
  prefix: /^jdbc:jtds:sybase:\/\//i,
  honoured: ['ssl', 'appName'],
  harmless: [...harmlessTimes, 'charset', 'packetSize', 'tcpNoDelay', 'lastUpdateCount', 'prepareSQL', 'tds'],
  refused: ['namedPipe', 'bindAddress', 'domain', 'useNTLMv2', 'bufferDir'],
  body: (rest) => slashed(rest, { separator: ';' }),
};

/** jConnect, of Sybase itself. */
export const jconnect: Driver = {
  dbType: 'SYBASE',
  prefix: /^jdbc:sybase:Tds:/i,
  honoured: ['APPLICATIONNAME'],
  harmless: ['CHARSET', 'LANGUAGE', 'PACKETSIZE', 'SESSION_TIMEOUT', 'DYNAMIC_PREPARE', 'HOSTNAME'],
  refused: [
    'SYBSOCKET_FACTORY',
    'SECONDARY_SERVER_HOSTPORT',
    'REQUEST_HA_SESSION',
    'REQUEST_KERBEROS_SESSION',
  ],
  body: (rest) => slashed(rest, { separator: '&' }),
};
