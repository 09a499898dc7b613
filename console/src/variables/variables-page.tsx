import { PageHeader } from '../parts/page-header.tsx';

export function VariablesPage() {
  return <PageHeader title="VariablesPage" />;
}
