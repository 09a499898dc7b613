import { Skeleton, Stack } from '@mantine/core';
import { common } from '../texts/common.ts';

/** The place of a form that is on its way. */
export function FormSkeleton() {
  return (
    <Stack gap="md" maw={920} role="status" aria-label={common.loading}>
      <Skeleton height={80} />
      <Skeleton height={36} width={160} />
      {['identity', 'target', 'authentication', 'tls'].map((name) => (
        <Skeleton key={name} height={160} />
      ))}
    </Stack>
  );
}
