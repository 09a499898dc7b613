import { AppError } from '../../errors.ts';
import { createTurns } from '../server/one-at-a-time.ts';
import type { Database, Queries } from '../store/database.ts';
import type { Tables } from '../store/tables.ts';
import { grantsAllow, grantsCover, userGrants } from './grants.ts';
import { type Grant, METRICS, type Permission, type Principal, type Scope } from './permissions.ts';
import { hashToken } from './token-format.ts';

const TIMER_MAX_MS = 24 * 60 * 60 * 1000;
// The scheme is case-insensitive (RFC 7235); the credential is any visible text, as a given admin token may be.
const BEARER = /^bearer +([\x21-\x7e]{1,512}) *$/i;

export type TokenRow = Tables['tokens'];
export type UserRow = Tables['users'];

export interface Access {
  /** Answers who holds the bearer token; else throws unauthorized_client `Invalid token`, whatever the reason. */
  authenticate(authorizationHeader: string | undefined): Principal;
  /** Whether the principal has the permission; a part absent from the scope asks for "any". */
  allows(principal: Principal, permission: Permission, scope: Scope): boolean;
  /** Whether the principal has the permission in each of the environments; of none: in any. */
  allowsInAll(
    principal: Principal,
    permission: Permission,
    scope: Scope,
    environments: Iterable<string>,
  ): boolean;
  /** Whether the principal has any permission in the project. */
  seesProject(principal: Principal, name: string): boolean;
  /** Throws forbidden naming the permission unless the principal has it. */
  require(principal: Principal, permission: Permission, scope: Scope): void;
  /** Whether everything the grants give is the maker's own to give. */
  grantsWithin(maker: Principal, grants: readonly Grant[]): boolean;
  readonly directory: AccessDirectory;
  /** Makes the directory equal to what is stored. */
  read(queries: Pick<Queries, 'all'>): Promise<void>;
  /** Stops the expiry timer; principals stay as they are. */
  close(): void;
}

/** All tokens and users in memory; services tell it of each change after its commit. */
export interface AccessDirectory {
  tokens(): Iterable<TokenRow>;
  token(id: string): TokenRow | undefined;
  putToken(row: TokenRow): void;
  removeToken(id: string): void;
  users(): Iterable<UserRow>;
  user(id: string): UserRow | undefined;
  userByKey(usernameKey: string): UserRow | undefined;
  putUser(row: UserRow): void;
  /** Removes the user and all its tokens. */
  removeUser(id: string): void;
  /** Runs changes that first look here one after the other. */
  inTurn<T>(job: () => Promise<T>): Promise<T>;
}

interface LiveToken {
  row: TokenRow;
  grants: readonly Grant[];
  live?: { principal: Principal; end: AbortController };
}

