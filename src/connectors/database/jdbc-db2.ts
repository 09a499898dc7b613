import { type Driver, harmlessTimes } from './jdbc-driver.ts';
import { type Body, decode, JdbcUrlError, refuseTricks, semicolonList } from './jdbc-grammar.ts';

/** The driver of IBM. */
export const db2: Driver = {
  dbType: 'DB2',
  prefix: /^jdbc:db2:\/\//i,
  honoured: ['sslConnection', 'currentSchema', 'clientApplicationInformation'],
  harmless: [
    ...harmlessTimes,
    'fetchSize',
    'deferPrepares',
    'retrieveMessagesFromServerOnGetMessage',
    'currentLockTimeout',
  ],
  refused: [
    'clientRerouteServerListJNDIName',
    'clientRerouteAlternateServerName',
    'clientRerouteAlternatePortNumber',
    'traceFile',
    'traceDirectory',
    'pluginName',
    'securityMechanism',
    'apiKey',
    'accessToken',
    'accessTokenType',
    'sslClientHostnameValidation',
  ],
  body: db2Body,
};

/** `hosts/database[:a=b;c=d;]`. */
function db2Body(rest: string): Body {
  const form = /^([^/]*)\/([^:/?#;]+)(?::(.*))?$/s.exec(rest);
  if (!form) throw new JdbcUrlError('must have the form jdbc:db2://host:50000/database');
  refuseTricks(form[1]!, false);
  return { hosts: form[1]!, database: decode(form[2]!), parameters: semicolonList(form[3] ?? '') };
}
