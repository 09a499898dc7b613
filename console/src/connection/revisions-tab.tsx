import { Accordion, Badge, Button, Group, ScrollArea, Skeleton, Table, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useNavigate } from 'react-router';
import type { ChangeAnswer, ListAnswer } from '../../../client/plugboard.ts';
import { connectionApi } from '../api/connection.ts';
import { ConfirmDialog } from '../parts/confirm.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { FoldedText } from '../parts/folded-text.tsx';
import { connectionPath } from '../parts/links.tsx';
import { Ago } from '../parts/time.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { common } from '../texts/common.ts';
import { connection } from '../texts/connection.ts';
import { differences } from './nested-diff.ts';
import classes from './revisions-tab.module.css';

const texts = connection.revisions;

type Change =
  | { field: string; before: unknown; after: unknown }
  | { field: string; secret: keyof typeof texts.secret };

interface Revision {
  revision: number;
  action: string;
  name: string;
  author: string;
  at: string;
  diff: Change[];
}

/** History with what changed, and bringing a revision back; of a deleted connection too. */
export function RevisionsTab({
  project,
  name,
  current,
}: {
  project: string;
  name: string;
  current: string | null;
}) {
  const { plugboard } = useSession();
  const { may } = usePermissions(project);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [restoring, setRestoring] = useState<number | null>(null);
  const read = useQuery({
    queryKey: [project, 'revisions', name],
    queryFn: ({ signal }) =>
      plugboard.request<ListAnswer<Revision>>('GET', connectionApi(project, name, 'revisions/'), { signal }),
    retry: false,
  });
  if (read.isPending) return <Skeleton height={200} />;
  if (read.error)
    return current === null ? null : <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />;
  const newest = read.data.resultList[0]?.revision;

  const restore = async (revision: number) => {
    const answer = await plugboard.request<ChangeAnswer>(
      'POST',
      connectionApi(project, name, `revisions/${revision}/restore/`),
      current === null ? {} : { headers: { 'if-match': current } },
    );
    notifications.show({
      color: answer.deploymentResult?.success === false ? 'yellow' : 'teal',
      title: texts.restored(revision),
      message:
        answer.deploymentResult?.success === false
          ? connection.change.notEverywhere
          : connection.change.everywhere,
    });
    await queries.invalidateQueries({ queryKey: [project] });
    const restored = read.data.resultList.find((one) => one.revision === revision);
    if (restored) void navigate(connectionPath(project, restored.name, '?tab=revisions'));
  };

  return (
    <>
      <Accordion variant="separated" multiple>
        {read.data.resultList.map(({ revision, action, author, at, diff }) => (
          <Accordion.Item key={revision} value={String(revision)}>
            <Group wrap="nowrap" gap={0}>
              <Accordion.Control>
                <Group gap="sm">
                  <Text fw={600} size="sm">
                    {revision}
                  </Text>
                  <Text size="sm">{texts.actions[action] ?? action}</Text>
                  <Text size="sm" c="dimmed" className="break">
                    {texts.by(author)}, <Ago at={at} />
                  </Text>
                  {revision === newest && action !== 'delete' && (
                    <Badge size="sm" variant="light" tt="none" autoContrast>
                      {texts.current}
                    </Badge>
                  )}
                  {diff.length > 0 && (
                    <Text size="xs" c="dimmed">
                      {texts.changes(diff.length)}
                    </Text>
                  )}
                </Group>
              </Accordion.Control>
              {action !== 'delete' && (revision !== newest || current === null) && (
                <Button
                  size="xs"
                  variant="default"
                  mr="sm"
                  flex="none"
                  disabled={!may('CONNECTIONS:MANAGE')}
                  title={may('CONNECTIONS:MANAGE') ? undefined : connection.lacks('CONNECTIONS:MANAGE')}
                  onClick={() => setRestoring(revision)}
                >
                  {texts.restore}
                </Button>
              )}
            </Group>
            <Accordion.Panel>
              <Diff diff={diff} first={revision === 1} />
            </Accordion.Panel>
          </Accordion.Item>
        ))}
      </Accordion>
      <ConfirmDialog
        title={texts.restoreTitle(restoring ?? 0)}
        action={texts.restore}
        opened={restoring !== null}
        onClose={() => setRestoring(null)}
        onConfirm={() => restore(restoring!)}
      >
        {texts.restoreHelp}
      </ConfirmDialog>
    </>
  );
}

function Diff({ diff, first }: { diff: readonly Change[]; first: boolean }) {
  if (diff.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {first ? texts.first : texts.nothing}
      </Text>
    );
  return (
    <ScrollArea>
      <Table miw={480} verticalSpacing="xs" layout="fixed">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{texts.field}</Table.Th>
            <Table.Th>{texts.before}</Table.Th>
            <Table.Th>{texts.after}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {diff.map((change) =>
            'secret' in change ? (
              <Table.Tr key={`secret ${change.field}`}>
                <Table.Td ff="monospace" className="break">
                  {change.field}
                </Table.Td>
                <Table.Td colSpan={2} c="dimmed">
                  {texts.secret[change.secret]}
                </Table.Td>
              </Table.Tr>
            ) : (
              <ChangedField key={change.field} {...change} />
            ),
          )}
        </Table.Tbody>
      </Table>
    </ScrollArea>
  );
}

const maxPlaces = 50;

/** A field by the places within it that changed. */
function ChangedField({ field, before, after }: { field: string; before: unknown; after: unknown }) {
  const [limit, setLimit] = useState(maxPlaces);
  const places = differences(field, before, after);
  return (
    <>
      {places.slice(0, limit).map((place) => (
        <Table.Tr key={place.path}>
          <Table.Td ff="monospace" className="break">
            {place.path}
          </Table.Td>
          <Value value={place.before} kind="before" />
          <Value value={place.after} kind="after" />
        </Table.Tr>
      ))}
      {places.length > limit && (
        <Table.Tr>
          <Table.Td colSpan={3}>
            <Button size="compact-xs" variant="default" onClick={() => setLimit(limit + maxPlaces)}>
              {common.showMore}
            </Button>{' '}
            {common.of(limit, places.length)}
          </Table.Td>
        </Table.Tr>
      )}
    </>
  );
}

function Value({ value, kind }: { value: unknown; kind: 'before' | 'after' }) {
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 1);
  return (
    <Table.Td>
      {value === null || text === '' ? (
        <Text size="sm" c="dimmed">
          {value === null ? texts.unset : texts.empty}
        </Text>
      ) : (
        <div className={classes.value} data-kind={kind}>
          <FoldedText text={text} limit={1_000} />
        </div>
      )}
    </Table.Td>
  );
}
