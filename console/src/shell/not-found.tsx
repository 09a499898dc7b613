import { EmptyState } from '../parts/empty-state.tsx';
import { ButtonLink } from '../parts/links.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { shell } from '../texts/shell.ts';

export function NotFound() {
  return (
    <>
      <PageHeader title={shell.notFound} />
      <EmptyState title={shell.notFoundHelp}>
        <ButtonLink to="/ui" variant="default">
          {shell.firstProject}
        </ButtonLink>
      </EmptyState>
    </>
  );
}
