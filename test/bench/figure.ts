import type { Series } from './statistics.ts';

/** One comparison: what it says, against what, and whether it is good enough. */
export interface Figure {
  group: string;
  name: string;
  /** What the two sides do. */
  meaning: string;
  unit: string;
  product: Series;
  bare?: Series;
  /** Product over bare, of the medians; higher is better for throughput, lower for time. */
  ratio?: number;
  target?: { atLeast: number } | { atMost: number };
}

/** A figure with its ratio. */
export function compared(figure: Omit<Figure, 'ratio' | 'bare'> & { bare: Series }): Figure {
  return { ...figure, ratio: figure.product.median / figure.bare.median };
}

/** Whether the target is met, by the ratio or, where there is none, by the product's own median; undefined without target. */
export function meetsTarget({ target, ratio, product }: Figure): boolean | undefined {
  if (!target) return undefined;
  const value = ratio ?? product.median;
  return 'atLeast' in target ? value >= target.atLeast : value <= target.atMost;
}
