/** Figures of several rounds of one measurement. */
export interface Series {
  median: number;
  least: number;
  most: number;
  rounds: number;
}

/** Median and extremes; an even count takes the mean of the middle two. */
export function seriesOf(values: readonly number[]): Series {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = Number.isInteger(middle)
    ? (sorted[middle - 1]! + sorted[middle]!) / 2
    : sorted[Math.floor(middle)]!;
  return { median, least: sorted[0]!, most: sorted.at(-1)!, rounds: sorted.length };
}

/**
 * Measures several things in turn, round by round, so that a machine that is slow for a while is slow
 * for each of them; the first round warms up and does not count.
 */
export async function interleave<Name extends string>(
  rounds: number,
  measurements: Record<Name, () => Promise<number>>,
): Promise<Record<Name, Series>> {
  const values = {} as Record<Name, number[]>;
  const names = Object.keys(measurements) as Name[];
  for (const name of names) values[name] = [];
  for (let round = 0; round <= rounds; round++)
    for (const name of names) {
      const value = await measurements[name]();
      if (round > 0) values[name].push(value);
    }
  const series = {} as Record<Name, Series>;
  for (const name of names) series[name] = seriesOf(values[name]);
  return series;
}
