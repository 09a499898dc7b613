import { Anchor, type AnchorProps, Button, type ButtonProps } from '@mantine/core';
import type { ReactNode } from 'react';
import { Link } from 'react-router';

/** A link within the console that looks like a button; where it may not be followed, a disabled button that says why. */
export function ButtonLink({
  to,
  disabledBecause,
  children,
  ...props
}: ButtonProps & { to: string; disabledBecause?: string | undefined; children: ReactNode }) {
  if (disabledBecause !== undefined)
    return (
      <Button disabled title={disabledBecause} {...props}>
        {children}
      </Button>
    );
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
