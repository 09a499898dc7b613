import type { ConfigOf, InputOf } from '../../contract/connection-type.ts';
import { credentialParts } from '../../contract/credential-url.ts';
import { isCredentialHeader } from '../../contract/secret-places.ts';
import { AppError } from '../../errors.ts';
import type { HeaderLines } from '../http/http-exchange.ts';
import type { webhook } from './webhook.definition.ts';
import { newMessageId, type SigningKey, signatureHeaders, signingKey } from './webhook-signature.ts';

export type WebhookConfig = ConfigOf<typeof webhook>;
export type CallInput = InputOf<(typeof webhook)['operations']['call']>;

/** What every call of one connection has in common. */
export interface Target {
  readonly url: URL;
  readonly method: string;
  readonly headers: HeaderLines;
  readonly key?: SigningKey;
  /** The whole path and query are a credential. */
  readonly secretUrl: boolean;
  /** Names of the parameters in the URL that carry credentials. */
  readonly credentialParameters: ReadonlySet<string>;
}

/** One message to deliver, the same over all its attempts and redirects. */
export interface Message {
  readonly url: URL;
  readonly method: string;
  readonly headers: HeaderLines;
  readonly body?: Buffer;
  readonly key?: SigningKey;
  readonly id: string;
  /** Whether the receiver can tell a repetition, or does not mind one (RFC 9110 9.2.2). */
  readonly repeatable: boolean;
  readonly secretUrl: boolean;
  /** Values of the credentials in the URL's query. */
  readonly querySecrets: readonly string[];
}

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const fieldValue = /^[\t\x20-\x7e\x80-\xff]*$/;
const idempotentMethods = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']);
const signingNames = new Set(['webhook-id', 'webhook-timestamp', 'webhook-signature']);

/** Framing belongs to the connection: sent by hand, these let one request pass for two. */
const framing = new Set([
  'connection',
  'content-length',
  'expect',
  'http2-settings',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
const refusedInCall = new Set([...framing, 'host', 'authorization', 'cookie']);

/** All that another origin may see of the headers; whatever else was set may be a credential. */
const shareable = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'content-encoding',
  'content-language',
  'content-type',
  'user-agent',
]);

/** Reads a configuration once; fails with `invalid_configuration`, naming the field. */
export function readTarget(config: WebhookConfig, warn: (text: string) => void): Target {
  const url = parseUrl(config.fullUrl);
  const key = config.signingSecret ? signingKey(config.signingSecret) : undefined;
  const headers: HeaderLines = [];
  for (const [index, { name, value = '' }] of config.headerList.entries()) {
    const lower = name.toLowerCase();
    const field = `headerList[${index}]`;
    if (!token.test(name)) throw new AppError('invalid_configuration', `${field}.name is not a header name`);
    if (!fieldValue.test(value))
      throw new AppError(
        'invalid_configuration',
        `${field}.value holds characters that a header cannot carry`,
      );
    if (framing.has(lower) || lower.startsWith('proxy-')) {
      warn(`${field}: ${name} is set by the connection itself and not sent as configured`);
      continue;
    }
    if (key && signingNames.has(lower)) {
      warn(`${field}: ${name} is set by the signature and not sent as configured`);
      continue;
    }
    if (lower === 'host' && headers.some(([other]) => other.toLowerCase() === 'host'))
      throw new AppError('invalid_configuration', `${field}: Host can be given only once`);
    headers.push([name, value]);
  }
  if (url.username || url.password) {
    const credentials = `${decodeUserInfo(url.username)}:${decodeUserInfo(url.password)}`;
    if (!has(headers, 'authorization'))
      headers.push(['authorization', `Basic ${Buffer.from(credentials).toString('base64')}`]);
    url.username = '';
    url.password = '';
  }
  if (config.httpMethod === 'TRACE' && headers.some(([name]) => isCredentialHeader(name)))
    warn('TRACE makes the target send the request back, credentials included');
  return {
    url,
    method: config.httpMethod,
    headers,
    ...(key ? { key } : {}),
    secretUrl: config.fullUrlSecret,
    credentialParameters: credentialParameters(url, config.fullUrlSecret),
  };
}

