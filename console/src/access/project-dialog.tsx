import { MultiSelect, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { ListAnswer } from '../../../client/plugboard.ts';
import { faultAt } from '../parts/field-faults.ts';
import { DialogForm, ForEdit, FormDialog, type Loaded } from '../parts/form-dialog.tsx';
import { useSession } from '../session/session.tsx';
import { projects as texts } from '../texts/access.ts';

interface Project {
  name: string;
  description: string | null;
  environments: string[];
}

/** Path of the projects in the API, or of one of them. */
export function projectsApi(name?: string): string {
  return name === undefined ? '/apiops/projects/' : `/apiops/projects/${encodeURIComponent(name)}/`;
}

interface Props {
  onClose(): void;
  onSaved(): Promise<void>;
}

/** Makes a project, or changes one. */
export function ProjectDialog({ name, ...props }: Props & { name: string | null }) {
  return (
    <FormDialog title={name === null ? texts.newProject : texts.edit(name)} onClose={props.onClose}>
      {name === null ? (
        <ProjectForm {...props} loaded={null} />
      ) : (
        <ForEdit<Project> path={projectsApi(name)}>
          {(loaded) => <ProjectForm {...props} loaded={loaded} />}
        </ForEdit>
      )}
    </FormDialog>
  );
}

function ProjectForm({ loaded, onClose, onSaved }: Props & { loaded: Loaded<Project> | null }) {
  const { plugboard } = useSession();
  const [before] = useState(loaded);
  const [name, setName] = useState(before?.view.name ?? '');
  const [description, setDescription] = useState(before?.view.description ?? '');
  const [environments, setEnvironments] = useState(before?.view.environments ?? ['production']);
  const known = useKnownEnvironments();
  const save = async () => {
    const body = { name, description: description || null, environments };
    await plugboard.request(before ? 'PUT' : 'POST', projectsApi(before?.view.name), {
      body,
      ...(before ? { headers: { 'if-match': before.etag } } : {}),
    });
    await onSaved();
  };
  return (
    <DialogForm save={save} onClose={onClose} placed={['name', 'description', 'environments']}>
      {(failure) => (
        <>
          <TextInput
            label={texts.name}
            description={texts.nameHelp}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
            error={faultAt(failure, 'name')}
            disabled={before !== null}
            required
            maxLength={255}
            data-autofocus={before === null || undefined}
          />
          <TextInput
            label={texts.description}
            value={description}
            onChange={(event) => setDescription(event.currentTarget.value)}
            error={faultAt(failure, 'description')}
            maxLength={1000}
          />
          <MultiSelect
            label={texts.environments}
            description={texts.environmentsHelp}
            data={[...new Set([...known, ...environments])].sort()}
            value={environments}
            onChange={setEnvironments}
            error={faultAt(failure, 'environments')}
            searchable
          />
        </>
      )}
    </DialogForm>
  );
}

/** All environments for an administrator; for others those of the projects that they see. */
function useKnownEnvironments(): string[] {
  const { plugboard, me } = useSession();
  const read = useQuery({
    queryKey: ['worker', 'environments'],
    queryFn: ({ signal }) =>
      plugboard.request<ListAnswer<{ name: string }>>('GET', '/apiops/environments/', { signal }),
    enabled: me.admin,
  });
  return read.data
    ? read.data.resultList.map(({ name }) => name)
    : me.projects.flatMap(({ environments }) => environments);
}
