import type { FastifyRequest } from 'fastify';
import type { StageName, StageResult, TestResult } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import { type Config, definitionOf, invalid } from '../connections/body-checks.ts';
import type { ConnectedWorker, ConnectedWorkers } from '../deployments/connected-workers.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import { createRateLimiter } from '../server/rate-limits.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { WorkerHub } from '../server/worker-hub.ts';
import type { Resolved } from '../variables/resolver.ts';
import { TargetGuard } from './target-guard.ts';

const defaultTimeoutMs = 30_000;

export interface TestedConnection {
  name: string;
  type: string;
  config: Config;
  warnings?: string[];
  /** Id of the stored connection whose host keys are trusted; absent where there is none. */
  connection?: string;
  /** Its body is not the stored one, so that what it leads to is not remembered. */
  isDraft?: boolean;
}

export interface TestQuery {
  environment?: string;
  worker?: string;
  timeoutMs?: string;
}

/** Where a test runs. */
export interface TestTarget {
  environmentName: string;
  worker: string;
}

type TargetResult = TestTarget & TestResult & { error?: string; reason?: string; error_description?: string };

interface TestAnswer {
  success: boolean;
  results: TargetResult[];
  warnings?: string[];
}

/** Told as the workers report; a stage that begins is `running`. */
export interface TestObserver {
  onStage?(target: TestTarget, stage: StageResult | { stage: StageName; status: 'running' }): void;
  onResult?(result: TargetResult): void;
}

/** A test that may run: its workers are known, and neither rights nor limits are against it. */
export interface PreparedTest {
  targets: TestTarget[];
  /** Never fails for what a worker or a target does: that is a result. Aborting cancels it on the workers. */
  run(observer: TestObserver, signal: AbortSignal): Promise<TestAnswer>;
}

interface Services {
  access: Access;
  deployments: Deployments;
  workers: ConnectedWorkers;
  hub: WorkerHub;
}

/** The staged tests of connections, run by the workers of their environments side by side. */
export class StagedTests {
  readonly #services: Services;
  readonly #byToken = createRateLimiter({ perMinute: 60 });
  readonly #guard = new TargetGuard();

  constructor(services: Services) {
    this.#services = services;
  }

  /** Fails with `bad_request`, `forbidden`, `no_worker` or `rate_limit_exceeded`. */
  async prepare(request: FastifyRequest, draft: TestedConnection, query: TestQuery): Promise<PreparedTest> {
    const { project, principal } = request;
    const environments = targetsOf(
      project,
      typeof draft.config['selectedEnvironmentId'] === 'string'
        ? [draft.config['selectedEnvironmentId']]
        : ((draft.config['environments'] ?? []) as string[]),
    );
    const chosen = this.#testers(request, draft.name, environments, query);
    const taken = this.#byToken.take(principal.id);
    if (!taken.ok)
      throw new AppError('rate_limit_exceeded', 'At most 60 tests a minute for a token', {
        details: { retryAfter: taken.retryAfter },
      });
    const definition = definitionOf(draft.type);
    const resolved = await this.#resolvedIn(project, draft, chosen);
    for (const config of distinctConfigs(resolved.values())) this.#guard.admit(definition, config);
    const timeoutMs = Number(query.timeoutMs ?? defaultTimeoutMs);
    return {
      targets: chosen.map(targetOf),
      run: async (observer, signal) => {
        const results = await Promise.all(
          chosen.map(async (worker) => {
            const here = resolved.get(worker.environment.name)!;
            const result = await this.#runOn(worker, project, draft, here, { timeoutMs, signal, observer });
            observer.onResult?.(result);
            return result;
          }),
        );
        return {
          success: results.every(({ success }) => success),
          results,
          ...(draft.warnings?.length ? { warnings: draft.warnings } : {}),
        };
      },
    };
  }

