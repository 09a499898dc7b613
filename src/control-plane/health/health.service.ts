import type { HealthReport } from '../../contract/worker-protocol.ts';
import type { ConnectedWorker } from '../deployments/connected-workers.ts';
import type { Database, Transaction } from '../store/database.ts';
import type { Tables } from '../store/tables.ts';

const minuteMs = 60_000;
/** How far back the minutes go. */
export const healthHistoryMs = 24 * 60 * minuteMs;
const states = new Set(['connected', 'unreachable', 'unknown', 'refused']);

type MinuteRow = Omit<Tables['health_minutes'], 'connection_id' | 'environment_id'> & {
  worker: string;
  environment: string;
};

/**
 * Stores a worker's reports; the counters of a minute replace what it said of that minute before. Answers,
 * where somebody listens, those that tell of another state than the one before them.
 */
export async function recordHealth(
  db: Database,
  worker: ConnectedWorker,
  reports: HealthReport[],
  isHeard: boolean,
): Promise<HealthReport[]> {
  const usable = reports.filter(({ state, minute }) => states.has(state) && Number.isSafeInteger(minute));
  if (usable.length === 0) return [];
  const store = async (tx: Transaction) => {
    const turned: HealthReport[] = [];
    for (const report of usable) {
      const { connection, minute, state, since, lastError, operations, figures } = report;
      if (isHeard && (await hasTurned(tx, worker, report))) turned.push(report);
      await tx.run(
        `insert into health_minutes (connection_id, worker_id, environment_id, minute, state, since, error_code,
            error_message, error_at, ok, failed, total_ms, max_ms, figures)
          select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
          where exists (select 1 from deployments where connection_id = $1 and environment_id = $3)
          on conflict (connection_id, worker_id, minute) do update set state = $5, since = $6, error_code = $7,
            error_message = $8, error_at = $9, ok = $10, failed = $11, total_ms = $12, max_ms = $13, figures = $14`,
        [
          connection,
          worker.id,
          worker.environment.id,
          Math.floor(minute / minuteMs) * minuteMs,
          state,
          since,
          lastError?.code ?? null,
          lastError?.message ?? null,
          lastError?.at ?? null,
          operations.ok,
          operations.failed,
          Math.round(operations.totalMs),
          Math.round(operations.maxMs),
          JSON.stringify(figures ?? {}),
        ],
      );
    }
    return turned;
  };
  return db.write(store, { durable: false });
}

async function hasTurned(
  tx: Transaction,
  worker: ConnectedWorker,
  { connection, state, since }: HealthReport,
): Promise<boolean> {
  const before = await tx.get<{ since: number }>(
    'select since from health_minutes where connection_id = $1 and worker_id = $2 order by minute desc limit 1',
    [connection, worker.id],
  );
  return before ? since > before.since : state !== 'unknown';
}

/** What each worker sees of a connection: now, and minute by minute over the last 24 hours. */
export async function healthOf(
  db: Database,
  connectionId: string,
  isConnected: (environment: string, workerId: string) => boolean,
): Promise<unknown[]> {
  const rows = await db.all<MinuteRow>(
    `select h.worker_id, w.name as worker, e.name as environment, h.minute, h.state, h.since, h.error_code,
        h.error_message, h.error_at, h.ok, h.failed, h.total_ms, h.max_ms, h.figures
      from health_minutes h join workers w on w.id = h.worker_id join environments e on e.id = h.environment_id
      where h.connection_id = $1 and h.minute >= $2 order by h.minute`,
    [connectionId, Date.now() - healthHistoryMs],
  );
  const byWorker = Map.groupBy(rows, (row) => row.worker_id);
  return [...byWorker.values()].map((minutes) => {
    const last = minutes.at(-1)!;
    const sum = (of: (row: MinuteRow) => number) => minutes.reduce((total, row) => total + of(row), 0);
    const [ok, failed] = [sum((row) => row.ok), sum((row) => row.failed)];
    return {
      environmentName: last.environment,
      worker: last.worker,
      workerConnected: isConnected(last.environment, last.worker_id),
      state: last.state,
      since: new Date(last.since).toISOString(),
      lastError:
        last.error_code === null
          ? null
          : {
              code: last.error_code,
              message: last.error_message,
              at: new Date(last.error_at ?? last.minute).toISOString(),
            },
      figures: JSON.parse(last.figures) as Record<string, number>,
      operations: {
        ok,
        failed,
        averageMs: ok + failed === 0 ? null : Math.round(sum((row) => row.total_ms) / (ok + failed)),
        maxMs: Math.max(0, ...minutes.map((row) => row.max_ms)),
      },
      minutes: minutes.map((row) => ({
        at: new Date(row.minute).toISOString(),
        state: row.state,
        ok: row.ok,
        failed: row.failed,
        averageMs: row.ok + row.failed === 0 ? null : Math.round(row.total_ms / (row.ok + row.failed)),
        maxMs: row.max_ms,
      })),
    };
  });
}

/** Forgets minutes older than a day. */
export async function purgeHealth(db: Database): Promise<void> {
  await db.write((tx) =>
    tx.run('delete from health_minutes where minute < $1', [Date.now() - healthHistoryMs]),
  );
}
