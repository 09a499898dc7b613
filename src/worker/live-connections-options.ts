import type { Logger, Network } from '../connectors/connector.ts';
import type { HostKeySighting, Verdict } from '../contract/worker-protocol.ts';
import type { TypeRegistry } from './live-client.ts';
import type { SecretSources } from './secrets/secret-sources.ts';

export interface LiveConnectionsOptions extends TypeRegistry {
  network: Network;
  /** Without them no secret reference is allowed. */
  secrets?: SecretSources;
  log: Logger;
  /** Directories that connections may write files into; default none. */
  logRoots?: readonly string[] | undefined;
  /** Name of the worker's environment, as far as it is known. */
  environment: () => string;
  /** Whether a control plane decides when connections are proved; without one the worker does. */
  hasControlPlane: () => boolean;
  onVerdict: (verdict: Verdict) => void;
  /** Told of host keys that the control plane has not pinned. */
  onHostKey?: (sighting: HostKeySighting) => void;
  limits?: Partial<Limits>;
}

export interface Limits {
  /** Longest that building a client may take, ms. Default 8000: less than a deployment waits. */
  openTimeoutMs: number;
  /** Longest round trip of a proof, ms. Default 10,000. */
  proveTimeoutMs: number;
  /** How long operations of a replaced client may go on, ms. Default 30,000. */
  drainMs: number;
  /** How long operations of a disabled connection may go on, ms. Default 700, so that it is closed within a second. */
  abortAfterMs: number;
  /** How long a revision may go on opening when a newer one waits, ms. Default 1000. */
  supersedeAfterMs: number;
  /** Operations in flight on one connection. Default 256. */
  concurrency: number;
  /** Clients of one connection that may drain at a time. Default 4. */
  draining: number;
  /** Proofs at a time that nobody asked for. Default 32. */
  periodicProofs: number;
  /** Proofs at a time that the control plane asked for. Default 256. */
  requestedProofs: number;
  /** How often secret references are looked up again, ms. Default 60,000. */
  secretCheckMs: number;
  /** First and longest wait before a refusal that may pass is tried again, ms. Default 5000 and 60,000. */
  retryOpenMs: [first: number, longest: number];
}

/** What holds where nothing else is said. */
export const defaultLimits: Limits = {
  openTimeoutMs: 8_000,
  proveTimeoutMs: 10_000,
  drainMs: 30_000,
  abortAfterMs: 700,
  supersedeAfterMs: 1_000,
  concurrency: 256,
  draining: 4,
  periodicProofs: 32,
  requestedProofs: 256,
  secretCheckMs: 60_000,
  retryOpenMs: [5_000, 60_000],
};
