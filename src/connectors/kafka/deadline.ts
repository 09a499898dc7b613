import { AppError } from '../../errors.ts';
import { untilAborted as untilCallAborted } from '../connector.ts';

/** What a signal was aborted for, as an error of ours. */
export function abortReason(signal: AbortSignal): AppError {
  return signal.reason instanceof AppError
    ? signal.reason
    : new AppError('cancelled', undefined, { cause: signal.reason });
}

/**
 * Runs `work` with a signal that aborts when one of `parents` does or, with `late`, after `late.ms`;
 * rejects at that moment, whatever the work does, and leaves no listener behind.
 */
export async function within<T>(
  parents: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
  late?: { ms: number; error: () => AppError },
): Promise<T> {
  const controller = new AbortController();
  const undo: (() => void)[] = [];
  try {
    for (const parent of parents) {
      if (parent.aborted) throw abortReason(parent);
      const onAbort = () => controller.abort(abortReason(parent));
      parent.addEventListener('abort', onAbort, { once: true });
      undo.push(() => parent.removeEventListener('abort', onAbort));
    }
    if (late) {
      const timer = setTimeout(() => controller.abort(late.error()), Math.max(0, late.ms));
      undo.push(() => clearTimeout(timer));
    }
    return await untilAborted(work(controller.signal), controller.signal);
  } finally {
    for (const each of undo) each();
  }
}

/** The work's outcome, or the rejection at the abort; the work itself goes on. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return untilCallAborted({ signal }, work, () => abortReason(signal));
}

/** Waits; rejects when aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(abortReason(signal));
    const onAbort = () => {
      clearTimeout(timer);
      reject(abortReason(signal));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
