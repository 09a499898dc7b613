import { PageHeader } from '../parts/page-header.tsx';

export function ProjectsPage() {
  return <PageHeader title="ProjectsPage" />;
}
