import { setTimeout as sleep } from 'node:timers/promises';
import { loggableError } from '../../loggable-error.ts';
import type { Logger } from '../server/logger.ts';
import type { Database, Transaction } from './database.ts';
import type { Tables } from './tables.ts';

const firstPauseMs = 100;
const longestPauseMs = 5_000;

export interface Held {
  /** Of which rows are held in memory. */
  tables: readonly (keyof Tables)[];
  /** Makes what is held equal to what the tables hold. */
  read(tx: Transaction): Promise<void>;
}

/**
 * Reads again what is held in memory after a commit of which nobody knows whether it was made, until the
 * database has told. Answers how to stop.
 */
export function rereadAfterLoss(
  db: Database,
  { tables, read }: Held,
  log: Pick<Logger, 'warn'>,
): () => Promise<void> {
  const closing = new AbortController();
  let isWanted = false;
  let running: Promise<void> | undefined;

  const readAll = async (tx: Transaction) => {
    // Waits for the commit in question, should the server still be about it, and for whatever would come between.
    await tx.run(`lock table ${tables.join(', ')} in share mode`);
    await read(tx);
  };
  const run = async () => {
    for (let pauseMs = firstPauseMs; isWanted && !closing.signal.aborted; ) {
      isWanted = false;
      try {
        await db.write(readAll, { durable: false });
      } catch (error) {
        isWanted = true;
        log.warn(
          { err: loggableError(error) },
          'the outcome of a change is not known yet; the database is asked again',
        );
        await sleep(pauseMs, undefined, { signal: closing.signal }).catch(() => {});
        pauseMs = Math.min(pauseMs * 2, longestPauseMs);
      }
    }
    running = undefined;
  };
  db.onOutcomeUnknown(() => {
    isWanted = true;
    running ??= run();
  });
  return async () => {
    closing.abort();
    await running;
  };
}
