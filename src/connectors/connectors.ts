import type { Connector } from './connector.ts';
import type { ConnectionTypeId } from './definitions.ts';

// biome-ignore lint/suspicious/noExplicitAny: connectors of different types share no config type
export type AnyConnector = Connector<any, any>;

/** Type → its live half, imported when a connection first needs it; null: stored, but not live in this version. */
export const connectors: Record<ConnectionTypeId, (() => Promise<AnyConnector>) | null> = {
  email: () => import('./email/email.connector.ts').then((m) => m.emailConnector),
  kafka: async () => (await import('./kafka/kafka.connector.ts')).kafkaConnector,
  elasticsearch: async () =>
    (await import('./elasticsearch/elasticsearch.connector.ts')).elasticsearchConnector,
  database: async () => (await import('./database/database.connector.ts')).databaseConnector,
  ldap: async () => (await import('./ldap/ldap.connector.ts')).ldapConnector,
  ftp: async () => (await import('./ftp/ftp.connector.ts')).ftpConnector,
  rabbitMq: async () => (await import('./rabbitmq/rabbitmq.connector.ts')).rabbitMqConnector,
  activeMq: async () => (await import('./activemq/activemq.connector.ts')).activeMqConnector,
  snmp: async () => (await import('./snmp/snmp.connector.ts')).snmpConnector,
  'linux-script': async () => (await import('./linux-script/linux-script.connector.ts')).linuxScriptConnector,
  'ops-genie': async () => (await import('./ops-genie/ops-genie.connector.ts')).opsGenieConnector,
  graylog: async () => (await import('./graylog/graylog.connector.ts')).graylogConnector,
  syslog: async () => (await import('./syslog/syslog.connector.ts')).syslogConnector,
  webhook: async () => (await import('./webhook/webhook.connector.ts')).webhookConnector,
  logback: async () => (await import('./logback/logback.connector.ts')).logbackConnector,
};
