import { credentialParts } from '../../contract/credential-url.ts';
import { isCredentialHeader } from '../../contract/secret-places.ts';
import type { WebhookConfig } from './webhook-request.ts';

const textTypes =
  /^(text\/.*|application\/(.*\+)?(json|xml|yaml|x-yaml|x-ndjson|javascript|ecmascript|graphql|x-www-form-urlencoded))$/;

/**
 * A body as a result carries it: text where its type says so or nothing is said and it is UTF-8,
 * base64 otherwise. A text that does not decode is not repaired but given as base64.
 */
export function readableBody(
  body: Buffer,
  headers: Record<string, string[]>,
  truncated: boolean,
  secrets: () => readonly string[],
): { body: string; bodyEncoding: 'utf8' | 'base64' } {
  const [type = '', ...parameters] = (headers['content-type']?.[0] ?? '').toLowerCase().split(';');
  const isPlain = (headers['content-encoding'] ?? []).every((coding) => /^(identity)?$/i.test(coding.trim()));
  if (isPlain && (type.trim() === '' || textTypes.test(type.trim()))) {
    const charset = parameters
      .map((text) => /^\s*charset\s*=\s*"?([^"\s]+)"?\s*$/.exec(text)?.[1])
      .find(Boolean);
    const text = decode(body, charset ?? 'utf-8', truncated);
    if (text !== undefined && !(type === '' && text.includes('\0')))
      return { body: text, bodyEncoding: 'utf8' };
  }
  return { body: withoutSecrets(body, secrets()).toString('base64'), bodyEncoding: 'base64' };
}

function decode(body: Buffer, charset: string, truncated: boolean): string | undefined {
  try {
    // A body that was cut off may end within a character, which `stream` leaves out.
    return new TextDecoder(charset, { fatal: true, ignoreBOM: true }).decode(body, { stream: truncated });
  } catch {
    return undefined;
  }
}

/** What is scrubbed from text by whoever sends the result cannot be found any more once it is base64. */
function withoutSecrets(body: Buffer, secrets: readonly string[]): Buffer {
  let text = body.toString('latin1');
  for (const secret of secrets) text = text.replaceAll(Buffer.from(secret).toString('latin1'), '***');
  return Buffer.from(text, 'latin1');
}

/** The secret values of a configuration that a target sees or could echo. */
export function secretValues(config: WebhookConfig): string[] {
  const values = [
    config.signingSecret ?? '',
    ...config.headerList.filter(({ name }) => isCredentialHeader(name)).map(({ value }) => value),
    ...credentialParts(config.fullUrl, config.fullUrlSecret)
      .filter(({ secret }) => secret)
      .flatMap(({ start, end, decode: read }) => {
        const raw = config.fullUrl.slice(start, end);
        return [raw, read(raw)];
      }),
  ];
  return [...new Set(values)].filter((value) => value !== '').sort((a, b) => b.length - a.length);
}
