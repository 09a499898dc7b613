import { Stack, Text, Title } from '@mantine/core';
import type { ReactNode } from 'react';

/** Says why nothing is here, and what to do. */
export function EmptyState({
  title,
  help,
  children,
}: {
  title: string;
  help?: string | undefined;
  children?: ReactNode;
}) {
  return (
    <Stack align="center" py={60} gap="sm">
      <Title order={2} size="h4">
        {title}
      </Title>
      {help && (
        <Text c="dimmed" ta="center" maw={480}>
          {help}
        </Text>
      )}
      {children}
    </Stack>
  );
}
