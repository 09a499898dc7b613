import { useQuery } from '@tanstack/react-query';
import type { Connection, ListAnswer, Plugboard } from '../../../client/plugboard.ts';
import { useSession } from '../session/session.tsx';

/** Path of a connection in the API. */
export function connectionApi(project: string, name: string, sub = ''): string {
  return `/apiops/projects/${encodeURIComponent(project)}/connections/${encodeURIComponent(name)}/${sub}`;
}

/** A connection without its secrets, and its ETag. */
export interface MaskedConnection {
  connection: Connection;
  etag: string;
}

/** Reads a connection without revealing its secrets, whoever asks. */
export async function readMasked(
  plugboard: Plugboard,
  project: string,
  name: string,
  signal?: AbortSignal,
): Promise<MaskedConnection> {
  const { answer, headers } = await plugboard.exchange<ListAnswer<Connection>>(
    'GET',
    connectionApi(project, name),
    {
      query: { reveal: false },
      ...(signal ? { signal } : {}),
    },
  );
  return { connection: answer.resultList[0]!, etag: headers.get('etag') ?? '*' };
}

export function useMaskedConnection(project: string, name: string) {
  const { plugboard } = useSession();
  return useQuery({
    queryKey: [project, 'connection', name],
    queryFn: ({ signal }) => readMasked(plugboard, project, name, signal),
  });
}
