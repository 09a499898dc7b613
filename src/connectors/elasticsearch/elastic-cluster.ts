import { AppError, type ErrorCode } from '../../errors.ts';
import type { ConnectorContext } from '../connector.ts';
import { HttpDialler } from '../http/http-dialler.ts';
import { classifyHttpError } from '../http/http-errors.ts';
import type { Answer, ExchangeRequest } from '../http/http-exchange.ts';
import { HttpSession } from '../http/http-session.ts';
import { readAnswer, refusal } from './elastic-answer.ts';
import { HostRotation } from './elastic-hosts.ts';
import { type ElasticConfig, elasticTls } from './elastic-tls.ts';

/** Longest wait for an answer where the caller's own deadline is later: a node that hangs is left then. */
const answerTimeoutMs = 60_000;
const maxAnswerBytes = 256 * 1024 * 1024;
const connectionsPerHost = 10;

export interface ElasticRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  /** With the query, each part encoded. */
  readonly path: string;
  readonly body?: Buffer | object;
  /** Whether a second arrival does no harm, so that another host may be asked after one broke off. */
  readonly repeatable: boolean;
  /** Default a minute. */
  readonly timeoutMs?: number;
}

/** What a cluster says of itself. */
export interface ClusterInfo {
  readonly name: string;
  readonly uuid: string;
  readonly product: 'Elasticsearch' | 'OpenSearch';
  readonly version: string;
  readonly major: number;
}

/** Failures that say nothing of the host. */
const notOfTheHost = new Set<ErrorCode>(['cancelled', 'invalid_configuration', 'missing_reference']);

/** The nodes of one cluster: requests go round them, and on to the next when one fails. */
export class ElasticCluster {
  readonly urls: readonly URL[];
  readonly dialler: HttpDialler;
  readonly connectTimeoutMs: number;
  readonly #session: HttpSession;
  readonly #rotation: HostRotation;
  readonly #authorization: string | undefined;
  #info: ClusterInfo | undefined;
  #isKnown = false;

  private constructor(config: ElasticConfig, dialler: HttpDialler, forced: AbortSignal) {
    this.urls = config.elasticHostList.map(({ scheme, host, port }) => hostUrl(scheme, host, port));
    this.dialler = dialler;
    this.connectTimeoutMs = dialler.timeoutMs;
    const total = connectionsPerHost * this.urls.length;
    this.#session = new HttpSession(dialler, { perOrigin: connectionsPerHost, total }, forced);
    this.#rotation = new HostRotation(this.urls);
    const account = `${config.elasticUsername ?? ''}:${config.elasticPassword ?? ''}`;
    this.#authorization = config.authenticate
      ? `Basic ${Buffer.from(account).toString('base64')}`
      : undefined;
  }

  /** Reads the TLS material; needs no network. Fails with `invalid_configuration`. */
  static async open(config: ElasticConfig, ctx: ConnectorContext): Promise<ElasticCluster> {
    const usesTls = config.elasticHostList.some(({ scheme }) => scheme === 'https');
    const tls = usesTls ? await elasticTls(config, ctx.trust, ctx.warn) : {};
    const timeoutMs = config.connectionTimeoutInMs || 2 ** 31 - 1;
    return new ElasticCluster(
      config,
      new HttpDialler(ctx.network, { timeoutMs, tls: () => tls }),
      ctx.signal,
    );
  }

