import { PasswordInput, Switch, TextInput } from '@mantine/core';
import { useState } from 'react';
import { faultAt } from '../parts/field-faults.ts';
import { DialogForm, ForEdit, FormDialog, type Loaded } from '../parts/form-dialog.tsx';
import { useSession } from '../session/session.tsx';
import { users as texts } from '../texts/access.ts';
import { type Grant, grantBody } from './grant.ts';
import { GrantsEditor } from './grants-editor.tsx';

export interface User {
  username: string;
  admin: boolean;
  disabled: boolean;
  grants: Grant[];
  createdAt: string;
}

/** Path of the users in the API, or of one of them. */
export function usersApi(username?: string): string {
  return username === undefined ? '/apiops/users/' : `/apiops/users/${encodeURIComponent(username)}/`;
}

interface Props {
  onClose(): void;
  onSaved(): void;
}

/** Makes a user, or changes one; the password is written and never read. */
export function UserDialog({ username, ...props }: Props & { username: string | null }) {
  return (
    <FormDialog title={username === null ? texts.newUser : texts.edit(username)} onClose={props.onClose}>
      {username === null ? (
        <UserForm {...props} loaded={null} />
      ) : (
        <ForEdit<User> path={usersApi(username)}>
          {(loaded) => <UserForm {...props} loaded={loaded} />}
        </ForEdit>
      )}
    </FormDialog>
  );
}

function UserForm({ loaded, onClose, onSaved }: Props & { loaded: Loaded<User> | null }) {
  const { plugboard } = useSession();
  const [before] = useState(loaded);
  const [username, setUsername] = useState(before?.view.username ?? '');
  const [password, setPassword] = useState('');
  const [admin, setAdmin] = useState(before?.view.admin ?? false);
  const [disabled, setDisabled] = useState(before?.view.disabled ?? false);
  const [grants, setGrants] = useState<Grant[]>(before?.view.grants ?? []);
  const save = async () => {
    const body = { admin, disabled, grants: grants.map(grantBody) };
    if (before)
      await plugboard.request('PUT', usersApi(before.view.username), {
        body: { ...body, password: password === '' ? null : password },
        headers: { 'if-match': before.etag },
      });
    else await plugboard.request('POST', usersApi(), { body: { ...body, username, password } });
    onSaved();
  };
  return (
    <DialogForm
      save={save}
      onClose={onClose}
      placed={['username', 'password', 'admin', 'disabled', 'grants']}
    >
      {(failure) => (
        <>
          <TextInput
            label={texts.username}
            description={texts.usernameHelp}
            value={username}
            onChange={(event) => setUsername(event.currentTarget.value)}
            error={faultAt(failure, 'username')}
            disabled={before !== null}
            required
            maxLength={255}
            autoComplete="off"
            data-autofocus={before === null || undefined}
          />
          <PasswordInput
            label={before ? texts.newPassword : texts.password}
            description={before ? texts.newPasswordHelp : texts.passwordHelp}
            value={password}
            onChange={(event) => setPassword(event.currentTarget.value)}
            error={faultAt(failure, 'password')}
            aria-invalid={faultAt(failure, 'password') !== undefined}
            required={before === null}
            autoComplete="new-password"
            maxLength={1024}
          />
          <Switch
            label={texts.admin}
            description={texts.adminHelp}
            checked={admin}
            onChange={(event) => setAdmin(event.currentTarget.checked)}
          />
          <Switch
            label={texts.disabled}
            description={texts.disabledHelp}
            checked={disabled}
            onChange={(event) => setDisabled(event.currentTarget.checked)}
          />
          <GrantsEditor grants={grants} onChange={setGrants} bounded={false} failure={failure} />
        </>
      )}
    </DialogForm>
  );
}
