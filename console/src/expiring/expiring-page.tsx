import { ScrollArea, Select, Skeleton, Table } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { ListAnswer } from '../../../client/plugboard.ts';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { TextLink } from '../parts/links.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { Urgency } from '../parts/urgency.tsx';
import { useSession } from '../session/session.tsx';
import { expiring as texts } from '../texts/expiring.ts';

interface Expiring {
  kind: string;
  project: string | null;
  name: string;
  environmentName: string | null;
  expiresAt: string;
  expired: boolean;
}

const choices = [7, 30, 90, 365];

/** What ends soon, the soonest first. */
export function ExpiringPage() {
  const { plugboard } = useSession();
  const [days, setDays] = useState(30);
  const read = useQuery({
    queryKey: ['expiry', days],
    queryFn: ({ signal }) =>
      plugboard.request<ListAnswer<Expiring>>('GET', '/apiops/expiring/', { query: { days }, signal }),
  });
  return (
    <>
      <PageHeader title={texts.title} summary={texts.summary}>
        <Select
          aria-label={texts.within}
          data={choices.map((choice) => ({ value: String(choice), label: texts.days(choice) }))}
          value={String(days)}
          onChange={(value) => value && setDays(Number(value))}
          allowDeselect={false}
          w={140}
        />
      </PageHeader>
      {read.error && <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />}
      {read.isPending && <Skeleton height={200} />}
      {read.data?.resultList.length === 0 && <EmptyState title={texts.none} />}
      {read.data && read.data.resultList.length > 0 && (
        <ScrollArea>
          <Table miw={560} verticalSpacing="xs" aria-label={texts.title}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{texts.name}</Table.Th>
                <Table.Th>{texts.kind}</Table.Th>
                <Table.Th>{texts.project}</Table.Th>
                <Table.Th>{texts.environment}</Table.Th>
                <Table.Th>{texts.ends}</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {read.data.resultList.map((one) => (
                <Table.Tr
                  key={`${one.kind} ${one.project} ${one.name} ${one.environmentName} ${one.expiresAt}`}
                >
                  <Table.Td className="break">
                    <Name of={one} />
                  </Table.Td>
                  <Table.Td>{texts.kinds[one.kind] ?? one.kind}</Table.Td>
                  <Table.Td className="break">{one.project ?? '–'}</Table.Td>
                  <Table.Td className="break">{one.environmentName ?? '–'}</Table.Td>
                  <Table.Td>
                    <Urgency at={one.expiresAt} />
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </ScrollArea>
      )}
    </>
  );
}

function Name({ of: { kind, project, name } }: { of: Expiring }) {
  if (kind === 'token') return <TextLink to="/ui/tokens">{name}</TextLink>;
  return <TextLink to={`/ui/p/${encodeURIComponent(project ?? '')}/keys`}>{name}</TextLink>;
}