/** Loads every token and user, so that authenticating costs no query for known and unknown tokens alike. */
export async function createAccess(db: Database, clock: () => number = Date.now): Promise<Access> {
  const tokens = new Map<string, LiveToken>();
  const byHash = new Map<string, LiveToken>();
  const byUser = new Map<string, Set<LiveToken>>();
  const users = new Map<string, { row: UserRow; grants: readonly Grant[] }>();
  const userIds = new Map<string, string>();
  let timer: NodeJS.Timeout | undefined;
  let nextExpiry = Number.POSITIVE_INFINITY;

  const end = (token: LiveToken) => {
    const live = token.live;
    delete token.live;
    live?.end.abort(new AppError('unauthorized_client'));
  };

  const sweep = () => {
    const now = clock();
    let soonest = Number.POSITIVE_INFINITY;
    for (const token of tokens.values()) {
      const expiresAt = token.row.expires_at;
      if (expiresAt === null) continue;
      if (expiresAt <= now) end(token);
      else if (expiresAt < soonest) soonest = expiresAt;
    }
    nextExpiry = Number.POSITIVE_INFINITY;
    expireAt(soonest);
  };

  /** One timer for the soonest expiry of all; a needless firing only looks again. */
  const expireAt = (time: number) => {
    if (time >= nextExpiry) return;
    clearTimeout(timer);
    nextExpiry = time;
    timer = setTimeout(sweep, Math.min(Math.max(time - clock(), 0), TIMER_MAX_MS));
    timer.unref();
  };

  const forgetToken = (id: string) => {
    const token = tokens.get(id);
    if (!token) return;
    tokens.delete(id);
    byHash.delete(token.row.hash);
    if (token.row.user_id !== null) byUser.get(token.row.user_id)?.delete(token);
    end(token);
  };

  const directory: AccessDirectory = {
    inTurn: createTurns(),
    *tokens() {
      for (const token of tokens.values()) yield token.row;
    },
    token: (id) => tokens.get(id)?.row,
    putToken(row) {
      forgetToken(row.id);
      const token: LiveToken = { row, grants: JSON.parse(row.grants) as Grant[] };
      tokens.set(row.id, token);
      byHash.set(row.hash, token);
      if (row.user_id !== null) {
        const own = byUser.get(row.user_id);
        if (own) own.add(token);
        else byUser.set(row.user_id, new Set([token]));
      }
      if (row.expires_at !== null && row.expires_at > clock()) expireAt(row.expires_at);
    },
    removeToken: forgetToken,
    *users() {
      for (const user of users.values()) yield user.row;
    },
    user: (id) => users.get(id)?.row,
    userByKey(key) {
      const id = userIds.get(key);
      return id === undefined ? undefined : users.get(id)?.row;
    },
    putUser(row) {
      const before = users.get(row.id)?.row;
      users.set(row.id, { row, grants: userGrants(JSON.parse(row.grants) as Grant[], row.admin === 1) });
      userIds.set(row.username_key, row.id);
      // What runs under the old grants ends; the next request gets a principal with the new ones.
      const changed =
        before &&
        (before.grants !== row.grants || before.admin !== row.admin || before.disabled !== row.disabled);
      if (changed) for (const token of byUser.get(row.id) ?? []) end(token);
    },
    removeUser(id) {
      const user = users.get(id);
      if (!user) return;
      users.delete(id);
      userIds.delete(user.row.username_key);
      for (const token of [...(byUser.get(id) ?? [])]) forgetToken(token.row.id);
      byUser.delete(id);
    },
  };

  const principalOf = (token: LiveToken): Principal | undefined => {
    const { row } = token;
    if (row.expires_at !== null && row.expires_at <= clock()) {
      end(token);
      return undefined;
    }
    if (token.live) return token.live.principal;
    const user = row.user_id === null ? undefined : users.get(row.user_id);
    if (row.user_id !== null && (!user || user.row.disabled === 1)) return undefined;
    const controller = new AbortController();
    const common = { id: row.id, userId: row.user_id, expiresAt: row.expires_at, ended: controller.signal };
    const principal: Principal =
      user && row.kind === 'access'
        ? { ...common, actor: `user:${user.row.username}`, grants: user.grants }
        : {
            ...common,
            actor: `token:${row.name}`,
            grants: token.grants,
            ...(user ? { ceiling: user.grants } : {}),
          };
    token.live = { principal, end: controller };
    return principal;
  };

  const read = async (queries: Pick<Queries, 'all'>) => {
    const userRows = await queries.all<UserRow>('select * from users');
    const tokenRows = await queries.all<TokenRow>('select * from tokens');
    const there = new Set([...userRows, ...tokenRows].map(({ id }) => id));
    for (const id of [...users.keys()]) if (!there.has(id)) directory.removeUser(id);
    for (const row of userRows) directory.putUser(row);
    for (const id of [...tokens.keys()]) if (!there.has(id)) forgetToken(id);
    // One that is known has not changed, and what runs under it goes on.
    for (const row of tokenRows) if (!tokens.has(row.id)) directory.putToken(row);
  };
  await read(db);

  const allows = (principal: Principal, permission: Permission, scope: Scope) =>
    grantsAllow(principal.grants, permission, scope) &&
    (!principal.ceiling || grantsAllow(principal.ceiling, permission, scope));

  const sees = (grants: readonly Grant[], name: string) =>
    grants.some(
      ({ permissions, project }) =>
        permissions.some((permission) => permission !== METRICS) && (project === '*' || project === name),
    );

  return {
    directory,
    read,
    authenticate(header) {
      const credential = header === undefined ? undefined : BEARER.exec(header)?.[1];
      // Looked up by hash: what a guess has in common with a token says nothing about how close it was.
      const token = credential === undefined ? undefined : byHash.get(hashToken(credential));
      const principal = token && principalOf(token);
      if (!principal) throw new AppError('unauthorized_client');
      return principal;
    },
    allows,
    allowsInAll(principal, permission, scope, environments) {
      const wanted = [...environments];
      if (wanted.length === 0) return allows(principal, permission, scope);
      return wanted.every((environment) => allows(principal, permission, { ...scope, environment }));
    },
    seesProject: (principal, name) =>
      sees(principal.grants, name) && (!principal.ceiling || sees(principal.ceiling, name)),
    require(principal, permission, scope) {
      if (allows(principal, permission, scope)) return;
      const where = [
        scope.project === undefined ? '' : ` in project '${scope.project}'`,
        scope.environment === undefined ? '' : ` for environment '${scope.environment}'`,
      ].join('');
      throw new AppError('forbidden', `The token lacks the permission ${permission}${where}`);
    },
    grantsWithin: (maker, grants) =>
      grantsCover(maker.grants, grants) && (!maker.ceiling || grantsCover(maker.ceiling, grants)),
    close: () => clearTimeout(timer),
  };
}
