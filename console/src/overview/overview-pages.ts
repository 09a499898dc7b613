import { keepPreviousData, useQueries, useQuery } from '@tanstack/react-query';
import { useCallback, useState } from 'react';
import type { ConnectionOverview, OverviewQuery, Plugboard } from '../../../client/plugboard.ts';

/** Connections that are read at once. */
export const pageSize = 100;

/** The connections that match a filter, as far as they are in view: only those pages are read, and read again. */
export function useOverviewPages(plugboard: Plugboard, project: string, filter: OverviewQuery) {
  const page = (number: number) => ({
    queryKey: [project, 'overview', filter, number],
    queryFn: ({ signal }: { signal: AbortSignal }) =>
      plugboard.overview(project, { ...filter, page: number, size: pageSize }, signal),
    // What a worker finds out by itself comes as an event; what only time changes does not.
    refetchInterval: 30_000,
  });
  const first = useQuery({ ...page(1), placeholderData: keepPreviousData });
  const [inView, setInView] = useState<readonly number[]>([]);
  const others = inView.filter((number) => number > 1);
  const read = useQueries({ queries: others.map(page) });

  const rowAt = (index: number): ConnectionOverview | undefined => {
    const number = Math.floor(index / pageSize) + 1;
    const answer = number === 1 ? first.data : read[others.indexOf(number)]?.data;
    return answer?.resultList[index % pageSize];
  };
  /** Tells which rows are on the screen. */
  const show = useCallback((from: number, to: number) => {
    const next: number[] = [];
    for (let number = Math.floor(from / pageSize) + 1; number <= Math.floor(to / pageSize) + 1; number++)
      next.push(number);
    setInView((before) => (before.join() === next.join() ? before : next));
  }, []);
  return { first, error: first.error ?? read.find(({ error }) => error)?.error ?? null, rowAt, show };
}
