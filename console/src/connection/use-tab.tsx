import {
  Alert,
  Button,
  Code,
  Group,
  JsonInput,
  ScrollArea,
  Select,
  Skeleton,
  Stack,
  Table,
  Text,
} from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import type { Connection } from '../../../client/plugboard.ts';
import { connectionApi } from '../api/connection.ts';
import { CopyButton } from '../parts/copy-button.tsx';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { connection as connectionTexts } from '../texts/connection.ts';
import { exampleOf, inputFields, type OperationSchema } from './operation-input.ts';

const texts = connectionTexts.use;

interface Outcome {
  result?: unknown;
  error?: unknown;
  durationMs: number;
}

/** Tries an operation for real, as an application would call it. */
export function UseTab({
  project,
  connection,
  environments,
}: {
  project: string;
  connection: Connection;
  environments: readonly string[];
}) {
  const { plugboard } = useSession();
  const type = useQuery({
    queryKey: ['types', connection.type],
    queryFn: () => plugboard.describeType(connection.type),
    staleTime: Infinity,
  });
  if (type.isPending) return <Skeleton height={240} />;
  if (type.error) return <ErrorAlert error={type.error} onRetry={() => void type.refetch()} />;
  const operations = type.data.operations as Record<string, OperationSchema>;
  if (Object.keys(operations).length === 0) return <EmptyState title={texts.none} />;
  return (
    <Operation project={project} name={connection.name} operations={operations} environments={environments} />
  );
}

function Operation({
  project,
  name,
  operations,
  environments,
}: {
  project: string;
  name: string;
  operations: Record<string, OperationSchema>;
  environments: readonly string[];
}) {
  const { plugboard } = useSession();
  const { may } = usePermissions(project);
  const names = Object.keys(operations);
  const [chosen, setChosen] = useState(names[0]!);
  const [environment, setEnvironment] = useState(environments[0] ?? null);
  const [inputs, setInputs] = useState<Record<string, string>>({});
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const running = useRef<AbortController | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => () => running.current?.abort(), []);

  const operation = operations[chosen]!;
  const text = inputs[chosen] ?? JSON.stringify(exampleOf(operation.input), null, 2);
  const parsed = parse(text);
  const lacking = may('CONNECTIONS:USE') ? undefined : connectionTexts.lacks('CONNECTIONS:USE');
  const path = connectionApi(project, name, `operations/${encodeURIComponent(chosen)}/`);

  const run = async () => {
    const controller = new AbortController();
    running.current = controller;
    setBusy(true);
    setOutcome(null);
    const began = performance.now();
    const took = () => Math.round(performance.now() - began);
    try {
      const { result } = await plugboard.request<{ result: unknown }>('POST', path, {
        body: parsed.value,
        query: environment === null ? {} : { environment },
        signal: controller.signal,
      });
      setOutcome({ result, durationMs: took() });
    } catch (error) {
      if (!controller.signal.aborted) setOutcome({ error, durationMs: took() });
    }
    setBusy(false);
  };

  return (
    <Stack>
      <Alert color="yellow" variant="light">
        {texts.caution}
      </Alert>
      <Group align="flex-end">
        <Select
          label={texts.operation}
          data={names.map((one) => ({ value: one, label: operations[one]!.title ?? one }))}
          value={chosen}
          onChange={(value) => {
            if (value) setChosen(value);
            setOutcome(null);
          }}
          allowDeselect={false}
          w={{ base: '100%', xs: 260 }}
        />
        {environments.length > 1 && (
          <Select
            label={texts.environment}
            data={[...environments]}
            value={environment}
            onChange={setEnvironment}
            allowDeselect={false}
            w={{ base: '100%', xs: 220 }}
          />
        )}
      </Group>
      {operation.description && (
        <Text size="sm" c="dimmed">
          {operation.description}
        </Text>
      )}
      <JsonInput
        label={texts.input}
        description={texts.inputHelp}
        value={text}
        onChange={(value) => setInputs({ ...inputs, [chosen]: value })}
        error={parsed.error && texts.invalid(parsed.error)}
        autosize
        minRows={4}
        maxRows={18}
        spellCheck={false}
        styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
      />
      <Fields operation={operation} />
      <Group>
        <Button
          onClick={run}
          loading={busy}
          disabled={lacking !== undefined || parsed.error !== undefined}
          title={lacking}
        >
          {texts.run}
        </Button>
        {busy && (
          <Button variant="default" onClick={() => running.current?.abort()}>
            {texts.stop}
          </Button>
        )}
        <CopyButton label={texts.curl} value={curlOf(path, environment, text)} />
      </Group>
      <div aria-live="polite">
        {outcome && 'error' in outcome && outcome.error !== undefined && <ErrorAlert error={outcome.error} />}
        {outcome && outcome.error === undefined && (
          <>
            <Text size="sm" fw={600} mb={4}>
              {texts.result} · {texts.took(outcome.durationMs)}
            </Text>
            <ScrollArea.Autosize mah={400}>
              <Code block>{JSON.stringify(outcome.result, null, 2) ?? 'null'}</Code>
            </ScrollArea.Autosize>
          </>
        )}
      </div>
    </Stack>
  );
}

function Fields({ operation }: { operation: OperationSchema }) {
  const fields = inputFields(operation.input);
  if (fields.length === 0) return null;
  return (
    <details>
      <summary>
        <Text span size="sm">
          {texts.fields}
        </Text>
      </summary>
      <ScrollArea>
        <Table miw={480} verticalSpacing={4} mt="xs">
          <Table.Tbody>
            {fields.map(({ name, type, required, help }) => (
              <Table.Tr key={name}>
                <Table.Td ff="monospace" w={180}>
                  {name}
                </Table.Td>
                <Table.Td c="dimmed" w={140}>
                  {type}
                  {required && `, ${texts.required}`}
                </Table.Td>
                <Table.Td>{help}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </ScrollArea>
    </details>
  );
}

function parse(text: string): { value?: unknown; error?: string } {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

function curlOf(path: string, environment: string | null, body: string): string {
  const query = environment === null ? '' : `?environment=${encodeURIComponent(environment)}`;
  return [
    `curl -X POST '${window.location.origin}${path}${query}'`,
    `-H "Authorization: Bearer $PLUGBOARD_TOKEN"`,
    `-H 'Content-Type: application/json'`,
    `-d '${body.replaceAll("'", `'\\''`)}'`,
  ].join(' \\\n  ');
}
