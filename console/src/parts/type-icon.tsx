import { ThemeIcon } from '@mantine/core';
import {
  IconActivity,
  IconBell,
  IconBrandElastic,
  IconDatabase,
  IconFileText,
  IconFolderSymlink,
  IconMail,
  IconMessages,
  IconPlug,
  IconSend,
  IconSignature,
  IconTerminal2,
  IconTimeline,
  IconUsersGroup,
  IconWebhook,
  IconWorldWww,
} from '@tabler/icons-react';

const icons: Readonly<Record<string, typeof IconPlug>> = {
  email: IconMail,
  kafka: IconTimeline,
  elasticsearch: IconBrandElastic,
  database: IconDatabase,
  ldap: IconUsersGroup,
  ftp: IconFolderSymlink,
  rabbitMq: IconMessages,
  activeMq: IconSend,
  snmp: IconActivity,
  'linux-script': IconTerminal2,
  'ops-genie': IconBell,
  graylog: IconWorldWww,
  syslog: IconSignature,
  logback: IconFileText,
  webhook: IconWebhook,
};

/** Icon of a connection type; a plug for one that this page does not know yet. */
export function TypeIcon({ type, size = 20 }: { type: string; size?: number }) {
  const Icon = icons[type] ?? IconPlug;
  return (
    <ThemeIcon variant="light" size={size + 12} aria-hidden>
      <Icon size={size} />
    </ThemeIcon>
  );
}
