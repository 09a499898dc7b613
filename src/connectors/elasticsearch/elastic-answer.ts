import { AppError, type ErrorCode } from '../../errors.ts';
import type { Answer } from '../http/http-exchange.ts';

/** What Elasticsearch says of a failure, of a request or of one item of a bulk. */
export interface ElasticFailure {
  type?: string;
  reason?: string;
}

/** The JSON object of a good answer; any other fails with what it means. */
export function readAnswer<T>(answer: Answer): T {
  if (answer.truncated)
    throw new AppError('request_rejected', 'The answer is larger than 256 MiB', {
      details: { hint: 'Ask for fewer documents, or for fewer of their fields.' },
    });
  const json = parse(answer);
  if (json && answer.status >= 200 && answer.status < 300) return json as T;
  throw refusal(answer, json);
}

/** What an answer that is no success means. */
export function refusal(answer: Answer, json: object | undefined = parse(answer)): AppError {
  const { status } = answer;
  if (!json && answer.body.length > 0 && ![401, 403, 407, 413, 429].includes(status) && status < 500)
    return new AppError('protocol_error', `What answers is not Elasticsearch (HTTP ${status}, no JSON)`, {
      details: { hint: 'Check the port: 9200 serves HTTP, 9300 does not; or a proxy answers in its place.' },
    });
  return failureOf(status, failureIn(json));
}

/** An error of ours for a status and what was said with it. */
export function failureOf(status: number, { type = '', reason = '' }: ElasticFailure): AppError {
  const said = [type, reason].filter(Boolean).join(': ').slice(0, 1000);
  const { code, hint } = meaning(status, type, reason);
  return new AppError(code, `Elasticsearch answered with ${status}${said ? ` (${said})` : ''}`, {
    details: hint ? { hint } : {},
  });
}

function meaning(status: number, type: string, reason: string): { code: ErrorCode; hint?: string } {
  if (type === 'cluster_block_exception' && /flood|read-only-allow-delete/i.test(reason))
    return { code: 'quota_exceeded', hint: 'The disk of a node is nearly full: the index takes no more.' };
  if (status === 401)
    return {
      code: 'authentication_failed',
      hint: 'Check authenticate, elasticUsername and elasticPassword.',
    };
  if (status === 403)
    return { code: 'permission_denied', hint: 'Give the role of the account the privilege that is named.' };
  if (status === 408) return { code: 'target_timeout' };
  if (status === 413) return { code: 'message_too_large', hint: 'http.max_content_length limits a request.' };
  if (status === 429) return { code: 'target_busy', hint: 'A queue of the cluster is full; slow down.' };
  if (status === 502 || status === 503 || status === 504) return { code: 'target_busy' };
  if (status >= 500) return { code: 'target_error' };
  if (type === 'index_not_found_exception')
    return { code: 'request_rejected', hint: 'There is no such index: check its name, or make it first.' };
  return { code: 'request_rejected' };
}

function failureIn(json: object | undefined): ElasticFailure {
  const error: unknown = (json as { error?: unknown } | undefined)?.error;
  if (typeof error === 'string') return { reason: error };
  if (typeof error !== 'object' || error === null) return {};
  // What failed on the shards is told as the cause; over it stands no more than that they failed.
  const { root_cause: causes } = error as { root_cause?: unknown };
  const cause: { reason?: unknown } | undefined = Array.isArray(causes) ? causes[0] : undefined;
  const told = typeof cause?.reason === 'string' ? cause : error;
  const { type, reason } = told as { type?: unknown; reason?: unknown };
  return {
    ...(typeof type === 'string' ? { type } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
  };
}

/** Type and reason of what Elasticsearch refuses, such as `index_not_found_exception`. */
export function saidIn(answer: Answer): ElasticFailure {
  return failureIn(parse(answer));
}

function parse({ body }: Answer): object | undefined {
  try {
    const json: unknown = JSON.parse(body.toString());
    return typeof json === 'object' && json !== null ? json : undefined;
  } catch {
    return undefined;
  }
}
