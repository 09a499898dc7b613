import type { ConnectionType, SecretKind } from './connection-type.ts';
import { type CredentialPart, credentialParts } from './credential-url.ts';
import { allFields } from './definition-schema.ts';
import { type FieldPath, formatFieldPath, formatPointer, parsePointer } from './field-path.ts';
import { isReference } from './reference-syntax.ts';
import {
  isCredentialHeader,
  isCredentialProperty,
  isWholePathSecret,
  records,
  secretPlaces,
} from './secret-places.ts';

/** What stands for a secret part of a URL. */
export const URL_MASK = '***';

type Config = Record<string, unknown>;

/** Whether a text is a mask that somebody sent back, and so no secret. */
export function isMask(text: string): boolean {
  return /^[*•]+$/u.test(text.trim());
}

/**
 * Takes the secrets out of a configuration: `masked` has null for whole secrets and header or
 * property values, and `***` for the credential parts of URLs; `secrets` holds the original text
 * by JSON pointer (of a URL: all of it). `joinSecrets` is the exact inverse.
 */
export function splitSecrets(
  definition: ConnectionType,
  config: Config,
): { masked: Config; secrets: Record<string, string> } {
  let masked = config;
  const secrets: Record<string, string> = {};
  for (const place of secretPlaces(definition, config)) {
    const shown = place.kind === 'url' ? maskUrl(place.value, place.wholePath) : null;
    if (shown === place.value) continue;
    secrets[formatPointer(place.path)] = place.value;
    const [field] = place.path;
    if (masked !== config && place.path.length === 1) masked[field!] = shown;
    else masked = withAt(masked, place.path, shown);
  }
  return { masked, secrets };
}

/**
 * Puts the secrets that `splitSecrets` took out back in their places; a pointer to nowhere is an
 * error. What holds no secret is shared with `masked`.
 */
export function joinSecrets(masked: Config, secrets: Readonly<Record<string, string>>): Config {
  let config: Config = masked;
  for (const [pointer, value] of Object.entries(secrets))
    config = withAt(config, parsePointer(pointer), value);
  return config;
}

/** Paths of the fields that hold a secret, as `elasticPassword` or `headerList[0].value`. */
export function secretFields(definition: ConnectionType, config: Config): string[] {
  return Object.keys(splitSecrets(definition, config).secrets).map((pointer) =>
    formatFieldPath(stepsWithin(config, parsePointer(pointer))),
  );
}

/** A URL with `***` in place of each of its credentials. */
export function maskUrl(url: string, wholePath: boolean): string {
  return replaceParts(url, credentialParts(url, wholePath), () => URL_MASK);
}

/**
 * Fills what an Update leaves out, before anything is validated: a secret that is null or missing,
 * a credential header or property without a value (found by name and occurrence, or by key), and
 * `***` within a URL take the stored value. `kept` names the fields that did. An empty string
 * keeps nothing.
 */
export function keepSecrets(
  definition: ConnectionType,
  body: Config,
  stored: Config,
): { config: Config; kept: string[] } {
  const config = structuredClone(body);
  const kept: string[] = [];
  for (const [name, field] of Object.entries(allFields(definition))) {
    const before = stored[name];
    if (before === undefined || before === null) continue;
    switch (field['x-secret'] as SecretKind | undefined) {
      case 'value':
        if (isUnset(config[name])) {
          config[name] = before;
          kept.push(name);
        }
        break;
      case 'url': {
        const after = config[name];
        if (typeof after !== 'string' || typeof before !== 'string') break;
        const wasWhole = isWholePathSecret(field, stored);
        const restored = restoreUrl(after, before, wasWhole || isWholePathSecret(field, config), wasWhole);
        if (restored === after) break;
        config[name] = restored;
        kept.push(name);
        break;
      }
      case 'header-values':
        keepInList(config[name], before, name, kept, {
          isSecret: (item) => isCredentialHeader(item['name']),
          keyOf: (item) => String(item['name']).trim().toLowerCase(),
        });
        break;
      case 'property-values': {
        const isSecret = (item: Config) => isCredentialProperty(item['name'], item['valueType']);
        if (Array.isArray(before))
          keepInList(config[name], before, name, kept, { isSecret, keyOf: (item) => String(item['name']) });
        else keepInMap(config[name], before, name, kept);
        break;
      }
    }
  }
  return { config, kept };
}

function keepInList(
  after: unknown,
  before: unknown,
  field: string,
  kept: string[],
  by: { isSecret(item: Config): boolean; keyOf(item: Config): string },
): void {
  // Only a value that was secret is kept, and only where it stays secret: else a null under
  // another declared type would bring it into the open.
  const storedValues = new Map<string, unknown>();
  const storedCount = new Map<string, number>();
  const place = (counts: Map<string, number>, item: Config) => {
    const key = by.keyOf(item);
    const occurrence = counts.get(key) ?? 0;
    counts.set(key, occurrence + 1);
    return `${occurrence} ${key}`;
  };
  for (const [, item] of records(before)) {
    const at = place(storedCount, item);
    if (by.isSecret(item)) storedValues.set(at, item['value']);
  }
  const count = new Map<string, number>();
  for (const [index, item] of records(after)) {
    const value = storedValues.get(place(count, item));
    if (!isUnset(item['value']) || isUnset(value) || !by.isSecret(item)) continue;
    item['value'] = value;
    kept.push(formatFieldPath([field, index, 'value']));
  }
}