  async #runOn(
    worker: ConnectedWorker,
    project: ProjectRow,
    { name, type, connection, isDraft }: TestedConnection,
    here: Resolved,
    options: { timeoutMs: number; signal: AbortSignal; observer: TestObserver },
  ): Promise<TargetResult> {
    const target = targetOf(worker);
    const { timeoutMs, signal, observer } = options;
    const seen: StageResult[] = [];
    const startedAt = Date.now();
    if ('refusal' in here)
      return {
        ...target,
        success: false,
        durationMs: 0,
        stages: seen,
        error: 'target_error',
        reason: 'missing_reference',
        error_description: here.refusal,
      };
    try {
      const { hostKeys } = this.#services.deployments;
      const pinned =
        connection !== undefined && hostKeys.concern(type)
          ? await hostKeys.pinned(connection, target.environmentName)
          : [];
      const result = (await this.#services.hub.request(
        worker,
        {
          kind: 'test',
          project: project.name,
          name,
          type,
          config: here.config,
          ...(here.objects ? { objects: here.objects } : {}),
          ...(connection === undefined || isDraft ? {} : { connection }),
          ...(pinned.length > 0 ? { hostKeys: pinned } : {}),
          timeoutMs,
        },
        {
          timeoutMs,
          signal,
          onStageBegun: (stage) => observer.onStage?.(target, { stage, status: 'running' }),
          onStage: (stage) => {
            seen.push(stage);
            observer.onStage?.(target, stage);
          },
        },
      )) as TestResult;
      this.#guard.note(definitionOf(type), here.config, result.stages);
      return { ...target, ...result };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      return {
        ...target,
        success: false,
        durationMs: Date.now() - startedAt,
        stages: seen,
        error: error.entry.error ?? error.code,
        error_description: error.message,
      };
    }
  }

  /** The workers a test runs on: the named ones, or all of every environment of the connection. */
  #testers(
    request: FastifyRequest,
    connection: string,
    environments: string[],
    query: TestQuery,
  ): ConnectedWorker[] {
    const { access, workers } = this.#services;
    if (query.environment !== undefined && !environments.includes(query.environment))
      throw invalid([
        { field: 'environment', message: `must be one of ${environments.join(', ') || '(there are none)'}` },
      ]);
    const wanted = query.environment === undefined ? environments : [query.environment];
    const allowed = wanted.filter((environment) =>
      access.allows(request.principal, 'CONNECTIONS:TEST', {
        project: request.project.name,
        connection,
        environment,
      }),
    );
    if (allowed.length === 0)
      access.require(request.principal, 'CONNECTIONS:TEST', {
        project: request.project.name,
        connection,
        ...(wanted[0] === undefined ? {} : { environment: wanted[0] }),
      });
    const found = allowed
      .flatMap((environment) => workers.of(environment))
      .filter((worker) => query.worker === undefined || worker.name === query.worker);
    if (found.length === 0)
      throw new AppError(
        'no_worker',
        query.worker === undefined
          ? `No worker of ${wanted.join(', ') || 'any environment'} is connected`
          : `No worker '${query.worker}' of ${wanted.join(', ')} is connected`,
      );
    return found;
  }

  /** A configuration as each environment of the workers has it. */
  async #resolvedIn(
    project: ProjectRow,
    { type, config }: TestedConnection,
    testing: readonly ConnectedWorker[],
  ): Promise<Map<string, Resolved>> {
    const resolver = this.#services.deployments.resolver();
    const resolved = new Map<string, Resolved>();
    for (const { environment } of testing)
      if (!resolved.has(environment.name))
        resolved.set(environment.name, await resolver.resolve(project.id, type, config, environment.name));
    return resolved;
  }
}

function targetOf(worker: ConnectedWorker): TestTarget {
  return { environmentName: worker.environment.name, worker: worker.name };
}

/** Each distinct configuration once, so that one target counts once. */
function distinctConfigs(all: Iterable<Resolved>): Config[] {
  const known = new Map<string, Config>();
  for (const one of all) if ('config' in one) known.set(JSON.stringify(one.config), one.config);
  return [...known.values()];
}
