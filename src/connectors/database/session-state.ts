/** What begins a statement that reads or changes rows or runs a procedure; anything else may be meant for the session. */
const plainWords = new Set([
  'begin',
  'call',
  'declare',
  'delete',
  'desc',
  'describe',
  'exec',
  'execute',
  'explain',
  'from',
  'insert',
  'merge',
  'replace',
  'select',
  'show',
  'table',
  'truncate',
  'update',
  'upsert',
  'values',
  'with',
]);

/** By which even such a statement leaves something: tables and variables that it fills, locks, settings. */
const leaving =
  /\binto\s+(?:temp\b|temporary\b|(?:local|global)\s+temp|[#@])|@\w*\s*:=|\b(?:set_config|pg_(?:try_)?advisory_lock(?:_shared)?|get_lock)\s*\(|\bexecute\s+immediate\b|\bdbms_session\b|\bdelete\s+(?:jar|file|archive)/i;

/**
 * Whether the next one to use a session could find it otherwise for this statement. What functions,
 * procedures and blocks do inside is not seen, nor a second statement behind the first.
 */
export function mayLeaveState(sql: string): boolean {
  return !plainWords.has(firstWord(sql)) || leaving.test(sql);
}

/** In lower case; '' where none comes first, or a comment that servers read differently. */
export function firstWord(sql: string): string {
  let at = 0;
  for (;;) {
    const rest = /[^\s(;]/g;
    rest.lastIndex = at;
    at = rest.exec(sql)?.index ?? sql.length;
    let end = 0;
    if (sql.startsWith('--', at) || sql[at] === '#') end = sql.indexOf('\n', at) + 1;
    else if (sql.startsWith('/*', at)) end = endOfComment(sql, at);
    if (end === 0) break;
    at = end;
  }
  return /^\w*/.exec(sql.slice(at, at + 16))![0].toLowerCase();
}

/** 0 for one that does not end, that holds another (not all servers nest them), or that MySQL runs. */
function endOfComment(sql: string, at: number): number {
  const end = sql.indexOf('*/', at + 2) + 2;
  if (end === 1 || /^\/\*M?!/.test(sql.slice(at, at + 4))) return 0;
  return sql.slice(at + 2, end).includes('/*') ? 0 : end;
}
