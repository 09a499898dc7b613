import { Badge, Button, Group, Skeleton, Text } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import type { ListAnswer } from '../../../client/plugboard.ts';
import { ConfirmDialog } from '../parts/confirm.tsx';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { Row, RowList } from '../parts/row-list.tsx';
import { Ago } from '../parts/time.tsx';
import { useFiltered } from '../parts/use-filtered.tsx';
import { useSession } from '../session/session.tsx';
import { users as texts } from '../texts/access.ts';
import { common } from '../texts/common.ts';
import { GrantList } from './grant-list.tsx';
import { type User, UserDialog, usersApi } from './user-dialog.tsx';

const none: User[] = [];

/** Who may sign in by password, and what they may; for administrators. */
export function UsersPage() {
  const { plugboard, me } = useSession();
  const queries = useQueryClient();
  const [asking, setAsking] = useState<{ what: 'edit' | 'remove'; username: string } | 'new' | null>(null);
  const read = useQuery({
    queryKey: ['users'],
    queryFn: ({ signal }) => plugboard.request<ListAnswer<User>>('GET', usersApi(), { signal }),
    enabled: me.admin,
  });
  const list = read.data?.resultList ?? none;
  const { shown, field, more } = useFiltered(texts.title, list, ({ username }) => username);
  if (!me.admin)
    return (
      <>
        <PageHeader title={texts.title} />
        <EmptyState title={texts.lacking} />
      </>
    );
  const close = () => setAsking(null);
  const refresh = () => queries.invalidateQueries({ queryKey: ['users'] });
  const removed = asking !== 'new' && asking?.what === 'remove' ? asking.username : null;
  return (
    <>
      <PageHeader title={texts.title} summary={texts.summary}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setAsking('new')}>
          {texts.newUser}
        </Button>
      </PageHeader>
      {read.error && <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />}
      {read.isPending && <Skeleton height={200} />}
      {read.data && list.length === 0 && <EmptyState title={texts.none} help={texts.noneHelp} />}
      {field}
      {shown.length > 0 && (
        <RowList label={texts.title}>
          {shown.map(({ username, admin, disabled, grants, createdAt }) => (
            <Row
              key={username}
              head={username}
              detail={
                <>
                  {texts.created} <Ago at={createdAt} />
                </>
              }
              actions={
                <>
                  <Button
                    variant="default"
                    size="compact-sm"
                    aria-label={texts.edit(username)}
                    onClick={() => setAsking({ what: 'edit', username })}
                  >
                    {common.edit}
                  </Button>
                  <Button
                    variant="subtle"
                    color="red"
                    size="compact-sm"
                    aria-label={texts.remove(username)}
                    onClick={() => setAsking({ what: 'remove', username })}
                  >
                    {common.remove}
                  </Button>
                </>
              }
            >
              <Group gap={4} mb={4}>
                <Badge color={disabled ? 'red' : 'teal'} variant="light" tt="none" autoContrast>
                  {disabled ? texts.isDisabled : texts.active}
                </Badge>
                {admin && (
                  <Badge color="blue" variant="light" tt="none" autoContrast>
                    {texts.isAdmin}
                  </Badge>
                )}
              </Group>
              {admin ? <Text size="xs">{texts.everything}</Text> : <GrantList grants={grants} />}
            </Row>
          ))}
        </RowList>
      )}
      {more}
      {asking && removed === null && (
        <UserDialog
          username={asking === 'new' ? null : asking.username}
          onClose={close}
          onSaved={() => {
            close();
            void refresh();
          }}
        />
      )}
      <ConfirmDialog
        title={texts.removeTitle(removed ?? '')}
        action={common.remove}
        opened={removed !== null}
        onClose={close}
        onConfirm={async () => {
          await plugboard.request('DELETE', usersApi(removed!));
          await refresh();
        }}
      >
        {texts.removeHelp}
      </ConfirmDialog>
    </>
  );
}
