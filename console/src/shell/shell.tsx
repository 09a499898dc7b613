import {
  ActionIcon,
  Alert,
  AppShell,
  Box,
  Burger,
  Group,
  Loader,
  Menu,
  NavLink,
  ScrollArea,
  Select,
  Text,
  useMantineColorScheme,
} from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import {
  IconBuildingFactory2,
  IconCertificate,
  IconClockExclamation,
  IconDeviceDesktop,
  IconHistory,
  IconKey,
  IconLogout,
  IconMoon,
  IconPlugConnected,
  IconSearch,
  IconSitemap,
  IconStack2,
  IconSun,
  IconUserCircle,
  IconUsers,
  IconVariable,
} from '@tabler/icons-react';
import { type ReactNode, useEffect, useState } from 'react';
import {
  Link,
  Outlet,
  ScrollRestoration,
  useLocation,
  useNavigate,
  useNavigation,
  useParams,
} from 'react-router';
import { useStreamState } from '../api/live-events.tsx';
import { useSession } from '../session/session.tsx';
import { common } from '../texts/common.ts';
import { shell } from '../texts/shell.ts';
import { CommandPalette, openPalette } from './command-palette.tsx';

/** The frame around every page: navigation, project, palette, theme, sign-out. */
export function Shell() {
  const { me } = useSession();
  const [opened, { toggle, close }] = useDisclosure();
  const project = useProjectInView();
  const location = useLocation();
  const moving = useNavigation().state === 'loading';
  const stream = useStreamState();

  // biome-ignore lint/correctness/useExhaustiveDependencies: closes after each move
  useEffect(close, [location.pathname]);

  return (
    <AppShell
      header={{ height: 52 }}
      navbar={{ width: 220, breakpoint: 'sm', collapsed: { mobile: !opened } }}
      padding="md"
    >
      <a href="#content" className="skip-link">
        {common.skipToContent}
      </a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="xs" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={shell.menu} />
            <IconPlugConnected size={22} color="var(--mantine-primary-color-filled)" aria-hidden />
            <Text fw={600} visibleFrom="xs">
              {common.product}
            </Text>
            {moving && <Loader size="xs" aria-label={common.loading} />}
          </Group>
          <Group gap="xs" wrap="nowrap">
            <ActionIcon variant="default" size="lg" onClick={openPalette} aria-label={shell.palette}>
              <IconSearch size={18} />
            </ActionIcon>
            <ColourMenu />
            <AccountMenu />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" aria-label={shell.navigation}>
        <ScrollArea>
          <ProjectChoice project={project} />
          {project !== undefined && <ProjectPages project={project} />}
          <Text size="xs" c="dimmed" px="sm" pt="md" pb={4}>
            {shell.administration}
          </Text>
          <Page to="/ui/expiring" label={shell.expiring} icon={<IconClockExclamation size={18} />} />
          <Page to="/ui/tokens" label={shell.tokens} icon={<IconKey size={18} />} />
          {me.admin && (
            <>
              <Page to="/ui/fleet" label={shell.fleet} icon={<IconSitemap size={18} />} />
              <Page to="/ui/users" label={shell.users} icon={<IconUsers size={18} />} />
              <Page to="/ui/projects" label={shell.projects} icon={<IconBuildingFactory2 size={18} />} />
            </>
          )}
        </ScrollArea>
      </AppShell.Navbar>
      <AppShell.Main id="content" tabIndex={-1}>
        {stream === 'lost' && (
          <Alert color="yellow" mb="md" role="status">
            {common.unreachable}
          </Alert>
        )}
        <Box maw={1400} mx="auto">
          <Outlet />
        </Box>
      </AppShell.Main>
      <CommandPalette project={project} />
      <ScrollRestoration />
    </AppShell>
  );
}

/** The one in the address; on pages of no project the one looked at before. */
function useProjectInView(): string | undefined {
  const { me } = useSession();
  const { project } = useParams();
  const [last, setLast] = useState(me.projects[0]?.name);
  if (project !== undefined && project !== last && me.projects.some(({ name }) => name === project))
    setLast(project);
  return project ?? last;
}

function ProjectChoice({ project }: { project: string | undefined }) {
  const { me } = useSession();
  const navigate = useNavigate();
  if (me.projects.length === 0) return null;
  return (
    <Select
      aria-label={shell.project}
      data={me.projects.map(({ name }) => name)}
      // Shown empty for one that there is not.
      key={project}
      value={me.projects.some(({ name }) => name === project) ? project! : null}
      placeholder={shell.project}
      onChange={(name) => name && navigate(`/ui/p/${encodeURIComponent(name)}`)}
      allowDeselect={false}
      searchable={me.projects.length > 8}
      leftSection={<IconStack2 size={16} />}
      mb="xs"
      comboboxProps={{ withinPortal: true }}
    />
  );
}

function ProjectPages({ project }: { project: string }) {
  const base = `/ui/p/${encodeURIComponent(project)}`;
  return (
    <>
      <Page to={base} exact label={shell.connections} icon={<IconPlugConnected size={18} />} />
      <Page to={`${base}/keys`} label={shell.keys} icon={<IconCertificate size={18} />} />
      <Page to={`${base}/variables`} label={shell.variables} icon={<IconVariable size={18} />} />
      <Page to={`${base}/audit`} label={shell.audit} icon={<IconHistory size={18} />} />
    </>
  );
}

function Page({ to, label, icon, exact }: { to: string; label: string; icon: ReactNode; exact?: boolean }) {
  const { pathname } = useLocation();
  const here = pathname.replace(/\/$/, '');
  const active = exact
    ? here === to || here.startsWith(`${to}/c/`) || here.startsWith(`${to}/new`)
    : here === to;
  return (
    <NavLink
      component={Link}
      to={to}
      label={label}
      leftSection={icon}
      active={active}
      aria-current={active ? 'page' : undefined}
    />
  );
}

function ColourMenu() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const icons = { light: IconSun, dark: IconMoon, auto: IconDeviceDesktop };
  const Current = icons[colorScheme];
  return (
    <Menu>
      <Menu.Target>
        <ActionIcon variant="default" size="lg" aria-label={shell.colorScheme}>
          <Current size={18} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {(['light', 'dark', 'auto'] as const).map((scheme) => {
          const Icon = icons[scheme];
          return (
            <Menu.Item key={scheme} leftSection={<Icon size={16} />} onClick={() => setColorScheme(scheme)}>
              {shell[scheme]}
            </Menu.Item>
          );
        })}
      </Menu.Dropdown>
    </Menu>
  );
}

function AccountMenu() {
  const { me, signOut } = useSession();
  return (
    <Menu>
      <Menu.Target>
        <ActionIcon variant="default" size="lg" aria-label={shell.signedInAs(me.actor)}>
          <IconUserCircle size={18} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label className="break">{shell.signedInAs(me.actor)}</Menu.Label>
        <Menu.Item leftSection={<IconLogout size={16} />} onClick={signOut}>
          {shell.signOut}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
