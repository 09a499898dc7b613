import { FileInput, MultiSelect, Textarea, TextInput } from '@mantine/core';
import { IconFile } from '@tabler/icons-react';
import { useState } from 'react';
import type { Change } from '../parts/change-outcome.tsx';
import { faultAt } from '../parts/field-faults.ts';
import { DialogForm, ForEdit, FormDialog, type Loaded } from '../parts/form-dialog.tsx';
import { useSession } from '../session/session.tsx';
import { keys as texts } from '../texts/keys.ts';
import { readCertificateFile } from './keystore-file.ts';
import { type Certificate, keysApi } from './stored-keys.ts';

interface Props {
  project: string;
  onClose(): void;
  onSaved(change: Change): void;
}

/** Stores a certificate or a chain, or changes it. */
export function CertificateDialog({ name, ...props }: Props & { name: string | null }) {
  return (
    <FormDialog title={name === null ? texts.newCertificate : texts.edit(name)} onClose={props.onClose}>
      {name === null ? (
        <CertificateForm {...props} loaded={null} />
      ) : (
        <ForEdit<Certificate> path={keysApi(props.project, 'certificates', name)}>
          {(loaded) => <CertificateForm {...props} loaded={loaded} />}
        </ForEdit>
      )}
    </FormDialog>
  );
}

function CertificateForm({
  project,
  loaded,
  onClose,
  onSaved,
}: Props & { loaded: Loaded<Certificate> | null }) {
  const { plugboard, me } = useSession();
  const [before] = useState(loaded);
  const [body, setBody] = useState({
    name: before?.view.name ?? '',
    description: before?.view.description ?? '',
    alias: before?.view.alias ?? '',
    environmentList: before?.view.environmentList ?? [],
    pemEncodedFile: before?.view.pemEncodedFile ?? '',
  });
  const [chosen, setChosen] = useState<File | null>(null);
  const [unread, setUnread] = useState<string | null>(null);
  const environments = new Set([
    ...(me.projects.find(({ name }) => name === project)?.environments ?? []),
    ...body.environmentList,
  ]);
  const set = (change: Partial<typeof body>) => setBody((now) => ({ ...now, ...change }));
  const choose = async (file: File | null) => {
    setChosen(file);
    setUnread(null);
    if (!file) return;
    try {
      set({ pemEncodedFile: await readCertificateFile(file) });
    } catch (error) {
      setUnread(error instanceof Error ? error.message : String(error));
    }
  };
  const save = async () => {
    const answer = await plugboard.request<Change['answer']>(
      before ? 'PUT' : 'POST',
      keysApi(project, 'certificates', before?.view.name),
      {
        body: {
          ...body,
          description: body.description || null,
          alias: body.alias || null,
          pemEncodedFile: body.pemEncodedFile || null,
        },
        ...(before ? { headers: { 'if-match': before.etag }, query: { rename: true } } : {}),
      },
    );
    onSaved({ name: body.name, answer });
  };
  return (
    <DialogForm save={save} onClose={onClose} placed={Object.keys(body)}>
      {(failure) => (
        <>
          <TextInput
            label={texts.name}
            description={before ? texts.renameHelp : texts.nameHelp}
            value={body.name}
            onChange={(event) => set({ name: event.currentTarget.value })}
            error={faultAt(failure, 'name')}
            required
            maxLength={255}
            data-autofocus
          />
          <TextInput
            label={texts.description}
            value={body.description}
            onChange={(event) => set({ description: event.currentTarget.value })}
            error={faultAt(failure, 'description')}
            maxLength={1000}
          />
          <FileInput
            label={texts.fromFile}
            description={texts.fromFileHelp}
            placeholder={texts.chooseFile}
            leftSection={<IconFile size={16} aria-hidden />}
            value={chosen}
            onChange={choose}
            error={unread}
          />
          <Textarea
            label={texts.pem}
            description={texts.pemHelp}
            value={body.pemEncodedFile}
            onChange={(event) => set({ pemEncodedFile: event.currentTarget.value })}
            error={faultAt(failure, 'pemEncodedFile')}
            rows={6}
            spellCheck={false}
            withAsterisk
            styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
          />
          <MultiSelect
            label={texts.environments}
            description={texts.environmentsHelp}
            data={[...environments]}
            value={body.environmentList}
            onChange={(environmentList) => set({ environmentList })}
            error={faultAt(failure, 'environmentList')}
          />
          <TextInput
            label={texts.alias}
            description={texts.certificateAliasHelp}
            value={body.alias}
            onChange={(event) => set({ alias: event.currentTarget.value })}
            error={faultAt(failure, 'alias')}
            maxLength={255}
          />
        </>
      )}
    </DialogForm>
  );
}
