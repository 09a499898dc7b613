import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useState } from 'react';
import { Plugboard, PlugboardError } from '../../../client/plugboard.ts';

export interface ProjectAccess {
  name: string;
  description: string | null;
  environments: string[];
  permissions: string[];
}

/** What `GET /apiops/auth/me/` answers. */
export interface Me {
  actor: string;
  expiresAt: string | null;
  admin: boolean;
  projects: ProjectAccess[];
}

interface Session {
  plugboard: Plugboard;
  me: Me;
  /** Asks again who the token is: after projects were made, or permissions may have changed. */
  refresh(): Promise<void>;
  signOut(): void;
}

interface SignIn {
  /** Why the last session ended, when it was not the user's doing. */
  endedBecause: 'expired' | null;
  /** Throws a PlugboardError when the token is not accepted. */
  withToken(token: string, remember: boolean): Promise<void>;
  /** Throws a PlugboardError when the credentials are not accepted. */
  withPassword(username: string, password: string, remember: boolean): Promise<void>;
}

const storageKey = 'plugboard-token';
const origin = window.location.origin;

const SessionContext = createContext<Session | null>(null);

/** Who is signed in; only within the signed-in part of the page. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error('Nobody is signed in here');
  return session;
}

/** What the token may do in a project. */
export function usePermissions(project: string): { may(permission: string): boolean } {
  const { me } = useSession();
  const granted = me.projects.find(({ name }) => name === project)?.permissions;
  return { may: (permission) => granted?.includes(permission) ?? false };
}

/**
 * Holds the token in memory, in session storage only when asked to, and never anywhere else. Shows
 * `signIn` while nobody is signed in.
 */
export function SessionProvider({
  signIn,
  children,
}: {
  signIn: (signIn: SignIn) => ReactNode;
  children: ReactNode;
}) {
  const [token, setToken] = useState<string | null>(() => sessionStorage.getItem(storageKey));
  const [me, setMe] = useState<Me | null>(null);
  const [endedBecause, setEndedBecause] = useState<SignIn['endedBecause']>(null);

  const end = useCallback((because: SignIn['endedBecause']) => {
    sessionStorage.removeItem(storageKey);
    setToken(null);
    setMe(null);
    setEndedBecause(because);
  }, []);

  const start = useCallback(async (candidate: string, remember: boolean) => {
    const answer = await whoIs(candidate);
    if (remember) sessionStorage.setItem(storageKey, candidate);
    setMe(answer);
    setToken(candidate);
    setEndedBecause(null);
  }, []);

  // A reload with a remembered token.
  useEffect(() => {
    if (token === null || me !== null) return;
    let current = true;
    whoIs(token).then(
      (answer) => current && setMe(answer),
      (error) => current && end(isRefused(error) ? 'expired' : null),
    );
    return () => {
      current = false;
    };
  }, [token, me, end]);

  const session = useMemo<Session | null>(() => {
    if (token === null || me === null) return null;
    return {
      plugboard: new WatchedPlugboard(token, () => end('expired')),
      me,
      refresh: async () => setMe(await whoIs(token)),
      signOut: () => end(null),
    };
  }, [token, me, end]);

  if (session) return <SessionContext value={session}>{children}</SessionContext>;
  if (token !== null) return null;
  return signIn({
    endedBecause,
    withToken: start,
    async withPassword(username, password, remember) {
      await start(await tokenFor(username, password), remember);
    },
  });
}

/** Tells when the token was not accepted any more, whichever request found out. */
class WatchedPlugboard extends Plugboard {
  readonly #onRefused: () => void;

  constructor(token: string, onRefused: () => void) {
    super({ url: origin, token });
    this.#onRefused = onRefused;
  }

  override async open(...parameters: Parameters<Plugboard['open']>): Promise<Response> {
    try {
      return await super.open(...parameters);
    } catch (error) {
      if (isRefused(error)) this.#onRefused();
      throw error;
    }
  }
}

function whoIs(token: string): Promise<Me> {
  return new Plugboard({ url: origin, token }).request<Me>('GET', '/apiops/auth/me/');
}

function isRefused(error: unknown): boolean {
  return error instanceof PlugboardError && error.status === 401;
}

async function tokenFor(username: string, password: string): Promise<string> {
  let response: Response;
  try {
    response = await fetch('/apiops/auth/token', {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        client_id: username,
        client_secret: password,
      }),
    });
  } catch (cause) {
    throw new PlugboardError(
      0,
      { error: 'unreachable', error_description: `No answer from ${origin}` },
      cause,
    );
  }
  const answer = await response.json();
  if (!response.ok) throw new PlugboardError(response.status, answer);
  return answer.access_token;
}
