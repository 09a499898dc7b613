import { AppError } from '../../errors.ts';
import type { Scalar, Statement } from './dialect.ts';

/** One answer of a coordinator, as far as it is looked at. */
export interface TrinoPage {
  nextUri?: string;
  columns?: { name: string; type: string }[];
  data?: unknown[][];
  updateCount?: number;
  error?: { message?: string; errorName?: string; errorType?: string };
}

/** Reads an answer; integers beyond what a number holds exactly become text. Fails with `protocol_error`. */
export function parsePage(body: Buffer): TrinoPage {
  try {
    const page: unknown = JSON.parse(body.toString(), keepIntegers as Parameters<typeof JSON.parse>[1]);
    if (isPage(page)) return page;
  } catch {
    // Said below.
  }
  throw new AppError('protocol_error', 'what answers there is not Trino');
}

function keepIntegers(_key: string, value: unknown, { source }: { source?: string }): unknown {
  const isLong = typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER;
  return isLong && source !== undefined && /^-?\d+$/.test(source) ? source : value;
}

function isPage(page: unknown): page is TrinoPage {
  if (typeof page !== 'object' || page === null || Array.isArray(page)) return false;
  const { nextUri, columns, data, error } = page as Record<string, unknown>;
  const isColumn = (column: unknown) => {
    const { name, type } = (column ?? {}) as Record<string, unknown>;
    return typeof name === 'string' && typeof type === 'string';
  };
  return (
    (nextUri === undefined || typeof nextUri === 'string') &&
    (columns === undefined || (Array.isArray(columns) && columns.every(isColumn))) &&
    (data === undefined || (Array.isArray(columns) && Array.isArray(data) && data.every(Array.isArray))) &&
    (error === undefined || (typeof error === 'object' && error !== null))
  );
}

/** The value of a column as we answer it: BIGINT as text, times by ISO 8601. */
export function converterOf(type: string): (value: unknown) => unknown {
  if (type === 'bigint') return String;
  if (/^timestamp(\(\d+\))?$/.test(type)) return (value) => String(value).replace(' ', 'T');
  if (/^timestamp(\(\d+\))? with time zone$/.test(type))
    return (value) =>
      String(value)
        .replace(' ', 'T')
        .replace(/ UTC$/, 'Z')
        .replace(/ ([+-]\d\d:\d\d)$/, '$1');
  return (value) => value;
}

/** The body of a request; parameters are bound by `EXECUTE IMMEDIATE` (Trino 418 and later). */
export function statementText({ sql, parameters }: Statement): string {
  if (parameters.length === 0) return sql;
  return `EXECUTE IMMEDIATE ${quoted(sql)} USING ${parameters.map(literal).join(', ')}`;
}

function literal(value: Scalar): string {
  switch (typeof value) {
    case 'string':
      return quoted(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'number':
      return Number.isSafeInteger(value) ? String(value) : `DOUBLE '${value}'`;
    default:
      return 'NULL';
  }
}

/** A literal of standard SQL, in which nothing but the quote itself has a meaning. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
