import { Alert, Button, Group, Select, Skeleton, Stack, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconPlus, IconSearch } from '@tabler/icons-react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { useParams, useSearchParams } from 'react-router';
import type { ConnectionState } from '../../../client/plugboard.ts';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { ButtonLink } from '../parts/links.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { overview as texts } from '../texts/overview.ts';
import { states } from '../texts/states.ts';
import { ConnectionList } from './connection-list.tsx';
import { DemoOffer } from './demo-offer.tsx';
import { useOverviewPages } from './overview-pages.ts';

/** Every connection of a project and whether it works; live. Filters are in the address. */
export function OverviewPage() {
  const { project = '' } = useParams();
  const { plugboard, me } = useSession();
  const { may } = usePermissions(project);
  const queries = useQueryClient();
  const [parameters, setParameters] = useSearchParams();
  const filter = {
    type: parameters.get('type'),
    environment: parameters.get('environment'),
    state: parameters.get('state') as ConnectionState | null,
    q: parameters.get('q'),
  };
  const isFiltered = Object.values(filter).some(Boolean);
  const set = (changed: Partial<typeof filter>) =>
    setParameters(
      (before) => {
        const next = new URLSearchParams(before);
        for (const [name, value] of Object.entries(changed))
          if (value) next.set(name, value);
          else next.delete(name);
        return next;
      },
      { replace: true, preventScrollReset: true },
    );

  const types = useQuery({ queryKey: ['types'], queryFn: () => plugboard.listTypes(), staleTime: Infinity });
  const {
    first: query,
    error,
    rowAt,
    show,
  } = useOverviewPages(plugboard, project, {
    ...(filter.type ? { type: filter.type } : {}),
    ...(filter.environment ? { environment: filter.environment } : {}),
    ...(filter.state ? { state: filter.state } : {}),
    ...(filter.q ? { q: filter.q } : {}),
  });
  const first = query.data;
  const total = first?.resultCount ?? 0;
  const environments = me.projects.find(({ name }) => name === project)?.environments ?? [];
  const mayCreate = may('CONNECTIONS:MANAGE');

  return (
    <>
      <PageHeader title={texts.title} summary={first ? texts.count(total) : '\u00a0'}>
        <ButtonLink
          to={`/ui/p/${encodeURIComponent(project)}/new`}
          leftSection={<IconPlus size={16} />}
          disabledBecause={mayCreate ? undefined : texts.mayNotCreate}
        >
          {texts.create}
        </ButtonLink>
      </PageHeader>
      <Group gap="sm" mb="sm">
        <SearchField value={filter.q ?? ''} onChange={(q) => set({ q })} />
        <Select
          aria-label={texts.type}
          placeholder={texts.anyType}
          data={(types.data?.resultList ?? []).map(({ type, title }) => ({ value: type, label: title }))}
          value={filter.type}
          onChange={(type) => set({ type })}
          clearable
          searchable
          w={{ base: '100%', xs: 200 }}
        />
        {environments.length > 1 && (
          <Select
            aria-label={texts.environment}
            placeholder={texts.anyEnvironment}
            data={environments}
            value={filter.environment}
            onChange={(environment) => set({ environment })}
            clearable
            w={{ base: '100%', xs: 180 }}
          />
        )}
        <Select
          aria-label={texts.state}
          placeholder={texts.anyState}
          data={Object.entries(states).map(([state, { label }]) => ({
            value: state,
            label: `${label} (${first?.states[state as ConnectionState] ?? 0})`,
          }))}
          value={filter.state}
          onChange={(state) => set({ state: state as ConnectionState | null })}
          clearable
          w={{ base: '100%', xs: 200 }}
        />
      </Group>
      {error && (
        <ErrorAlert
          error={error}
          onRetry={() => void queries.invalidateQueries({ queryKey: [project, 'overview'] })}
        />
      )}
      {query.isPending ? (
        <Stack gap="xs">
          {Array.from({ length: 8 }, (_, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: all alike
            <Skeleton key={index} height={52} />
          ))}
        </Stack>
      ) : total > 0 ? (
        <ConnectionList project={project} total={total} rowAt={rowAt} onShow={show} />
      ) : isFiltered && !error ? (
        <EmptyState title={texts.nothing}>
          <Button variant="default" onClick={() => setParameters({}, { replace: true })}>
            {texts.clear}
          </Button>
        </EmptyState>
      ) : (
        !error && (
          <EmptyState title={texts.empty} help={texts.emptyHelp}>
            {mayCreate ? <DemoOffer project={project} /> : <Alert color="gray">{texts.mayNotCreate}</Alert>}
          </EmptyState>
        )
      )}
    </>
  );
}

function SearchField({ value, onChange }: { value: string; onChange(value: string): void }) {
  const [text, setText] = useState(value);
  const [settled] = useDebouncedValue(text, 250);
  // biome-ignore lint/correctness/useExhaustiveDependencies: tells only when the text has settled
  useEffect(() => {
    if (settled !== value) onChange(settled);
  }, [settled]);
  useEffect(() => {
    if (value === '') setText('');
  }, [value]);
  return (
    <TextInput
      aria-label={texts.search}
      placeholder={texts.search}
      leftSection={<IconSearch size={16} />}
      value={text}
      onChange={(event) => setText(event.currentTarget.value)}
      type="search"
      maxLength={255}
      flex={1}
      miw={220}
    />
  );
}
