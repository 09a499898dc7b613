import { Button, Group, List, Modal, Stack, Text } from '@mantine/core';
import type { DeploymentResult } from '../../../client/plugboard.ts';
import { common } from '../texts/common.ts';
import { connectionForm as texts } from '../texts/connection-form.ts';

/** One line for each environment. */
export function DeploymentLines({ result }: { result: DeploymentResult | undefined }) {
  if (!result) return texts.savedNotDeployed;
  return (
    <List size="sm" listStyleType="none">
      {result.deploymentResults.map(({ environmentName, message }) => (
        <List.Item key={environmentName}>{texts.deployedTo(environmentName, message)}</List.Item>
      ))}
    </List>
  );
}

/** What was saved and not taken up everywhere: why, by environment and worker. */
export function RefusedDialog({ result, onGo }: { result: DeploymentResult; onGo(): void }) {
  return (
    <Modal
      opened
      onClose={onGo}
      title={texts.refusedTitle}
      size="lg"
      closeButtonProps={{ 'aria-label': common.close }}
    >
      <Stack>
        <Text size="sm">{texts.refusedHelp}</Text>
        {result.deploymentResults.map(({ environmentName, success, message, workers }) => (
          <div key={environmentName}>
            <Text size="sm" fw={600} className="break">
              <span aria-hidden>{success ? '● ' : '✕ '}</span>
              {texts.deployedTo(environmentName, message)}
            </Text>
            <List size="sm" withPadding>
              {workers.map((worker) => (
                <List.Item key={worker.worker} className="break">
                  {worker.worker}: {worker.success ? texts.workerOk : worker.message}
                </List.Item>
              ))}
            </List>
          </div>
        ))}
        <Group justify="flex-end">
          <Button onClick={onGo} data-autofocus>
            {texts.goToConnection}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
