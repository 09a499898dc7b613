import { useQueryClient } from '@tanstack/react-query';
import { createContext, type ReactNode, useContext, useEffect, useRef, useState } from 'react';
import type { StreamEvent } from '../../../client/event-stream.ts';
import { useSession } from '../session/session.tsx';

/** `live`: events arrive · `lost`: the stream ended and is opened again */
export type StreamState = 'connecting' | 'live' | 'lost';

interface Live {
  state: StreamState;
  listen(listener: (event: StreamEvent) => void): () => void;
}

const LiveContext = createContext<Live | null>(null);
const reopenAfterMs = [500, 1_000, 2_000, 5_000, 10_000];
/** What of a project a worker's coming and going changes. */
const dependsOnWorkers = new Set(['overview', 'deployments', 'health']);
/** Many events in a row are one reading again. */
const gatherMs = 250;

/**
 * Opens the event stream while somebody is signed in, and marks as stale what an event is about:
 * query keys begin with the project's name, or with `worker` for the fleet.
 */
export function LiveEvents({ children }: { children: ReactNode }) {
  const { plugboard } = useSession();
  const queries = useQueryClient();
  const [state, setState] = useState<StreamState>('connecting');
  const listeners = useRef(new Set<(event: StreamEvent) => void>());

  useEffect(() => {
    const ending = new AbortController();
    const touched = new Set<string>();
    let gathering: ReturnType<typeof setTimeout> | undefined;

    const refresh = () => {
      gathering = undefined;
      for (const key of touched) void queries.invalidateQueries({ queryKey: [key] });
      if (touched.has('worker'))
        void queries.invalidateQueries({
          predicate: ({ queryKey }) => dependsOnWorkers.has(String(queryKey[1])),
        });
      touched.clear();
    };
    const touch = (event: StreamEvent) => {
      touched.add(typeof event.data.project === 'string' ? event.data.project : event.event);
      gathering ??= setTimeout(refresh, gatherMs);
    };

    void (async () => {
      for (let failures = 0; !ending.signal.aborted; failures++) {
        try {
          for await (const event of plugboard.events({
            signal: ending.signal,
            onOpen() {
              // What happened while nobody listened is not sent again.
              if (failures > 0) void queries.invalidateQueries();
              failures = 0;
              setState('live');
            },
          })) {
            touch(event);
            for (const listener of listeners.current) listener(event);
          }
        } catch {
          // Tried again below; who cannot reach the API sees it by their own requests.
        }
        if (ending.signal.aborted) return;
        setState('lost');
        await new Promise((resolve) =>
          setTimeout(resolve, reopenAfterMs[Math.min(failures, reopenAfterMs.length - 1)]),
        );
      }
    })();
    return () => {
      ending.abort();
      clearTimeout(gathering);
    };
  }, [plugboard, queries]);

  const [live] = useState(() => ({
    listen(listener: (event: StreamEvent) => void) {
      listeners.current.add(listener);
      return () => void listeners.current.delete(listener);
    },
  }));
  return <LiveContext value={{ ...live, state }}>{children}</LiveContext>;
}

/** Whether events arrive. */
export function useStreamState(): StreamState {
  return useContext(LiveContext)?.state ?? 'connecting';
}

/** Calls back for each event while the component is shown. */
export function useEvents(onEvent: (event: StreamEvent) => void): void {
  const live = useContext(LiveContext);
  const latest = useRef(onEvent);
  useEffect(() => {
    latest.current = onEvent;
  });
  const listen = live?.listen;
  useEffect(() => listen?.((event) => latest.current(event)), [listen]);
}
