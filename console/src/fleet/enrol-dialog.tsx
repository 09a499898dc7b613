import { Alert, Button, Code, Group, Loader, Modal, Stack, Text, TextInput } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { useEvents } from '../api/live-events.tsx';
import { CopyButton } from '../parts/copy-button.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { useSession } from '../session/session.tsx';
import { common } from '../texts/common.ts';
import { fleet as texts } from '../texts/fleet.ts';

/** Makes a worker's credential, shows the command line once, and waits for the worker to come. */
export function EnrolDialog({ environment, onClose }: { environment: string; onClose(): void }) {
  const { plugboard } = useSession();
  const queries = useQueryClient();
  const [name, setName] = useState('');
  const [command, setCommand] = useState<string | null>(null);
  const [arrived, setArrived] = useState<string | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  useEvents(({ event, data }) => {
    if (command !== null && event === 'worker' && data.environmentName === environment && data.connected)
      if (data.worker === workerNameOf(name)) setArrived(String(data.worker));
  });

  const make = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      const { token } = await plugboard.enrollWorker(environment, name);
      setCommand(commandLine(token, name));
      await queries.invalidateQueries({ queryKey: ['worker'] });
    } catch (error) {
      setFailure(error);
    } finally {
      setBusy(false);
    }
  };

  return (
    <Modal
      opened
      onClose={onClose}
      title={texts.enrol}
      size="lg"
      // A stray click or key does not lose what is shown once.
      closeOnClickOutside={command === null}
      closeOnEscape={command === null}
      closeButtonProps={{ 'aria-label': common.close }}
    >
      {command === null ? (
        <form onSubmit={make}>
          <Stack>
            <Text size="sm">{texts.enrolHelp}</Text>
            <TextInput
              label={texts.credentialName}
              description={texts.credentialNameHelp}
              value={name}
              onChange={(event) => setName(event.currentTarget.value)}
              required
              maxLength={255}
              data-autofocus
            />
            {failure !== null && <ErrorAlert error={failure} />}
            <Group justify="flex-end">
              <Button variant="default" onClick={onClose}>
                {common.cancel}
              </Button>
              <Button type="submit" loading={busy}>
                {texts.makeCredential}
              </Button>
            </Group>
          </Stack>
        </form>
      ) : (
        <Stack>
          <Text fw={600} size="sm">
            {texts.commandTitle}
          </Text>
          <Text size="sm" c="dimmed">
            {texts.commandHelp}
          </Text>
          <Code block className="break" style={{ whiteSpace: 'pre-wrap' }}>
            {command}
          </Code>
          <Group>
            <CopyButton value={command} />
          </Group>
          <div aria-live="polite">
            {arrived === null ? (
              <Group gap="xs">
                <Loader size="xs" />
                <Text size="sm">{texts.waiting}</Text>
              </Group>
            ) : (
              <Alert color="teal">{texts.arrived(arrived)}</Alert>
            )}
          </div>
          <Group justify="flex-end">
            <Button onClick={onClose}>{texts.done}</Button>
          </Group>
        </Stack>
      )}
    </Modal>
  );
}

/** The worker names itself after its credential, in what a worker's name may hold. */
function workerNameOf(credential: string): string {
  return credential.replaceAll(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '') || 'worker';
}

function commandLine(token: string, name: string): string {
  return [
    `PLUGBOARD_URL='${window.location.origin}'`,
    `PLUGBOARD_WORKER_TOKEN='${token}'`,
    `PLUGBOARD_WORKER_NAME='${workerNameOf(name)}'`,
    'npm run plugboard worker',
  ].join(' \\\n  ');
}
