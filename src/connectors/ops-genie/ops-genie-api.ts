import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, type ErrorCode } from '../../errors.ts';
import { classifyHttpError } from '../http/http-errors.ts';
import type { Answer } from '../http/http-exchange.ts';
import type { HttpSession } from '../http/http-session.ts';

const maxAnswerBytes = 4 * 1024 * 1024;
const firstLookMs = 200;
const maxLookMs = 2000;
/** How long a request is followed where the caller's own deadline is later. */
const maxFollowMs = 60_000;

/** What became of a request, as `GET /v2/alerts/requests/{id}` says. */
export interface Outcome {
  requestId: string;
  status: string;
  alertId?: string;
  alias?: string;
}

/** Opsgenie's Alert API for one key. */
export class OpsGenieApi {
  readonly #session: HttpSession;
  readonly #base: URL;
  readonly #apiKey: string;
  readonly #timeoutMs: number;

  constructor(session: HttpSession, base: URL, apiKey: string, timeoutMs: number) {
    this.#session = session;
    this.#base = base;
    this.#apiKey = apiKey;
    this.#timeoutMs = timeoutMs;
  }

  /** The answer to one request, whatever its status. */
  send(method: 'GET' | 'POST', path: string, body: object | undefined, signal: AbortSignal): Promise<Answer> {
    return this.#session.request(
      this.compose(method, path, body),
      { timeoutMs: this.#timeoutMs, maxBodyBytes: maxAnswerBytes },
      signal,
    );
  }

  compose(method: string, path: string, body?: object) {
    return {
      url: new URL(`${this.#base.href.replace(/\/+$/, '')}${path}`),
      method,
      headers: [
        ['authorization', `GenieKey ${this.#apiKey}`],
        ['accept', 'application/json'],
        ['accept-encoding', 'identity'],
        ['user-agent', 'plugboard'],
        ...(body ? [['content-type', 'application/json'] as [string, string]] : []),
      ] satisfies [string, string][] as [string, string][],
      ...(body ? { body: Buffer.from(JSON.stringify(body)) } : {}),
    };
  }

  /** Sends a request that Opsgenie processes later, and waits until it has. */
  async submit(path: string, body: object, signal: AbortSignal): Promise<Outcome> {
    const answer = await this.send('POST', path, body, signal);
    const accepted = readAnswer(answer);
    const { requestId } = accepted;
    if (typeof requestId !== 'string' || requestId === '')
      throw new AppError('protocol_error', 'Opsgenie accepted the request without an id to follow it by');
    return this.#follow(requestId, signal);
  }

  async #follow(requestId: string, signal: AbortSignal): Promise<Outcome> {
    const path = `/v2/alerts/requests/${encodeURIComponent(requestId)}`;
    const deadline = performance.now() + maxFollowMs;
    let failure: AppError | undefined;
    for (let waitMs = firstLookMs; ; waitMs = Math.min(maxLookMs, waitMs * 1.5)) {
      let pauseMs = waitMs;
      try {
        const answer = await this.send('GET', path, undefined, signal);
        // Until it is processed there is no such request.
        if (answer.status !== 404) {
          const data = readAnswer(answer)['data'] as Partial<RequestStatus> | undefined;
          if (data && typeof data.status === 'string') return outcomeOf(requestId, data);
          throw new AppError('protocol_error', 'Opsgenie does not say what became of the request');
        }
        failure = undefined;
      } catch (error) {
        failure = error instanceof AppError ? error : classifyHttpError(error);
        if (!failure.retryable || signal.aborted || this.#session.ended.aborted) throw failure;
        pauseMs = Math.max(pauseMs, (failure.details.retryAfter ?? 0) * 1000);
      }
      if (performance.now() + pauseMs > deadline)
        throw new AppError('target_timeout', `Opsgenie has not processed request ${requestId} in time`, {
          cause: failure,
          details: {
            hint: 'It was accepted and may be processed yet; repeat createAlert only with an alias.',
          },
        });
      await sleep(pauseMs, undefined, { signal: AbortSignal.any([signal, this.#session.ended]) });
    }
  }
}

interface RequestStatus {
  isSuccess: boolean;
  success: boolean;
  status: string;
  alertId: string;
  alias: string;
}

function outcomeOf(requestId: string, data: Partial<RequestStatus>): Outcome {
  const status = data.status!;
  if (data.isSuccess === false || (data.isSuccess === undefined && data.success === false))
    throw new AppError('request_rejected', `Opsgenie did not do it: ${status}`, {
      details: { hint: `The request is ${requestId} in the logs of the integration.` },
    });
  return {
    requestId,
    status,
    ...(data.alertId ? { alertId: data.alertId } : {}),
    ...(data.alias ? { alias: data.alias } : {}),
  };
}

/** The JSON of a good answer; any other fails with what it means. */
export function readAnswer(answer: Answer): Record<string, unknown> {
  const json = parse(answer);
  if (answer.status >= 200 && answer.status < 300 && json) return json;
  const said = typeof json?.['message'] === 'string' ? `: ${json['message']}` : '';
  const message = `Opsgenie answered with ${answer.status}${said}`;
  const { code, hint } = meaning(answer.status, said, json !== undefined);
  const retryAfter = secondsToWait(answer);
  throw new AppError(code, message, {
    details: { ...(hint ? { hint } : {}), ...(retryAfter === undefined ? {} : { retryAfter }) },
  });
}

const regionHint =
  'Check apiKey, and apiUrl: a key is known in its own instance alone, https://api.opsgenie.com or https://api.eu.opsgenie.com.';

function meaning(status: number, said: string, isJson: boolean): { code: ErrorCode; hint?: string } {
  if (!isJson && status < 500 && status !== 429)
    return { code: 'protocol_error', hint: 'Check apiUrl: what answers there is not the API of Opsgenie.' };
  if (status === 401) return { code: 'authentication_failed', hint: regionHint };
  // A key that is no UUID is not looked up at all.
  if (status === 422 && /key format/i.test(said)) return { code: 'authentication_failed', hint: regionHint };
  if (status === 403)
    return {
      code: 'permission_denied',
      hint: 'The integration lacks a right (read access, create and update access), is switched off, or the plan does not cover it; a key of a team integration is bound to that team.',
    };
  if (status === 413) return { code: 'message_too_large' };
  if (status === 429)
    return { code: 'target_busy', hint: 'The rate limit of the account or integration is reached.' };
  if (status === 502 || status === 503 || status === 504) return { code: 'target_busy' };
  if (status >= 500) return { code: 'target_error' };
  return { code: 'request_rejected' };
}

/** Seconds that a 429 or 503 asks to wait (RFC 9110 10.2.3). */
function secondsToWait({ status, headers }: Answer): number | undefined {
  const text = headers['retry-after']?.[0]?.trim();
  if (!text || (status !== 429 && status !== 503)) return undefined;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : undefined;
}

function parse({ body }: Answer): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(body.toString());
    return typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
