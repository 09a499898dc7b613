import type { Figure } from './figure.ts';
import type { Helper } from './process.ts';

/** What a bench is given. */
export interface BenchContext {
  /** Rounds that count. */
  rounds: number;
  /** Length of one measurement of throughput, ms. */
  sliceMs: number;
  /** Connections stored for the reading benches. */
  stored: number;
  quick: boolean;
  /** Empty, on a real disk; removed at the end. */
  directory: string;
  load: Helper;
}

export type Bench = (context: BenchContext) => Promise<Figure[]>;
