import { PageHeader } from '../parts/page-header.tsx';

export function ConnectionPage() {
  return <PageHeader title="ConnectionPage" />;
}