  /** The answer of the first host that gives one, whatever its status; fails with what happened on each. */
  async send(request: ElasticRequest, signal: AbortSignal): Promise<Answer> {
    const failures: { url: URL; error: AppError }[] = [];
    const limits = { timeoutMs: request.timeoutMs ?? answerTimeoutMs, maxBodyBytes: maxAnswerBytes };
    for (const host of this.#rotation.order()) {
      const progress = { sent: false };
      let error: AppError;
      try {
        // One that failed shows first that it is back, so that nobody waits long for one that hangs.
        if (host.failures > 0) await this.#greet(host.url, signal);
        const answer = await this.#session.request(this.compose(host.url, request), limits, signal, progress);
        if (answer.status < 502 || answer.status > 504) {
          this.#rotation.worked(host);
          return answer;
        }
        error = refusal(answer);
      } catch (cause) {
        error = cause instanceof AppError ? cause : classifyHttpError(cause);
        if (signal.aborted && error.code === 'target_timeout') this.#rotation.failed(host);
        if (signal.aborted || this.#session.ended.aborted || notOfTheHost.has(error.code)) throw error;
      }
      this.#rotation.failed(host);
      failures.push({ url: host.url, error });
      if (progress.sent && !request.repeatable) break;
    }
    throw exhausted(failures);
  }

  /** Fails when the host does not answer within the connect timeout, whatever it says. */
  async #greet(host: URL, signal: AbortSignal): Promise<void> {
    const limits = { timeoutMs: this.connectTimeoutMs, maxBodyBytes: maxAnswerBytes };
    const answer = await this.#session.request(
      this.compose(host, { method: 'GET', path: '/' }),
      limits,
      signal,
    );
    if (answer.status >= 502 && answer.status <= 504) throw refusal(answer);
  }

  /** As `send`, and the JSON of a success; anything else fails. */
  async ask<T>(request: ElasticRequest, signal: AbortSignal): Promise<T> {
    return readAnswer<T>(await this.send(request, signal));
  }

  compose(
    host: URL,
    { method, path, body }: Pick<ElasticRequest, 'method' | 'path' | 'body'>,
  ): ExchangeRequest {
    const type = Buffer.isBuffer(body) ? 'application/x-ndjson' : 'application/json';
    return {
      url: new URL(path, host),
      method,
      headers: [
        // Plain JSON: 7, 8, 9 and OpenSearch all speak it, while each refuses another's compatibility header.
        ['accept', 'application/json'],
        ['accept-encoding', 'identity'],
        ['user-agent', 'plugboard'],
        ...(this.#authorization ? [['authorization', this.#authorization] as [string, string]] : []),
        ...(body ? [['content-type', type] as [string, string]] : []),
      ],
      ...(body ? { body: Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body)) } : {}),
    };
  }

  /**
   * Name and version, asked for once; undefined when the account may not read them. Fails with
   * `protocol_error` on what is no cluster of version 7 or later.
   */
  async identify(signal: AbortSignal): Promise<ClusterInfo | undefined> {
    if (!this.#isKnown) await this.probe(signal);
    return this.#info;
  }

  /** One round trip to the root resource. */
  async probe(signal: AbortSignal): Promise<void> {
    const timeoutMs = this.connectTimeoutMs;
    const answer = await this.send({ method: 'GET', path: '/', repeatable: true, timeoutMs }, signal);
    // Whom the cluster knows and denies this is let in all the same.
    if (answer.status !== 403) this.#info = readClusterInfo(answer);
    this.#isKnown = true;
  }

  figures(): Record<string, number> {
    return { ...this.#session.figures(), ...this.#rotation.figures() };
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}

/** Fails with `protocol_error` when the root resource is not that of a cluster that can be used. */
export function readClusterInfo(answer: Answer): ClusterInfo {
  const root = readAnswer<{
    cluster_name?: unknown;
    cluster_uuid?: unknown;
    version?: { number?: unknown; distribution?: unknown };
  }>(answer);
  const version = root.version?.number;
  if (typeof version !== 'string')
    throw new AppError('protocol_error', 'What answers says no version of Elasticsearch', {
      details: { hint: 'Check host and port: the root resource of a node names cluster and version.' },
    });
  const product = root.version?.distribution === 'opensearch' ? 'OpenSearch' : 'Elasticsearch';
  const major = Number.parseInt(version, 10);
  if (product === 'Elasticsearch' && major < 7)
    throw new AppError('protocol_error', `Elasticsearch ${version} is too old: it takes 7 or later`);
  return {
    name: String(root.cluster_name ?? 'without a name'),
    uuid: String(root.cluster_uuid ?? ''),
    product,
    version,
    major,
  };
}

/** What is wrong with the fixed version, as the rest of a sentence; undefined: nothing. */
export function versionMismatch(expected: string, info: ClusterInfo): string | undefined {
  if (expected === 'AUTO_DETECT') return undefined;
  if (info.product === 'Elasticsearch' && expected === `ES_${info.major}`) return undefined;
  return `elasticsearchMajorVersion: is ${expected}, but the cluster is ${info.product} ${info.version}`;
}

function hostUrl(scheme: string, host: string, port: number): URL {
  const bare = host.replace(/^\[|\]$/g, '');
  return new URL(`${scheme}://${bare.includes(':') ? `[${bare}]` : bare}:${port}/`);
}

/** What happened on each of several hosts as one error, by the code of the first. */
export function exhausted(failures: readonly { url: URL; error: AppError }[]): AppError {
  const { error } = failures[0]!;
  if (failures.length === 1) return error;
  const each = failures.map(({ url, error: { message } }) => `${url.host}: ${message}`);
  return new AppError(error.code, `None of the hosts answered: ${each.join('; ')}`, {
    cause: error,
    details: error.details,
  });
}
