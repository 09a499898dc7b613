import { Anchor } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useParams } from 'react-router';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { connectionPath, TextLink } from '../parts/links.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { TypeIcon } from '../parts/type-icon.tsx';
import { useSession } from '../session/session.tsx';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { ConnectionForm } from './connection-form.tsx';
import { FormSkeleton } from './form-skeleton.tsx';
import {
  fetchStored,
  fetchType,
  type StoredConnection,
  type TypeDescription,
} from './type-and-connection.ts';

let visits = 0;

/** A connection that is there, to change it. */
export function EditPage() {
  const { project = '', connection = '' } = useParams();
  return <Edit key={`${project} ${connection}`} project={project} name={connection} />;
}

function Edit({ project, name }: { project: string; name: string }) {
  const { plugboard } = useSession();
  // A form begins with what is stored, never with what was read for an earlier one: that may still be there.
  const [visit] = useState(() => ++visits);
  const { data, error, refetch } = useQuery({
    queryKey: [project, 'edit', name, visit],
    queryFn: ({ signal }) => fetchStored(plugboard, project, name, signal),
    gcTime: 0,
  });
  const type = data && String(data.body['type']);
  const { data: description, error: typeError } = useQuery({
    queryKey: ['connection-types', type],
    queryFn: () => fetchType(plugboard, type!),
    enabled: type !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const failure = data ? typeError : error;
  return (
    <>
      <PageHeader
        title={texts.editTitle(data ? String(data.body['name']) : name)}
        summary={description?.title}
        icon={type && <TypeIcon type={type} />}
      >
        <TextLink to={connectionPath(project, name)} size="sm">
          {texts.backTo(name)}
        </TextLink>
        <Anchor href="/docs" target="_blank" rel="noreferrer" size="sm">
          {texts.documentation}
        </Anchor>
      </PageHeader>
      {failure && <ErrorAlert error={failure} onRetry={() => void refetch()} />}
      {data && description ? (
        <Opened project={project} description={description} latest={data} />
      ) : (
        !failure && <FormSkeleton />
      )}
    </>
  );
}

/** Keeps what the work began with, while the latest version may move on. */
function Opened({
  project,
  description,
  latest,
}: {
  project: string;
  description: TypeDescription;
  latest: StoredConnection;
}) {
  const [opened] = useState(latest);
  return (
    <ConnectionForm project={project} description={description} stored={opened} newerTag={latest.etag} />
  );
}
