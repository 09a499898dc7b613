import { useCallback, useEffect, useRef, useState } from 'react';
import type {
  Connection,
  Plugboard,
  TestEvent,
  TestQuery,
  TestResult,
  TestStage,
  TestTarget,
} from '../../../client/plugboard.ts';

export type StageName = TestStage['stage'];
export const stageNames: readonly StageName[] = ['resolve', 'connect', 'tls', 'authenticate', 'operate'];

/** What one worker has said so far. */
export interface Ladder extends TestTarget {
  stages: Partial<Record<StageName, TestStage | { stage: StageName; status: 'running' }>>;
  result?: TestResult;
}

export interface TestRun {
  phase: 'idle' | 'running' | 'finished' | 'stopped';
  ladders: Ladder[];
  success?: boolean;
  warnings: string[];
  error?: unknown;
}

const idle: TestRun = { phase: 'idle', ladders: [], warnings: [] };

/** What is tested: a stored connection by its name, or a body that is not stored. */
export type Tested = { connection: string } | { draft: Connection };

/** A test that fills in as the workers report; leaving the page cancels it. */
export function useTestRun(plugboard: Plugboard, project: string) {
  const [run, setRun] = useState<TestRun>(idle);
  const current = useRef<AbortController | null>(null);
  useEffect(() => () => current.current?.abort(), []);

  const start = useCallback(
    async (tested: Tested, query: TestQuery) => {
      current.current?.abort();
      const controller = new AbortController();
      current.current = controller;
      setRun({ ...idle, phase: 'running' });
      try {
        const events =
          'draft' in tested
            ? plugboard.watchDraftTest(project, tested.draft, query, controller.signal)
            : plugboard.watchTest(project, tested.connection, query, controller.signal);
        for await (const event of events) setRun((before) => withEvent(before, event));
      } catch (error) {
        if (!controller.signal.aborted) setRun((before) => ({ ...before, phase: 'finished', error }));
      }
    },
    [plugboard, project],
  );
  const stop = useCallback(() => {
    current.current?.abort();
    setRun((before) => ({ ...before, phase: 'stopped' }));
  }, []);
  return { run, start, stop };
}

/** The run after one more event. */
export function withEvent(run: TestRun, event: TestEvent): TestRun {
  const change = (target: TestTarget, next: (ladder: Ladder) => Ladder) => ({
    ...run,
    ladders: run.ladders.map((ladder) =>
      ladder.worker === target.worker && ladder.environmentName === target.environmentName
        ? next(ladder)
        : ladder,
    ),
  });
  switch (event.type) {
    case 'started':
      return { ...run, ladders: event.targets.map((target) => ({ ...target, stages: {} })) };
    case 'stage':
      return change(event, (ladder) => ({
        ...ladder,
        stages: { ...ladder.stages, [event.stage.stage]: event.stage },
      }));
    case 'result':
      return change(event.result, (ladder) => ({
        ...ladder,
        result: event.result,
        stages: { ...underWay(ladder), ...reached(event.result, ladder) },
      }));
    case 'finished':
      return { ...run, phase: 'finished', success: event.success, warnings: event.warnings ?? [] };
  }
}

/** What a worker that was lost had begun: its result does not tell of it, or has it as skipped. */
function underWay({ stages }: Ladder): Ladder['stages'] {
  return Object.fromEntries(Object.entries(stages).filter(([, { status }]) => status === 'running'));
}

function reached({ stages }: TestResult, ladder: Ladder): Ladder['stages'] {
  return Object.fromEntries(
    stages
      .filter(({ stage, status }) => status !== 'skipped' || ladder.stages[stage]?.status !== 'running')
      .map((stage) => [stage.stage, stage]),
  );
}
