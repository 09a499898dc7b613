import { AppError } from '../../errors.ts';
import type { Scalar, Statement } from './dialect.ts';
import type { Struct, ThriftValue } from './thrift-binary.ts';

/** How a product writes literals, and what it does to the text of a statement. */
export interface LiteralStyle {
  /** Whether `${…}` is replaced within a statement, also in its texts. */
  substitutesVariables: boolean;
  /** A double-precision number from its shortest text. */
  double(text: string): string;
}

const hintPattern = /^\/\*\+[\w\s(),.*]*\*\/$/;
const tokens =
  /'(?:[^'\\]|\\[\s\S])*'|"(?:[^"\\]|\\[\s\S])*"|`(?:[^`]|``)*`|--[^\n]*|\/\*[\s\S]*?\*\/|\?|['"`]|\/\*/g;

/**
 * The statement with its parameters as literals in the place of each `?`: the protocol binds none.
 * With parameters, comments are left out and what the servers read differently is refused, so that a
 * value cannot come to stand outside of its literal. Fails with `request_rejected`.
 */
export function withLiterals({ sql, parameters }: Statement, style: LiteralStyle): string {
  if (parameters.length === 0) return sql;
  let at = 0;
  const text = sql.replace(tokens, (token) => {
    if (token === '?') {
      if (at === parameters.length) throw counted(parameters.length);
      return literal(parameters[at++]!, style);
    }
    if (token.startsWith('--')) return ' ';
    if (token.length > 3 && token.startsWith('/*')) return hintPattern.test(token) ? token : ' ';
    if (token.length === 1 || token === '/*')
      throw new AppError('request_rejected', 'the statement holds a quote or comment that does not end');
    if (token.startsWith('"') && token.includes('\\'))
      throw new AppError(
        'request_rejected',
        'with parameters, text in double quotes cannot hold a backslash: use single quotes',
      );
    return token;
  });
  if (at !== parameters.length) throw counted(parameters.length);
  return text;
}

function counted(count: number): AppError {
  return new AppError(
    'request_rejected',
    `the statement has not as many ? as parameters, which are ${count}`,
  );
}

function literal(value: Scalar, style: LiteralStyle): string {
  if (value === null) return 'NULL';
  if (typeof value === 'boolean') return value ? 'TRUE' : 'FALSE';
  if (typeof value === 'number') {
    const text = Number.isSafeInteger(value) ? String(value) : style.double(value.toExponential());
    // A minus after a minus would begin a comment.
    return value < 0 ? ` ${text}` : text;
  }
  const escaped = value.replace(/[\\'\0\x1a]/g, (character) => {
    if (character === '\0') return '\\0';
    return character === '\x1a' ? '\\Z' : `\\${character}`;
  });
  return `'${style.substitutesVariables ? escaped.replaceAll('$', '\\u0024') : escaped}'`;
}

const typeNames = [
  'boolean',
  'tinyint',
  'smallint',
  'int',
  'bigint',
  'float',
  'double',
  'string',
  'timestamp',
  'binary',
  'array',
  'map',
  'struct',
  'uniontype',
  'user defined',
  'decimal',
  'void',
  'date',
  'varchar',
  'char',
  'interval_year_month',
  'interval_day_time',
  'timestamp with local time zone',
];

/** The columns of a TTableSchema. */
export function readColumns(schema: Struct | undefined): { name: string; type: string }[] {
  const columns = (schema?.get(1) ?? []) as Struct[];
  return columns.map((column) => {
    const [entry] = ((column.get(2) as Struct | undefined)?.get(1) ?? []) as Struct[];
    const type = (entry?.get(1) as Struct | undefined)?.get(1);
    return { name: String(column.get(1)), type: typeNames[Number(type)] ?? 'unknown' };
  });
}

/** The rows of a TRowSet in columns; values fit for JSON. Fails with `protocol_error` on rows of an older server. */
export function readRows(rowSet: Struct | undefined, types: readonly string[]): unknown[][] {
  const columns = (rowSet?.get(3) ?? []) as Struct[];
  if (columns.length === 0) {
    if (((rowSet?.get(2) ?? []) as unknown[]).length > 0)
      throw new AppError('protocol_error', 'the server answers in rows, as it did before Hive 0.13');
    return [];
  }
  const read = columns.map((column, at) => {
    const [[kind, data] = [0, undefined]] = [...column] as [number, Struct][];
    const nulls = data?.get(2) as Buffer | undefined;
    const values = (data?.get(1) ?? []) as ThriftValue[];
    return values.map((value, row) =>
      ((nulls?.[row >> 3] ?? 0) >> (row & 7)) & 1 ? null : jsonValue(value, kind, types[at]),
    );
  });
  return (read[0] ?? []).map((_, row) => read.map((column) => column[row] ?? null));
}

const BINARY = 8;

function jsonValue(value: ThriftValue, kind: number, type: string | undefined): unknown {
  if (Buffer.isBuffer(value)) {
    if (kind === BINARY) return value.toString('base64');
    const text = value.toString();
    return type === 'timestamp' ? text.replace(' ', 'T') : text;
  }
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return value;
}
