import { AppError, type ErrorCode } from '../../errors.ts';

/** An ODBC driver: its name in odbcinst.ini, and what to install for it. */
export interface OdbcDriver {
  driver: string;
  driverFrom: string;
}

const states: readonly (readonly [RegExp, ErrorCode])[] = [
  [/^28/, 'authentication_failed'],
  [/^08/, 'connection_lost'],
  [/^40/, 'target_busy'],
  [/^(HYT00|HYT01|57014)/, 'target_timeout'],
  [/^42501/, 'permission_denied'],
  [/^(3D|42705)/, 'invalid_configuration'],
  [/^(21|22|23|42|07|HYC00|HY104|HY105)/, 'request_rejected'],
  [/^(53|57011)/, 'quota_exceeded'],
];

/** What the servers say in their own words, whatever state the driver makes of it. */
const words: readonly (readonly [RegExp, ErrorCode])[] = [
  [/SQL30082N|Login failed|password authentication failed/i, 'authentication_failed'],
  [/account is locked|login is locked/i, 'authentication_failed'],
  [/SQL0551N|permission denied/i, 'permission_denied'],
  [/SQL1013N|SQL30061N|database .* does not exist/i, 'invalid_configuration'],
  [/SQL0911N|SQL0913N|deadlock/i, 'target_busy'],
];

/** An error of the package odbc as ours; the text quotes the driver's first with its SQLSTATE. */
export function classifyOdbcError(error: unknown, { driver, driverFrom }: OdbcDriver): AppError {
  if (error instanceof AppError) return error;
  const { odbcErrors = [], message = '' } = (error ?? {}) as {
    odbcErrors?: { state: string; code: number; message: string }[];
    message?: string;
  };
  const all = odbcErrors.map((each) => each.message).join(' ') || message;
  if (odbcErrors.some(({ state }) => /^IM00[23]/.test(state)) || /Can't open lib/.test(all))
    return new AppError('driver_missing', `the ODBC driver ${driver} is not there`, {
      cause: error,
      details: { hint: `install ${driverFrom}, and register it in odbcinst.ini as ${driver}` },
    });
  const [first] = odbcErrors;
  const code =
    words.find(([pattern]) => pattern.test(all))?.[1] ??
    states.find(([pattern]) => odbcErrors.some(({ state }) => pattern.test(state)))?.[1] ??
    'target_error';
  const text = (first?.message ?? message).replace(/\s+/g, ' ').trim().slice(0, 500);
  return new AppError(code, first ? `${text} (SQLSTATE ${first.state}, error ${first.code})` : text, {
    cause: error,
  });
}
