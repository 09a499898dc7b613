import { isDeepStrictEqual } from 'node:util';
import type { DesiredConnection, TrustObjects } from '../contract/worker-protocol.ts';

export interface Revision {
  revision: number;
  config: Record<string, unknown>;
  /** What of the keystores and certificates that it names exists. */
  objects?: TrustObjects;
}

/**
 * What a worker holds of one connection; `serving` is the client that answers operations now, and it is
 * stale when its secret references lead to other values by now.
 */
export type LiveState =
  | { state: 'none' }
  | { state: 'live'; serving: Revision; isStale?: boolean }
  /** The newest revision could not be opened; an older one may go on serving. */
  | { state: 'refused'; refused: Revision; serving?: Revision; isStale?: boolean };

export type Operation =
  /** Nothing serves: open the revision, and where it is refused the fallback. */
  | { op: 'open'; connection: string; target: Revision; fallback?: Revision }
  /** Something serves, and goes on serving until the new revision is valid. */
  | { op: 'replace'; connection: string; target: Revision }
  | { op: 'close'; connection: string; revision: number }
  | { op: 'keep'; connection: string; revision: number };

/** What to do about every connection that is desired, held, or both; without effects. */
export function plan(
  desired: ReadonlyMap<string, DesiredConnection>,
  live: ReadonlyMap<string, LiveState>,
): Operation[] {
  const operations: Operation[] = [];
  for (const connection of new Set([...live.keys(), ...desired.keys()])) {
    const operation = planOne(connection, desired.get(connection), live.get(connection) ?? { state: 'none' });
    if (operation) operations.push(operation);
  }
  return operations;
}

/** As `plan`, for one connection; undefined when nothing is held and nothing is wanted. */
export function planOne(
  connection: string,
  desired: DesiredConnection | undefined,
  live: LiveState,
): Operation | undefined {
  const serving = live.state === 'none' ? undefined : live.serving;
  if (!desired || !mayBeLive(desired)) {
    if (live.state === 'none') return undefined;
    const revision = live.state === 'live' ? live.serving.revision : live.refused.revision;
    return { op: 'close', connection, revision };
  }
  const target = revisionOf(desired, desired.objects);
  const isStale = live.state !== 'none' && live.isStale === true;
  if (serving && !isStale && sameRevision(serving, target))
    return { op: 'keep', connection, revision: desired.revision };
  if (serving) return { op: 'replace', connection, target };
  const { lastGood } = desired;
  const fallback = lastGood && revisionOf(lastGood, lastGood.objects ?? desired.objects);
  return fallback && !sameRevision(fallback, target)
    ? { op: 'open', connection, target, fallback }
    : { op: 'open', connection, target };
}

function revisionOf({ revision, config }: Revision, objects: TrustObjects | undefined): Revision {
  return { revision, config, ...(objects ? { objects } : {}) };
}

/** A disabled or undeployed connection is not sent to workers; one that is sent nevertheless stays closed. */
function mayBeLive({ config }: DesiredConnection): boolean {
  return config['enabled'] !== false && config['deployToWorker'] !== false;
}

/** A revision whose references lead to other values or objects is another one, although its number is the same. */
function sameRevision(a: Revision, b: Revision): boolean {
  return a.revision === b.revision && isDeepStrictEqual([a.config, a.objects], [b.config, b.objects]);
}
