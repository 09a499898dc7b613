import { randomUUID } from 'node:crypto';
import { foldName } from '../../contract/validation.ts';
import { AppError } from '../../errors.ts';
import { recordAudit } from '../audit/audit.service.ts';
import { createRateLimiter, type RateLimiter } from '../server/rate-limits.ts';
import type { Database } from '../store/database.ts';
import type { Access, TokenRow } from './access.ts';
import { verifyPassword } from './passwords.ts';
import { hashToken, makeToken } from './token-format.ts';
import { insertToken } from './tokens.service.ts';

export const LOG_IN_LIFETIME_S = 3600;
/** Failed attempts; those that succeed do not count. */
const ACCOUNT_PER_MINUTE = 10;
const ADDRESS_PER_MINUTE = 30;

export interface LogIn {
  /**
   * Answers a token with the user's own grants for an hour. Wrong name, wrong password and a disabled
   * user are told alike and take alike: unauthorized_client; guessing meets rate_limit_exceeded.
   */
  logIn(credentials: {
    username: string;
    password: string;
    /** Of the client, for the limit. */
    address: string;
    requestId?: string;
  }): Promise<{ token: string; expiresInSeconds: number }>;
}

/** Exchanges a password for a token. */
export function createLogIn(db: Database, access: Access, now: () => number = Date.now): LogIn {
  const { directory } = access;
  const byAccount = createRateLimiter({ perMinute: ACCOUNT_PER_MINUTE, now });
  const byAddress = createRateLimiter({ perMinute: ADDRESS_PER_MINUTE, now });

  return {
    async logIn({ username, password, address, requestId }) {
      const account = hashToken(foldName(username));
      // Taken before the password is looked at, so that many at once gain nothing.
      takeOne(byAddress, address);
      takeOne(byAccount, account);
      const user = directory.userByKey(foldName(username));
      const isRight = await verifyPassword(password, user?.password_hash);
      const current = user && directory.user(user.id);
      const isValid = isRight && current?.disabled === 0 && current.password_hash === user?.password_hash;
      if (!isValid) throw new AppError('unauthorized_client', 'Bad credentials');
      byAddress.giveBack(address);
      byAccount.giveBack(account);

      const token = makeToken('pbt');
      const row: TokenRow = {
        id: randomUUID(),
        name: 'log-in',
        user_id: current.id,
        hash: hashToken(token),
        kind: 'access',
        grants: '[]',
        made_by: null,
        created_at: now(),
        expires_at: now() + LOG_IN_LIFETIME_S * 1000,
      };
      await db.write(async (tx) => {
        // A user deleted or disabled since has no row like this any more.
        const valid = await tx.get(
          'select id from users where id = $1 and disabled = 0 and password_hash = $2',
          [current.id, current.password_hash],
        );
        if (!valid) throw new AppError('unauthorized_client', 'Bad credentials');
        await insertToken(tx, row);
        await recordAudit(tx, {
          actor: `user:${current.username}`,
          project: null,
          action: 'user.login',
          target: current.username,
          details: { token: row.id, address },
          requestId,
        });
      });
      const still = directory.user(current.id);
      if (still?.disabled !== 0 || still.password_hash !== current.password_hash) {
        throw new AppError('unauthorized_client', 'Bad credentials');
      }
      directory.putToken(row);
      return { token, expiresInSeconds: LOG_IN_LIFETIME_S };
    },
  };
}

function takeOne(limiter: RateLimiter, key: string): void {
  const take = limiter.take(key);
  if (take.ok) return;
  throw new AppError('rate_limit_exceeded', 'Too many failed log-ins', {
    details: { retryAfter: take.retryAfter },
  });
}
