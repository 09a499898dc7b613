import { Alert, Button, Code, List, Text } from '@mantine/core';
import { PlugboardError } from '../../../client/plugboard.ts';
import { common } from '../texts/common.ts';

/** A failed call in full: what, which fields, which request. */
export function ErrorAlert({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const body = error instanceof PlugboardError ? error.body : undefined;
  return (
    <Alert color="red" title={common.requestFailed} role="alert" mb="md">
      <Text size="sm" className="break">
        {error instanceof Error ? error.message : String(error)}
      </Text>
      {body?.hint && <Text size="sm">{body.hint}</Text>}
      {body?.validation_errors && (
        <List size="sm" mt={4}>
          {body.validation_errors.map(({ field, message }) => (
            <List.Item key={`${field} ${message}`}>
              <Code>{field}</Code> {message}
            </List.Item>
          ))}
        </List>
      )}
      {body?.request_id && (
        <Text size="xs" c="dimmed" mt={4}>
          {common.requestId(body.request_id)}
        </Text>
      )}
      {onRetry && (
        <Button size="xs" variant="light" color="red" mt="xs" onClick={onRetry}>
          {common.tryAgain}
        </Button>
      )}
    </Alert>
  );
}