const noParameters: ReadonlySet<string> = new Set();

function credentialParameters(url: URL, secretUrl: boolean): ReadonlySet<string> {
  if (url.search === '') return noParameters;
  return new Set([...url.searchParams.keys()].filter((name) => secretUrl || isCredentialParameter(name)));
}

function isCredentialParameter(name: string): boolean {
  return credentialParts(`https://host/?${encodeURIComponent(name)}=value`, false).length > 0;
}

function parseUrl(text: string): URL {
  const url = URL.parse(text);
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw new AppError('invalid_configuration', 'fullUrl is not an http or https URL');
  if (url.hash) url.hash = '';
  return url;
}

function decodeUserInfo(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Puts a call together; fails with `bad_request`, naming the field of the input. */
export function composeMessage(target: Target, input: CallInput): Message {
  const { method, key, secretUrl, credentialParameters } = target;
  const own = callHeaders(target, input.headers ?? {});
  const overridden = new Set(own.map(([name]) => name.toLowerCase()));
  const headers = [...target.headers.filter(([name]) => !overridden.has(name.toLowerCase())), ...own];
  const { body, contentType } = encodeBody(method, input.body);
  if (contentType && !has(headers, 'content-type')) headers.push(['content-type', contentType]);
  if (!has(headers, 'accept')) headers.push(['accept', '*/*']);
  if (!has(headers, 'user-agent')) headers.push(['user-agent', 'plugboard']);
  // A body that arrives as it is can be limited by its size; a compressed one could grow a thousandfold.
  if (!has(headers, 'accept-encoding')) headers.push(['accept-encoding', 'identity']);

  const given = headers.find(([name]) => name.toLowerCase() === 'webhook-id')?.[1];
  return {
    url: mergeQuery(target.url, input.query ?? {}, credentialParameters),
    method,
    headers: key ? headers.filter(([name]) => !signingNames.has(name.toLowerCase())) : headers,
    ...(body ? { body } : {}),
    ...(key ? { key } : {}),
    id: given ?? newMessageId(),
    repeatable: idempotentMethods.has(method) || key !== undefined || given !== undefined,
    secretUrl,
    querySecrets: [...credentialParameters].flatMap((name) => target.url.searchParams.getAll(name)),
  };
}

function callHeaders(target: Target, given: Record<string, string>): HeaderLines {
  const configured = new Set(target.headers.map(([name]) => name.toLowerCase()));
  return Object.entries(given).map(([name, value]) => {
    const lower = name.toLowerCase();
    const refuse = (message: string) => badRequest(`headers.${name}`, message);
    if (!token.test(name)) throw badRequest('headers', 'holds a name that is not a header name');
    if (!fieldValue.test(value)) throw refuse('holds characters that a header cannot carry');
    if (refusedInCall.has(lower) || lower.startsWith('proxy-')) throw refuse('cannot be set by a call');
    if (configured.has(lower) && isCredentialHeader(name))
      throw refuse("would replace a credential of the connection's own");
    if (target.key && lower === 'webhook-id') {
      if (!/^[A-Za-z0-9_-]{1,256}$/.test(value)) throw refuse('may hold letters, digits, _ and - only');
    } else if (target.key && signingNames.has(lower)) {
      throw refuse('is set by the signature');
    }
    return [name, value];
  });
}

function encodeBody(method: string, body: unknown): { body?: Buffer; contentType?: string } {
  if (body === undefined) return {};
  if (method === 'TRACE') throw badRequest('body', 'a TRACE request has none (RFC 9110 9.3.8)');
  if (typeof body === 'string') return { body: Buffer.from(body), contentType: 'text/plain; charset=utf-8' };
  return { body: Buffer.from(JSON.stringify(body)), contentType: 'application/json' };
}

/**
 * The URL with more parameters. The configured query stays byte for byte as it is, but for parameters
 * that the call replaces; one that carries a credential cannot be replaced.
 */
export function mergeQuery(
  url: URL,
  query: Record<string, string | number | boolean | (string | number | boolean)[]>,
  credentialParameters: ReadonlySet<string> = new Set(),
): URL {
  const names = Object.keys(query);
  if (names.length === 0) return url;
  for (const name of names)
    if (credentialParameters.has(name))
      throw badRequest(`query.${name}`, "would replace a credential of the connection's own");
  const kept = url.search
    .slice(1)
    .split('&')
    .filter((pair) => pair !== '' && !names.includes([...new URLSearchParams(pair).keys()][0] ?? ''));
  const added = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    for (const item of Array.isArray(value) ? value : [value]) added.append(name, String(item));
  const merged = new URL(url);
  merged.search = [...kept, added.toString()].filter((part) => part !== '').join('&');
  return merged;
}

/** One request on the wire; `timestampSeconds` dates the signature. */
export interface Hop {
  readonly url: URL;
  readonly method: string;
  readonly headers: HeaderLines;
  readonly body?: Buffer;
  /** Whether it still goes to the origin that the credentials are for. */
  readonly trusted: boolean;
}

export function firstHop({ url, method, headers, body }: Message): Hop {
  return { url, method, headers, ...(body ? { body } : {}), trusted: true };
}

/**
 * Where a redirect leads (RFC 9110 15.4), or undefined when it is not followed: no target, a scheme
 * that is not HTTP, from https to http, or away from a URL that is a credential itself. Once the origin has changed, no credential is sent any
 * more, not even back to the first origin.
 */
export function nextHop(
  message: Message,
  hop: Hop,
  status: number,
  location: string | undefined,
): Hop | undefined {
  if (![301, 302, 303, 307, 308].includes(status) || !location || !URL.canParse(location, hop.url.href))
    return undefined;
  const url = new URL(location, hop.url);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return undefined;
  if (hop.url.protocol === 'https:' && url.protocol === 'http:') return undefined;
  // Credentials that the target puts into a Location are none of ours to send.
  url.username = '';
  url.password = '';
  if (url.hash) url.hash = '';
  const trusted = hop.trusted && url.origin === message.url.origin;
  if (!trusted) {
    // The path of such a URL cannot be told from the credential in it.
    if (message.secretUrl) return undefined;
    // A Location that repeats the query would hand its credentials over.
    const kept = url.search
      .slice(1)
      .split('&')
      .filter((pair) => {
        const [given] = new URLSearchParams(pair);
        return !given?.[1] || !message.querySecrets.includes(given[1]);
      });
    url.search = kept.join('&');
  }
  const toGet =
    (status === 303 && hop.method !== 'HEAD') ||
    ((status === 301 || status === 302) && hop.method === 'POST');
  const headers = hop.headers.filter(([name]) => {
    const lower = name.toLowerCase();
    if (!trusted && !shareable.has(lower)) return false;
    return !(toGet && lower.startsWith('content-'));
  });
  return {
    url,
    method: toGet ? 'GET' : hop.method,
    headers,
    ...(hop.body && !toGet ? { body: hop.body } : {}),
    trusted,
  };
}

/** The headers of one request as they go out, signed where the connection signs. */
export function wireHeaders({ key, id }: Message, hop: Hop, timestampSeconds: number): HeaderLines {
  if (!key || !hop.trusted) return hop.headers;
  return [...hop.headers, ...signatureHeaders(key, id, timestampSeconds, hop.body ?? Buffer.alloc(0))];
}

function has(headers: HeaderLines, name: string): boolean {
  return headers.some(([other]) => other.toLowerCase() === name);
}

function badRequest(field: string, message: string): AppError {
  return new AppError('bad_request', `${field} ${message}`, {
    details: { validationErrors: [{ field, message }] },
  });
}
