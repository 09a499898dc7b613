/** A JDBC URL that is not taken; the message tells people why and holds no value of a parameter. */
export class JdbcUrlError extends Error {}

/** A URL behind its prefix, in its parts. */
export interface Body {
  hosts: string;
  userInfo?: string | undefined;
  database?: string | undefined;
  isSid?: boolean;
  srv?: boolean;
  tls?: 'demand';
  parameters: [name: string, value: string][];
}

interface Slashed {
  separator: '&' | ';';
  userInfo?: boolean;
  /** The database may hold one slash: catalog/schema. */
  deepDatabase?: boolean;
}

/** `hosts[/database]` and then `?a=b&c=d` or `;a=b;c=d`. */
export function slashed(rest: string, { separator, userInfo, deepDatabase }: Slashed): Body {
  const mark = separator === '&' ? '?' : ';';
  const start = rest.indexOf(mark);
  const place = start < 0 ? rest : rest.slice(0, start);
  const tail = start < 0 ? '' : rest.slice(start + 1);
  refuseTricks(place, userInfo ?? false);
  const slash = place.indexOf('/');
  const authority = slash < 0 ? place : place.slice(0, slash);
  const path = slash < 0 ? '' : place.slice(slash + 1);
  if (path.includes('/') && !(deepDatabase && path.split('/').length === 2))
    throw new JdbcUrlError('has a path of more parts than a database name');
  const at = authority.lastIndexOf('@');
  return {
    hosts: at < 0 ? authority : authority.slice(at + 1),
    userInfo: at < 0 ? undefined : authority.slice(0, at),
    database: path === '' ? undefined : decode(path),
    parameters: separator === '&' ? ampersandList(tail) : semicolonList(tail),
  };
}

/** Throws on what parsers read differently: the checked host has to be the dialled one. */
export function refuseTricks(place: string, mayHaveUser: boolean): void {
  if (place.includes('\\'))
    throw new JdbcUrlError('must not contain a backslash; give the port instead of a named instance');
  if (/[#\s()]/.test(place))
    throw new JdbcUrlError('must not contain #, parentheses or spaces before its parameters');
  const ats = place.split('@').length - 1;
  if (ats > (mayHaveUser ? 1 : 0))
    throw new JdbcUrlError(
      mayHaveUser
        ? 'must not contain more than one @'
        : 'must not contain @; give username and password as fields',
    );
  const at = place.indexOf('@');
  if (at >= 0 && place.slice(0, at).includes('/'))
    throw new JdbcUrlError('must not contain @ after the host');
}

function ampersandList(tail: string): [string, string][] {
  if (tail.includes('#')) throw new JdbcUrlError('must not contain #');
  return tail
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const equals = part.indexOf('=');
      if (equals < 1) throw new JdbcUrlError('has a parameter that is not name=value');
      return [decode(part.slice(0, equals)), decode(part.slice(equals + 1))];
    });
}

/** `a=b;c={d;e}`; within braces `}}` is a brace. */
export function semicolonList(tail: string): [string, string][] {
  const parameters: [string, string][] = [];
  const pair = /\s*([^=;{}?#&\s]+)\s*=(?:\{((?:[^}]|\}\})*)\}|([^;{}]*))(?:;|$)/y;
  let at = 0;
  while (at < tail.length) {
    if (tail[at] === ';') {
      at++;
      continue;
    }
    pair.lastIndex = at;
    const match = pair.exec(tail);
    if (!match) throw new JdbcUrlError('has a parameter that is not name=value');
    parameters.push([match[1]!, match[2]?.replaceAll('}}', '}') ?? match[3]!]);
    at = pair.lastIndex;
  }
  return parameters;
}

/** Percent-decodes; throws on what stands for a control character. */
export function decode(text: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(text);
  } catch {
    throw new JdbcUrlError('has a % that does not begin a percent-encoded character');
  }
  if (/\p{Cc}/u.test(decoded)) throw new JdbcUrlError('must not contain control characters, encoded or not');
  return decoded;
}
