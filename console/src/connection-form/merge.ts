import { type Body, canonical } from './form-schema.ts';

/** A field in which two versions differ. */
export interface Difference {
  name: string;
  mine: unknown;
  theirs: unknown;
  /** Who changed it since both began. */
  changedBy: 'me' | 'them' | 'both';
}

/** What of two versions differs, field by field; `base` is what both began with. */
export function differences(base: Body, mine: Body, theirs: Body): Difference[] {
  const names = new Set([...Object.keys(theirs), ...Object.keys(mine)]);
  return [...names].flatMap((name) => {
    const same = (a: Body, b: Body) => canonical(a[name] ?? null) === canonical(b[name] ?? null);
    if (same(mine, theirs)) return [];
    const changedBy = same(base, mine) ? 'them' : same(base, theirs) ? 'me' : 'both';
    return [{ name, mine: mine[name] ?? null, theirs: theirs[name] ?? null, changedBy } as const];
  });
}

/** Their version with mine where it is chosen. */
export function merged(theirs: Body, mine: Body, chosenMine: ReadonlySet<string>): Body {
  const result = { ...theirs };
  for (const name of chosenMine) result[name] = mine[name] ?? null;
  return result;
}
