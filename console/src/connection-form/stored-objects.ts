import { useQuery } from '@tanstack/react-query';
import type { ListAnswer } from '../../../client/plugboard.ts';
import { usePermissions, useSession } from '../session/session.tsx';

const lists: Readonly<Record<string, 'keystores' | 'certificates'>> = {
  trustStoreName: 'keystores',
  keyStoreName: 'keystores',
  certificateName: 'certificates',
};
const none: string[] = [];

/** Names of the keystores or certificates that a field may name; none for other fields. */
export function useStoredObjects(project: string, field: string): string[] {
  const { plugboard } = useSession();
  const { may } = usePermissions(project);
  const list = lists[field];
  const { data } = useQuery({
    queryKey: [project, list, 'names'],
    queryFn: async () =>
      (
        await plugboard.request<ListAnswer<{ name: string }>>(
          'GET',
          `/apiops/projects/${encodeURIComponent(project)}/${list}/`,
        )
      ).resultList.map(({ name }) => name),
    enabled: list !== undefined && may('KEYS:VIEW'),
  });
  return data ?? none;
}
