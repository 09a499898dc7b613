import type { ListAnswer, Plugboard } from '../../../client/plugboard.ts';
import { connectionApi } from '../api/connection.ts';

export type HealthState = 'connected' | 'unreachable' | 'unknown' | 'refused';

export interface HealthMinute {
  at: string;
  state: HealthState;
  ok: number;
  failed: number;
  averageMs: number | null;
  maxMs: number;
}

/** What one worker sees of a connection. */
export interface WorkerHealth {
  environmentName: string;
  worker: string;
  workerConnected: boolean;
  state: HealthState;
  since: string;
  lastError: { code: string; message: string; at: string } | null;
  figures: Record<string, number>;
  operations: { ok: number; failed: number; averageMs: number | null; maxMs: number };
  minutes: HealthMinute[];
}

export async function readHealth(plugboard: Plugboard, project: string, name: string, signal?: AbortSignal) {
  const answer = await plugboard.request<ListAnswer<WorkerHealth>>(
    'GET',
    connectionApi(project, name, 'health/'),
    {
      ...(signal ? { signal } : {}),
    },
  );
  return answer.resultList;
}

const minuteMs = 60_000;

/** One place a bucket, oldest first: the worst state of its minutes, or null where nothing was reported. */
export function stripOf(
  minutes: readonly HealthMinute[],
  buckets: number,
  minutesEach: number,
  now: number,
): (HealthState | null)[] {
  const strip = Array.from<HealthState | null>({ length: buckets }).fill(null);
  const worstFirst: readonly HealthState[] = ['refused', 'unreachable', 'unknown', 'connected'];
  const end = Math.floor(now / minuteMs) + 1;
  for (const { at, state } of minutes) {
    const bucket = buckets - Math.ceil((end - Math.floor(Date.parse(at) / minuteMs)) / minutesEach);
    if (bucket < 0 || bucket >= buckets) continue;
    const before = strip[bucket];
    if (!before || worstFirst.indexOf(state) < worstFirst.indexOf(before)) strip[bucket] = state;
  }
  return strip;
}

/** The latency of one bucket; null where no operation ended. */
export interface LatencyPoint {
  /** Its begin, in ms since 1970. */
  at: number;
  average: number | null;
  max: number | null;
}

/** One point a bucket, oldest first, so that a time without operations is a gap and not a shortcut. */
export function latencyOf(
  minutes: readonly HealthMinute[],
  buckets: number,
  minutesEach: number,
  now: number,
): LatencyPoint[] {
  const end = Math.floor(now / minuteMs) + 1;
  const sums = Array.from({ length: buckets }, () => ({ operations: 0, totalMs: 0, maxMs: 0 }));
  for (const { at, ok, failed, averageMs, maxMs } of minutes) {
    const sum = sums[buckets - Math.ceil((end - Math.floor(Date.parse(at) / minuteMs)) / minutesEach)];
    if (!sum || averageMs === null) continue;
    sum.operations += ok + failed;
    sum.totalMs += averageMs * (ok + failed);
    sum.maxMs = Math.max(sum.maxMs, maxMs);
  }
  return sums.map(({ operations, totalMs, maxMs }, index) => ({
    at: (end - (buckets - index) * minutesEach) * minuteMs,
    average: operations === 0 ? null : Math.round(totalMs / operations),
    max: operations === 0 ? null : maxMs,
  }));
}
