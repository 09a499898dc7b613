import {
  Alert,
  Button,
  Code,
  Group,
  JsonInput,
  ScrollArea,
  SegmentedControl,
  Select,
  Skeleton,
  Stack,
  Text,
} from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import type { Connection } from '../../../client/plugboard.ts';
import { connectionApi } from '../api/connection.ts';
import { singleQuoted } from '../connection-form/curl-command.ts';
import { CopyButton } from '../parts/copy-button.tsx';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { faultsOf } from '../parts/field-faults.ts';
import { FoldedText } from '../parts/folded-text.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { connection as connectionTexts } from '../texts/connection.ts';
import { OperationForm } from './operation-form.tsx';
import { exampleOf, type OperationSchema } from './operation-input.ts';

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
  const [view, setView] = useState<'form' | 'json'>('form');
  const [faulty, setFaulty] = useState<ReadonlySet<string>>(new Set());
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
            setFaulty(new Set());
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
      <SegmentedControl
        aria-label={texts.view}
        value={view}
        onChange={(next) => setView(next as typeof view)}
        data={[
          { value: 'form', label: texts.asForm },
          { value: 'json', label: texts.asJson },
        ]}
        w={{ base: '100%', xs: 200 }}
      />
      {view === 'form' && isInput(parsed.value) && (
        <OperationForm
          key={chosen}
          operation={operation}
          input={parsed.value}
          onChange={(input) => setInputs({ ...inputs, [chosen]: JSON.stringify(input, null, 2) })}
          faults={faultsOf(outcome?.error)}
          onFault={(field, isFaulty) =>
            setFaulty((before) =>
              isFaulty ? new Set([...before, field]) : new Set([...before].filter((one) => one !== field)),
            )
          }
        />
      )}
      {view === 'form' && !isInput(parsed.value) && <Alert color="yellow">{texts.notAForm}</Alert>}
      {view === 'json' && (
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
      )}
      <Group>
        <Button
          onClick={run}
          loading={busy}
          disabled={
            lacking !== undefined || parsed.error !== undefined || (view === 'form' && faulty.size > 0)
          }
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
            <ScrollArea.Autosize mah={480}>
              <Code block className="break">
                <FoldedText text={resultText(outcome.result)} limit={20_000} />
              </Code>
            </ScrollArea.Autosize>
            <Group mt="xs">
              <CopyButton value={resultText(outcome.result)} />
            </Group>
          </>
        )}
      </div>
    </Stack>
  );
}

function parse(text: string): { value?: unknown; error?: string } {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

function isInput(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function resultText(result: unknown): string {
  return JSON.stringify(result, null, 2) ?? 'null';
}

function curlOf(path: string, environment: string | null, body: string): string {
  const query = environment === null ? '' : `?environment=${encodeURIComponent(environment)}`;
  return [
    `curl --fail-with-body -X POST ${singleQuoted(`${window.location.origin}${path}${query}`)}`,
    `-H "Authorization: Bearer $PLUGBOARD_TOKEN"`,
    `-H 'Content-Type: application/json'`,
    `--data-binary ${singleQuoted(body)}`,
  ].join(' \\\n  ');
}
