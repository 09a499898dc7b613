import { type Driver, harmlessTimes } from './jdbc-driver.ts';
import { slashed } from './jdbc-grammar.ts';

/** The driver of HiveServer2. */
export const hive: Driver = {
  dbType: 'APACHE_HIVE',
  prefix: /^jdbc:hive2:\/\//i,
  honoured: ['ssl', 'auth', 'transportMode'],
  harmless: ['httpPath', 'fetchSize', 'retries', 'cookieAuth', ...harmlessTimes],
  refused: [
    'principal',
    'saslQop',
    'delegationUID',
    'serviceDiscoveryMode',
    'zooKeeperNamespace',
    'initFile',
    'jwt',
    'browserResponsePort',
    'sslTrustStore',
    'sslKeyStore',
  ],
  body: (rest) => slashed(rest, { separator: ';' }),
};

/** The driver of Cloudera for Impala. */
export const impala: Driver = {
  dbType: 'APACHE_IMPALA',
  prefix: /^jdbc:impala:\/\//i,
  honoured: ['SSL', 'AuthMech', 'transportMode'],
  harmless: ['httpPath', 'RowsFetchedPerBlock', 'SocketTimeout', 'UseNativeQuery', ...harmlessTimes],
  refused: ['DelegationUID', 'AllowSelfSignedCerts', 'CAIssuedCertsMismatch'],
  body: (rest) => slashed(rest, { separator: ';' }),
};
