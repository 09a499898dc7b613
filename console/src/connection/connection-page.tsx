import { Badge, Group, Skeleton, Stack, Tabs, Text } from '@mantine/core';
import { IconPencil } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense } from 'react';
import { useParams, useSearchParams } from 'react-router';
import { PlugboardError } from '../../../client/plugboard.ts';
import { useMaskedConnection } from '../api/connection.ts';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { ButtonLink, connectionPath } from '../parts/links.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { StateBadge } from '../parts/state-badge.tsx';
import { TypeIcon } from '../parts/type-icon.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { TestLadder } from '../test-ladder/test-ladder.tsx';
import { connection as texts } from '../texts/connection.ts';
import { AuditTab } from './audit-tab.tsx';
import { DeploymentsTab } from './deployments-tab.tsx';
import { RevisionsTab } from './revisions-tab.tsx';
import { SettingsTab } from './settings-tab.tsx';
import { UseTab } from './use-tab.tsx';

// Brings the charts with it.
const HealthTab = lazy(async () => ({ default: (await import('./health-tab.tsx')).HealthTab }));

const tabs = Object.keys(texts.tabs) as (keyof typeof texts.tabs)[];

/** One connection: whether it works, from where, since when, and what can be done. */
export function ConnectionPage() {
  const { project = '', connection: name = '' } = useParams();
  const { plugboard, me } = useSession();
  const { may } = usePermissions(project);
  const [parameters, setParameters] = useSearchParams();
  const asked = parameters.get('tab') as (typeof tabs)[number] | null;
  const tab = asked && tabs.includes(asked) ? asked : 'health';
  const show = (next: string | null) =>
    setParameters(next && next !== 'health' ? { tab: next } : {}, { replace: true });

  const read = useMaskedConnection(project, name);
  const state = useQuery({
    queryKey: [project, 'overview', 'of', name],
    queryFn: async ({ signal }) =>
      (await plugboard.overview(project, { q: name }, signal)).resultList.find(
        (one) => one.name.toLowerCase() === name.toLowerCase(),
      ) ?? null,
    enabled: read.isSuccess,
    refetchInterval: 15_000,
  });

  if (read.isPending)
    return (
      <Stack>
        <Skeleton height={48} width={320} />
        <Skeleton height={300} />
      </Stack>
    );
  if (read.error)
    return read.error instanceof PlugboardError && read.error.status === 404 ? (
      <>
        <PageHeader title={name} />
        <EmptyState title={texts.notFound} help={texts.deletedHelp} />
        <RevisionsTab project={project} name={name} current={null} />
      </>
    ) : (
      <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />
    );

  const { connection, etag } = read.data;
  const listed = (connection.environments as string[] | null) ?? [];
  const ofProject = me.projects.find((one) => one.name === project)?.environments ?? [];
  const environments = listed.length > 0 ? listed : ofProject;

  return (
    <>
      <PageHeader
        title={connection.name}
        summary={[connection.type, connection.description].filter(Boolean).join(' · ')}
        icon={<TypeIcon type={connection.type} size={24} />}
      >
        <ButtonLink
          to={connectionPath(project, connection.name, '/edit')}
          variant="default"
          leftSection={<IconPencil size={16} />}
          disabledBecause={may('CONNECTIONS:MANAGE') ? undefined : texts.lacks('CONNECTIONS:MANAGE')}
        >
          {texts.edit}
        </ButtonLink>
      </PageHeader>
      <Group gap="xs" mb="md" mih={28}>
        {state.data?.environments.map(({ environmentName, state: how, message }) => (
          <StateBadge key={environmentName} state={how} label={environmentName} detail={message} />
        ))}
        {state.data?.target && (
          <Text size="sm" c="dimmed" className="break">
            {texts.pointsTo}{' '}
            <Text span ff="monospace">
              {state.data.target}
            </Text>
          </Text>
        )}
        {Object.entries((connection.labels as Record<string, string> | null) ?? {}).map(([key, value]) => (
          <Badge key={key} variant="outline" color="gray" tt="none">
            {key}={value}
          </Badge>
        ))}
      </Group>
      <Tabs value={tab} onChange={show} keepMounted={false}>
        <Tabs.List mb="md" aria-label={texts.sections}>
          {tabs
            .filter((one) => one !== 'audit' || may('AUDIT:VIEW'))
            .map((one) => (
              <Tabs.Tab key={one} value={one}>
                {texts.tabs[one]}
              </Tabs.Tab>
            ))}
        </Tabs.List>
        <Tabs.Panel value="health">
          <Suspense fallback={<Skeleton height={300} />}>
            <HealthTab project={project} name={connection.name} />
          </Suspense>
        </Tabs.Panel>
        <Tabs.Panel value="test">
          <TestLadder
            project={project}
            environments={environments}
            tested={() => ({ connection: connection.name })}
            disabledBecause={may('CONNECTIONS:TEST') ? undefined : texts.lacks('CONNECTIONS:TEST')}
            autoStart={false}
          />
        </Tabs.Panel>
        <Tabs.Panel value="use">
          <UseTab project={project} connection={connection} environments={environments} />
        </Tabs.Panel>
        <Tabs.Panel value="deployments">
          <DeploymentsTab project={project} name={connection.name} />
        </Tabs.Panel>
        <Tabs.Panel value="revisions">
          <RevisionsTab project={project} name={connection.name} current={etag} />
        </Tabs.Panel>
        <Tabs.Panel value="audit">
          <AuditTab project={project} name={connection.name} />
        </Tabs.Panel>
        <Tabs.Panel value="settings">
          <SettingsTab project={project} connection={connection} etag={etag} />
        </Tabs.Panel>
      </Tabs>
    </>
  );
}
