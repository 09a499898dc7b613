import { Badge, Button, Code, Group, Progress, Skeleton, Table, Text, Title } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import type { ListAnswer } from '../../../client/plugboard.ts';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { useSession } from '../session/session.tsx';
import { keys as texts } from '../texts/keys.ts';

interface MasterKey {
  keyId: string;
  newest: boolean;
  given: boolean;
  values: number;
}

interface Rotation {
  rotation: {
    state: 'idle' | 'running' | 'done' | 'failed';
    total: number;
    done: number;
    message: string | null;
  };
}

const pollMs = 1_000;

/** The keys that seal what is stored, and their rotation with its progress; for administrators. */
export function MasterKeys() {
  const { plugboard } = useSession();
  const queries = useQueryClient();
  const [failure, setFailure] = useState<unknown>(null);
  const rotation = useQuery({
    queryKey: ['master-keys', 'rotation'],
    queryFn: ({ signal }) => plugboard.request<Rotation>('GET', '/apiops/keys/rotate/', { signal }),
    refetchInterval: (query) => (query.state.data?.rotation.state === 'running' ? pollMs : false),
  });
  const state = rotation.data?.rotation;
  const keys = useQuery({
    // How many values each seals is another number when the rotation has ended.
    queryKey: ['master-keys', 'list', state?.state],
    queryFn: ({ signal }) => plugboard.request<ListAnswer<MasterKey>>('GET', '/apiops/keys/', { signal }),
    placeholderData: (before) => before,
  });
  const rotate = async () => {
    setFailure(null);
    try {
      await plugboard.request('POST', '/apiops/keys/rotate/');
      await queries.invalidateQueries({ queryKey: ['master-keys'] });
    } catch (error) {
      setFailure(error);
    }
  };
  return (
    <section aria-label={texts.masterKeys}>
      <Group justify="space-between" mb="xs">
        <div>
          <Title order={2} size="h5">
            {texts.masterKeys}
          </Title>
          <Text size="sm" c="dimmed" maw={640}>
            {texts.masterKeysHelp}
          </Text>
        </div>
        <Button variant="default" size="xs" onClick={rotate} loading={state?.state === 'running'}>
          {texts.rotate}
        </Button>
      </Group>
      {(failure ?? keys.error ?? rotation.error) && (
        <ErrorAlert error={failure ?? keys.error ?? rotation.error} />
      )}
      <div aria-live="polite">
        {state?.state === 'running' && (
          <>
            <Text size="sm">{texts.rotating(state.done, state.total)}</Text>
            <Progress
              value={state.total === 0 ? 100 : (100 * state.done) / state.total}
              aria-label={texts.rotate}
              mb="xs"
            />
          </>
        )}
        {state?.state === 'done' && <Text size="sm">{texts.rotated(state.total)}</Text>}
        {state?.state === 'failed' && (
          <Text size="sm" c="red">
            {texts.rotationFailed(state.message ?? '')}
          </Text>
        )}
      </div>
      {keys.isPending && <Skeleton height={60} />}
      {keys.data && (
        <Table verticalSpacing="xs" aria-label={texts.masterKeys}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{texts.keyId}</Table.Th>
              <Table.Th>{texts.values}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {keys.data.resultList.map(({ keyId, newest, given, values }) => (
              <Table.Tr key={keyId}>
                <Table.Td>
                  <Group gap="xs">
                    <Code className="break">{keyId}</Code>
                    {newest && (
                      <Badge variant="light" tt="none" autoContrast>
                        {texts.newest}
                      </Badge>
                    )}
                    {!given && (
                      <Badge color="red" variant="light" tt="none" autoContrast>
                        {texts.missing}
                      </Badge>
                    )}
                  </Group>
                </Table.Td>
                <Table.Td>{values}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </section>
  );
}
