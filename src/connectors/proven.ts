import type { ConnectionTypeId } from './definitions.ts';

/** What this version's live suites ran against, and what they could not. */
export interface Proof {
  /** Real servers, with the version of the run that wrote this. */
  proven: readonly string[];
  /** Built, but not run against the real thing, and why. */
  unproven: readonly string[];
}

/** One entry a type; the page `docs/reference/connectors.md` is made of it. */
export const proofs: Record<ConnectionTypeId, Proof> = {
  email: {
    proven: [
      'Postfix 3.7 (plain, STARTTLS, implicit TLS)',
      'smtp-server 3 (log-ins, refusals, wrong certificates)',
    ],
    unproven: ['XOAUTH2 and NTLM are not spoken'],
  },
  kafka: {
    proven: ['Apache Kafka 3.9.1 and 4.1.0, KRaft (plain, TLS, SASL PLAIN, SCRAM, OAUTHBEARER unsecured)'],
    unproven: [
      'clusters of several brokers',
      'brokers before 3.9',
      'OAUTHBEARER token endpoints and GSSAPI are refused',
    ],
  },
  elasticsearch: {
    proven: ['OpenSearch 2.17.1', 'Elasticsearch 7.10.2 (open-source build)'],
    unproven: [
      'Elasticsearch 7.17, 8 and 9, whose servers could not be had',
      'TLS, log-in and lifecycle policies of the cluster itself: a proxy of our own before the real nodes',
      'clusters of several nodes',
    ],
  },
  database: {
    proven: [
      'PostgreSQL 15.18',
      'MariaDB 10.11',
      'Trino 435',
      'HiveServer2 4.0.1 (no SASL; SASL PLAIN over TLS)',
      'mongo-java-server 1.47',
    ],
    unproven: [
      'MySQL 8 (only MariaDB was at hand)',
      'SQL Server (a peer of our own that speaks TDS in clear, and peers that misbehave)',
      'Oracle (peers of our own: refusal, redirect, resend, tcps; no log-in and no statement)',
      'Impala (the same protocol and code as Hive)',
      'Sybase and Db2 (a stand-in for the package odbc; the package and its drivers are installed by the user)',
      'MongoDB itself, its log-in and replica sets (mongo-java-server has neither)',
    ],
  },
  ldap: { proven: ['OpenLDAP slapd 2.5 (ldap, StartTLS, ldaps)'], unproven: ['Active Directory'] },
  ftp: {
    proven: ['ProFTPD 1.3.8 (FTP, FTPS explicit and implicit)', 'OpenSSH 9.2 (SFTP)'],
    unproven: ['servers on Windows'],
  },
  rabbitMq: { proven: ['RabbitMQ 3.10'], unproven: [] },
  activeMq: { proven: ['ActiveMQ Classic 5.17 (OpenWire, both ways with its Java client)'], unproven: [] },
  snmp: {
    proven: [
      'snmptrapd 5.9.3 (V1, V2c, V3; TRAP and INFORM; UDP and TCP; all six authentication protocols, each with DES, AES-128, AES-192 and AES-256 in both key extensions)',
      'SNMP4J 3.8.2 (INFORM; 3DES, AES-192 and AES-256 in both key extensions)',
    ],
    unproven: [],
  },
  'linux-script': { proven: ['OpenSSH 9.2'], unproven: [] },
  'ops-genie': {
    proven: [],
    unproven: ['Opsgenie itself: a peer of our own that follows its documentation'],
  },
  graylog: {
    proven: [],
    unproven: ['Graylog itself: a GELF peer of our own (frames, chunks, both compressions, TLS)'],
  },
  syslog: {
    proven: ['rsyslog 8.2302 (three formats, three framings, UDP, TCP, TLS)'],
    unproven: ['syslog-ng'],
  },
  webhook: { proven: ['HTTP and HTTPS servers of Node 24'], unproven: [] },
  logback: {
    proven: [
      'Logback 1.5.18, byte for byte: over 4000 lines of a generated corpus, and 28 runs of rolling files (names, contents, history, cap, gzip)',
    ],
    unproven: [
      'words for a caller, markers, sequence numbers and %replace are refused; so are week dates, .zip and .xz',
      '%X without a key writes the order of the request, Logback that of a Java map',
    ],
  },
};
