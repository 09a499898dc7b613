import {
  ActionIcon,
  Badge,
  Button,
  Card,
  Group,
  Menu,
  ScrollArea,
  Skeleton,
  Stack,
  Table,
  Text,
  Title,
} from '@mantine/core';
import { IconDots, IconPlus } from '@tabler/icons-react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import type { ListAnswer } from '../../../client/plugboard.ts';
import { ConfirmDialog } from '../parts/confirm.tsx';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { Ago } from '../parts/time.tsx';
import { useSession } from '../session/session.tsx';
import { fleet as texts } from '../texts/fleet.ts';
import { EnrolDialog } from './enrol-dialog.tsx';
import { type Environment, EnvironmentDialog } from './environment-dialog.tsx';

export interface FleetWorker {
  id: string;
  name: string;
  version: string;
  connected: boolean;
  connectedSince: string | null;
  lastSeen: string;
  behind: number;
}

interface Credential {
  id: string;
  name: string;
  createdAt: string;
  createdBy: string;
}

/** Path of an environment in the API. */
export const environmentApi = (name: string, sub = '') =>
  `/apiops/environments/${encodeURIComponent(name)}/${sub}`;

/** Environments, their workers with version and lag, and enrolling one more. */
export function FleetPage() {
  const { plugboard, me } = useSession();
  const [editing, setEditing] = useState<Environment | 'new' | null>(null);
  const read = useQuery({
    queryKey: ['worker', 'environments'],
    queryFn: ({ signal }) =>
      plugboard.request<ListAnswer<Environment>>('GET', '/apiops/environments/', { signal }),
    enabled: me.admin,
  });
  if (!me.admin)
    return (
      <>
        <PageHeader title={texts.title} />
        <EmptyState title={texts.lacking} />
      </>
    );
  return (
    <>
      <PageHeader title={texts.title} summary={texts.summary}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setEditing('new')}>
          {texts.newEnvironment}
        </Button>
      </PageHeader>
      {read.error && <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />}
      {read.isPending && <Skeleton height={200} />}
      <Stack>
        {read.data?.resultList.map((environment) => (
          <EnvironmentCard
            key={environment.name}
            environment={environment}
            onEdit={() => setEditing(environment)}
          />
        ))}
      </Stack>
      {editing && (
        <EnvironmentDialog
          environment={editing === 'new' ? null : editing}
          onClose={() => setEditing(null)}
        />
      )}
    </>
  );
}

