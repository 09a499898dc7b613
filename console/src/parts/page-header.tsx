import { Group, Text, Title } from '@mantine/core';
import { type ReactNode, useEffect, useRef } from 'react';
import { useLocation, useNavigationType } from 'react-router';
import { common } from '../texts/common.ts';

/** Title of a page, in the tab too, with what can be done on it; the focus comes here after a link was followed. */
export function PageHeader({
  title,
  summary,
  icon,
  children,
}: {
  title: string;
  summary?: ReactNode;
  icon?: ReactNode;
  children?: ReactNode;
}) {
  useEffect(() => {
    document.title = `${title} · ${common.product}`;
  }, [title]);
  const heading = useRef<HTMLHeadingElement>(null);
  const { pathname, key } = useLocation();
  const isFollowed = useNavigationType() !== 'REPLACE' && key !== 'default';
  // biome-ignore lint/correctness/useExhaustiveDependencies: once for each page
  useEffect(() => {
    if (isFollowed) heading.current?.focus({ preventScroll: true });
  }, [pathname]);
  return (
    <Group justify="space-between" align="flex-start" mb="md" gap="sm">
      <Group gap="sm" wrap="nowrap" miw={0}>
        {icon}
        <div>
          <Title ref={heading} tabIndex={-1} order={1} size="h3" className="break">
            {title}
          </Title>
          {summary && (
            <Text c="dimmed" size="sm" className="break">
              {summary}
            </Text>
          )}
        </div>
      </Group>
      <Group gap="xs">{children}</Group>
    </Group>
  );
}
