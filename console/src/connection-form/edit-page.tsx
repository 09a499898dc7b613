import { PageHeader } from '../parts/page-header.tsx';

export function EditPage() {
  return <PageHeader title="EditPage" />;
}
