import { Button, Stack, Text, Title } from '@mantine/core';
import { useRouteError } from 'react-router';
import { common } from '../texts/common.ts';
import { shell } from '../texts/shell.ts';

/** In place of a page that threw, so that the others still work. */
export function Crashed() {
  const error = useRouteError();
  return (
    <Stack p="xl" align="flex-start" role="alert">
      <Title order={1} size="h3">
        {shell.crashed}
      </Title>
      <Text className="break">{error instanceof Error ? error.message : String(error)}</Text>
      <Button onClick={() => window.location.reload()}>{common.tryAgain}</Button>
    </Stack>
  );
}