function keepInMap(after: unknown, before: unknown, field: string, kept: string[]): void {
  if (!isRecord(after) || !isRecord(before)) return;
  for (const [name, item] of Object.entries(after)) {
    if (!Object.hasOwn(before, name)) continue;
    const storedItem = before[name];
    if (isRecord(item) && isRecord(storedItem)) {
      if (!isUnset(item['value']) || isUnset(storedItem['value'])) continue;
      if (!isCredentialProperty(name, storedItem['valueType'])) continue;
      if (!isCredentialProperty(name, item['valueType'])) continue;
      item['value'] = storedItem['value'];
      kept.push(formatFieldPath([field, name, 'value']));
    } else if (isUnset(item) && typeof storedItem === 'string' && isCredentialProperty(name)) {
      after[name] = storedItem;
      kept.push(formatFieldPath([field, name]));
    }
  }
}

function restoreUrl(after: string, before: string, wholeAfter: boolean, wholeBefore: boolean): string {
  if (!after.includes(URL_MASK)) return after;
  if (after === maskUrl(before, wholeBefore)) return before;
  const storedParts = new Map(
    credentialParts(before, wholeBefore).map((part) => [part.key, before.slice(part.start, part.end)]),
  );
  return replaceParts(after, credentialParts(after, wholeAfter), (part, text) =>
    text === URL_MASK ? (storedParts.get(part.key) ?? text) : text,
  );
}

function replaceParts(
  url: string,
  parts: readonly CredentialPart[],
  replacement: (part: CredentialPart, text: string) => string,
): string {
  let result = '';
  let at = 0;
  for (const part of parts) {
    result += url.slice(at, part.start) + replacement(part, url.slice(part.start, part.end));
    at = part.end;
  }
  return result + url.slice(at);
}

/**
 * The secret texts of a configuration that nothing may repeat: whole secrets and credential
 * values, the credentials of URLs decoded and as written, and what sits inside a header's scheme
 * or a JAAS line. References and empty values are none.
 */
export function secretValues(definition: ConnectionType, config: Config): string[] {
  const values = new Set<string>();
  const add = (value: string) => {
    if (value !== '' && !isReference(value)) values.add(value);
  };
  for (const place of secretPlaces(definition, config)) {
    const { value } = place;
    if (place.kind === 'value') {
      add(value);
      const scheme = /^(?:Basic|Bearer|Digest|Token|ApiKey|GenieKey)\s+(\S.*)$/i.exec(value);
      if (scheme) {
        add(scheme[1]!);
        const basic = /^basic\s/i.test(value) ? decodeBase64(scheme[1]!) : undefined;
        const colon = basic?.indexOf(':') ?? -1;
        if (basic !== undefined && colon >= 0) add(basic.slice(colon + 1));
      }
      // Bounded, so that a long value costs no more than its length.
      for (const [, quoted] of value.matchAll(/(?:password|secret|token)\w{0,40}\s{0,8}=\s{0,8}"([^"]+)"/gi))
        add(quoted!);
      continue;
    }
    for (const part of credentialParts(value, place.wholePath)) {
      if (!part.secret) continue;
      const raw = value.slice(part.start, part.end);
      add(raw);
      add(part.decode(raw));
    }
  }
  return [...values];
}

/** Whether a secret is too short to be searched for, so that a driver's text must be dropped whole; no reference is. */
export function hasShortSecret(secrets: Iterable<string>): boolean {
  for (const secret of secrets) if (secret !== '' && secret.length < 4) return true;
  return false;
}

/**
 * Makes a function that replaces every given secret by `***` in all strings of a value, names
 * included: as written, URL-encoded, JSON-escaped, in hexadecimal, and in base64 at any offset.
 * Secrets under four characters cannot be searched for (`hasShortSecret`).
 */
export function createScrubber(secrets: Iterable<string>): (value: unknown) => unknown {
  const needles = new Set<string>();
  const inBase64 = new Set<string>();
  for (const secret of secrets) {
    if (secret.length < 4 || isReference(secret)) continue;
    for (const form of encodings(secret)) needles.add(form);
    for (const form of base64Forms(secret)) inBase64.add(form);
    // A driver may quote one line of a key.
    if (secret.includes('\n'))
      for (const line of secret.split(/\r?\n/))
        if (line.length >= 16 && !line.startsWith('-----')) needles.add(line);
  }
  if (needles.size === 0) return (value) => value;
  const replacements = [...replacementsOf(needles, false), ...replacementsOf(inBase64, true)];
  const scrubText = (text: string) => replacements.reduce((rest, replace) => replace(rest), text);
  const scrub = (value: unknown): unknown => {
    if (typeof value === 'string') return scrubText(value);
    if (Array.isArray(value)) return value.map(scrub);
    if (!isRecord(value)) return value;
    const prototype = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [scrub(name), scrub(inner)]));
  };
  return scrub;
}

