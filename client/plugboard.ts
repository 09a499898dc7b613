import { type StreamEvent, streamEvents } from './event-stream.ts';
import { linesOf } from './lines.ts';

/** A failure as Plugboard answers it, or `unreachable` when it does not answer. */
export class PlugboardError extends Error {
  /** HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** Code of the error table. */
  readonly code: string;
  readonly body: ErrorBody;

  constructor(status: number, body: ErrorBody, cause?: unknown) {
    super(body.error_description, { cause });
    this.name = 'PlugboardError';
    this.status = status;
    this.code = body.error;
    this.body = body;
  }
}

export interface ErrorBody {
  error: string;
  error_description: string;
  reason?: string;
  validation_errors?: { field: string; message: string }[];
  retryable?: boolean;
  stage?: string;
  hint?: string;
  retry_after?: number;
  request_id?: string;
}

export interface DeploymentResult {
  success: boolean;
  deploymentResults: {
    environmentName: string;
    success: boolean;
    message: string;
    workers: { worker: string; success: boolean; message?: string; warnings?: string[] }[];
  }[];
}

export interface ChangeAnswer {
  success: true;
  deploymentResult?: DeploymentResult;
  deploymentId?: string;
  warnings?: string[];
}

export interface ListAnswer<Item> {
  success: true;
  resultList: Item[];
  resultCount: number;
}

export interface TestStage {
  stage: 'resolve' | 'connect' | 'tls' | 'authenticate' | 'operate';
  status: 'passed' | 'failed' | 'skipped';
  durationMs?: number;
  detail?: string;
  hint?: string;
  code?: string;
  retryable?: boolean;
}

/** Where a test runs. */
export interface TestTarget {
  environmentName: string;
  worker: string;
}

export interface TestResult extends TestTarget {
  success: boolean;
  durationMs: number;
  stages: TestStage[];
  warnings?: string[];
  error?: string;
  reason?: string;
  error_description?: string;
}

export interface TestAnswer {
  success: boolean;
  results: TestResult[];
  warnings?: string[];
}

export type TestEvent =
  | { type: 'started'; targets: TestTarget[] }
  | ({ type: 'stage'; stage: TestStage | { stage: TestStage['stage']; status: 'running' } } & TestTarget)
  | { type: 'result'; result: TestResult }
  | { type: 'finished'; success: boolean; warnings?: string[] };

export interface TestQuery {
  environment?: string;
  worker?: string;
  /** Default 30,000 ms. */
  timeoutMs?: number;
}

/** How a connection does in one environment. */
export type ConnectionState =
  | 'works'
  | 'failing'
  | 'deployed'
  | 'refused'
  | 'pending'
  | 'noWorker'
  | 'notDeployed'
  | 'disabled';

export interface OverviewQuery {
  /** This one alone. */
  name?: string;
  /** Types, separated by commas. */
  type?: string;
  environment?: string;
  state?: ConnectionState;
  /** Part of the name or description. */
  q?: string;
  page?: number;
  size?: number;
}

export interface ConnectionOverview {
  name: string;
  type: string;
  description: string | null;
  labels: Record<string, string>;
  enabled: boolean;
  /** Where it points, for people. */
  target: string | null;
  revision: number;
  updatedAt: string;
  /** Minute of the last operation of the last 24 hours. */
  lastUsedAt: string | null;
  environments: {
    environmentName: string;
    state: ConnectionState;
    since: string | null;
    code: string | null;
    message: string | null;
  }[];
}

export interface TypeAnswer {
  type: string;
  title: string;
  summary: string;
  operations: string[];
}

/** A connection as Get answers it. */
export type Connection = { type: string; name: string } & Record<string, unknown>;

export interface PlugboardOptions {
  /** Base URL of the control plane. */
  url: string;
  token: string;
  /** Default 120,000 ms. */
  timeoutMs?: number;
}

type Query = Record<string, string | number | boolean | undefined>;

export interface RequestOptions {
  body?: unknown;
  query?: Query;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Typed calls of Plugboard's HTTP API; every failure is a `PlugboardError`. */
export class Plugboard {
  readonly #url: string;
  readonly #token: string;
  readonly #timeoutMs: number;

