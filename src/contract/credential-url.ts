/** No field takes longer URLs; one that is longer is hidden whole. */
const MAX_LENGTH = 16_384;

/** A stretch of a URL that is a credential. */
export interface CredentialPart {
  /** Finds the same part in another version of the URL: what it is, and its occurrence. */
  readonly key: string;
  readonly start: number;
  readonly end: number;
  /** False for a user name beside a password: hidden in lists, but no secret to scrub elsewhere. */
  readonly secret: boolean;
  /** Writes a value so that it cannot end the part. */
  encode(value: string): string;
  decode(raw: string): string;
}

const credentialParameter =
  /passw|passphrase|pwd|secret|token|credential|authorization|signature|api[-_]?key|access[-_]?key|private[-_]?key|authmechanismproperties|^(pass|key|sig|auth|code)$/i;
const userParameter = /(^|\.)(user|username|uid)$/i;
const semicolonDrivers = /^jdbc:(sqlserver|jtds:[a-z]+|hive2|impala|db2):/i;

type Coding = Pick<CredentialPart, 'encode' | 'decode'>;

const percent: Coding = { encode: encodeURIComponent, decode: decodePercent };
const verbatim: Coding = { encode: (value) => value, decode: (raw) => raw };
// The way of SQL Server's driver; the drivers whose parameters end in `;` have no other.
const braces: Coding = {
  encode: (value) => (/[;{}]/.test(value) ? `{${value.replaceAll('}', '}}')}}` : value),
  decode: (raw) =>
    raw.length > 1 && raw.startsWith('{') && raw.endsWith('}') ? raw.slice(1, -1).replaceAll('}}', '}') : raw,
};
const quotes: Coding = {
  encode: (value) => (/^[\w$#.-]*$/.test(value) ? value : `"${value}"`),
  decode: (raw) => (raw.length > 1 && raw.startsWith('"') && raw.endsWith('"') ? raw.slice(1, -1) : raw),
};

/**
 * The credentials within a URL, in order and without overlap: user-info, credential parameters in
 * the forms of HTTP, JDBC drivers and broker lists, and with `wholePath` everything after the
 * origin. Takes malformed URLs too, and then rather hides too much than too little.
 */
export function credentialParts(url: string, wholePath: boolean): CredentialPart[] {
  // A log-in ends in one of these, a parameter has the other.
  if (!wholePath && url.length <= MAX_LENGTH && !url.includes('@') && !url.includes('=')) return [];
  const found: Omit<CredentialPart, 'key'>[] = [];
  const names: string[] = [];
  const add = (name: string, start: number, end: number, secret: boolean, coding: Coding) => {
    if (start >= end) return;
    names.push(name);
    found.push({ start, end, secret, ...coding });
  };

  if (url.length > MAX_LENGTH) {
    add('path', 0, url.length, true, verbatim);
    return [{ key: 'path#0', ...found[0]! }];
  }
  if (wholePath) {
    const origin = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*\/?/i.exec(url);
    const start = origin ? origin[0].length : 0;
    add('path', start, url.length, true, verbatim);
  }
  oracleLogIn(url, add);
  for (const { index } of url.matchAll(/:\/\//g)) {
    const start = index + 3;
    const length = url.slice(start).search(/[/?#\\\s]/);
    const authority = length < 0 ? url.slice(start) : url.slice(start, start + length);
    const at = authority.lastIndexOf('@');
    if (at < 0) continue;
    const colon = authority.slice(0, at).indexOf(':');
    add('user', start, start + (colon < 0 ? at : colon), colon < 0, percent);
    if (colon >= 0) add('password', start + colon + 1, start + at, true, percent);
  }
  parameters(url, add);

  const order = found.map((_, index) => index).sort((a, b) => found[a]!.start - found[b]!.start);
  const seen = new Map<string, number>();
  const parts: CredentialPart[] = [];
  for (const index of order) {
    const part = found[index]!;
    if (parts.length > 0 && part.start < parts[parts.length - 1]!.end) continue;
    const occurrence = seen.get(names[index]!) ?? 0;
    seen.set(names[index]!, occurrence + 1);
    parts.push({ key: `${names[index]}#${occurrence}`, ...part });
  }
  return parts;
}

type Add = (name: string, start: number, end: number, secret: boolean, coding: Coding) => void;

/** `jdbc:oracle:thin:user/password@…`: the log-in ends at the last `@` before the parameters. */
function oracleLogIn(url: string, add: Add): void {
  const prefix = /^jdbc:oracle:(thin|oci8?):/i.exec(url);
  if (!prefix) return;
  const start = prefix[0].length;
  const at = url.lastIndexOf('@');
  if (at <= start) return;
  const quoted = url[start] === '"' ? url.indexOf('"', start + 1) : start;
  const slash = url.slice(0, at).indexOf('/', Math.max(quoted, start));
  add('user', start, slash < 0 ? at : slash, slash < 0, quotes);
  if (slash >= 0) add('password', slash + 1, at, true, quotes);
}

function parameters(url: string, add: Add): void {
  const withSemicolons = semicolonDrivers.test(url);
  const isHttp = /^https?:/i.test(url);
  const opener = withSemicolons ? /[;?&:/]([^=;?&:/{}]*)=/g : /[?&]([^=?&#]*)=/g;
  for (let match = opener.exec(url); match; match = opener.exec(url)) {
    const name = decodePercent(match[1]!).trim();
    const start = opener.lastIndex;
    const end = valueEnd(url, start, withSemicolons);
    const isUser = !isHttp && userParameter.test(name);
    if (isUser || credentialParameter.test(name))
      add(`parameter ${name.toLowerCase()}`, start, end, !isUser, withSemicolons ? braces : percent);
    opener.lastIndex = end;
  }
}

function valueEnd(url: string, start: number, withSemicolons: boolean): number {
  if (withSemicolons) {
    // Without an end to the braces, the pattern would go through the rest for each that opens.
    if (url[start] === '{' && url.includes('}', start)) {
      const close = /^\{(?:[^}]|\}\})*\}/.exec(url.slice(start));
      if (close) return start + close[0].length;
    }
    return start + endOf(url.slice(start), /;/);
  }
  if (url.startsWith('jdbc:')) return start + endOf(url.slice(start), /&/);
  const inParentheses = url.slice(0, start).split('(').length > url.slice(0, start).split(')').length;
  return start + endOf(url.slice(start), inParentheses ? /[&#,)]/ : /[&#]/);
}

function endOf(text: string, delimiter: RegExp): number {
  const at = text.search(delimiter);
  return at < 0 ? text.length : at;
}

function decodePercent(raw: string): string {
  try {
    return decodeURIComponent(raw);
  } catch {
    return raw;
  }
}
