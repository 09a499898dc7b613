import { Alert, Button, Card, Group, List, Stack, Text, Title } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useNavigate } from 'react-router';
import { type ChangeAnswer, type Connection, PlugboardError } from '../../../client/plugboard.ts';
import { connectionApi } from '../api/connection.ts';
import { ConfirmDialog } from '../parts/confirm.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { connection as texts } from '../texts/connection.ts';
import { readHealth } from './health.ts';

const { settings } = texts;

/** Disabling, and deleting with what uses it. */
export function SettingsTab({
  project,
  connection,
  etag,
}: {
  project: string;
  connection: Connection;
  etag: string;
}) {
  const { plugboard } = useSession();
  const { may } = usePermissions(project);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [asking, setAsking] = useState<'switch' | 'delete' | null>(null);
  const enabled = connection.enabled !== false;
  const lacking = may('CONNECTIONS:MANAGE') ? undefined : texts.lacks('CONNECTIONS:MANAGE');
  const change = (method: string, body?: Connection) =>
    plugboard
      .request<ChangeAnswer>(method, connectionApi(project, connection.name), {
        headers: { 'if-match': etag },
        ...(body ? { body } : {}),
      })
      .catch((error: unknown) => {
        if (!(error instanceof PlugboardError) || error.status !== 412) throw error;
        void queries.invalidateQueries({ queryKey: [project] });
        throw new Error(settings.changedMeanwhile);
      });

  const switchIt = async () => {
    const answer = await change('PUT', { ...connection, enabled: !enabled });
    notifications.show({
      color: answer.deploymentResult?.success === false ? 'yellow' : 'teal',
      title: enabled ? settings.disabled : settings.enabled,
      message:
        answer.deploymentResult?.success === false ? texts.change.notEverywhere : texts.change.everywhere,
    });
    await queries.invalidateQueries({ queryKey: [project] });
  };
  const remove = async () => {
    await change('DELETE');
    notifications.show({ color: 'teal', title: settings.deleted(connection.name), message: '' });
    await queries.invalidateQueries({ queryKey: [project] });
    void navigate(`/ui/p/${encodeURIComponent(project)}`);
  };

  return (
    <Stack>
      <Card withBorder>
        <Group justify="space-between" wrap="nowrap">
          <div>
            <Title order={2} size="h5">
              {enabled ? settings.disableTitle : settings.enableTitle}
            </Title>
            <Text size="sm" c="dimmed">
              {enabled ? settings.disableHelp : settings.enableHelp}
            </Text>
          </div>
          <Button
            variant="default"
            flex="none"
            disabled={lacking !== undefined}
            title={lacking}
            onClick={() => setAsking('switch')}
          >
            {enabled ? settings.disable : settings.enable}
          </Button>
        </Group>
      </Card>
      <Card withBorder>
        <Group justify="space-between" wrap="nowrap">
          <div>
            <Title order={2} size="h5">
              {settings.deleteTitle}
            </Title>
            <Text size="sm" c="dimmed">
              {settings.deleteHelp}
            </Text>
          </div>
          <Button
            color="red"
            variant="outline"
            flex="none"
            disabled={lacking !== undefined}
            title={lacking}
            onClick={() => setAsking('delete')}
          >
            {settings.delete}
          </Button>
        </Group>
      </Card>
      <ConfirmDialog
        title={enabled ? settings.disableTitle : settings.enableTitle}
        action={enabled ? settings.disable : settings.enable}
        opened={asking === 'switch'}
        onClose={() => setAsking(null)}
        onConfirm={switchIt}
      >
        <Stack gap="xs">
          <Text size="sm">{enabled ? settings.disableHelp : settings.enableHelp}</Text>
          {enabled && <Usage project={project} name={connection.name} />}
        </Stack>
      </ConfirmDialog>
      <ConfirmDialog
        title={settings.deleteTitle}
        action={settings.delete}
        typed={connection.name}
        opened={asking === 'delete'}
        onClose={() => setAsking(null)}
        onConfirm={remove}
      >
        <Stack gap="xs">
          <Text size="sm">{settings.deleteHelp}</Text>
          <Usage project={project} name={connection.name} />
        </Stack>
      </ConfirmDialog>
    </Stack>
  );
}

/** Who would notice. */
function Usage({ project, name }: { project: string; name: string }) {
  const { plugboard } = useSession();
  const health = useQuery({
    queryKey: [project, 'health', name],
    queryFn: ({ signal }) => readHealth(plugboard, project, name, signal),
  });
  if (!health.data) return null;
  const users = health.data.filter(({ operations }) => operations.ok + operations.failed > 0);
  const count = users.reduce((sum, { operations }) => sum + operations.ok + operations.failed, 0);
  if (count === 0) return <Text size="sm">{settings.unused}</Text>;
  return (
    <Alert color="yellow" title={settings.usedTitle}>
      {settings.used(count)}
      <List size="sm">
        {users.map(({ environmentName, worker, operations }) => (
          <List.Item key={`${environmentName} ${worker}`}>
            {environmentName}, {worker}: {(operations.ok + operations.failed).toLocaleString('en')}
          </List.Item>
        ))}
      </List>
    </Alert>
  );
}
