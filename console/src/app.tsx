import { MantineProvider } from '@mantine/core';
import { Notifications } from '@mantine/notifications';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useState } from 'react';
import { RouterProvider } from 'react-router/dom';
import { PlugboardError } from '../../client/plugboard.ts';
import { cspNonce } from './api/csp-nonce.ts';
import { LiveEvents } from './api/live-events.tsx';
import { createRoutes } from './routes.tsx';
import { Resuming } from './session/resuming.tsx';
import { SessionProvider } from './session/session.tsx';
import { SignInPage } from './session/sign-in-page.tsx';
import { contrast, theme } from './theme.ts';

export function App() {
  // One for all sessions: it goes on knowing where the page is while nobody is signed in.
  const [router] = useState(createRoutes);
  return (
    <MantineProvider
      theme={theme}
      cssVariablesResolver={contrast}
      defaultColorScheme="auto"
      getStyleNonce={() => cspNonce}
    >
      <Notifications position="bottom-right" />
      <SessionProvider
        signIn={(signIn) => <SignInPage {...signIn} />}
        resuming={(state) => <Resuming {...state} />}
      >
        <SignedIn router={router} />
      </SessionProvider>
    </MantineProvider>
  );
}

/** Everything that was read ends with the session. */
function SignedIn({ router }: { router: ReturnType<typeof createRoutes> }) {
  const [queries] = useState(
    () =>
      new QueryClient({
        defaultOptions: {
          // What the browser believes of the network says nothing of a server beside it.
          mutations: { networkMode: 'always' },
          queries: {
            networkMode: 'always',
            staleTime: 5_000,
            retry: (failures, error) =>
              failures < 3 &&
              (!(error instanceof PlugboardError) || error.status === 0 || error.status >= 502),
          },
        },
      }),
  );
  return (
    <QueryClientProvider client={queries}>
      <LiveEvents>
        <RouterProvider router={router} />
      </LiveEvents>
    </QueryClientProvider>
  );
}
