import { AppError } from '../../errors.ts';
import { loggableError } from '../../loggable-error.ts';
import { recordAudit } from '../audit/audit.service.ts';
import type { Caller } from '../auth/caller.ts';
import type { Logger } from '../server/logger.ts';
import type { Database } from '../store/database.ts';
import { keyIdOf, resealCanary, type Sealer, writeSealingKeys } from '../store/sealing.ts';
import { countByKey, resealRows, sealedPages } from './sealed-values.ts';

/** How far a rotation is. */
export interface RotationProgress {
  state: 'idle' | 'running' | 'done' | 'failed';
  /** Values under older keys when it began. */
  total: number;
  done: number;
  startedAt: string | null;
  endedAt: string | null;
  message: string | null;
}

export interface KeyUse {
  keyId: string;
  /** Whether it is the one that seals. */
  newest: boolean;
  /** Whether this process was given it. */
  given: boolean;
  values: number;
}

export interface KeyRotation {
  /** Which keys are in use, and for how many values; looks at every one of them. */
  keys(): Promise<KeyUse[]>;
  progress(): RotationProgress;
  /** Begins, unless one runs already; it goes on by itself. */
  start(caller: Caller): Promise<RotationProgress>;
  /** Goes on with one that the end of a process cut off. */
  resume(): Promise<void>;
  /** Stops after the current batch; the next start goes on. */
  close(): Promise<void>;
}

const pendingKey = 'key-rotation';
/** What is written while it runs may bring back a text under an older key: a restored revision. */
const maxPasses = 5;

/** Seals everything with the newest master key, in batches, while the API serves. */
export function createKeyRotation({
  db,
  sealer,
  log,
}: {
  db: Database;
  sealer: Sealer;
  log: Logger;
}): KeyRotation {
  const [newest] = sealer.keyIds;
  let progress: RotationProgress = {
    state: 'idle',
    total: 0,
    done: 0,
    startedAt: null,
    endedAt: null,
    message: null,
  };
  let running: Promise<void> | undefined;
  let stopping = false;

  async function pass(): Promise<void> {
    for await (const rows of sealedPages(db)) {
      if (stopping) throw new AppError('cancelled', 'The process is ending; the next start goes on');
      const older = rows.filter(({ texts }) => texts.some((text) => keyIdOf(text) !== newest));
      if (older.length === 0) continue;
      const updates = older.map((row) => row.reseal(sealer));
      await db.write((tx) => resealRows(tx, updates));
      for (const { texts } of older) progress.done += texts.filter((text) => keyIdOf(text) !== newest).length;
    }
  }

  async function run(actor: string): Promise<void> {
    const startedAt = Date.now();
    try {
      const before = await countByKey(db);
      for (const [id, count] of before) if (id !== newest) progress.total += count;
      for (let passes = 0; passes < maxPasses; passes++) {
        await pass();
        await db.write((tx) => resealCanary(tx, sealer));
        const after = await countByKey(db);
        if ([...after.keys()].some((id) => id !== newest)) continue;
        await db.write(async (tx) => {
          await writeSealingKeys(tx, [newest]);
          await tx.run('delete from meta where key = $1', [pendingKey]);
          await recordAudit(tx, {
            actor,
            project: null,
            action: 'keys.rotated',
            target: newest,
            details: { values: progress.total, durationMs: Date.now() - startedAt },
          });
        });
        progress = {
          ...progress,
          state: 'done',
          done: progress.total,
          endedAt: new Date().toISOString(),
          message: 'Older keys may be left out from the next start on',
        };
        log.info(
          { values: progress.total, durationMs: Date.now() - startedAt },
          'every value is sealed with the newest key',
        );
        return;
      }
      throw new AppError('unavailable', 'Values under older keys were written all the time; start it again');
    } catch (error) {
      const message = error instanceof AppError ? error.message : 'It could not go on; the log says why';
      progress = { ...progress, state: 'failed', endedAt: new Date().toISOString(), message };
      if (!stopping)
        log.error({ err: loggableError(error) }, 'the rotation of keys ended early; start it again');
    } finally {
      running = undefined;
    }
  }

  function begin(actor: string): void {
    progress = {
      state: 'running',
      total: 0,
      done: 0,
      startedAt: new Date().toISOString(),
      endedAt: null,
      message: null,
    };
    running = run(actor);
  }

  return {
    async keys() {
      const counts = await countByKey(db);
      return [...new Set([...sealer.keyIds, ...counts.keys()])].map((keyId) => ({
        keyId,
        newest: keyId === newest,
        given: sealer.keyIds.includes(keyId),
        values: counts.get(keyId) ?? 0,
      }));
    },
    progress: () => progress,
    async start(caller) {
      if (running) return progress;
      await db.write(async (tx) => {
        await tx.run(
          'insert into meta (key, value) values ($1, $2) on conflict (key) do update set value = $2',
          [pendingKey, caller.actor],
        );
        await recordAudit(tx, { ...caller, project: null, action: 'keys.rotate', target: newest });
      });
      if (!running) begin(caller.actor);
      return progress;
    },
    async resume() {
      const pending = await db.get<{ value: string }>('select value from meta where key = $1', [pendingKey]);
      if (pending && !running) begin(pending.value);
    },
    async close() {
      stopping = true;
      await running;
    },
  };
}
