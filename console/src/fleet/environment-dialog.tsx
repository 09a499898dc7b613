import { Button, Group, Modal, Select, Stack, TextInput } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { useSession } from '../session/session.tsx';
import { common } from '../texts/common.ts';
import { fleet as texts } from '../texts/fleet.ts';

export interface Environment {
  name: string;
  description: string | null;
  type: keyof typeof texts.kinds;
}

/** Makes an environment, or changes one. */
export function EnvironmentDialog({
  environment,
  onClose,
}: {
  environment: Environment | null;
  onClose(): void;
}) {
  const { plugboard } = useSession();
  const queries = useQueryClient();
  const [body, setBody] = useState<Environment>(
    environment ?? { name: '', description: null, type: 'PRODUCTION' },
  );
  const [failure, setFailure] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const save = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      await plugboard.request(
        environment ? 'PUT' : 'POST',
        environment
          ? `/apiops/environments/${encodeURIComponent(environment.name)}/`
          : '/apiops/environments/',
        { body },
      );
      await queries.invalidateQueries({ queryKey: ['worker'] });
      onClose();
    } catch (error) {
      setFailure(error);
      setBusy(false);
    }
  };
  return (
    <Modal
      opened
      onClose={onClose}
      title={environment ? texts.editEnvironment(environment.name) : texts.newEnvironment}
      closeButtonProps={{ 'aria-label': common.close }}
    >
      <form onSubmit={save}>
        <Stack>
          <TextInput
            label={texts.environmentName}
            description={texts.environmentHelp}
            value={body.name}
            onChange={(event) => setBody({ ...body, name: event.currentTarget.value })}
            disabled={environment !== null}
            required
            maxLength={255}
            data-autofocus={environment === null}
          />
          <TextInput
            label={texts.description}
            value={body.description ?? ''}
            onChange={(event) => setBody({ ...body, description: event.currentTarget.value || null })}
            maxLength={1000}
          />
          <Select
            label={texts.kind}
            data={Object.entries(texts.kinds).map(([value, label]) => ({ value, label }))}
            value={body.type}
            onChange={(type) => type && setBody({ ...body, type: type as Environment['type'] })}
            allowDeselect={false}
          />
          {failure !== null && <ErrorAlert error={failure} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {common.cancel}
            </Button>
            <Button type="submit" loading={busy}>
              {common.save}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
