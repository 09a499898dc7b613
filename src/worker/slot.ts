import type { KnownHostKeys } from '../connectors/transport/known-host-keys.ts';
import type { DesiredConnection, HealthReport, Verdict } from '../contract/worker-protocol.ts';
import type { AppError } from '../errors.ts';
import type { Life } from '../life.ts';
import { HealthRecord } from './health-record.ts';
import type { LiveClient, Refusal } from './live-client.ts';
import type { LiveState, Revision } from './plan.ts';
import type { Proof, ProofCircumstances, ProofOutcome } from './proof.ts';

export interface Serving {
  client: LiveClient;
  proof: Proof;
}

/** Everything about one connection; nothing in it is shared with another. */
export interface Slot {
  readonly connection: string;
  desired: DesiredConnection | undefined;
  /** The desired state changed since it was last planned. */
  isDirty: boolean;
  working: Promise<void> | undefined;
  serving: Serving | undefined;
  readonly hostKeys: KnownHostKeys;
  /** What serves was opened with other secrets or trusts another host key than is right by now. */
  isStale: boolean;
  refused:
    | { revision: Revision; reason: AppError; warnings: string[]; secretsDigest: string | undefined }
    | undefined;
  draining: LiveClient[];
  opening: { revision: number; life: Life } | undefined;
  inFlight: number;
  /** What came for a revision that is not open yet. */
  early: { revision: number; prove: boolean; holdUntil: number } | undefined;
  retry: { timer: NodeJS.Timeout; delayMs: number } | undefined;
  /** Revision that was closed last. */
  closed: number | undefined;
  health: HealthRecord;
}

/** A slot of which nothing is known yet but what was counted in this minute, if it was held before. */
export function emptySlot(
  connection: string,
  hostKeys: KnownHostKeys,
  health: HealthRecord = new HealthRecord(Date.now()),
): Slot {
  return {
    connection,
    desired: undefined,
    isDirty: false,
    working: undefined,
    serving: undefined,
    hostKeys,
    isStale: false,
    refused: undefined,
    draining: [],
    opening: undefined,
    inFlight: 0,
    early: undefined,
    retry: undefined,
    closed: undefined,
    health,
  };
}

/** Whether the connection is switched off, so that nothing of it may serve. */
export function isOff({ config }: DesiredConnection): boolean {
  return config['enabled'] === false || config['deployToWorker'] === false;
}

/** What the planner is told of the slot. */
export function stateOf({ serving, refused, isStale }: Slot): LiveState {
  if (refused)
    return {
      state: 'refused',
      refused: refused.revision,
      isStale,
      ...(serving ? { serving: serving.client.revision } : {}),
    };
  return serving ? { state: 'live', serving: serving.client.revision, isStale } : { state: 'none' };
}

/** What is kept of a revision that was refused. */
export function refusalOf(revision: Revision, refusal: Refusal): NonNullable<Slot['refused']> {
  const { reason, warnings, secretsDigest } = refusal;
  return { revision, reason, warnings, secretsDigest };
}

/** That the revision was opened. */
export function validVerdict(connection: string, { revision, warnings }: LiveClient): Verdict {
  return {
    connection,
    revision: revision.revision,
    step: 'valid',
    ...(warnings.length > 0 ? { warnings: [...warnings] } : {}),
  };
}

/** That a revision was refused, and which one serves in its place. */
export function refusedVerdict(slot: Slot, revision: number, reason: AppError, warnings: string[]): Verdict {
  return {
    connection: slot.connection,
    revision,
    step: 'refused',
    message: reason.message,
    code: reason.code,
    retryable: reason.retryable,
    ...(warnings.length > 0 ? { warnings: [...warnings] } : {}),
    ...(slot.serving ? { serving: slot.serving.client.revision.revision } : {}),
  };
}

/** How a proof of the revision ended. */
export function proofVerdict(
  connection: string,
  revision: number,
  outcome: ProofOutcome,
  circumstances: ProofCircumstances,
): Verdict {
  const said = { connection, revision, ...circumstances };
  if (outcome.ok) return { ...said, step: 'connected' };
  const { code, message, retryable } = outcome.error;
  return { ...said, step: 'unreachable', code, message, retryable };
}

/** Health of the slot, when there is anything to report (`HealthRecord.collect`). */
export function healthOf(slot: Slot, now: number): HealthReport | undefined {
  const { serving, refused, closed, health, connection } = slot;
  const revision = serving?.client.revision.revision ?? refused?.revision.revision ?? closed;
  if (revision === undefined) return undefined;
  return health.collect(connection, revision, () => serving?.client.figures(), now);
}

/** How a connection stands now. */
export function verdictsOf(slot: Slot): Verdict[] {
  const { serving, refused, connection } = slot;
  const verdicts: Verdict[] = [];
  if (refused)
    verdicts.push(refusedVerdict(slot, refused.revision.revision, refused.reason, refused.warnings));
  else if (serving) {
    verdicts.push(validVerdict(connection, serving.client));
    const { outcome } = serving.proof;
    if (outcome)
      verdicts.push(
        proofVerdict(connection, serving.client.revision.revision, outcome, { isRepeated: true }),
      );
  }
  return verdicts;
}
