import { Button, Group, Skeleton, Text } from '@mantine/core';
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
import { Urgency } from '../parts/urgency.tsx';
import { useFiltered } from '../parts/use-filtered.tsx';
import { useSession } from '../session/session.tsx';
import { tokens as texts } from '../texts/access.ts';
import type { Grant } from './grant.ts';
import { GrantList } from './grant-list.tsx';
import { TokenDialog } from './token-dialog.tsx';

interface Token {
  id: string;
  name: string;
  kind: string;
  username: string | null;
  grants: Grant[];
  createdAt: string;
  expiresAt: string | null;
}

const none: Token[] = [];

/** Tokens that are one's own, or all for an administrator: made, shown once, revoked. */
export function TokensPage() {
  const { plugboard, me } = useSession();
  const queries = useQueryClient();
  const [making, setMaking] = useState(false);
  const [revoked, setRevoked] = useState<Token | null>(null);
  const read = useQuery({
    queryKey: ['tokens'],
    queryFn: ({ signal }) => plugboard.request<ListAnswer<Token>>('GET', '/apiops/tokens/', { signal }),
  });
  const refresh = () => queries.invalidateQueries({ queryKey: ['tokens'] });
  const list = read.data?.resultList ?? none;
  const { shown, field, more } = useFiltered(
    texts.title,
    list,
    ({ name, username, grants }) =>
      `${name} ${username ?? ''} ${grants.map(({ project }) => project).join(' ')}`,
  );
  return (
    <>
      <PageHeader title={texts.title} summary={me.admin ? texts.summary : texts.summaryOwn}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setMaking(true)}>
          {texts.newToken}
        </Button>
      </PageHeader>
      {read.error && <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />}
      {read.isPending && <Skeleton height={200} />}
      {read.data && list.length === 0 && <EmptyState title={texts.none} help={texts.noneHelp} />}
      {field}
      {shown.length > 0 && (
        <RowList label={texts.title}>
          {shown.map((token) => (
            <Row
              key={token.id}
              head={token.name}
              detail={[texts.kinds[token.kind] ?? token.kind, token.username].filter(Boolean).join(' · ')}
              actions={
                <Button
                  variant="subtle"
                  color="red"
                  size="compact-sm"
                  aria-label={texts.revokeOf(token.name)}
                  onClick={() => setRevoked(token)}
                >
                  {texts.revoke}
                </Button>
              }
            >
              {token.kind === 'access' ? (
                <Text size="xs">{texts.likeItsUser}</Text>
              ) : (
                <GrantList grants={token.grants} />
              )}
              <Times of={token} />
            </Row>
          ))}
        </RowList>
      )}
      {more}
      {making && <TokenDialog onClose={() => setMaking(false)} onMade={() => void refresh()} />}
      <ConfirmDialog
        title={texts.revokeTitle(revoked?.name ?? '')}
        action={texts.revoke}
        opened={revoked !== null}
        onClose={() => setRevoked(null)}
        onConfirm={async () => {
          await plugboard.request('DELETE', `/apiops/tokens/${encodeURIComponent(revoked!.id)}/`);
          await refresh();
        }}
      >
        {texts.revokeHelp}
      </ConfirmDialog>
    </>
  );
}

function Times({ of: { kind, createdAt, expiresAt } }: { of: Token }) {
  return (
    <Group gap={6} mt={4}>
      <Text size="xs" c="dimmed">
        {texts.created} <Ago at={createdAt} /> · {texts.ends}
      </Text>
      <Text size="xs" c="dimmed" component="div">
        {expiresAt === null && texts.never}
        {/* A log-in ends within the hour by design: no warning is due. */}
        {expiresAt !== null && (kind === 'access' ? <Ago at={expiresAt} /> : <Urgency at={expiresAt} />)}
      </Text>
    </Group>
  );
}
