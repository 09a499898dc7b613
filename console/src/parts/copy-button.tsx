import { Button, CopyButton as Copying } from '@mantine/core';
import { IconCheck, IconCopy } from '@tabler/icons-react';
import { common } from '../texts/common.ts';

/** Copies a text, and says that it did. */
export function CopyButton({ value, label = common.copy }: { value: string; label?: string }) {
  return (
    <Copying value={value}>
      {({ copied, copy }) => (
        <Button
          size="xs"
          variant="default"
          onClick={copy}
          leftSection={copied ? <IconCheck size={14} /> : <IconCopy size={14} />}
          aria-live="polite"
        >
          {copied ? common.copied : label}
        </Button>
      )}
    </Copying>
  );
}
