import { Anchor, type AnchorProps, Button, type ButtonProps } from '@mantine/core';
import type { ReactNode } from 'react';
import { Link } from 'react-router';

/** A link within the console that looks like a button. */
export function ButtonLink({ to, children, ...props }: ButtonProps & { to: string; children: ReactNode }) {
  return (
    <Button component={Link} to={to} {...props}>
      {children}
    </Button>
  );
}

/** A link within the console. */
export function TextLink({ to, children, ...props }: AnchorProps & { to: string; children: ReactNode }) {
  return (
    <Anchor component={Link} to={to} {...props}>
      {children}
    </Anchor>
  );
}

/** Path of a connection's page. */
export function connectionPath(project: string, connection: string, sub = ''): string {
  return `/ui/p/${encodeURIComponent(project)}/c/${encodeURIComponent(connection)}${sub}`;
}
