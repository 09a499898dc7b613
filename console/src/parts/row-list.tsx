import { Group, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import classes from './row-list.module.css';

/** Things one below the other, ruled: side by side where there is room, stacked on a small screen. */
export function RowList({ label, children }: { label: string; children: ReactNode }) {
  return (
    <ul className={classes.list} aria-label={label}>
      {children}
    </ul>
  );
}

/** One thing: its name, what is to be said of it, and what can be done with it. */
export function Row({
  head,
  detail,
  actions,
  children,
}: {
  head: ReactNode;
  /** Below the head. */
  detail?: ReactNode;
  actions: ReactNode;
  children: ReactNode;
}) {
  return (
    <li className={classes.row}>
      <div className={classes.head}>
        {head}
        {detail && (
          <Text size="xs" c="dimmed">
            {detail}
          </Text>
        )}
      </div>
      <Group gap={4} wrap="nowrap" justify="flex-end" className={classes.actions ?? ''}>
        {actions}
      </Group>
      <div className={classes.body}>{children}</div>
    </li>
  );
}