function EnvironmentCard({ environment, onEdit }: { environment: Environment; onEdit(): void }) {
  const { plugboard } = useSession();
  const queries = useQueryClient();
  const [asking, setAsking] = useState<'enrol' | 'remove' | Credential | null>(null);
  const { name } = environment;
  const refresh = () => queries.invalidateQueries({ queryKey: ['worker'] });
  const workers = useQuery({
    queryKey: ['worker', 'workers', name],
    queryFn: ({ signal }) =>
      plugboard.request<ListAnswer<FleetWorker>>('GET', environmentApi(name, 'workers/'), { signal }),
    refetchInterval: 10_000,
  });
  const credentials = useQuery({
    queryKey: ['worker', 'credentials', name],
    queryFn: ({ signal }) =>
      plugboard.request<ListAnswer<Credential>>('GET', environmentApi(name, 'enrollment-tokens/'), {
        signal,
      }),
  });
  const revoked = typeof asking === 'object' ? asking : null;

  return (
    <Card withBorder component="section" aria-label={name}>
      <Group justify="space-between" mb="sm">
        <div>
          <Group gap="xs">
            <Title order={2} size="h5" className="break">
              {name}
            </Title>
            <Badge variant="light" color="gray" tt="none">
              {texts.kinds[environment.type]}
            </Badge>
          </Group>
          {environment.description && (
            <Text size="sm" c="dimmed" className="break">
              {environment.description}
            </Text>
          )}
        </div>
        <Group gap="xs">
          <Button variant="default" size="xs" onClick={() => setAsking('enrol')}>
            {texts.enrol}
          </Button>
          <Menu>
            <Menu.Target>
              <ActionIcon variant="default" aria-label={texts.editEnvironment(name)}>
                <IconDots size={16} />
              </ActionIcon>
            </Menu.Target>
            <Menu.Dropdown>
              <Menu.Item onClick={onEdit}>{texts.edit}</Menu.Item>
              <Menu.Item color="red" onClick={() => setAsking('remove')}>
                {texts.remove}
              </Menu.Item>
            </Menu.Dropdown>
          </Menu>
        </Group>
      </Group>
      {workers.error && <ErrorAlert error={workers.error} onRetry={() => void workers.refetch()} />}
      {workers.isPending && <Skeleton height={80} />}
      {workers.data?.resultList.length === 0 && (
        <Text size="sm" c="dimmed">
          {texts.noWorkers}
        </Text>
      )}
      {workers.data && workers.data.resultList.length > 0 && (
        <ScrollArea>
          <WorkerTable workers={workers.data.resultList} />
        </ScrollArea>
      )}
      <details>
        <summary>
          <Text span size="sm">
            {texts.credentials} ({credentials.data?.resultCount ?? '…'})
          </Text>
        </summary>
        {credentials.data?.resultList.length === 0 && (
          <Text size="sm" c="dimmed" mt="xs">
            {texts.noCredentials}
          </Text>
        )}
        <Stack gap="xs" mt="xs">
          {credentials.data?.resultList.map((credential) => (
            <Group key={credential.id} justify="space-between" wrap="nowrap">
              <Text size="sm" className="break">
                {credential.name}{' '}
                <Text span c="dimmed" size="xs">
                  {texts.made(credential.createdBy)}, <Ago at={credential.createdAt} />
                </Text>
              </Text>
              <Button
                size="compact-xs"
                color="red"
                variant="subtle"
                flex="none"
                onClick={() => setAsking(credential)}
              >
                {texts.revoke}
              </Button>
            </Group>
          ))}
        </Stack>
      </details>
      {asking === 'enrol' && <EnrolDialog environment={name} onClose={() => setAsking(null)} />}
      <ConfirmDialog
        title={texts.removeTitle(name)}
        action={texts.remove}
        typed={name}
        opened={asking === 'remove'}
        onClose={() => setAsking(null)}
        onConfirm={async () => {
          await plugboard.request('DELETE', environmentApi(name));
          await refresh();
        }}
      >
        {texts.removeHelp}
      </ConfirmDialog>
      <ConfirmDialog
        title={texts.revokeTitle(revoked?.name ?? '')}
        action={texts.revoke}
        opened={revoked !== null}
        onClose={() => setAsking(null)}
        onConfirm={async () => {
          await plugboard.request('DELETE', environmentApi(name, `enrollment-tokens/${revoked!.id}/`));
          await refresh();
        }}
      >
        {texts.revokeHelp}
      </ConfirmDialog>
    </Card>
  );
}

function WorkerTable({ workers }: { workers: readonly FleetWorker[] }) {
  return (
    <Table miw={520} verticalSpacing="xs" mb="sm" aria-label={texts.workers}>
      <Table.Thead>
        <Table.Tr>
          <Table.Th>{texts.worker}</Table.Th>
          <Table.Th>{texts.state}</Table.Th>
          <Table.Th>{texts.version}</Table.Th>
          <Table.Th>{texts.lag}</Table.Th>
          <Table.Th>{texts.since}</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {workers.map(({ id, name, version, connected, connectedSince, lastSeen, behind }) => (
          <Table.Tr key={id}>
            <Table.Td className="break">{name}</Table.Td>
            <Table.Td>
              <Badge color={connected ? 'teal' : 'gray'} variant="light" tt="none" autoContrast>
                {connected ? texts.connected : texts.away}
              </Badge>
            </Table.Td>
            <Table.Td>{version}</Table.Td>
            <Table.Td>{texts.behind(behind)}</Table.Td>
            <Table.Td>
              {connected && connectedSince ? (
                <Ago at={connectedSince} />
              ) : (
                <>
                  {texts.lastSeen} <Ago at={lastSeen} />
                </>
              )}
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
