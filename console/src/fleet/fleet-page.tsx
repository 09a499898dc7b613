import { PageHeader } from '../parts/page-header.tsx';

export function FleetPage() {
  return <PageHeader title="FleetPage" />;
}
