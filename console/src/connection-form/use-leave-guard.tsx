import { Button, Group, Modal, Stack, Text } from '@mantine/core';
import { type ReactNode, useEffect, useRef } from 'react';
import { useBlocker } from 'react-router';
import { common } from '../texts/common.ts';
import { connectionForm as texts } from '../texts/connection-form.ts';

/** Asks before unsaved work is left; `letGo` lets it go until there is new one. */
export function useLeaveGuard(unsaved: boolean): { dialog: ReactNode; letGo(): void } {
  const free = useRef(false);
  const blocker = useBlocker(
    ({ currentLocation, nextLocation }) =>
      unsaved && !free.current && currentLocation.pathname !== nextLocation.pathname,
  );
  useEffect(() => {
    if (!unsaved) {
      free.current = false;
      return;
    }
    const ask = (event: BeforeUnloadEvent) => {
      if (!free.current) event.preventDefault();
    };
    window.addEventListener('beforeunload', ask);
    return () => window.removeEventListener('beforeunload', ask);
  }, [unsaved]);
  return {
    letGo() {
      free.current = true;
    },
    dialog: (
      <Modal
        opened={blocker.state === 'blocked'}
        onClose={() => blocker.reset?.()}
        title={texts.leaveTitle}
        closeButtonProps={{ 'aria-label': common.close }}
      >
        <Stack>
          <Text size="sm">{texts.leaveHelp}</Text>
          <Group justify="flex-end">
            <Button variant="default" onClick={() => blocker.reset?.()} data-autofocus>
              {texts.stay}
            </Button>
            <Button color="red" onClick={() => blocker.proceed?.()}>
              {texts.leave}
            </Button>
          </Group>
        </Stack>
      </Modal>
    ),
  };
}
