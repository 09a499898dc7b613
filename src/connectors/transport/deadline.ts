import type { AppError } from '../../errors.ts';
import { untilAborted } from '../connector.ts';

/** The longest delay that Node's timers take, ms. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * As `untilAborted`, and fails with `late` after `timeoutMs`; 0: no limit. The work itself goes on and
 * must be stopped by the caller.
 */
export async function within<T>(
  work: Promise<T>,
  { timeoutMs, signal, late }: { timeoutMs: number; signal: AbortSignal; late: () => AppError },
): Promise<T> {
  if (timeoutMs === 0) return untilAborted({ signal }, work);
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), Math.min(timeoutMs, longestTimerMs));
  });
  try {
    return await untilAborted({ signal }, Promise.race([work, tooLate]));
  } finally {
    clearTimeout(timer);
  }
}
