import { PageHeader } from '../parts/page-header.tsx';

export function UsersPage() {
  return <PageHeader title="UsersPage" />;
}
