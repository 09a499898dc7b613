import { activeMq } from './activemq/activemq.definition.ts';
import { database } from './database/database.definition.ts';
import { elasticsearch } from './elasticsearch/elasticsearch.definition.ts';
import { email } from './email/email.definition.ts';
import { ftp } from './ftp/ftp.definition.ts';
import { graylog } from './graylog/graylog.definition.ts';
import { kafka } from './kafka/kafka.definition.ts';
import { ldap } from './ldap/ldap.definition.ts';
import { linuxScript } from './linux-script/linux-script.definition.ts';
import { logback } from './logback/logback.definition.ts';
import { opsGenie } from './ops-genie/ops-genie.definition.ts';
import { rabbitMq } from './rabbitmq/rabbitmq.definition.ts';
import { snmp } from './snmp/snmp.definition.ts';
import { syslog } from './syslog/syslog.definition.ts';
import { webhook } from './webhook/webhook.definition.ts';

/** Every connection type there is. */
export const definitions = {
  email,
  kafka,
  elasticsearch,
  database,
  ldap,
  ftp,
  rabbitMq,
  activeMq,
  snmp,
  'linux-script': linuxScript,
  'ops-genie': opsGenie,
  graylog,
  syslog,
  webhook,
  logback,
} as const;

export type ConnectionTypeId = keyof typeof definitions;
