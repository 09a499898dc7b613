import { Button, Code, ScrollArea, Skeleton, Table, Text } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import type { ListAnswer } from '../../../client/plugboard.ts';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { Ago } from '../parts/time.tsx';
import { useSession } from '../session/session.tsx';
import { audit as texts } from '../texts/audit.ts';

export interface AuditFilter {
  project?: string;
  actor?: string;
  action?: string;
  target?: string;
}

interface AuditEntry {
  id: string;
  at: string;
  project: string | null;
  actor: string;
  action: string;
  target: string;
  details: Record<string, unknown>;
}

const pageSize = 50;

/** Entries that match, newest first, more when asked for. */
export function AuditList({ filter }: { filter: AuditFilter }) {
  const { plugboard } = useSession();
  const read = useInfiniteQuery({
    queryKey: [filter.project ?? 'audit', 'audit', filter],
    queryFn: ({ pageParam, signal }) =>
      plugboard.request<ListAnswer<AuditEntry>>('GET', '/apiops/audit/', {
        query: { ...filter, page: pageParam, size: pageSize },
        signal,
      }),
    initialPageParam: 1,
    getNextPageParam: (last, pages) =>
      pages.length * pageSize < last.resultCount ? pages.length + 1 : undefined,
  });
  if (read.isPending) return <Skeleton height={240} />;
  if (read.error) return <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />;
  const entries = read.data.pages.flatMap((page) => page.resultList);
  if (entries.length === 0) return <EmptyState title={texts.none} />;
  return (
    <>
      <ScrollArea>
        <Table miw={760} verticalSpacing="xs" aria-label={texts.table}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{texts.when}</Table.Th>
              <Table.Th w={150}>{texts.actor}</Table.Th>
              <Table.Th>{texts.action}</Table.Th>
              <Table.Th>{texts.target}</Table.Th>
              <Table.Th>{texts.details}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {entries.map(({ id, at, actor, action, target, details }) => (
              <Table.Tr key={id}>
                <Table.Td style={{ whiteSpace: 'nowrap' }}>
                  <Ago at={at} />
                </Table.Td>
                <Table.Td className="break">{actor}</Table.Td>
                <Table.Td>
                  <Code>{action}</Code>
                </Table.Td>
                <Table.Td className="break">{target}</Table.Td>
                <Table.Td className="break">
                  {Object.keys(details).length > 0 && (
                    <Text size="xs" ff="monospace" lineClamp={4}>
                      {JSON.stringify(details)}
                    </Text>
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </ScrollArea>
      {read.hasNextPage && (
        <Button
          variant="default"
          mt="sm"
          loading={read.isFetchingNextPage}
          onClick={() => void read.fetchNextPage()}
        >
          {texts.more}
        </Button>
      )}
    </>
  );
}
