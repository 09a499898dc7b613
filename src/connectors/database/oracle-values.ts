import type { Scalar } from './dialect.ts';

/** A value to bind; SQL knows no boolean before Oracle 23, so that it is bound as 1 or 0. */
export function boundValue(value: Scalar): string | number | null {
  return typeof value === 'boolean' ? Number(value) : value;
}

/** A value as oracledb fetches it as one fit for JSON; `type` is the database's own name. */
export function jsonValue(value: unknown, type: string): unknown {
  if (value === null || value === undefined) return null;
  if (type === 'NUMBER' && typeof value === 'string') return exactNumber(value);
  if (value instanceof Date) return dateText(value, type);
  if (Buffer.isBuffer(value)) return value.toString('base64');
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<number>);
  return value;
}

/** A number where that holds it exactly, else its text. */
function exactNumber(text: string): number | string {
  const value = Number(text);
  return Number.isSafeInteger(value) && String(value) === text ? value : text;
}

/** DATE and TIMESTAMP know no zone: oracledb gives them as instants in that of the process. */
function dateText(value: Date, type: string): string {
  if (/TIME ZONE/.test(type)) return value.toISOString();
  const digits = (part: number, width = 2) => String(part).padStart(width, '0');
  const day = `${digits(value.getFullYear(), 4)}-${digits(value.getMonth() + 1)}-${digits(value.getDate())}`;
  const time = `${digits(value.getHours())}:${digits(value.getMinutes())}:${digits(value.getSeconds())}`;
  const rest = value.getMilliseconds();
  return `${day}T${time}${type === 'DATE' || rest === 0 ? '' : `.${digits(rest, 3)}`}`;
}

/** The names that a connect descriptor can hold without ending it. */
const plainName = /^[\w.$#-]+$/;

/**
 * The connect descriptor of a log-in: an address that the carrier replaces, and a service or SID;
 * undefined where the name is none.
 */
export function connectDescriptor(target: {
  address: string;
  port: number;
  secured: boolean;
  database: string;
  isSid: boolean;
}): string | undefined {
  if (!plainName.test(target.database)) return undefined;
  const protocol = target.secured ? 'tcps' : 'tcp';
  const name = `${target.isSid ? 'SID' : 'SERVICE_NAME'}=${target.database}`;
  return `(DESCRIPTION=(ADDRESS=(PROTOCOL=${protocol})(HOST=${target.address})(PORT=${target.port}))(CONNECT_DATA=(${name})))`;
}
