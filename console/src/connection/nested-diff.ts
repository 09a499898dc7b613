/** A place within a value that differs; null where there is nothing. */
export interface Difference {
  path: string;
  before: unknown;
  after: unknown;
}

type Members = Readonly<Record<string, unknown>>;

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isNothing = (value: unknown) => value === null || value === undefined;

/**
 * What differs between two values of a field, member by member and item by item; an item that was
 * put in or taken out moves those behind it without being told of them.
 */
export function differences(path: string, before: unknown, after: unknown): Difference[] {
  if (isSame(before, after)) return [];
  if (isMembers(before) && isMembers(after))
    return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((name) =>
      differences(`${path}.${name}`, before[name], after[name]),
    );
  if (Array.isArray(before) && Array.isArray(after)) return ofLists(path, before, after);
  return [{ path, before: before ?? null, after: after ?? null }];
}

function ofLists(path: string, before: readonly unknown[], after: readonly unknown[]): Difference[] {
  let start = 0;
  while (start < before.length && start < after.length && isSame(before[start], after[start])) start += 1;
  let end = 0;
  while (
    end < before.length - start &&
    end < after.length - start &&
    isSame(before[before.length - 1 - end], after[after.length - 1 - end])
  )
    end += 1;
  const [taken, put] = [before.slice(start, before.length - end), after.slice(start, after.length - end)];
  return Array.from({ length: Math.max(taken.length, put.length) }, (_, index) =>
    differences(`${path}[${start + index}]`, taken[index], put[index]),
  ).flat();
}

function isSame(a: unknown, b: unknown): boolean {
  return (isNothing(a) && isNothing(b)) || JSON.stringify(a) === JSON.stringify(b);
}
