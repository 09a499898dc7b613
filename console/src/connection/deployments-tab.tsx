import { Alert, Badge, Button, Card, Group, ScrollArea, Skeleton, Stack, Table, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { ChangeAnswer, ListAnswer } from '../../../client/plugboard.ts';
import { connectionApi } from '../api/connection.ts';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { Ago } from '../parts/time.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { connection } from '../texts/connection.ts';
import { type HostKey, HostKeyLine } from './host-key.tsx';

const texts = connection.deployments;

interface Deployment {
  environmentName: string;
  revision: number | null;
  undeployed: boolean;
  lastGoodRevision: number | null;
  step?: string;
  message?: string;
  hostKey?: HostKey;
  workers: {
    worker: string;
    connected: boolean;
    revision: number;
    step: string;
    code: string | null;
    message: string | null;
    servingRevision: number | null;
    warnings: string[];
    at: string;
  }[];
}

const colours: Readonly<Record<string, string>> = {
  connected: 'teal',
  valid: 'blue',
  refused: 'red',
  unreachable: 'red',
};

/** What each environment and worker has, and deploying by hand. */
export function DeploymentsTab({ project, name }: { project: string; name: string }) {
  const { plugboard } = useSession();
  const { may } = usePermissions(project);
  const queries = useQueryClient();
  const read = useQuery({
    queryKey: [project, 'deployments', name],
    queryFn: ({ signal }) =>
      plugboard.request<ListAnswer<Deployment>>('GET', connectionApi(project, name, 'deployments/'), {
        signal,
      }),
    refetchInterval: 15_000,
  });
  const change = useMutation({
    mutationFn: ({ action, environment }: { action: 'deploy' | 'undeploy'; environment: string }) =>
      plugboard.request<ChangeAnswer>('POST', connectionApi(project, name, `${action}/`), {
        query: { environment },
      }),
    onSuccess: (answer, { action }) => {
      const failed = answer.deploymentResult?.deploymentResults.filter(({ success }) => !success) ?? [];
      notifications.show({
        color: failed.length > 0 ? 'yellow' : 'teal',
        title: action === 'deploy' ? texts.deployed : texts.undeployedNow,
        message: failed.map(({ environmentName, message }) => `${environmentName}: ${message}`).join('; '),
      });
    },
    onSettled: () => queries.invalidateQueries({ queryKey: [project] }),
  });

  if (read.isPending) return <Skeleton height={200} />;
  if (read.error) return <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />;
  if (read.data.resultList.length === 0) return <EmptyState title={texts.none} />;
  const lacking = may('CONNECTIONS:DEPLOY') ? undefined : connection.lacks('CONNECTIONS:DEPLOY');
  return (
    <Stack>
      {change.error && <ErrorAlert error={change.error} />}
      {read.data.resultList.map((deployment) => (
        <Card
          key={deployment.environmentName}
          withBorder
          component="section"
          aria-label={deployment.environmentName}
        >
          <Group justify="space-between" mb="xs">
            <div>
              <Text fw={600}>{deployment.environmentName}</Text>
              <Text size="sm" c="dimmed">
                {deployment.undeployed ? texts.undeployed : texts.lastGood(deployment.lastGoodRevision)}
              </Text>
            </div>
            <Group gap="xs">
              <Button
                size="xs"
                variant="default"
                disabled={lacking !== undefined}
                title={lacking}
                loading={change.isPending}
                onClick={() => change.mutate({ action: 'deploy', environment: deployment.environmentName })}
              >
                {texts.deploy}
              </Button>
              <Button
                size="xs"
                variant="default"
                disabled={lacking !== undefined || deployment.undeployed}
                title={lacking}
                onClick={() => change.mutate({ action: 'undeploy', environment: deployment.environmentName })}
              >
                {texts.undeploy}
              </Button>
            </Group>
          </Group>
          {deployment.hostKey && (
            <HostKeyLine
              project={project}
              name={name}
              environment={deployment.environmentName}
              hostKey={deployment.hostKey}
            />
          )}
          {deployment.message && (
            <Alert color="red" mb="xs">
              {deployment.message}
            </Alert>
          )}
          {deployment.workers.length === 0 ? (
            <Text size="sm" c="dimmed">
              {texts.noWorker}
            </Text>
          ) : (
            <ScrollArea>
              <Workers workers={deployment.workers} />
            </ScrollArea>
          )}
        </Card>
      ))}
    </Stack>
  );
}

function Workers({ workers }: { workers: Deployment['workers'] }) {
  return (
    <Table miw={560} verticalSpacing="xs">
      <Table.Thead>
        <Table.Tr>
          <Table.Th>{texts.worker}</Table.Th>
          <Table.Th>{texts.revision}</Table.Th>
          <Table.Th>{texts.step}</Table.Th>
          <Table.Th>{texts.message}</Table.Th>
          <Table.Th>{texts.when}</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {workers.map(({ worker, connected, revision, step, message, servingRevision, warnings, at }) => (
          <Table.Tr key={worker}>
            <Table.Td className="break">
              {worker}
              {!connected && (
                <Text size="xs" c="dimmed">
                  {texts.notConnected}
                </Text>
              )}
            </Table.Td>
            <Table.Td>{revision}</Table.Td>
            <Table.Td>
              <Badge
                color={(connected && colours[step]) || 'gray'}
                variant="light"
                tt="none"
                autoContrast
                title={texts.steps[step]}
              >
                {connected ? step : texts.lastSaid(step)}
              </Badge>
            </Table.Td>
            <Table.Td className="break">
              {[message, servingRevision !== null && texts.serving(servingRevision), ...warnings]
                .filter(Boolean)
                .map((text) => (
                  <Text key={String(text)} size="sm">
                    {text}
                  </Text>
                ))}
            </Table.Td>
            <Table.Td>
              <Ago at={at} />
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
