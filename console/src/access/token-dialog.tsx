import { Button, Code, Group, Select, Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import { CopyButton } from '../parts/copy-button.tsx';
import { faultAt } from '../parts/field-faults.ts';
import { DialogForm, FormDialog } from '../parts/form-dialog.tsx';
import { exactTime } from '../parts/relative-time.ts';
import { useSession } from '../session/session.tsx';
import { tokens as texts } from '../texts/access.ts';
import { type Grant, grantBody } from './grant.ts';
import { GrantsEditor } from './grants-editor.tsx';

const dayMs = 86_400_000;

/** Makes a token and shows it once; it is forgotten with this dialog. */
export function TokenDialog({ onClose, onMade }: { onClose(): void; onMade(): void }) {
  const { plugboard, me } = useSession();
  const [name, setName] = useState('');
  const [ends, setEnds] = useState('90');
  const [endsAt, setEndsAt] = useState('');
  const [grants, setGrants] = useState<Grant[]>([{ project: me.projects[0]?.name ?? '*', permissions: [] }]);
  const [made, setMade] = useState<string | null>(null);
  const expiresAt = () => {
    if (ends === 'never') return null;
    if (ends === 'custom') return endsAt === '' ? '' : new Date(endsAt).toISOString();
    return new Date(Date.now() + Number(ends) * dayMs).toISOString();
  };
  const make = async () => {
    const { token } = await plugboard.createToken({
      name,
      expiresAt: expiresAt(),
      grants: grants.map(grantBody),
    });
    setMade(token);
    onMade();
  };
  if (made !== null)
    return (
      <FormDialog title={texts.madeTitle} onClose={onClose}>
        <Stack>
          <Text size="sm">{texts.madeHelp}</Text>
          <Code block className="break" style={{ whiteSpace: 'pre-wrap' }} aria-label={texts.made}>
            {made}
          </Code>
          <Group justify="space-between">
            <CopyButton value={made} label={texts.copyToken} />
            <Button onClick={onClose}>{texts.done}</Button>
          </Group>
        </Stack>
      </FormDialog>
    );
  return (
    <FormDialog title={texts.newToken} onClose={onClose}>
      <DialogForm save={make} onClose={onClose} placed={['name', 'expiresAt', 'grants']} action={texts.make}>
        {(failure) => (
          <>
            <TextInput
              label={texts.name}
              description={texts.nameHelp}
              value={name}
              onChange={(event) => setName(event.currentTarget.value)}
              error={faultAt(failure, 'name')}
              required
              maxLength={255}
              data-autofocus
            />
            <Select
              label={texts.endsLabel}
              description={me.expiresAt && texts.outlives(exactTime(me.expiresAt))}
              data={['1', '7', '30', '90', '365', 'never', 'custom'].map((value) => ({
                value,
                label: texts.choices[value] ?? value,
              }))}
              value={ends}
              onChange={(choice) => choice && setEnds(choice)}
              error={ends === 'custom' ? undefined : faultAt(failure, 'expiresAt')}
              allowDeselect={false}
            />
            {ends === 'custom' && (
              <TextInput
                type="datetime-local"
                label={texts.endsAt}
                value={endsAt}
                onChange={(event) => setEndsAt(event.currentTarget.value)}
                error={faultAt(failure, 'expiresAt')}
                required
              />
            )}
            <GrantsEditor grants={grants} onChange={setGrants} bounded failure={failure} />
          </>
        )}
      </DialogForm>
    </FormDialog>
  );
}