  constructor({ url, token, timeoutMs = 120_000 }: PlugboardOptions) {
    this.#url = url.replace(/\/+$/, '');
    this.#token = token;
    this.#timeoutMs = timeoutMs;
  }

  /** Any call of the API, for what has no method here. */
  async request<Answer>(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    return (await this.exchange<Answer>(method, path, options)).answer;
  }

  /** As `request`, with the headers of the answer, where the ETag is. */
  async exchange<Answer>(
    method: string,
    path: string,
    options: RequestOptions = {},
  ): Promise<{ answer: Answer; headers: Headers }> {
    const timeout = AbortSignal.timeout(this.#timeoutMs);
    const response = await this.open(method, path, {
      ...options,
      signal: options.signal ? AbortSignal.any([options.signal, timeout]) : timeout,
    });
    try {
      return { answer: parsed(await response.text()) as Answer, headers: response.headers };
    } catch (cause) {
      throw this.#unreachable(cause);
    }
  }

  /** The answer before its body is read, for what streams; there is no time limit but the signal's. */
  async open(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    const target = new URL(`${this.#url}${path}`);
    for (const [name, value] of Object.entries(options.query ?? {}))
      if (value !== undefined) target.searchParams.set(name, String(value));
    let response: Response;
    let failure: unknown;
    try {
      response = await fetch(target, {
        method,
        headers: {
          authorization: `Bearer ${this.#token}`,
          ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...options.headers,
        },
        ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
        ...(options.signal ? { signal: options.signal } : {}),
        redirect: 'error',
      });
      if (response.ok) return response;
      failure = parsed(await response.text());
    } catch (cause) {
      throw this.#unreachable(cause);
    }
    throw new PlugboardError(
      response.status,
      isErrorBody(failure)
        ? failure
        : {
            error: 'unexpected',
            error_description: `${target.origin} answered ${response.status} and no error of Plugboard's`,
          },
    );
  }

  #unreachable(cause: unknown): PlugboardError {
    return new PlugboardError(
      0,
      { error: 'unreachable', error_description: `No answer from ${this.#url}: ${reasonOf(cause)}` },
      cause,
    );
  }

  /** What happens, as it happens, for what the token may see, until the signal aborts or the token ends. */
  async *events(
    options: { project?: string; signal?: AbortSignal; onOpen?: () => void } = {},
  ): AsyncGenerator<StreamEvent> {
    const response = await this.open('GET', '/apiops/events/', {
      query: { project: options.project },
      ...(options.signal ? { signal: options.signal } : {}),
    });
    options.onOpen?.();
    if (response.body) yield* streamEvents(response.body);
  }

  async *#testEvents(path: string, options: RequestOptions, signal?: AbortSignal): AsyncGenerator<TestEvent> {
    const response = await this.open('POST', path, {
      ...options,
      headers: { accept: 'application/x-ndjson' },
      ...(signal ? { signal } : {}),
    });
    let isFinished = false;
    for await (const event of this.#lines<TestEvent | ({ type: 'error' } & ErrorBody)>(response)) {
      if (event.type === 'error') throw new PlugboardError(500, event);
      isFinished = event.type === 'finished';
      yield event;
    }
    if (!isFinished) throw this.#unreachable(new Error('the answer broke off'));
  }

