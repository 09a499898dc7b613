import { useMantineColorScheme } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { createSpotlight, Spotlight, type SpotlightActionData } from '@mantine/spotlight';
import {
  IconArrowRight,
  IconLogout,
  IconPencil,
  IconPlayerPlay,
  IconPlugConnected,
  IconPlus,
  IconSearch,
  IconSun,
} from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useNavigate } from 'react-router';
import { connectionPath } from '../parts/links.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { common } from '../texts/common.ts';
import { shell } from '../texts/shell.ts';

const [store, palette] = createSpotlight();

/** Opens the palette; so does mod+K. */
export const openPalette = () => palette.open();

/** "test orders": what is to be done, and what of. */
const spoken = new RegExp(`^(?:(${shell.verbs.test}|${shell.verbs.edit})(?:\\s+|$))?(.*)$`, 'is');

/** Every page and, as one types, every connection of the project and what can be done with it. */
export function CommandPalette({ project }: { project: string | undefined }) {
  const { plugboard, me, signOut } = useSession();
  const { may } = usePermissions(project ?? '');
  const { setColorScheme } = useMantineColorScheme();
  const navigate = useNavigate();
  const [query, setQuery] = useState('');
  // What was chosen takes the focus with it.
  const [isChosen, setChosen] = useState(false);
  const [, verb = '', wanted = ''] = spoken.exec(query.trim()) ?? [];
  const [needle] = useDebouncedValue(wanted.trim(), 150);
  const found = useQuery({
    queryKey: [project, 'palette', needle],
    queryFn: () => plugboard.listConnections(project!, { type: '*', q: needle, size: 8 }),
    enabled: project !== undefined && needle !== '',
  });

  const base = `/ui/p/${encodeURIComponent(project ?? '')}`;
  const go = (to: string, state?: object) => () => {
    setChosen(true);
    void navigate(to, { state });
  };
  const page = (label: string, to: string, Icon = IconArrowRight): SpotlightActionData => ({
    id: to,
    label,
    onClick: go(to),
    leftSection: <Icon size={18} />,
  });
  const pages = [
    ...(project === undefined
      ? []
      : [
          page(shell.connections, base),
          page(shell.newConnection, `${base}/new`, IconPlus),
          page(shell.keys, `${base}/keys`),
          page(shell.variables, `${base}/variables`),
          page(shell.audit, `${base}/audit`),
        ]),
    page(shell.expiring, '/ui/expiring'),
    page(shell.tokens, '/ui/tokens'),
    ...(me.admin
      ? [page(shell.fleet, '/ui/fleet'), page(shell.users, '/ui/users'), page(shell.projects, '/ui/projects')]
      : []),
  ];
  const names = (found.data?.resultList ?? []).map(({ name, type }) => ({ name, type }));
  const connections = names.map(
    ({ name, type }): SpotlightActionData => ({
      id: `connection ${name}`,
      label: name,
      description: type,
      keywords: query,
      onClick: go(connectionPath(project!, name)),
      leftSection: <IconPlugConnected size={18} />,
    }),
  );
  const tests = names.map(
    ({ name }): SpotlightActionData => ({
      id: `test ${name}`,
      label: shell.test(name),
      keywords: query,
      onClick: go(connectionPath(project!, name, '?tab=test'), { runTest: true }),
      leftSection: <IconPlayerPlay size={18} />,
    }),
  );
  const edits = names.map(
    ({ name }): SpotlightActionData => ({
      id: `edit ${name}`,
      label: shell.edit(name),
      keywords: query,
      onClick: go(connectionPath(project!, name, '/edit')),
      leftSection: <IconPencil size={18} />,
    }),
  );
  const actions = [
    ...(may('CONNECTIONS:TEST') && verb.toLowerCase() !== shell.verbs.edit ? tests : []),
    ...(may('CONNECTIONS:MANAGE') && verb.toLowerCase() !== shell.verbs.test ? edits : []),
  ];
  const general = [
    ...(['light', 'dark', 'auto'] as const).map(
      (scheme): SpotlightActionData => ({
        id: scheme,
        label: shell.scheme(shell[scheme]),
        onClick: () => setColorScheme(scheme),
        leftSection: <IconSun size={18} />,
      }),
    ),
    { id: 'sign out', label: shell.signOut, onClick: signOut, leftSection: <IconLogout size={18} /> },
  ];

  return (
    <Spotlight
      store={store}
      query={query}
      onQueryChange={setQuery}
      onSpotlightOpen={() => setChosen(false)}
      returnFocus={!isChosen}
      actions={[
        ...(verb === '' && connections.length > 0
          ? [{ group: shell.connections, actions: connections }]
          : []),
        { group: shell.pages, actions: pages },
        { group: shell.actions, actions: [...actions, ...general] },
      ]}
      scrollable
      maxHeight="min(60dvh, 520px)"
      shortcut={['mod + K', '/']}
      nothingFound={found.isFetching ? common.loading : shell.paletteNothing}
      highlightQuery
      searchProps={{
        placeholder: shell.palettePlaceholder,
        leftSection: <IconSearch size={18} />,
        'aria-label': shell.palette,
      }}
    />
  );
}
