import { Badge, Group, Text } from '@mantine/core';
import { useWindowVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { Link } from 'react-router';
import type { ConnectionOverview } from '../../../client/plugboard.ts';
import { connectionPath } from '../parts/links.tsx';
import { StateBadge } from '../parts/state-badge.tsx';
import { Ago, ago } from '../parts/time.tsx';
import { TypeIcon } from '../parts/type-icon.tsx';
import { overview as texts } from '../texts/overview.ts';
import classes from './connection-list.module.css';

/** Beyond this many environments a row names those that do not work, and counts the rest. */
const maxBadges = 3;

/** Draws only the rows that are on the screen, of ten thousand too. */
export function ConnectionList({
  project,
  connections,
  total,
  onNearEnd,
}: {
  project: string;
  connections: readonly ConnectionOverview[];
  total: number;
  onNearEnd(): void;
}) {
  const list = useRef<HTMLUListElement>(null);
  const [offset, setOffset] = useState(0);
  useLayoutEffect(() => setOffset(list.current?.offsetTop ?? 0), []);
  const virtual = useWindowVirtualizer({
    count: connections.length,
    estimateSize: () => 58,
    overscan: 12,
    scrollMargin: offset,
    getItemKey: (index) => connections[index]?.name ?? index,
  });
  const rows = virtual.getVirtualItems();
  const last = rows.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last >= connections.length - 30 && connections.length < total) onNearEnd();
  }, [last, connections.length, total, onNearEnd]);

  return (
    <div>
      <div className={`${classes.row} ${classes.head}`} aria-hidden>
        <span>{texts.columns.name}</span>
        <span>{texts.columns.target}</span>
        <span>{texts.columns.states}</span>
        <span>{texts.columns.used}</span>
      </div>
      <ul
        ref={list}
        aria-label={texts.table}
        className={classes.list}
        style={{ height: virtual.getTotalSize() }}
      >
        {rows.map((row) => (
          <li
            key={row.key}
            ref={virtual.measureElement}
            data-index={row.index}
            aria-setsize={total}
            aria-posinset={row.index + 1}
            className={classes.row}
            style={{ position: 'absolute', insetInline: 0, top: row.start - virtual.options.scrollMargin }}
          >
            <Row project={project} connection={connections[row.index]!} />
          </li>
        ))}
      </ul>
    </div>
  );
}

function Row({ project, connection }: { project: string; connection: ConnectionOverview }) {
  const { name, type, description, target, environments, lastUsedAt, labels } = connection;
  const shown =
    environments.length <= maxBadges
      ? environments
      : environments.filter(({ state }) => state !== 'works').slice(0, maxBadges);
  const rest = environments.length - shown.length;
  return (
    <>
      <div className={classes.name}>
        <TypeIcon type={type} size={18} />
        <div className={classes.words}>
          <Link to={connectionPath(project, name)} className={classes.link}>
            {name}
          </Link>
          <Text size="xs" c="dimmed" truncate title={description ?? type}>
            {type}
            {description ? ` · ${description}` : ''}
          </Text>
        </div>
        {Object.entries(labels)
          .slice(0, 2)
          .map(([key, value]) => (
            <Badge key={key} size="xs" variant="outline" color="gray" tt="none" visibleFrom="lg" maw={140}>
              {key}={value}
            </Badge>
          ))}
      </div>
      <Text size="sm" ff="monospace" truncate className={classes.target} title={target ?? undefined}>
        {target ?? '–'}
      </Text>
      <Group gap={6} className={classes.states}>
        {shown.map(({ environmentName, state, since, message }) => (
          <StateBadge
            key={environmentName}
            state={state}
            {...(environments.length > 1 ? { label: environmentName } : {})}
            detail={[message, since && texts.since(ago(since))].filter(Boolean).join(', ') || null}
          />
        ))}
        {rest > 0 && <StateBadge state="works" label={`${rest}`} />}
      </Group>
      <Text size="sm" c="dimmed" className={classes.used} title={lastUsedAt ? undefined : texts.neverUsed}>
        {lastUsedAt ? <Ago at={lastUsedAt} /> : texts.unused}
      </Text>
    </>
  );
}