  async *#lines<Line>(response: Response): AsyncGenerator<Line> {
    if (!response.body) return;
    const lines = linesOf(response.body);
    try {
      for (;;) {
        let next: IteratorResult<string, void>;
        try {
          next = await lines.next();
        } catch (cause) {
          throw this.#unreachable(cause);
        }
        if (next.done) return;
        yield JSON.parse(next.value) as Line;
      }
    } finally {
      await lines.return();
    }
  }

  listConnections(
    project: string,
    query: { type: string; page?: number; size?: number; sort?: string; q?: string },
  ) {
    return this.request<ListAnswer<Connection>>('GET', connections(project), { query });
  }

  /** How each connection does in each environment, filtered, a page at a time. */
  overview(project: string, query: OverviewQuery = {}, signal?: AbortSignal) {
    return this.request<ListAnswer<ConnectionOverview> & { states: Record<ConnectionState, number> }>(
      'GET',
      `/apiops/projects/${encodeURIComponent(project)}/overview/`,
      { query: { ...query }, ...(signal ? { signal } : {}) },
    );
  }

  /** With `CONNECTIONS:REVEAL` its secrets in full. */
  async getConnection(project: string, name: string): Promise<Connection> {
    const answer = await this.request<ListAnswer<Connection>>('GET', connections(project, name));
    return answer.resultList[0]!;
  }

  createConnection(project: string, body: Connection) {
    return this.request<ChangeAnswer>('POST', connections(project, body.name), { body });
  }

  updateConnection(project: string, name: string, body: Connection) {
    return this.request<ChangeAnswer>('PUT', connections(project, name), { body });
  }

  deleteConnection(project: string, name: string) {
    return this.request<ChangeAnswer>('DELETE', connections(project, name));
  }

  /** A failed test is an answer, not an error. */
  testConnection(project: string, name: string, query: TestQuery = {}) {
    return this.request<TestAnswer>('POST', `${connections(project, name)}test/`, { query: { ...query } });
  }

  /** The same, stage by stage as the workers report; leaving the loop or aborting cancels the test on the workers. */
  watchTest(project: string, name: string, query: TestQuery = {}, signal?: AbortSignal) {
    return this.#testEvents(`${connections(project, name)}test/`, { query: { ...query } }, signal);
  }

  /** As `watchTest`, of a body that is not stored; its secrets that are null come from the stored connection of its name. */
  watchDraftTest(project: string, body: Connection, query: TestQuery = {}, signal?: AbortSignal) {
    const path = `/apiops/projects/${encodeURIComponent(project)}/connection-test/`;
    return this.#testEvents(path, { body, query: { ...query } }, signal);
  }

  /** Accepts the SSH host key that an environment refused; `fingerprint` is the one that the refusal named. */
  trustHostKey(project: string, name: string, fingerprint: string, query: { environment?: string } = {}) {
    return this.request<ChangeAnswer>('POST', `${connections(project, name)}trust-host-key/`, {
      body: { fingerprint },
      query,
    });
  }

  /** Runs an operation of a connection and answers its result. */
  async call<Result = unknown>(
    project: string,
    name: string,
    operation: string,
    input: unknown,
    query: { environment?: string; timeoutMs?: number } = {},
  ): Promise<Result> {
    const answer = await this.request<{ success: true; result: Result }>(
      'POST',
      `${connections(project, name)}operations/${encodeURIComponent(operation)}/`,
      { body: input, query },
    );
    return answer.result;
  }

  listTypes() {
    return this.request<ListAnswer<TypeAnswer>>('GET', '/apiops/connection-types/');
  }

  /** JSON Schema, notes and operations of one type. */
  describeType(type: string) {
    return this.request<Record<string, unknown>>(
      'GET',
      `/apiops/connection-types/${encodeURIComponent(type)}/`,
    );
  }

  createProject(project: { name: string; description?: string; environments?: string[] }) {
    return this.request<{ success: true }>('POST', '/apiops/projects/', { body: project });
  }

  listProjects() {
    return this.request<ListAnswer<{ name: string; description: string | null; environments: string[] }>>(
      'GET',
      '/apiops/projects/',
    );
  }

  /** The token is in this answer and nowhere else. */
  createToken(token: {
    name: string;
    expiresAt: string | null;
    grants: { project: string; permissions: string[] }[];
  }) {
    return this.request<{ success: true; id: string; token: string }>('POST', '/apiops/tokens/', {
      body: token,
    });
  }

  /** A worker's credential; it is in this answer and nowhere else. */
  enrollWorker(environment: string, name: string) {
    return this.request<{ success: true; id: string; token: string }>(
      'POST',
      `/apiops/environments/${encodeURIComponent(environment)}/enrollment-tokens/`,
      { body: { name } },
    );
  }
}

function connections(project: string, name?: string): string {
  const base = `/apiops/projects/${encodeURIComponent(project)}/connections/`;
  return name === undefined ? base : `${base}${encodeURIComponent(name)}/`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isErrorBody(value: unknown): value is ErrorBody {
  return typeof value === 'object' && value !== null && 'error' in value && 'error_description' in value;
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const inner = cause.cause as { code?: string; message?: string } | undefined;
  return inner?.code ?? inner?.message ?? cause.message;
}
