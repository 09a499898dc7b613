import { Alert, List, Text } from '@mantine/core';
import type { ChangeAnswer } from '../../../client/plugboard.ts';
import { common } from '../texts/common.ts';
import { forms as texts } from '../texts/forms.ts';

/** What became of a change to something that connections refer to. */
export interface Change {
  name: string;
  answer: ChangeAnswer & { redeployedConnections?: string[] };
}

/** Says which connections took the change up, where it failed, and what to know of what was stored. */
export function ChangeOutcome({ change, onClose }: { change: Change | null; onClose(): void }) {
  if (!change) return null;
  const { redeployedConnections = [], deploymentResult, warnings = [] } = change.answer;
  const failed = deploymentResult?.success === false;
  return (
    <Alert
      mb="md"
      role="status"
      color={failed ? 'red' : warnings.length > 0 ? 'yellow' : 'teal'}
      title={texts.saved(change.name)}
      withCloseButton
      closeButtonLabel={common.close}
      onClose={onClose}
      className="break"
    >
      <Text size="sm">
        {redeployedConnections.length === 0 ? texts.noReferrers : texts.redeployed(redeployedConnections)}
      </Text>
      {(deploymentResult?.deploymentResults.length ?? 0) + warnings.length > 0 && (
        <List size="sm" mt={4}>
          {deploymentResult?.deploymentResults.map(({ environmentName, success, message }) => (
            <List.Item key={environmentName}>
              {success ? '✓ ' : '✕ '}
              {texts.inEnvironment(environmentName, message)}
            </List.Item>
          ))}
          {warnings.map((warning) => (
            <List.Item key={warning}>{warning}</List.Item>
          ))}
        </List>
      )}
    </Alert>
  );
}
