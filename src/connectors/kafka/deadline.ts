import type { AppError } from '../../errors.ts';
import { abortError, untilAborted } from '../connector.ts';

/**
 * Runs `work` with a signal that aborts when one of `parents` does or, with `late`, after `late.ms`;
 * rejects at that moment, whatever the work does, and leaves no listener behind.
 */
export async function bounded<T>(
  parents: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
  late?: { ms: number; error: () => AppError },
): Promise<T> {
  const controller = new AbortController();
  const undo: (() => void)[] = [];
  try {
    for (const parent of parents) {
      if (parent.aborted) throw abortError(parent.reason);
      const onAbort = () => controller.abort(abortError(parent.reason));
      parent.addEventListener('abort', onAbort, { once: true });
      undo.push(() => parent.removeEventListener('abort', onAbort));
    }
    if (late) {
      const timer = setTimeout(() => controller.abort(late.error()), Math.max(0, late.ms));
      undo.push(() => clearTimeout(timer));
    }
    return await untilAborted({ signal: controller.signal }, work(controller.signal));
  } finally {
    for (const each of undo) each();
  }
}

/** Waits; rejects when aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(abortError(signal.reason));
    const onAbort = () => {
      clearTimeout(timer);
      reject(abortError(signal.reason));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
