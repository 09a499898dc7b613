import type { DesiredConnection } from '../../src/contract/worker-protocol.ts';
import type { Address, CallName } from './calls.ts';

/** By which the port of a caller is used. */
export const callerToken = 'bench-usage-token-0123456789';

/** What a caller is asked; each is answered once. */
export type CallerOrder =
  /** Opens the connection of the call or, of the bare side, the driver. */
  | { open: CallName; address: Address }
  | { run: CallName; inFlight: number; durationMs: number }
  | { close: CallName }
  /** Starts the worker's own HTTP port or, of the bare side, Fastify with the driver's call for a handler; answers its number. */
  | { port: string }
  /** Puts connections and answers how many were made live. */
  | { put: DesiredConnection[] }
  /** Memory after a collection, and open files of the process. */
  | { usage: true }
  /** Calls until the target's buffer is full; answers the most bytes that were held. */
  | { fill: CallName; durationMs: number };

export interface RunResult {
  perSecond: number;
  /** Processor time of this process for one unit, µs. */
  cpuMicros: number;
}

export interface UsageResult {
  residentBytes: number;
  sockets: number;
}

export interface FillResult {
  /** As the connection counts them. */
  heldBytes: number;
  /** What the process grew by. */
  addedBytes: number;
  refused: number;
}
