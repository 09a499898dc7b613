import type { ConnectionTypeId } from './definitions.ts';
import recorded from './proven.json' with { type: 'json' };

/** A real server that the live suites of a type ran against; `npm run docs:proven` writes them down. */
export interface Proof {
  readonly server: string;
  /** Of the run that wrote this. */
  readonly version: string;
  /** Names of the tests that passed. */
  readonly tests: readonly string[];
}

/** What was proven of a type. */
export function proofsOf(type: ConnectionTypeId): readonly Proof[] {
  return recorded.filter(({ connector }) => connector === type.toLowerCase());
}

/** Built, but not run against the real thing, and why; written by hand. */
export const unproven: Record<ConnectionTypeId, readonly string[]> = {
  email: [
    'XOAUTH2 and NTLM are not spoken',
    'the log-ins beyond what Postfix offers here: the npm package smtp-server 3',
  ],
  kafka: [
    'clusters of several brokers',
    'brokers before 3.9',
    'OAUTHBEARER token endpoints and GSSAPI are refused',
  ],
  elasticsearch: [
    'Elasticsearch 8 and 9 (Maven Central has their node, but not the module of its root resource; 9 needs a newer Java)',
    'OpenSearch 3 (needs a newer Java)',
    'TLS, log-in and lifecycle policies of the cluster itself: a proxy of our own before the real nodes',
    'clusters of several nodes',
  ],
  database: [
    'MySQL 8 (only MariaDB was at hand)',
    'SQL Server (a peer of our own that speaks TDS in clear, and peers that misbehave)',
    'Oracle (peers of our own: refusal, redirect, resend, tcps; no log-in and no statement)',
    'Impala (the same protocol and code as Hive)',
    'Sybase and Db2 (a stand-in for the package odbc; the package and its drivers are installed by the user)',
    'MongoDB itself, its log-in and replica sets (mongo-java-server has neither)',
  ],
  ldap: ['Active Directory'],
  ftp: ['servers on Windows'],
  rabbitMq: [],
  activeMq: [
    'networks of brokers',
    'characters beyond the Basic Multilingual Plane in properties by way of Artemis, which loses them over OpenWire',
  ],
  snmp: [],
  'linux-script': [],
  'ops-genie': ['Opsgenie itself: a peer of our own that follows its documentation'],
  graylog: ['Graylog itself: a GELF peer of our own (frames, chunks, both compressions, TLS)'],
  syslog: ['syslog-ng'],
  webhook: ['any server but that of Node itself'],
  logback: [
    'words for a caller, markers, sequence numbers and %replace are refused; so are week dates, .zip and .xz',
    '%X without a key writes the order of the request, Logback that of a Java map',
  ],
};