/** Longer forms are looked for as they are: an engine of regular expressions takes some 100 kB in one pattern. */
const longestInPattern = 1_000;
const longestPattern = 32_000;

/** Replaces each of the forms, the longest first. */
function replacementsOf(forms: Set<string>, isBase64: boolean): ((text: string) => string)[] {
  const sorted = [...forms].sort((a, b) => b.length - a.length);
  const long = sorted.filter(({ length }) => length > longestInPattern);
  const replacements = long.map((form) => (text: string) => replaceLong(text, form, isBase64));
  // The characters at both ends of a base64 form also hold bits of what stands beside the secret.
  const wrap = (form: string) => (isBase64 ? `[A-Za-z0-9+/_-]?${form}[A-Za-z0-9+/_-]?={0,2}` : form);
  let patterns: string[] = [];
  let length = 0;
  const close = () => {
    if (patterns.length === 0) return;
    const pattern = new RegExp(patterns.join('|'), 'g');
    replacements.push((text) => text.replace(pattern, URL_MASK));
    patterns = [];
    length = 0;
  };
  for (const form of sorted.slice(long.length)) {
    const pattern = wrap(escapePattern(form));
    if (length + pattern.length > longestPattern) close();
    patterns.push(pattern);
    length += pattern.length;
  }
  close();
  return replacements;
}

function replaceLong(text: string, form: string, isBase64: boolean): string {
  if (text.length < form.length || !text.includes(form)) return text;
  const pieces = text.split(form);
  if (!isBase64) return pieces.join(URL_MASK);
  return pieces
    .map((piece, at) => {
      const after = at > 0 ? piece.replace(/^[A-Za-z0-9+/_-]?={0,2}/, '') : piece;
      return at < pieces.length - 1 ? after.replace(/[A-Za-z0-9+/_-]$/, '') : after;
    })
    .join(URL_MASK);
}

function encodings(secret: string): Set<string> {
  const bytes = new TextEncoder().encode(secret);
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const url = encodeURIComponent(secret.toWellFormed());
  const forms = new Set([
    secret,
    url,
    url.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()),
    url.replaceAll('%20', '+'),
    encodeURI(secret.toWellFormed()),
    [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0').toUpperCase()}`).join(''),
    JSON.stringify(secret).slice(1, -1),
    JSON.stringify(secret).slice(1, -1).replaceAll('/', '\\/'),
    hex,
    hex.toUpperCase(),
  ]);
  return forms;
}

/** What of a secret's base64 is the same whatever stands around it, at each of the three offsets. */
function base64Forms(secret: string): Set<string> {
  const bytes = new TextEncoder().encode(secret);
  const forms = new Set<string>();
  for (const offset of [0, 1, 2]) {
    const padded = new Uint8Array(offset + bytes.length);
    padded.set(bytes, offset);
    const first = offset === 0 ? 0 : offset + 1;
    const inner = encodeBase64(padded).slice(first, Math.floor((padded.length * 8) / 6));
    if (inner.length < 4) continue;
    forms.add(inner);
    forms.add(inner.replaceAll('+', '-').replaceAll('/', '_'));
  }
  return forms;
}

function encodeBase64(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

function decodeBase64(text: string): string | undefined {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)));
  } catch {
    return undefined;
  }
}

function escapePattern(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}

function isUnset(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}

function isRecord(value: unknown): value is Config {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The same with another value at a place; copies only what leads there, which a clone of all costs ten times. */
function withAt(root: Config, path: FieldPath, value: unknown): Config {
  const copy = { ...root };
  let holder: unknown = copy;
  for (const step of path.slice(0, -1)) {
    const inner = own(holder, step);
    const innerCopy = Array.isArray(inner) ? [...inner] : isRecord(inner) ? { ...inner } : undefined;
    if (innerCopy) (holder as Config)[step] = innerCopy;
    holder = innerCopy;
  }
  const last = path[path.length - 1];
  if (typeof holder !== 'object' || holder === null || last === undefined || !Object.hasOwn(holder, last))
    throw new Error(`no place for a secret at ${formatPointer(path)}`);
  (holder as Config)[last] = value;
  return copy;
}

function own(holder: unknown, step: string | number): unknown {
  return typeof holder === 'object' && holder !== null && Object.hasOwn(holder, step)
    ? (holder as Config)[step]
    : undefined;
}

/** The steps of a pointer with indexes of lists as numbers. */
function stepsWithin(root: unknown, steps: readonly string[]): FieldPath {
  let holder = root;
  return steps.map((step) => {
    const isIndex = Array.isArray(holder);
    holder = own(holder, step);
    return isIndex ? Number(step) : step;
  });
}
