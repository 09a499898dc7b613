import '@mantine/charts/styles.css';
import { LineChart } from '@mantine/charts';
import { Badge, Card, Group, SegmentedControl, SimpleGrid, Skeleton, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { exactTime } from '../parts/relative-time.ts';
import { Ago } from '../parts/time.tsx';
import { useSession } from '../session/session.tsx';
import { connection } from '../texts/connection.ts';
import { type HealthMinute, latencyOf, readHealth, stripOf, type WorkerHealth } from './health.ts';
import classes from './health-tab.module.css';

const texts = connection.health;
const ranges = { hour: { minutes: 60, buckets: 60 }, day: { minutes: 1440, buckets: 96 } } as const;
type Range = keyof typeof ranges;

const colours = { connected: 'teal', unreachable: 'red', unknown: 'gray', refused: 'red' } as const;

/** What each worker sees, now and over the last hour or day. */
export function HealthTab({ project, name }: { project: string; name: string }) {
  const { plugboard } = useSession();
  const [range, setRange] = useState<Range>('hour');
  const health = useQuery({
    queryKey: [project, 'health', name],
    queryFn: ({ signal }) => readHealth(plugboard, project, name, signal),
    refetchInterval: 10_000,
  });
  if (health.isPending) return <Skeleton height={300} />;
  if (health.error) return <ErrorAlert error={health.error} onRetry={() => void health.refetch()} />;
  if (health.data.length === 0) return <EmptyState title={texts.none} />;
  return (
    <Stack>
      <SegmentedControl
        aria-label={texts.range}
        value={range}
        onChange={(value) => setRange(value as Range)}
        data={[
          { value: 'hour', label: texts.hour },
          { value: 'day', label: texts.day },
        ]}
        w={260}
      />
      {[...health.data].sort(byPlace).map((worker) => (
        <WorkerCard key={`${worker.environmentName} ${worker.worker}`} health={worker} range={range} />
      ))}
    </Stack>
  );
}

function byPlace(a: WorkerHealth, b: WorkerHealth): number {
  return a.environmentName.localeCompare(b.environmentName) || a.worker.localeCompare(b.worker);
}

function WorkerCard({ health, range }: { health: WorkerHealth; range: Range }) {
  const { environmentName, worker, workerConnected, state, since, lastError, operations, figures } = health;
  const now = Date.now();
  const from = now - ranges[range].minutes * 60_000;
  const minutes = health.minutes.filter(({ at }) => Date.parse(at) >= from);
  return (
    <Card withBorder component="section" aria-label={`${environmentName} ${worker}`}>
      <Group justify="space-between" mb="sm">
        <Text fw={600} className="break">
          {environmentName}{' '}
          <Text span c="dimmed" fw={400} size="sm">
            {worker}
          </Text>
        </Text>
        <Group gap="xs">
          {!workerConnected && (
            <Badge color="yellow" variant="light" tt="none" autoContrast>
              {texts.workerGone}
            </Badge>
          )}
          <Badge color={workerConnected ? colours[state] : 'gray'} variant="light" tt="none" autoContrast>
            {texts.states[state]}
          </Badge>
          <Text size="xs" c="dimmed">
            {texts.since} <Ago at={since} />
          </Text>
        </Group>
      </Group>
      <Strip minutes={minutes} range={range} now={now} />
      <SimpleGrid cols={{ base: 2, sm: 4 }} my="md">
        <Figure
          label={texts.operations}
          value={`${texts.ok(operations.ok)}, ${texts.failed(operations.failed)}`}
        />
        <Figure
          label={texts.average}
          value={operations.averageMs === null ? '–' : `${operations.averageMs} ms`}
        />
        <Figure label={texts.slowest} value={operations.maxMs === 0 ? '–' : `${operations.maxMs} ms`} />
        <Figure label={texts.lastError} value={lastError ? <Ago at={lastError.at} /> : texts.noError} />
      </SimpleGrid>
      {lastError && (
        <Text size="sm" className="break" mb="sm">
          <Text span ff="monospace" size="xs">
            {lastError.code}
          </Text>{' '}
          {lastError.message}
        </Text>
      )}
      <Latency minutes={minutes} range={range} now={now} />
      {Object.keys(figures).length > 0 && (
        <>
          <Text size="xs" c="dimmed" mt="md" mb={4}>
            {texts.figures}
          </Text>
          <Group gap="lg">
            {Object.entries(figures).map(([name, value]) => (
              <Figure key={name} label={texts.figureNames[name] ?? name} value={value.toLocaleString('en')} />
            ))}
          </Group>
        </>
      )}
    </Card>
  );
}

function Figure({ label, value }: { label: string; value: React.ReactNode }) {
  return (
    <div>
      <Text size="xs" c="dimmed">
        {label}
      </Text>
      <Text size="sm">{value}</Text>
    </div>
  );
}

function Strip({ minutes, range, now }: { minutes: readonly HealthMinute[]; range: Range; now: number }) {
  const { buckets, minutes: span } = ranges[range];
  const each = span / buckets;
  const strip = stripOf(minutes, buckets, each, now);
  const start = now - span * 60_000;
  const up = minutes.filter(({ state }) => state === 'connected').length;
  const label = `${texts.strip(exactTime(new Date(start).toISOString()), exactTime(new Date(now).toISOString()))}: ${texts.summary(up, minutes.length)}`;
  return (
    <>
      <div className={classes.strip} role="img" aria-label={label}>
        {strip.map((state, index) => (
          <span
            // biome-ignore lint/suspicious/noArrayIndexKey: a place in time
            key={index}
            data-state={state ?? 'none'}
            title={`${exactTime(new Date(start + index * each * 60_000).toISOString())}: ${texts.states[state ?? 'none']}`}
          />
        ))}
      </div>
      <Group justify="space-between" gap="xs" mt={4} aria-hidden>
        <Text size="xs" c="dimmed">
          {clock.format(start)}
        </Text>
        <Text size="xs" c="dimmed">
          {texts.now}
        </Text>
      </Group>
      <div className={classes.legend} title={texts.legend} aria-hidden>
        {(['connected', 'unreachable', 'refused', 'unknown', 'none'] as const)
          .filter((state) => state !== 'refused' || strip.includes('refused'))
          .map((state) => (
            <span key={state}>
              <i data-state={state} />
              {texts.states[state]}
            </span>
          ))}
      </div>
    </>
  );
}

const clock = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

function Latency({ minutes, range, now }: { minutes: readonly HealthMinute[]; range: Range; now: number }) {
  const { buckets, minutes: span } = ranges[range];
  const data = latencyOf(minutes, buckets, span / buckets, now).map(({ at, ...point }) => ({
    at: clock.format(at),
    ...point,
  }));
  if (data.every(({ average }) => average === null))
    return (
      <Text size="sm" c="dimmed">
        {texts.noOperations}
      </Text>
    );
  return (
    <>
      <Text size="xs" c="dimmed" mb={4}>
        {texts.latency}
      </Text>
      <LineChart
        h={160}
        data={data}
        dataKey="at"
        series={[
          { name: 'average', label: texts.averageSeries, color: 'teal.6' },
          { name: 'max', label: texts.maxSeries, color: 'gray.5' },
        ]}
        curveType="linear"
        connectNulls={false}
        dotProps={{ r: 2 }}
        withLegend
        tickLine="none"
        strokeWidth={2}
        xAxisProps={{ interval: buckets / 6 - 1 }}
        lineChartProps={{ accessibilityLayer: true }}
      />
    </>
  );
}
