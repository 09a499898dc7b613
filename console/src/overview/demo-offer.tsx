import { Anchor, Button, List, Stack, Text } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { type Connection, PlugboardError } from '../../../client/plugboard.ts';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { ButtonLink } from '../parts/links.tsx';
import { useSession } from '../session/session.tsx';
import { overview as texts } from '../texts/overview.ts';

interface Demo {
  resultList: Connection[];
  pages: { title: string; url: string }[];
}

/** For an empty project: the first connection, or, where the demo's targets run, one to each of them. */
export function DemoOffer({ project }: { project: string }) {
  const { plugboard } = useSession();
  const queries = useQueryClient();
  const [done, setDone] = useState<number | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const demo = useQuery({
    queryKey: ['demo'],
    staleTime: Infinity,
    retry: false,
    queryFn: () =>
      plugboard.request<Demo>('GET', '/apiops/demo/').catch((error: unknown) => {
        if (error instanceof PlugboardError && error.status === 404) return null;
        throw error;
      }),
  });

  const load = async () => {
    setFailure(null);
    try {
      for (const [index, body] of (demo.data?.resultList ?? []).entries()) {
        setDone(index);
        await plugboard.createConnection(project, body);
      }
    } catch (error) {
      setFailure(error);
    }
    setDone(null);
    await queries.invalidateQueries({ queryKey: [project] });
  };

  return (
    <Stack align="center" gap="sm">
      <ButtonLink to={`/ui/p/${encodeURIComponent(project)}/new`}>{texts.create}</ButtonLink>
      {demo.data && (
        <>
          <Button variant="default" onClick={load} loading={done !== null}>
            {texts.loadDemo}
          </Button>
          <Text size="sm" c="dimmed" ta="center" maw={420} aria-live="polite">
            {done === null ? texts.demoHelp : texts.loadingDemo(done, demo.data.resultList.length)}
          </Text>
          <Text size="sm">{texts.demoPages}</Text>
          <List size="sm">
            {demo.data.pages.map(({ title, url }) => (
              <List.Item key={url}>
                <Anchor href={url} target="_blank" rel="noreferrer">
                  {title}
                </Anchor>
              </List.Item>
            ))}
          </List>
        </>
      )}
      {failure !== null && <ErrorAlert error={failure} />}
    </Stack>
  );
}
