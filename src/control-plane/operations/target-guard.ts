import { createHash } from 'node:crypto';
import type { ConnectionType } from '../../contract/connection-type.ts';
import type { StageResult } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import { createRateLimiter } from '../server/rate-limits.ts';

const testsPerMinute = 20;
const refusalsBeforePause = 3;
const firstPauseMs = 30_000;
const longestPauseMs = 15 * 60_000;
const maxAccounts = 10_000;

/**
 * Keeps tests from serving as a port scanner or from locking accounts (security 10): so many a
 * minute for a target, and a growing pause after log-ins of one account were refused in a row.
 */
export class TargetGuard {
  readonly #targets = createRateLimiter({ perMinute: testsPerMinute });
  readonly #accounts = new Map<string, { refusals: number; pausedUntil: number }>();

  /** Fails with `rate_limit_exceeded` when the target or the account has to be left alone. */
  admit(definition: ConnectionType, config: Record<string, unknown>): void {
    const taken = this.#targets.take(keyOf(definition, config, false));
    if (!taken.ok)
      throw new AppError('rate_limit_exceeded', `At most ${testsPerMinute} tests a minute for one target`, {
        details: { retryAfter: taken.retryAfter },
      });
    const account = this.#accounts.get(keyOf(definition, config, true));
    const waitMs = (account?.pausedUntil ?? 0) - Date.now();
    if (waitMs > 0)
      throw new AppError(
        'rate_limit_exceeded',
        'The target refused this log-in several times in a row; tests of it pause so that the account is not locked',
        { details: { retryAfter: Math.ceil(waitMs / 1000) } },
      );
  }

  /** Takes in how a test ended. */
  note(definition: ConnectionType, config: Record<string, unknown>, stages: StageResult[]): void {
    const key = keyOf(definition, config, true);
    const authenticated = stages.find(({ stage }) => stage === 'authenticate');
    if (authenticated?.status === 'passed') this.#accounts.delete(key);
    if (authenticated?.status !== 'failed' || authenticated.code !== 'authentication_failed') return;
    const refusals = (this.#accounts.get(key)?.refusals ?? 0) + 1;
    const pauseMs =
      refusals < refusalsBeforePause
        ? 0
        : Math.min(firstPauseMs * 2 ** (refusals - refusalsBeforePause), longestPauseMs);
    this.#accounts.delete(key);
    this.#accounts.set(key, { refusals, pausedUntil: Date.now() + pauseMs });
    if (this.#accounts.size > maxAccounts) this.#accounts.delete(this.#accounts.keys().next().value!);
  }
}

/** A hash over what says where a configuration leads, and with which name it logs in. */
function keyOf(definition: ConnectionType, config: Record<string, unknown>, withAccount: boolean): string {
  const parts: unknown[] = [definition.type];
  for (const [name, field] of Object.entries(definition.fields)) {
    const marks = field as Record<string, unknown>;
    const isAccount = withAccount && marks['x-group'] === 'authentication' && !marks['x-secret'];
    if (marks['x-destination'] === 'address' || marks['x-destination'] === 'address-set' || isAccount)
      parts.push([name, config[name] ?? null]);
  }
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url');
}
