import { PageHeader } from '../parts/page-header.tsx';

export function GalleryPage() {
  return <PageHeader title="GalleryPage" />;
}
