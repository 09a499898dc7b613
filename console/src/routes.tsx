import { createBrowserRouter, Navigate } from 'react-router';
import { useSession } from './session/session.tsx';
import { Crashed } from './shell/crashed.tsx';
import { KnownProject } from './shell/known-project.tsx';
import { NoProject } from './shell/no-project.tsx';
import { NotFound } from './shell/not-found.tsx';
import { Shell } from './shell/shell.tsx';

/** Every page; all but the frame are loaded when they are first opened. */
export function createRoutes() {
  return createBrowserRouter([
    { path: '/', element: <Navigate to="/ui" replace /> },
    {
      path: '/ui',
      element: <Shell />,
      errorElement: <Crashed />,
      children: [
        {
          errorElement: <Crashed />,
          children: [
            { index: true, element: <FirstProject /> },
            {
              path: 'p/:project',
              element: <KnownProject />,
              children: [
                {
                  index: true,
                  lazy: async () => ({
                    Component: (await import('./overview/overview-page.tsx')).OverviewPage,
                  }),
                },
                {
                  path: 'new',
                  lazy: async () => ({
                    Component: (await import('./connection-form/gallery-page.tsx')).GalleryPage,
                  }),
                },
                {
                  path: 'new/:type',
                  lazy: async () => ({
                    Component: (await import('./connection-form/create-page.tsx')).CreatePage,
                  }),
                },
                {
                  path: 'c/:connection',
                  lazy: async () => ({
                    Component: (await import('./connection/connection-page.tsx')).ConnectionPage,
                  }),
                },
                {
                  path: 'c/:connection/edit',
                  lazy: async () => ({
                    Component: (await import('./connection-form/edit-page.tsx')).EditPage,
                  }),
                },
                {
                  path: 'keys',
                  lazy: async () => ({ Component: (await import('./keys/keys-page.tsx')).KeysPage }),
                },
                {
                  path: 'variables',
                  lazy: async () => ({
                    Component: (await import('./variables/variables-page.tsx')).VariablesPage,
                  }),
                },
                {
                  path: 'audit',
                  lazy: async () => ({ Component: (await import('./audit/audit-page.tsx')).AuditPage }),
                },
              ],
            },
            {
              path: 'expiring',
              lazy: async () => ({ Component: (await import('./expiring/expiring-page.tsx')).ExpiringPage }),
            },
            {
              path: 'fleet',
              lazy: async () => ({ Component: (await import('./fleet/fleet-page.tsx')).FleetPage }),
            },
            {
              path: 'tokens',
              lazy: async () => ({ Component: (await import('./access/tokens-page.tsx')).TokensPage }),
            },
            {
              path: 'users',
              lazy: async () => ({ Component: (await import('./access/users-page.tsx')).UsersPage }),
            },
            {
              path: 'projects',
              lazy: async () => ({ Component: (await import('./access/projects-page.tsx')).ProjectsPage }),
            },
            { path: '*', element: <NotFound /> },
          ],
        },
      ],
    },
    { path: '*', element: <NotFound /> },
  ]);
}

function FirstProject() {
  const { me } = useSession();
  const first = me.projects[0];
  return first ? <Navigate to={`/ui/p/${encodeURIComponent(first.name)}`} replace /> : <NoProject />;
}
