import {
  Autocomplete,
  Button,
  Fieldset,
  FileInput,
  Group,
  Input,
  PasswordInput,
  Select,
  SimpleGrid,
  Stack,
  TextInput,
} from '@mantine/core';
import { IconFile } from '@tabler/icons-react';
import { useState } from 'react';
import type { Change } from '../parts/change-outcome.tsx';
import { faultAt } from '../parts/field-faults.ts';
import { DialogForm, ForEdit, FormDialog, type Loaded } from '../parts/form-dialog.tsx';
import { useSession } from '../session/session.tsx';
import { keys as texts } from '../texts/keys.ts';
import { type KeystoreType, readKeystoreFile } from './keystore-file.ts';
import { type Keystore, type KeystoreEntry, keysApi } from './stored-keys.ts';

interface Props {
  project: string;
  onClose(): void;
  onSaved(change: Change): void;
}

/** Makes a keystore, or changes one; its files and passwords are written and never read. */
export function KeystoreDialog({ name, ...props }: Props & { name: string | null }) {
  return (
    <FormDialog title={name === null ? texts.newKeystore : texts.edit(name)} onClose={props.onClose}>
      {name === null ? (
        <KeystoreForm {...props} loaded={null} />
      ) : (
        <ForEdit<Keystore> path={keysApi(props.project, 'keystores', name)}>
          {(loaded) => <KeystoreForm {...props} loaded={loaded} />}
        </ForEdit>
      )}
    </FormDialog>
  );
}

interface Draft {
  environmentName: string;
  type: KeystoreType | null;
  /** base64; null keeps what is stored. */
  file: string | null;
  password: string;
  alias: string;
  /** What the stored file holds. */
  entries: KeystoreEntry[] | null;
}

const empty = (environmentName: string): Draft => ({
  environmentName,
  type: null,
  file: null,
  password: '',
  alias: '',
  entries: null,
});

function KeystoreForm({ project, loaded, onClose, onSaved }: Props & { loaded: Loaded<Keystore> | null }) {
  const { plugboard, me } = useSession();
  const environments = me.projects.find(({ name }) => name === project)?.environments ?? [];
  const [before] = useState(loaded);
  const [name, setName] = useState(before?.view.name ?? '');
  const [description, setDescription] = useState(before?.view.description ?? '');
  const [drafts, setDrafts] = useState<readonly Draft[]>(
    () =>
      before?.view.keyStoreEnvironmentList.map(({ environmentName, type, alias, entries }) => ({
        ...empty(environmentName),
        type,
        alias: alias ?? '',
        entries,
      })) ?? environments.slice(0, 1).map(empty),
  );
  const left = environments.filter((one) => !drafts.some(({ environmentName }) => environmentName === one));
  const save = async () => {
    const body = {
      name,
      description: description || null,
      keyStoreEnvironmentList: drafts.map(({ environmentName, type, file, password, alias }) => ({
        environmentName,
        type,
        file,
        // A new file may have no password; of the stored one it is kept.
        password: password !== '' || file !== null ? password : null,
        alias: alias || null,
      })),
    };
    const answer = await plugboard.request<Change['answer']>(
      before ? 'PUT' : 'POST',
      keysApi(project, 'keystores', before?.view.name),
      {
        body,
        ...(before ? { headers: { 'if-match': before.etag }, query: { rename: true } } : {}),
      },
    );
    onSaved({ name, answer });
  };
  return (
    <DialogForm save={save} onClose={onClose} placed={['name', 'description', 'keyStoreEnvironmentList']}>
      {(failure) => (
        <>
          <TextInput
            label={texts.name}
            description={before ? texts.renameHelp : texts.nameHelp}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
            error={faultAt(failure, 'name')}
            required
            maxLength={255}
            data-autofocus
          />
          <TextInput
            label={texts.description}
            value={description}
            onChange={(event) => setDescription(event.currentTarget.value)}
            error={faultAt(failure, 'description')}
            maxLength={1000}
          />
          {drafts.map((draft, index) => (
            <DraftFields
              key={draft.environmentName}
              draft={draft}
              fault={(field) => faultAt(failure, `keyStoreEnvironmentList[${index}].${field}`)}
              onChange={(change) =>
                setDrafts((now) =>
                  now.map((one) =>
                    one.environmentName === draft.environmentName ? { ...one, ...change } : one,
                  ),
                )
              }
              onRemove={() => setDrafts(drafts.filter((one) => one !== draft))}
            />
          ))}
          {faultAt(failure, 'keyStoreEnvironmentList') && (
            <Input.Error>{faultAt(failure, 'keyStoreEnvironmentList')}</Input.Error>
          )}
          {left.length > 0 && (
            <Select
              label={texts.addEnvironment}
              data={left}
              value={null}
              onChange={(environment) => environment && setDrafts([...drafts, empty(environment)])}
              searchable={left.length > 8}
            />
          )}
        </>
      )}
    </DialogForm>
  );
}

function DraftFields({
  draft,
  fault,
  onChange,
  onRemove,
}: {
  draft: Draft;
  fault(field: string): string | undefined;
  onChange(change: Partial<Draft>): void;
  onRemove(): void;
}) {
  const [chosen, setChosen] = useState<File | null>(null);
  const [unread, setUnread] = useState<string | null>(null);
  const stored = draft.entries !== null;
  const choose = async (file: File | null) => {
    setChosen(file);
    setUnread(null);
    if (!file) return onChange({ file: null });
    try {
      const { base64, type } = await readKeystoreFile(file);
      onChange({ file: base64, ...(type ? { type } : {}), ...(stored ? { alias: '' } : {}) });
    } catch (error) {
      onChange({ file: null });
      setUnread(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <Fieldset legend={draft.environmentName}>
      <Stack gap="sm">
        {fault('environmentName') && <Input.Error>{fault('environmentName')}</Input.Error>}
        <FileInput
          label={texts.file}
          description={texts.fileHelp}
          placeholder={stored ? texts.fileKept : texts.chooseFile}
          leftSection={<IconFile size={16} aria-hidden />}
          value={chosen}
          onChange={choose}
          error={unread ?? fault('file')}
          withAsterisk={!stored}
          clearable
        />
        <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="sm">
          <Select
            label={texts.type}
            description={texts.typeHelp}
            data={Object.entries(texts.types).map(([value, label]) => ({ value, label }))}
            value={draft.type}
            onChange={(type) => onChange({ type: type as KeystoreType | null })}
            error={fault('type') ?? fault('keyStoreType')}
            withAsterisk
            allowDeselect={false}
          />
          <PasswordInput
            label={texts.password}
            description={texts.passwordHelp}
            placeholder={stored && draft.file === null ? texts.passwordKept : ''}
            value={draft.password}
            onChange={(event) => onChange({ password: event.currentTarget.value })}
            error={fault('password')}
            aria-invalid={fault('password') !== undefined}
            autoComplete="new-password"
            maxLength={1024}
          />
        </SimpleGrid>
        <Autocomplete
          label={texts.alias}
          description={texts.aliasHelp}
          data={[
            ...new Set(
              draft.file === null
                ? draft.entries?.filter(({ kind }) => kind === 'key').map(({ alias }) => alias)
                : [],
            ),
          ]}
          value={draft.alias}
          onChange={(alias) => onChange({ alias })}
          error={fault('alias')}
          maxLength={255}
        />
        <Group justify="flex-end">
          <Button variant="subtle" color="red" size="compact-xs" onClick={onRemove}>
            {texts.leaveOut(draft.environmentName)}
          </Button>
        </Group>
      </Stack>
    </Fieldset>
  );
}
