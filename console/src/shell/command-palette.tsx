import { useDebouncedValue } from '@mantine/hooks';
import { createSpotlight, Spotlight, type SpotlightActionData } from '@mantine/spotlight';
import { IconPlugConnected, IconPlus, IconSearch } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useNavigate } from 'react-router';
import { useSession } from '../session/session.tsx';
import { shell } from '../texts/shell.ts';

const [store, palette] = createSpotlight();

/** Opens the palette; so does mod+K. */
export const openPalette = () => palette.open();

/** Every page and, as one types, every connection of the project. */
export function CommandPalette({ project }: { project: string | undefined }) {
  const { plugboard, me } = useSession();
  const navigate = useNavigate();
  const [query, setQuery] = useState('');
  const [needle] = useDebouncedValue(query.trim(), 150);
  const found = useQuery({
    queryKey: [project, 'palette', needle],
    queryFn: () => plugboard.listConnections(project!, { type: '*', q: needle, size: 8 }),
    enabled: project !== undefined && needle !== '',
  });

  const base = `/ui/p/${encodeURIComponent(project ?? '')}`;
  const page = (label: string, to: string): SpotlightActionData => ({
    id: to,
    label,
    onClick: () => void navigate(to),
    leftSection: label === shell.newConnection ? <IconPlus size={18} /> : <IconSearch size={18} />,
  });
  const pages = [
    ...(project === undefined
      ? []
      : [
          page(shell.connections, base),
          page(shell.newConnection, `${base}/new`),
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
  const connections: SpotlightActionData[] = (found.data?.resultList ?? []).map(({ name, type }) => ({
    id: `connection ${name}`,
    label: name,
    description: type,
    keywords: query,
    onClick: () => void navigate(`${base}/c/${encodeURIComponent(name)}`),
    leftSection: <IconPlugConnected size={18} />,
  }));

  return (
    <Spotlight
      store={store}
      query={query}
      onQueryChange={setQuery}
      actions={[...pages, ...connections]}
      shortcut={['mod + K', '/']}
      nothingFound={shell.paletteNothing}
      highlightQuery
      searchProps={{
        placeholder: shell.palettePlaceholder,
        leftSection: <IconSearch size={18} />,
        'aria-label': shell.palette,
      }}
    />
  );
}
