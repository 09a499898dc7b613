import { PageHeader } from '../parts/page-header.tsx';

export function CreatePage() {
  return <PageHeader title="CreatePage" />;
}
