import { Button, Skeleton } from '@mantine/core';
import { useEffect, useState } from 'react';
import { Outlet, useParams } from 'react-router';
import { EmptyState } from '../parts/empty-state.tsx';
import { ButtonLink } from '../parts/links.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { useSession } from '../session/session.tsx';
import { common } from '../texts/common.ts';
import { shell } from '../texts/shell.ts';

/** The pages of a project, when the token sees it; asked again once, as it may be new. */
export function KnownProject() {
  const { project = '' } = useParams();
  const { me, refresh } = useSession();
  const known = me.projects.some(({ name }) => name === project);
  const [asked, setAsked] = useState<string | null>(null);
  const ask = () =>
    void refresh()
      .catch(() => undefined)
      .finally(() => setAsked(project));
  // biome-ignore lint/correctness/useExhaustiveDependencies: once for each name
  useEffect(() => {
    if (!known && asked !== project) ask();
  }, [known, project]);

  if (known) return <Outlet />;
  if (asked !== project) return <Skeleton height={200} />;
  return (
    <>
      <PageHeader title={project} />
      <EmptyState title={shell.unknownProject} help={shell.unknownProjectHelp}>
        <Button variant="default" onClick={ask}>
          {common.tryAgain}
        </Button>
        <ButtonLink to="/ui" variant="default">
          {shell.firstProject}
        </ButtonLink>
      </EmptyState>
    </>
  );
}
