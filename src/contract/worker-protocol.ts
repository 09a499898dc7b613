import type { AcceptedForm } from './accepted-form.ts';

/**
 * The messages between the control plane and a worker: JSON text frames over a WebSocket, or over
 * an in-memory pair for the embedded worker. The worker speaks first, with `hello`.
 */
export const PROTOCOL_VERSION = 1;

/** WebSocket close codes of ours (RFC 6455: 4000–4999 are for private use). */
export const CLOSE_CODES = { revoked: 4401, protocol: 4400, replaced: 4409 } as const;

/** Stored trust material that a configuration names, as this environment has it. */
export interface TrustObjects {
  keystores: Record<
    string,
    { type: 'JKS' | 'PKCS12' | 'PEM'; file: string; password: string; alias?: string }
  >;
  /** PEM by name. */
  certificates: Record<string, string>;
}

/** A server's SSH host key. */
export interface HostKey {
  /** `host:port`, normalised. */
  server: string;
  /** Such as `ssh-ed25519`. */
  algorithm: string;
  /** `SHA256:…` as `ssh-keygen -lf` prints it, without padding. */
  fingerprint: string;
}

/** A connection as an environment's workers need it: variables resolved, secrets open. */
export interface DesiredConnection {
  connection: string;
  project: string;
  name: string;
  type: string;
  revision: number;
  config: Record<string, unknown>;
  /** Of `config`, where both halves are in one process. */
  accepted?: AcceptedForm;
  /** What of its keystores and certificates exists; absent when it names none. */
  objects?: TrustObjects;
  /** Host keys that are pinned in this environment; absent while there are none. */
  hostKeys?: HostKey[];
  /** Sent with a catch-up when the newest revision is not known to be valid here. */
  lastGood?: { revision: number; config: Record<string, unknown>; objects?: TrustObjects };
}

/** A token that may use connections of this environment, for the worker's own HTTP port. */
export interface UsageToken {
  /** base64url SHA-256 of the token. */
  hash: string;
  expiresAt: number | null;
  actor: string;
  grants: { project: string; connections?: string[]; operations?: string[] }[];
}

export type ToWorker =
  | { kind: 'welcome'; protocol: number; epoch: string; environment: string; worker: string }
  /**
   * The whole desired state: whatever is not in it is closed. Where `more` of it follows in the next of this
   * kind, all are applied as one with the last, and not at all where the stream ends before; no delta comes
   * in between. The later item of a connection counts.
   */
  | { kind: 'snapshot'; epoch: string; seq: number; items: DesiredConnection[]; more?: true }
  /** What changed up to `seq`; applied in order, idempotent. */
  | { kind: 'delta'; seq: number; put: DesiredConnection[]; remove: string[] }
  /** Make one harmless round trip now and answer with a `connected` or `unreachable` verdict. */
  | { kind: 'prove'; items: { connection: string; revision: number }[] }
  /** Do not try to log in with this revision before the time has passed, counted anew each time. */
  | { kind: 'hold'; connection: string; revision: number; forMs: number }
  | { kind: 'tokens'; tokens: UsageToken[] }
  | {
      kind: 'test';
      request: string;
      project: string;
      name: string;
      type: string;
      config: Record<string, unknown>;
      objects?: TrustObjects;
      /** The stored connection that is tested: host keys that are seen are reported for it. Absent: a draft. */
      connection?: string;
      hostKeys?: HostKey[];
      timeoutMs: number;
    }
  | {
      kind: 'operate';
      request: string;
      connection: string;
      operation: string;
      input: unknown;
      timeoutMs: number;
    }
  | { kind: 'cancel'; request: string };

export type FromWorker =
  | {
      kind: 'hello';
      protocol: number;
      name: string;
      version: string;
      /** Last applied position; absent on a worker that holds nothing. */
      cursor?: { epoch: string; seq: number };
    }
  /** Everything up to `seq` has arrived and is being worked on. */
  | { kind: 'received'; seq: number }
  | { kind: 'verdicts'; items: Verdict[] }
  | { kind: 'health'; items: HealthReport[] }
  /**
   * Host keys of servers that have none pinned yet, or that showed another one than is pinned; a
   * control plane that does not know this kind passes over it.
   */
  | { kind: 'host-keys'; items: HostKeySighting[] }
  /** A stage of a test begins; a control plane that does not know this kind passes over it. */
  | { kind: 'stage-begun'; request: string; stage: StageName }
  | { kind: 'stage'; request: string; stage: StageResult }
  | { kind: 'answer'; request: string; result: unknown }
  | { kind: 'failure'; request: string; failure: Failure };

/**
 * received: arrived · valid: client built · refused: cannot be built · connected: a round trip
 * succeeded · unreachable: it failed · closed: no client is open any more.
 */
export type VerdictStep = 'received' | 'valid' | 'refused' | 'connected' | 'unreachable' | 'closed';

export interface Verdict {
  connection: string;
  revision: number;
  step: VerdictStep;
  /** For people; free of secrets. */
  message?: string;
  /** Error code of `errors.ts` for refused and unreachable. */
  code?: string;
  retryable?: boolean;
  warnings?: string[];
  /** The revision that goes on serving after a refusal. */
  serving?: number;
  /** On connected and unreachable: said before, and not of a round trip made since. */
  isRepeated?: boolean;
  /** On unreachable: the answer to `prove` where nothing was dialled, so that an account is not locked. */
  isUntried?: boolean;
  /** On unreachable, after a refused log-in: when this worker tries again by itself, ms from now. */
  retryInMs?: number;
}

export interface HostKeySighting extends HostKey {
  connection: string;
}

export interface Failure {
  code: string;
  message: string;
  stage?: string;
  hint?: string;
  retryAfter?: number;
  validationErrors?: { field: string; message: string }[];
}

export const STAGES = ['resolve', 'connect', 'tls', 'authenticate', 'operate'] as const;
export type StageName = (typeof STAGES)[number];

export interface StageResult {
  stage: StageName;
  status: 'passed' | 'failed' | 'skipped';
  durationMs?: number;
  detail?: string;
  hint?: string;
  /** Error code of `errors.ts` when failed. */
  code?: string;
  retryable?: boolean;
}

export interface TestResult {
  success: boolean;
  durationMs: number;
  stages: StageResult[];
  warnings?: string[];
}

/** One minute of one connection on one worker; counters are of that minute alone. */
export interface HealthReport {
  connection: string;
  revision: number;
  /** Start of the minute, ms since the epoch. */
  minute: number;
  state: 'connected' | 'unreachable' | 'unknown' | 'refused';
  /** ms since the epoch of the last change of state. */
  since: number;
  lastError?: { code: string; message: string; at: number };
  operations: { ok: number; failed: number; totalMs: number; maxMs: number };
  /** Pool figures and the like, named by the connector. */
  figures?: Record<string, number>;
}
