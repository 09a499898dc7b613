import { Stack, Text } from '@mantine/core';
import { grants as texts } from '../texts/access.ts';
import { describeGrant, type Grant } from './grant.ts';

const shown = 3;

/** The first few grants, each in a line. */
export function GrantList({ grants }: { grants: readonly Grant[] }) {
  return (
    <Stack gap={2}>
      {grants.slice(0, shown).map((grant) => (
        <Text key={describeGrant(grant)} size="xs" className="break" lineClamp={3}>
          {describeGrant(grant)}
        </Text>
      ))}
      {grants.length > shown && (
        <Text size="xs" c="dimmed">
          {texts.more(grants.length - shown)}
        </Text>
      )}
    </Stack>
  );
}
