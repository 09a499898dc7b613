import { Text } from '@mantine/core';
import { AuditList } from '../audit/audit-list.tsx';
import { connection } from '../texts/connection.ts';

/** Who did what to this connection. */
export function AuditTab({ project, name }: { project: string; name: string }) {
  return (
    <>
      <Text size="sm" c="dimmed" mb="sm">
        {connection.audit.reveal}
      </Text>
      <AuditList filter={{ project, target: name }} />
    </>
  );
}
