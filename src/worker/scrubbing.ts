import type { Logger } from '../connectors/connector.ts';
import { createScrubber, hasShortSecret } from '../contract/masking.ts';
import { AppError, ERRORS } from '../errors.ts';

/** Keeps the secrets of one connection out of whatever leaves the worker (security.md 3). */
export interface Scrubbing {
  /** A secret is too short to search for: texts of drivers must be dropped whole. */
  readonly dropsDriverText: boolean;
  text(text: string): string;
  /** What JSON makes of the value, without the secrets; throws what `JSON.stringify` throws. */
  result(value: unknown): unknown;
  /** The same as a JSON text, for which a value is written only once. */
  json(value: unknown): string;
  /** A copy that is fit for the client: without cause, its texts scrubbed or dropped. */
  error(error: AppError): AppError;
  log(log: Logger): Logger;
}

export function createScrubbing(secrets: readonly string[]): Scrubbing {
  const scrub = createScrubber(secrets);
  const dropsDriverText = hasShortSecret(secrets);
  const text = (value: string) => scrub(value) as string;

  return {
    dropsDriverText,
    text,
    result(value) {
      if (value === undefined) return null;
      if (secrets.length === 0 && isCertainlyJson(value)) return value;
      const json = JSON.stringify(value) ?? 'null';
      // Parsed anew, because a scrubber looks into plain data only and a result may be of any class.
      return scrub(json) === json ? value : scrub(JSON.parse(json));
    },
    json(value) {
      const json = JSON.stringify(value) ?? 'null';
      return scrub(json) === json ? json : JSON.stringify(scrub(JSON.parse(json)));
    },
    error(error) {
      const { validationErrors, hint, ...details } = error.details;
      const isOurs = error.code === 'egress_denied' || error.code === 'bad_request';
      return new AppError(
        error.code,
        dropsDriverText && !isOurs ? ERRORS[error.code].message : text(error.message),
        {
          details: {
            ...details,
            ...(hint ? { hint: text(hint) } : {}),
            ...(validationErrors
              ? { validationErrors: scrub(validationErrors) as typeof validationErrors }
              : {}),
          },
        },
      );
    },
    log(log) {
      const clean =
        (level: keyof Logger) =>
        (fields: object, message: string): void => {
          if (dropsDriverText)
            log[level]({}, 'a log line of this connection is left out: it has a very short secret');
          else log[level](scrubFields(fields, scrub), text(message));
        };
      return { debug: clean('debug'), info: clean('info'), warn: clean('warn'), error: clean('error') };
    },
  };
}

/**
 * Whether `JSON.stringify` cannot fail on it; false where only an attempt would tell. Lists of results are
 * long and mostly say the same, which is looked at once.
 */
function isCertainlyJson(value: unknown, levels = 8): boolean {
  if (typeof value !== 'object') return typeof value !== 'bigint';
  if (value === null) return true;
  if (levels === 0) return false;
  if (Array.isArray(value)) {
    let previous: unknown;
    for (const item of value) {
      if (item === previous) continue;
      if (!isCertainlyJson(item, levels - 1)) return false;
      previous = item;
    }
    return true;
  }
  const prototype = Object.getPrototypeOf(value);
  if ((prototype !== Object.prototype && prototype !== null) || 'toJSON' in value) return false;
  return Object.values(value).every((inner) => isCertainlyJson(inner, levels - 1));
}

/** Errors in log fields are reduced to text first, since a scrubber does not look into class instances. */
function scrubFields(fields: object, scrub: (value: unknown) => unknown): object {
  return scrub(
    Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [
        name,
        value instanceof Error ? `${value.name}: ${value.message}` : value,
      ]),
    ),
  ) as object;
}
