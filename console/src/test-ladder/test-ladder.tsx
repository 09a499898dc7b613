import { Alert, Badge, Button, Card, Group, Loader, Select, SimpleGrid, Stack, Text } from '@mantine/core';
import { IconPlayerPlay, IconPlayerStop } from '@tabler/icons-react';
import { useEffect, useRef, useState } from 'react';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { useSession } from '../session/session.tsx';
import { testLadder as texts } from '../texts/test-ladder.ts';
import classes from './test-ladder.module.css';
import {
  type Ladder,
  type StageName,
  stageNames,
  type Tested,
  type TestRun,
  useTestRun,
} from './test-run.ts';

/**
 * The staged test, each environment and worker side by side, filling in as the workers report.
 * `tested` is asked for at the start of each run, so that a form gives what it holds then; null: it
 * cannot be tested yet.
 */
export function TestLadder({
  project,
  environments,
  tested,
  disabledBecause,
  autoStart = false,
}: {
  project: string;
  /** Where it may run. */
  environments: readonly string[];
  tested: () => Tested | null;
  disabledBecause?: string | undefined;
  /** Starts when it is shown. */
  autoStart?: boolean;
}) {
  const { plugboard } = useSession();
  const { run, start, stop } = useTestRun(plugboard, project);
  const [environment, setEnvironment] = useState<string | null>(null);
  const running = run.phase === 'running';

  const begin = () => {
    const subject = tested();
    if (subject) void start(subject, environment === null ? {} : { environment });
  };
  const beginOnce = useRef(autoStart ? begin : null);
  useEffect(() => {
    beginOnce.current?.();
    beginOnce.current = null;
  }, []);

  return (
    <Stack gap="sm">
      <Group align="flex-end" gap="sm">
        {environments.length > 1 && (
          <Select
            label={texts.only}
            data={[
              { value: '', label: texts.everywhere },
              ...environments.map((name) => ({ value: name, label: name })),
            ]}
            value={environment ?? ''}
            onChange={(value) => setEnvironment(value || null)}
            allowDeselect={false}
            disabled={running}
            w={260}
          />
        )}
        {running ? (
          <Button variant="default" leftSection={<IconPlayerStop size={16} />} onClick={stop}>
            {texts.stop}
          </Button>
        ) : (
          <Button
            leftSection={<IconPlayerPlay size={16} />}
            onClick={begin}
            disabled={disabledBecause !== undefined}
            title={disabledBecause}
          >
            {run.phase === 'idle' ? texts.run : texts.again}
          </Button>
        )}
        {run.phase === 'idle' && (
          <Text size="sm" c="dimmed">
            {disabledBecause ?? texts.intro}
          </Text>
        )}
      </Group>
      {run.error !== undefined && <ErrorAlert error={run.error} onRetry={begin} />}
      {run.warnings.map((warning) => (
        <Alert key={warning} color="yellow">
          {warning}
        </Alert>
      ))}
      {run.phase === 'stopped' && <Text size="sm">{texts.stopped}</Text>}
      {run.phase === 'finished' && !run.error && run.ladders.length === 0 && (
        <Alert color="yellow">{texts.noTargets}</Alert>
      )}
      <Text size="sm" fw={600} role="status">
        {run.ladders.length > 0 && verdictOf(run)}
      </Text>
      <SimpleGrid cols={{ base: 1, md: Math.min(2, Math.max(1, run.ladders.length)) }}>
        {run.ladders.map((ladder) => (
          <LadderCard key={`${ladder.environmentName} ${ladder.worker}`} ladder={ladder} running={running} />
        ))}
      </SimpleGrid>
    </Stack>
  );
}

/** How many workers have ended it, and how. */
function verdictOf({ ladders, phase }: TestRun): string {
  const ended = ladders.filter(({ result }) => result !== undefined);
  const working = ended.filter(({ result }) => result!.success).length;
  return phase === 'running' && ended.length < ladders.length
    ? texts.progress(ended.length, ladders.length)
    : texts.verdict(working, ended.length - working, ladders.length - ended.length);
}

function LadderCard({ ladder, running }: { ladder: Ladder; running: boolean }) {
  const { result } = ladder;
  return (
    <Card
      withBorder
      padding="sm"
      component="section"
      aria-label={`${ladder.environmentName} ${texts.on(ladder.worker)}`}
    >
      <Group justify="space-between" mb="xs" wrap="nowrap">
        <Text fw={600} size="sm" className="break">
          {ladder.environmentName}{' '}
          <Text span c="dimmed" fw={400}>
            {texts.on(ladder.worker)}
          </Text>
        </Text>
        {result ? (
          <Badge flex="none" color={result.success ? 'teal' : 'red'} variant="light" tt="none" autoContrast>
            {result.success ? texts.works : texts.fails} · {texts.duration(result.durationMs)}
          </Badge>
        ) : (
          running && <Loader size="xs" />
        )}
      </Group>
      <ol className={classes.ladder}>
        {stageNames.map((name) => (
          <Rung key={name} name={name} ladder={ladder} running={running} />
        ))}
      </ol>
      {result?.error_description && !result.stages.some(({ status }) => status === 'failed') && (
        <Alert color="red" mt="xs">
          {result.error_description}
        </Alert>
      )}
      {result?.warnings?.map((warning) => (
        <Alert key={warning} color="yellow" mt="xs">
          {warning}
        </Alert>
      ))}
    </Card>
  );
}

/** Whether a stage beyond this one was tried. */
function wentOn({ stages }: Ladder, name: StageName): boolean {
  return stageNames
    .slice(stageNames.indexOf(name) + 1)
    .some((later) => stages[later] !== undefined && stages[later].status !== 'skipped');
}

function Rung({ name, ladder, running }: { name: StageName; ladder: Ladder; running: boolean }) {
  const stage = ladder.stages[name];
  const told = stage?.status ?? (ladder.result ? 'skipped' : 'waiting');
  // Whoever stopped it, or lost the API or the worker, hears nothing more of it.
  const isOver = !running || ladder.result !== undefined;
  const unfinished = { running: 'stopped', waiting: 'skipped' } as const;
  const status = isOver && (told === 'running' || told === 'waiting') ? unfinished[told] : told;
  const said = stage && stage.status !== 'running' ? stage : undefined;
  return (
    <li className={classes.rung} data-status={status}>
      <span className={classes.mark} aria-hidden />
      <div className={classes.words}>
        <Group justify="space-between" gap="xs" wrap="nowrap">
          <Text size="sm" fw={500} title={texts.stageHelp[name]}>
            {texts.stages[name]}
          </Text>
          <Text size="xs" c="dimmed" className={classes.status}>
            {status === 'skipped' && wentOn(ladder, name) ? texts.notNeeded : texts.statuses[status]}
            {said?.durationMs !== undefined &&
              status !== 'skipped' &&
              ` · ${texts.duration(said.durationMs)}`}
          </Text>
        </Group>
        {said?.detail && (
          <Text size="xs" className={classes.detail} c={status === 'failed' ? undefined : 'dimmed'}>
            {said.detail}
          </Text>
        )}
        {said?.hint && (
          <Alert color={status === 'failed' ? 'red' : 'yellow'} p="xs" mt={4}>
            <Text size="sm" className="break">
              {said.hint}
            </Text>
            {said.retryable && <Text size="xs">{texts.retryable}</Text>}
          </Alert>
        )}
      </div>
    </li>
  );
}
