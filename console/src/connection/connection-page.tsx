import { Badge, Group, Skeleton, Tabs, Text } from '@mantine/core';
import { IconPencil } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useEffect, useState } from 'react';
import { useLocation, useParams, useSearchParams } from 'react-router';
import { type ConnectionOverview, PlugboardError } from '../../../client/plugboard.ts';
import { useMaskedConnection } from '../api/connection.ts';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { ButtonLink, connectionPath } from '../parts/links.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { StateBadge } from '../parts/state-badge.tsx';
import { Ago } from '../parts/time.tsx';
import { TypeIcon } from '../parts/type-icon.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { TestLadder } from '../test-ladder/test-ladder.tsx';
import { connection as texts } from '../texts/connection.ts';
import { states } from '../texts/states.ts';
import { AuditTab } from './audit-tab.tsx';
import classes from './connection-page.module.css';
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
  const [askedRuns, setAskedRuns] = useState(0);
  const show = (next: string | null) => {
    setAskedRuns(0);
    setParameters(next && next !== 'health' ? { tab: next } : {}, {
      replace: true,
      preventScrollReset: true,
    });
  };
  // Asked for by the palette; once, not again when one comes back to this place.
  const { state: asking } = useLocation() as { state: { runTest?: boolean } | null };
  useEffect(() => {
    if (!asking?.runTest) return;
    setAskedRuns((before) => before + 1);
    setParameters((before) => before, { replace: true, preventScrollReset: true });
  }, [asking, setParameters]);

  const read = useMaskedConnection(project, name);
  const state = useQuery({
    queryKey: [project, 'overview', 'of', name],
    queryFn: async ({ signal }) =>
      (await plugboard.overview(project, { name }, signal)).resultList[0] ?? null,
    enabled: read.isSuccess,
    refetchInterval: 15_000,
  });

  if (read.isPending || (read.isSuccess && state.isPending))
    return (
      <>
        <PageHeader title={name} summary={'\u00a0'} />
        <Skeleton height={300} />
      </>
    );
  if (read.error)
    return read.error instanceof PlugboardError && read.error.status === 404 ? (
      <>
        <PageHeader title={name} />
        <EmptyState title={texts.notFound} help={texts.deletedHelp} />
        <RevisionsTab project={project} name={name} current={null} />
      </>
    ) : (
      <>
        <PageHeader title={name} />
        <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />
      </>
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
      <Group gap="xs" mb="xs" mih={28}>
        {state.data?.environments.map(({ environmentName, state: how, message }) => (
          <StateBadge key={environmentName} state={how} label={environmentName} detail={message} />
        ))}
        {state.error && (
          <Text size="sm" c="dimmed">
            {texts.stateUnknown(state.error.message)}
          </Text>
        )}
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
      {state.data && <WhyNot environments={state.data.environments} />}
      {state.data && (
        <Text size="sm" c="dimmed" mb="md">
          {state.data.lastUsedAt ? (
            <>
              {texts.lastUse} <Ago at={state.data.lastUsedAt} />
            </>
          ) : (
            texts.notUsed
          )}
        </Text>
      )}
      <Tabs value={tab} onChange={show} keepMounted={false}>
        <Tabs.List mb="md" aria-label={texts.sections} className={classes.tabs ?? ''}>
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
            key={askedRuns}
            project={project}
            environments={environments}
            tested={() => ({ connection: connection.name })}
            disabledBecause={may('CONNECTIONS:TEST') ? undefined : texts.lacks('CONNECTIONS:TEST')}
            autoStart={askedRuns > 0 && may('CONNECTIONS:TEST')}
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

/** Which environments cannot use it, and what they say. */
function WhyNot({ environments }: { environments: ConnectionOverview['environments'] }) {
  const failing = environments.filter(({ state }) => state === 'failing' || state === 'refused');
  if (failing.length === 0) return null;
  return (
    <ul className={classes.reasons} aria-label={texts.reasons}>
      {failing.map(({ environmentName, state, message, since }) => (
        <li key={environmentName} className="break">
          <strong>{environmentName}</strong>: {message ?? states[state].help}
          {since && (
            <Text span size="sm" c="dimmed">
              {' '}
              (<Ago at={since} />)
            </Text>
          )}
        </li>
      ))}
    </ul>
  );
}
