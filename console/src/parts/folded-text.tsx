import { Button } from '@mantine/core';
import { useState } from 'react';
import { common } from '../texts/common.ts';

/** The begin of a long text, and the rest when it is asked for. */
export function FoldedText({ text, limit = 2_000 }: { text: string; limit?: number }) {
  const [isOpen, setOpen] = useState(false);
  if (text.length <= limit * 1.2) return text;
  return (
    <>
      {isOpen ? text : `${text.slice(0, limit)} …`}{' '}
      <Button size="compact-xs" variant="default" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        {isOpen ? common.showLess : common.showAll(text.length)}
      </Button>
    </>
  );
}
