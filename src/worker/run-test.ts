import { type ConnectorContext, type StageNote, type Stages, untilAborted } from '../connectors/connector.ts';
import { KnownHostKeys } from '../connectors/transport/known-host-keys.ts';
import type { ConfigOf, ConnectionType } from '../contract/connection-type.ts';
import {
  STAGES,
  type StageName,
  type StageResult,
  type TestResult,
  type TrustObjects,
} from '../contract/worker-protocol.ts';
import { AppError, ERRORS, type ErrorCode } from '../errors.ts';
import { loggableError } from '../loggable-error.ts';
import {
  type ClientSurroundings,
  type ConnectionIdentity,
  maxWarnings,
  type PreparedConnection,
  prepareConnection,
  Refusal,
  toClientError,
} from './live-client.ts';

export interface TestRequest extends ConnectionIdentity {
  config: Record<string, unknown>;
  objects?: TrustObjects;
  timeoutMs: number;
}

/** What probably fixes a failure, where the connector has nothing better to say. */
const hints: Partial<Record<ErrorCode, string>> = {
  name_not_resolved: 'Check the spelling of the host, and that the worker can resolve it.',
  connection_refused: 'Check the port, and that the service is running and listens there.',
  host_unreachable: 'Check routes and firewalls between the worker and the target.',
  connect_timeout: 'A firewall may drop the packets: check that the worker may reach host and port.',
  connection_lost: 'The target closed the connection: check its log and its limits.',
  target_timeout:
    'The target accepted the connection but did not answer in time: check its load, and the port.',
  tls_not_offered: 'Check the port, and whether TLS begins at once or is asked for later.',
  certificate_untrusted:
    "Name a truststore or certificate that holds the authority of the target's certificate.",
  certificate_expired: "Renew the target's certificate, and check the clocks.",
  certificate_wrong_host: 'Use the host name that the certificate is for.',
  authentication_failed: 'Check user name and password, and that the account may log in from here.',
  permission_denied: 'Grant the account what the request needs.',
  protocol_error: 'Check that host and port belong to a service of this type.',
  egress_denied: 'The operator of the worker can allow the address by PLUGBOARD_WORKER_EGRESS_ALLOW.',
  missing_reference: 'Create what is named, or remove its name from the connection.',
};

/**
 * Runs the staged test of a configuration on clients of its own. Never rejects: what goes wrong is
 * the failure of a stage. Stages are reported in order, each once; one that did not run is skipped.
 */
export async function runTest(
  surroundings: ClientSurroundings & { hostKeys?: KnownHostKeys },
  request: TestRequest,
  onStage: (stage: StageResult) => void,
  signal?: AbortSignal,
  onStageBegun?: (stage: StageName) => void,
): Promise<TestResult> {
  const startedAt = performance.now();
  const results: StageResult[] = [];
  const warnings: string[] = [];
  let prepared: PreparedConnection | undefined;
  let current: { stage: StageName; startedAt: number; detail?: string; hint?: string } | undefined;
  let isOver = false;

  const clean = (text: string) => (prepared ? prepared.scrubbing.text(text) : text);
  const report = (result: StageResult) => {
    results.push(result);
    onStage(result);
  };
  const skipBefore = (stage: StageName) => {
    while (results.length < STAGES.indexOf(stage))
      report({ stage: STAGES[results.length]!, status: 'skipped' });
  };
  const expectNext = (stage: StageName) => {
    if (isOver) throw new AppError('cancelled');
    if (current || STAGES.indexOf(stage) < results.length)
      throw new TypeError(`stage ${stage} is out of order`);
    skipBefore(stage);
  };
  const notes = (): Pick<StageResult, 'detail' | 'hint'> => ({
    // A detail may quote the target; a hint is text of ours.
    ...(current?.detail && !prepared?.scrubbing.dropsDriverText ? { detail: clean(current.detail) } : {}),
    ...(current?.hint ? { hint: clean(current.hint) } : {}),
  });
  const fail = (error: AppError) => {
    const stage = current?.stage ?? STAGES[results.length];
    if (!stage) return;
    const seen = notes();
    const hint = error.details.hint ?? seen.hint ?? hints[error.code];
    report({
      stage,
      status: 'failed',
      durationMs: current ? since(current.startedAt) : 0,
      detail: error.message,
      ...(hint ? { hint } : {}),
      code: error.code,
      retryable: ERRORS[error.code].retryable,
    });
    current = undefined;
  };

  const stages: Stages = {
    async run<T>(stage: StageName, work: (note: StageNote) => Promise<T>): Promise<T> {
      expectNext(stage);
      const mine: NonNullable<typeof current> = { stage, startedAt: performance.now() };
      current = mine;
      onStageBegun?.(stage);
      try {
        const value = await work({
          detail: (text) => {
            mine.detail = text;
          },
          hint: (text) => {
            mine.hint = text;
          },
        });
        if (!isOver) {
          report({ stage, status: 'passed', durationMs: since(mine.startedAt), ...notes() });
          current = undefined;
        }
        return value;
      } catch (error) {
        if (!isOver) fail(toClientError(error, prepared!, surroundings.log));
        isOver = true;
        throw error;
      }
    },
    skip(stage, detail) {
      if (isOver) return;
      expectNext(stage);
      report({ stage, status: 'skipped', detail: clean(detail) });
    },
  };

  const controller = new AbortController();
  const timer = setTimeout(
    () =>
      controller.abort(new AppError('target_timeout', `The test did not end within ${request.timeoutMs} ms`)),
    request.timeoutMs,
  );
  const onAbort = () => controller.abort(new AppError('cancelled'));
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });

  try {
    prepared = await untilAborted(controller, prepareConnection(surroundings, request, request));
    warnings.push(...prepared.warnings);
    const { connector, config, scrubbing } = prepared;
    const context: ConnectorContext = {
      signal: controller.signal,
      project: request.project,
      name: request.name,
      environment: surroundings.environment,
      log: scrubbing.log(surroundings.log),
      network: surroundings.network,
      logRoots: surroundings.logRoots ?? [],
      trust: prepared.trust,
      hostKeys: surroundings.hostKeys ?? new KnownHostKeys(),
      warn(text) {
        if (warnings.length < maxWarnings && !isOver) warnings.push(scrubbing.text(text));
      },
    };
    const testing = (async () => connector.test(config as ConfigOf<ConnectionType>, stages, context))();
    await untilAborted(controller, testing);
  } catch (error) {
    if (!isOver) {
      const reason = controller.signal.aborted ? controller.signal.reason : error;
      // An error outside of every stage keeps the next one from running: it is that one's failure.
      fail(reasonOf(reason));
    }
  } finally {
    isOver = true;
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    // Ends sockets of a test that ignores its deadline.
    controller.abort(new AppError('cancelled'));
  }
  while (results.length < STAGES.length) report({ stage: STAGES[results.length]!, status: 'skipped' });

  return {
    success:
      results.some(({ status }) => status === 'passed') && !results.some(({ status }) => status === 'failed'),
    durationMs: since(startedAt),
    stages: results,
    ...(warnings.length > 0 ? { warnings: [...new Set(warnings)] } : {}),
  };

  function reasonOf(error: unknown): AppError {
    if (error instanceof Refusal) return error.reason;
    if (prepared) return toClientError(error, prepared, surroundings.log);
    if (error instanceof AppError) return error;
    surroundings.log.error({ err: loggableError(error) }, 'a test failed in an unknown way');
    return new AppError('internal_error');
  }
}

function since(startedAt: number): number {
  return Math.round(performance.now() - startedAt);
}
