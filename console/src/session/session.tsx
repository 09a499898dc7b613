import {
  Activity,
  createContext,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
} from 'react';
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

/** What the page for signing in is given. */
export interface SignIn {
  /** The last session ended by no doing of the user's. */
  expired: boolean;
  /** Who will find what they were at when the session ended. */
  keptFor: string | null;
  /** Throws a PlugboardError when the token is not accepted. */
  withToken(token: string, remember: boolean): Promise<void>;
  /** Throws a PlugboardError when the credentials are not accepted. */
  withPassword(username: string, password: string, remember: boolean): Promise<void>;
}

/** What stands there while a remembered token is looked at. */
export interface Resuming {
  /** Why it could not be looked at; null: not known yet. */
  failure: unknown;
  retry(): void;
  forget(): void;
}

interface Held {
  token: string;
  me: Me;
  /** Another one for each who signs in, so that nothing of the last one's page stays. */
  key: number;
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
 * `signIn` while nobody is signed in. When a token ends in mid-work, what was being done is kept out
 * of sight until the same one signs in again, and dropped for anybody else.
 */
export function SessionProvider({
  signIn,
  resuming,
  children,
}: {
  signIn: (signIn: SignIn) => ReactNode;
  resuming: (resuming: Resuming) => ReactNode;
  children: ReactNode;
}) {
  const [held, setHeld] = useState<Held | null>(null);
  const [isExpired, setExpired] = useState(false);
  const [remembered, setRemembered] = useState(() => sessionStorage.getItem(storageKey));
  const [failure, setFailure] = useState<unknown>(null);

  const hold = useCallback((token: string, me: Me) => {
    setHeld((before) => ({
      token,
      me,
      key: before === null ? 0 : before.me.actor === me.actor ? before.key : before.key + 1,
    }));
    setRemembered(null);
    setExpired(false);
  }, []);
  const forget = useCallback(() => {
    sessionStorage.removeItem(storageKey);
    setRemembered(null);
    setHeld(null);
    setExpired(false);
  }, []);
  const start = useCallback(
    async (candidate: string, remember: boolean) => {
      const answer = await whoIs(candidate);
      if (remember) sessionStorage.setItem(storageKey, candidate);
      else sessionStorage.removeItem(storageKey);
      hold(candidate, answer);
    },
    [hold],
  );

  // A reload with a remembered token; that the API is away says nothing of it.
  useEffect(() => {
    if (remembered === null || failure !== null) return;
    let current = true;
    whoIs(remembered).then(
      (answer) => current && hold(remembered, answer),
      (error) => {
        if (!current) return;
        if (!isRefused(error)) return setFailure(error);
        forget();
        setExpired(true);
      },
    );
    return () => {
      current = false;
    };
  }, [remembered, failure, hold, forget]);

  const token = held?.token ?? null;
  const latestToken = useRef(token);
  latestToken.current = token;
  const plugboard = useMemo(
    () =>
      token === null
        ? null
        : new WatchedPlugboard(token, () => {
            // A late answer to a token that was replaced meanwhile ends nothing.
            if (latestToken.current !== token) return;
            sessionStorage.removeItem(storageKey);
            setExpired(true);
          }),
    [token],
  );
  const session = useMemo<Session | null>(() => {
    if (held === null || plugboard === null) return null;
    return {
      plugboard,
      me: held.me,
      refresh: async () => {
        const me = await whoIs(held.token);
        setHeld((before) => (before?.token === held.token ? { ...before, me } : before));
      },
      signOut: forget,
    };
  }, [held, plugboard, forget]);

  if (remembered !== null && held === null)
    return resuming({ failure, retry: () => setFailure(null), forget });
  return (
    <>
      {session && (
        <Activity key={held!.key} mode={isExpired ? 'hidden' : 'visible'}>
          <SessionContext value={session}>{children}</SessionContext>
        </Activity>
      )}
      {(!session || isExpired) &&
        signIn({
          expired: isExpired,
          keptFor: session?.me.actor ?? null,
          withToken: start,
          async withPassword(username, password, remember) {
            await start(await tokenFor(username, password), remember);
          },
        })}
    </>
  );
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
  // What stands between may answer with a page of its own.
  const answer = await response.json().catch(() => ({
    error: 'unexpected',
    error_description: `${origin} answered ${response.status} and no error of Plugboard's`,
  }));
  if (!response.ok) throw new PlugboardError(response.status, answer);
  return answer.access_token;
}
