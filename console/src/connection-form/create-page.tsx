import { Anchor } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useParams } from 'react-router';
import { PlugboardError } from '../../../client/plugboard.ts';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { ButtonLink, TextLink } from '../parts/links.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { TypeIcon } from '../parts/type-icon.tsx';
import { useSession } from '../session/session.tsx';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { ConnectionForm } from './connection-form.tsx';
import { FormSkeleton } from './form-skeleton.tsx';
import { fetchType } from './type-and-connection.ts';

/** A new connection of a type. */
export function CreatePage() {
  const { project = '', type = '' } = useParams();
  const { plugboard } = useSession();
  const { data, error, refetch } = useQuery({
    queryKey: ['connection-types', type],
    queryFn: () => fetchType(plugboard, type),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const gallery = `/ui/p/${encodeURIComponent(project)}/new`;
  if (error instanceof PlugboardError && error.status === 404)
    return (
      <EmptyState title={texts.unknownType(type)}>
        <ButtonLink to={gallery}>{texts.toGallery}</ButtonLink>
      </EmptyState>
    );
  return (
    <>
      <PageHeader
        title={texts.createTitle(data?.title ?? type)}
        summary={data?.summary}
        icon={<TypeIcon type={type} />}
      >
        <TextLink to={gallery} size="sm">
          {texts.otherType}
        </TextLink>
        <Anchor href="/docs" target="_blank" rel="noreferrer" size="sm">
          {texts.documentation}
        </Anchor>
      </PageHeader>
      {error && <ErrorAlert error={error} onRetry={() => void refetch()} />}
      {data ? (
        <ConnectionForm key={`${project} ${type}`} project={project} description={data} stored={null} />
      ) : (
        !error && <FormSkeleton />
      )}
    </>
  );
}
