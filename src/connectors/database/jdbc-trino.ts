import type { Driver } from './jdbc-driver.ts';
import { slashed } from './jdbc-grammar.ts';

/** The Trino driver. */
export const trino: Driver = {
  dbType: 'TRINO',
  prefix: /^jdbc:trino:\/\//i,
  honoured: ['SSL', 'SSLVerification', 'source', 'clientTags', 'sessionProperties', 'timezone'],
  harmless: [
    'applicationNamePrefix',
    'clientInfo',
    'traceToken',
    'disableCompression',
    'assumeLiteralUnderscoreInMetadataCallsForNonConformingClients',
  ],
  refused: [
    'accessToken',
    'externalAuthentication',
    'extraCredentials',
    'dnsResolver',
    'dnsResolverContext',
    'hostnameInCertificate',
    'roles',
    'sessionUser',
    'SSLUseSystemTrustStore',
  ],
  body: (rest) => slashed(rest, { separator: '&', deepDatabase: true }),
};
