import { Button, Center, Group, Loader, Stack } from '@mantine/core';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { common } from '../texts/common.ts';
import { signIn as texts } from '../texts/shell.ts';
import type { Resuming as State } from './session.tsx';

/** While a remembered token is looked at; when that fails the token is kept, to be tried again. */
export function Resuming({ failure, retry, forget }: State) {
  return (
    <Center component="main" mih="100dvh" p="md">
      {failure === null ? (
        <Loader aria-label={common.loading} />
      ) : (
        <Stack maw={480}>
          <ErrorAlert error={failure} />
          <Group>
            <Button onClick={retry}>{common.tryAgain}</Button>
            <Button variant="default" onClick={forget}>
              {texts.anew}
            </Button>
          </Group>
        </Stack>
      )}
    </Center>
  );
}
