import { EmptyState } from '../parts/empty-state.tsx';
import { ButtonLink } from '../parts/links.tsx';
import { useSession } from '../session/session.tsx';
import { shell } from '../texts/shell.ts';

/** For who sees no project at all. */
export function NoProject() {
  const { me } = useSession();
  return (
    <EmptyState title={shell.noProject} help={me.admin ? undefined : shell.noProjectHelp}>
      {me.admin && <ButtonLink to="/ui/projects">{shell.projects}</ButtonLink>}
    </EmptyState>
  );
}
