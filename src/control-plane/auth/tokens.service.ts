import { randomUUID } from 'node:crypto';
import { AppError } from '../../errors.ts';
import { recordAudit } from '../audit/audit.service.ts';
import type { Database, Transaction } from '../store/database.ts';
import type { Access, TokenRow } from './access.ts';
import { isLastingAdminToken, requireOtherAdministrator } from './administrators.ts';
import type { Caller } from './caller.ts';
import { checkGrants } from './grants.ts';
import type { Grant, Principal } from './permissions.ts';
import { hashToken, makeToken } from './token-format.ts';

const OWN_MAX = 1000;

export interface TokenInput {
  name: string;
  /** RFC 3339; null or absent: never. */
  expiresAt?: string | null;
  grants: Grant[];
}

export interface TokenView {
  id: string;
  name: string;
  kind: string;
  /** The user it belongs to; null for none. */
  username: string | null;
  grants: Grant[];
  createdAt: string;
  expiresAt: string | null;
}

export interface Tokens {
  /** A log-in's: its user's; another token's: itself and what it made; ADMIN's: all. */
  list(principal: Principal): TokenView[];
  /** Answers the token, this once. Throws forbidden for more, or longer, than its maker may. */
  create(caller: Caller, principal: Principal, input: TokenInput): Promise<{ id: string; token: string }>;
  /** Ends the token at once; not_found for one that is not the principal's to end. */
  revoke(caller: Caller, principal: Principal, id: string): Promise<void>;
}

/** Tokens for scripts and people, stored as hashes. */
export function createTokens(db: Database, access: Access): Tokens {
  const { directory } = access;

  const isOwn = (principal: Principal, row: TokenRow): boolean => {
    if (row.id === principal.id || row.made_by === principal.id) return true;
    const isLogIn = directory.token(principal.id)?.kind === 'access';
    return isLogIn && row.user_id === principal.userId;
  };

  const visible = (principal: Principal): TokenRow[] => {
    const all = access.allows(principal, 'ADMIN', {});
    return [...directory.tokens()].filter((row) => all || isOwn(principal, row));
  };

  return {
    list: (principal) =>
      visible(principal).map((row) => ({
        id: row.id,
        name: row.name,
        kind: row.kind,
        username: row.user_id === null ? null : (directory.user(row.user_id)?.username ?? null),
        grants: JSON.parse(row.grants) as Grant[],
        createdAt: new Date(row.created_at).toISOString(),
        expiresAt: row.expires_at === null ? null : new Date(row.expires_at).toISOString(),
      })),

    async create(caller, principal, input) {
      checkGrants(input.grants);
      const expiresAt = expiryOf(input.expiresAt);
      for (const grant of input.grants) {
        const beyond = grant.permissions.filter(
          (permission) => !access.grantsWithin(principal, [{ ...grant, permissions: [permission] }]),
        );
        if (beyond.length > 0) {
          throw new AppError(
            'forbidden',
            `A token cannot be given what its maker lacks: ${beyond.join(', ')} in project '${grant.project}'`,
          );
        }
      }
      // A log-in ends within the hour and stands for its user; any other token must not outlive itself.
      const isLogIn = directory.token(principal.id)?.kind === 'access';
      if (
        !isLogIn &&
        principal.expiresAt !== null &&
        (expiresAt ?? Number.POSITIVE_INFINITY) > principal.expiresAt
      ) {
        throw new AppError('forbidden', 'A token cannot outlive its maker; give an earlier expiresAt');
      }
      let own = 0;
      for (const row of directory.tokens()) if (row.kind === 'personal' && isOwn(principal, row)) own++;
      if (own >= OWN_MAX)
        throw new AppError('conflict', `There are ${OWN_MAX} tokens of yours already; delete some`);

      const token = makeToken('pbt');
      const row: TokenRow = {
        id: randomUUID(),
        name: input.name,
        user_id: principal.userId,
        hash: hashToken(token),
        kind: 'personal',
        grants: JSON.stringify(input.grants),
        made_by: isLogIn ? null : principal.id,
        created_at: Date.now(),
        expires_at: expiresAt,
      };
      await db.write(async (tx) => {
        await insertToken(tx, row);
        await recordAudit(tx, {
          ...caller,
          project: null,
          action: 'token.create',
          target: row.id,
          details: { name: row.name, grants: input.grants, expiresAt: input.expiresAt ?? null },
        });
      });
      // Its maker may have been ended while it was written.
      if (principal.ended.aborted) {
        await db.write((tx) => tx.run('delete from tokens where id = $1', [row.id]));
        throw new AppError('unauthorized_client');
      }
      directory.putToken(row);
      return { id: row.id, token };
    },

    revoke: (caller, principal, id) =>
      directory.inTurn(async () => {
        const row = directory.token(id);
        if (!row || !(isOwn(principal, row) || access.allows(principal, 'ADMIN', {}))) {
          throw new AppError('not_found', `Token (id: ${id}) was not found!`);
        }
        if (isLastingAdminToken(row)) requireOtherAdministrator(directory, { token: id });
        await db.write(async (tx) => {
          await tx.run('delete from tokens where id = $1', [id]);
          await recordAudit(tx, {
            ...caller,
            project: null,
            action: 'token.revoke',
            target: id,
            details: { name: row.name },
          });
        });
        directory.removeToken(id);
      }),
  };
}

/** Deletes log-ins that have expired; answers how many. */
export async function purgeLogIns(db: Database, access: Access, now: number = Date.now()): Promise<number> {
  const count = await db.write((tx) =>
    tx.run("delete from tokens where kind = 'access' and expires_at <= $1", [now]),
  );
  for (const row of [...access.directory.tokens()]) {
    if (row.kind === 'access' && row.expires_at !== null && row.expires_at <= now) {
      access.directory.removeToken(row.id);
    }
  }
  return count;
}

/** Stores a token's row. */
export async function insertToken(tx: Transaction, row: TokenRow): Promise<void> {
  await tx.run(
    'insert into tokens (id, name, user_id, hash, kind, grants, made_by, created_at, expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)',
    [
      row.id,
      row.name,
      row.user_id,
      row.hash,
      row.kind,
      row.grants,
      row.made_by,
      row.created_at,
      row.expires_at,
    ],
  );
}

function expiryOf(text: string | null | undefined): number | null {
  if (text === null || text === undefined) return null;
  const time = Date.parse(text);
  const message = Number.isNaN(time)
    ? 'is not a time'
    : time <= Date.now()
      ? 'must lie in the future'
      : undefined;
  if (message) {
    throw new AppError('bad_request', `expiresAt ${message}`, {
      details: { validationErrors: [{ field: 'expiresAt', message }] },
    });
  }
  return time;
}
