import { PageHeader } from '../parts/page-header.tsx';

export function ExpiringPage() {
  return <PageHeader title="ExpiringPage" />;
}
