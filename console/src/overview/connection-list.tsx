import { Badge, Group, Skeleton, Text } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { useWindowVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { Link } from 'react-router';
import type { ConnectionOverview } from '../../../client/plugboard.ts';
import { connectionPath } from '../parts/links.tsx';
import { StateBadge } from '../parts/state-badge.tsx';
import { Ago } from '../parts/time.tsx';
import { TypeIcon } from '../parts/type-icon.tsx';
import { overview as texts } from '../texts/overview.ts';
import classes from './connection-list.module.css';
import { pageSize } from './overview-pages.ts';
import { byState, detailOf, reasonOf, textOf } from './state-groups.ts';

/** Of fixed height, so that nothing moves while rows are read: one line of states and one that says why. */
const rowHeight = { wide: 58, narrow: 118 };

/** Draws only the rows that are on the screen, of ten thousand too. */
export function ConnectionList({
  project,
  total,
  rowAt,
  onShow,
}: {
  project: string;
  total: number;
  /** Undefined while it is not read. */
  rowAt(index: number): ConnectionOverview | undefined;
  onShow(from: number, to: number): void;
}) {
  const list = useRef<HTMLUListElement>(null);
  const [offset, setOffset] = useState(0);
  useLayoutEffect(() => setOffset(list.current?.offsetTop ?? 0), []);
  const isNarrow = useMediaQuery('(max-width: 48em)', undefined, { getInitialValueInEffect: false });
  const height = isNarrow ? rowHeight.narrow : rowHeight.wide;
  const virtual = useWindowVirtualizer({
    count: total,
    estimateSize: () => height,
    overscan: 12,
    scrollMargin: offset,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: measures anew when the rows change their form
  useLayoutEffect(() => virtual.measure(), [height]);
  const rows = virtual.getVirtualItems();
  const from = rows[0]?.index ?? 0;
  const to = rows.at(-1)?.index ?? 0;
  useEffect(() => onShow(from, to), [from, to, onShow]);

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
        {rows.map(({ index, start }) => {
          const connection = rowAt(index);
          return (
            <li
              // By its name, so that the focus stays with it when another one comes before it; pages read
              // at different times may both hold it.
              key={connection ? `${Math.floor(index / pageSize)} ${connection.name}` : index}
              aria-setsize={total}
              aria-posinset={index + 1}
              className={classes.row}
              style={{ position: 'absolute', insetInline: 0, height, top: start - offset }}
            >
              {connection ? (
                <Row project={project} connection={connection} />
              ) : (
                <Skeleton height={height - 20} className={classes.loading ?? ''} />
              )}
            </li>
          );
        })}
      </ul>
    </div>
  );
}

function Row({ project, connection }: { project: string; connection: ConnectionOverview }) {
  const { name, type, description, target, environments, lastUsedAt, labels } = connection;
  const groups = byState(environments);
  const reason = reasonOf(groups);
  return (
    <>
      <div className={classes.name}>
        <TypeIcon type={type} size={18} />
        <div className={classes.words}>
          <Link to={connectionPath(project, name)} className={classes.link} title={name}>
            {name}
          </Link>
          <Text size="xs" c="dimmed" truncate title={description ?? type}>
            {type}
            {description ? ` · ${description.slice(0, 300)}` : ''}
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
      <div className={classes.states}>
        <Group gap={6} wrap="nowrap" className={classes.badges ?? ''}>
          {groups.map((group) => (
            <StateBadge
              key={group.state}
              state={group.state}
              text={textOf(group, environments.length)}
              detail={detailOf(group)}
            />
          ))}
        </Group>
        {reason && (
          <Text size="xs" c="dimmed" truncate title={reason}>
            {reason}
          </Text>
        )}
      </div>
      <Text size="sm" c="dimmed" className={classes.used} title={lastUsedAt ? undefined : texts.neverUsed}>
        {lastUsedAt ? <Ago at={lastUsedAt} /> : texts.unused}
      </Text>
    </>
  );
}
