import { MantineProvider } from '@mantine/core';
import { Notifications } from '@mantine/notifications';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useState } from 'react';
import { RouterProvider } from 'react-router/dom';
import { PlugboardError } from '../../client/plugboard.ts';
import { cspNonce } from './api/csp-nonce.ts';
import { LiveEvents } from './api/live-events.tsx';
import { createRoutes } from './routes.tsx';
import { SessionProvider } from './session/session.tsx';
import { SignInPage } from './session/sign-in-page.tsx';
import { contrast, theme } from './theme.ts';

export function App() {
  return (
    <MantineProvider
      theme={theme}
      cssVariablesResolver={contrast}
      defaultColorScheme="auto"
      getStyleNonce={() => cspNonce}
    >
      <Notifications position="bottom-right" />
      <SessionProvider signIn={(signIn) => <SignInPage {...signIn} />}>
        <SignedIn />
      </SessionProvider>
    </MantineProvider>
  );
}

/** Everything that was read ends with the session. */
function SignedIn() {
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
  const [router] = useState(createRoutes);
  return (
    <QueryClientProvider client={queries}>
      <LiveEvents>
        <RouterProvider router={router} />
      </LiveEvents>
    </QueryClientProvider>
  );
}
