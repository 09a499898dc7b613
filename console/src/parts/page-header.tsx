import { Group, Text, Title } from '@mantine/core';
import { type ReactNode, useEffect } from 'react';
import { common } from '../texts/common.ts';

/** Title of a page, in the tab too, with what can be done on it. */
export function PageHeader({
  title,
  summary,
  icon,
  children,
}: {
  title: string;
  summary?: ReactNode;
  icon?: ReactNode;
  children?: ReactNode;
}) {
  useEffect(() => {
    document.title = `${title} · ${common.product}`;
  }, [title]);
  return (
    <Group justify="space-between" align="flex-start" mb="md" gap="sm">
      <Group gap="sm" wrap="nowrap" miw={0}>
        {icon}
        <div>
          <Title order={1} size="h3" className="break">
            {title}
          </Title>
          {summary && (
            <Text c="dimmed" size="sm" className="break">
              {summary}
            </Text>
          )}
        </div>
      </Group>
      <Group gap="xs">{children}</Group>
    </Group>
  );
}
