import type { Logger } from '../connectors/connector.ts';
import { createScrubber, hasShortSecret } from '../contract/masking.ts';
import { AppError, ERRORS } from '../errors.ts';

type Scrub = (value: unknown) => unknown;

/** Keeps the secrets of one connection out of whatever leaves the worker (security.md 3). */
export class Scrubbing {
  readonly #secrets: readonly string[];
  #scrub: Scrub | undefined;

  constructor(secrets: readonly string[]) {
    this.#secrets = secrets;
  }

  /** Whether a secret is too short to search for: texts of drivers must be dropped whole. */
  get dropsDriverText(): boolean {
    return hasShortSecret(this.#secrets);
  }

  /** Any plain data without the secrets. */
  plain(value: unknown): unknown {
    // Made when first needed: most connections never have anything to scrub.
    this.#scrub ??= createScrubber(this.#secrets);
    return this.#scrub(value);
  }

  text(text: string): string {
    return this.plain(text) as string;
  }

  /** What JSON makes of the value, without the secrets; throws what `JSON.stringify` throws. */
  result(value: unknown): unknown {
    if (value === undefined) return null;
    if (this.#secrets.length === 0 && isCertainlyJson(value)) return value;
    const json = JSON.stringify(value) ?? 'null';
    // Parsed anew, because a scrubber looks into plain data only and a result may be of any class.
    return this.text(json) === json ? value : this.plain(JSON.parse(json));
  }

  /** The same as a JSON text, for which a value is written only once. */
  json(value: unknown): string {
    const json = JSON.stringify(value) ?? 'null';
    return this.text(json) === json ? json : JSON.stringify(this.plain(JSON.parse(json)));
  }

  /** A copy that is fit for the client: without cause, its texts scrubbed or dropped. */
  error(error: AppError): AppError {
    const { validationErrors, hint, ...details } = error.details;
    const isOurs = error.code === 'egress_denied' || error.code === 'bad_request';
    return new AppError(
      error.code,
      this.dropsDriverText && !isOurs ? ERRORS[error.code].message : this.text(error.message),
      {
        details: {
          ...details,
          ...(hint ? { hint: this.text(hint) } : {}),
          ...(validationErrors
            ? { validationErrors: this.plain(validationErrors) as typeof validationErrors }
            : {}),
        },
      },
    );
  }

  log(log: Logger): Logger {
    return new ScrubbedLog(this, log);
  }
}

class ScrubbedLog implements Logger {
  readonly #scrubbing: Scrubbing;
  readonly #log: Logger;

  constructor(scrubbing: Scrubbing, log: Logger) {
    this.#scrubbing = scrubbing;
    this.#log = log;
  }

  debug(fields: object, message: string): void {
    this.#write('debug', fields, message);
  }

  info(fields: object, message: string): void {
    this.#write('info', fields, message);
  }

  warn(fields: object, message: string): void {
    this.#write('warn', fields, message);
  }

  error(fields: object, message: string): void {
    this.#write('error', fields, message);
  }

  #write(level: keyof Logger, fields: object, message: string): void {
    if (this.#scrubbing.dropsDriverText)
      this.#log[level]({}, 'a log line of this connection is left out: it has a very short secret');
    else this.#log[level](scrubFields(fields, this.#scrubbing), this.#scrubbing.text(message));
  }
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
  for (const name in value)
    if (!isCertainlyJson((value as Record<string, unknown>)[name], levels - 1)) return false;
  return true;
}

/** Errors in log fields are reduced to text first, since a scrubber does not look into class instances. */
function scrubFields(fields: object, scrubbing: Scrubbing): object {
  return scrubbing.plain(
    Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [
        name,
        value instanceof Error ? `${value.name}: ${value.message}` : value,
      ]),
    ),
  ) as object;
}
