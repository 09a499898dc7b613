import { AppError, type ErrorCode } from '../../errors.ts';
import { classifySocketError } from '../transport/socket-errors.ts';

// SQLSTATEs that say more than their class does (PostgreSQL, appendix A).
const states: Readonly<Record<string, readonly [ErrorCode, hint?: string]>> = {
  '28P01': [
    'authentication_failed',
    'check user name and password; PostgreSQL also answers this for a user that does not exist, or whose password has expired (valid until)',
  ],
  '08P01': ['request_rejected', 'give as many parameters as the statement has placeholders'],
  '28000': [
    'authentication_failed',
    'pg_hba.conf of the server may have no line for this user, database, address and encryption; where it asks for hostssl, set sslmode=require or stronger in jdbcUrl',
  ],
  '3D000': [
    'invalid_configuration',
    'the database does not exist: check the name in jdbcUrl or databaseName',
  ],
  '42501': ['permission_denied', 'grant the account what the statement needs'],
  '53100': ['quota_exceeded', "the server's disk is full"],
  '53300': [
    'target_busy',
    'the server has no connection left: lower maxPoolSize, also on the other workers, or raise max_connections',
  ],
  '53400': [
    'quota_exceeded',
    'a limit of the server, the role or the session, such as temp_file_limit, is reached',
  ],
  '57014': ['target_timeout', 'the server ended the statement, probably by its own statement_timeout'],
  '57P01': ['connection_lost'],
  '57P02': ['connection_lost'],
  '57P03': ['target_busy', 'the server is starting up, shutting down or recovering'],
  '57P05': ['connection_lost', 'idle_session_timeout of the server is shorter than maxIdleTime'],
  '40001': ['target_busy', 'a concurrent transaction got in the way: the same statement can succeed now'],
  '40P01': ['target_busy', 'the statement was part of a deadlock: it can succeed now'],
  '55P03': ['target_busy', 'a lock was not free'],
};

const classes: Readonly<Record<string, ErrorCode>> = {
  '08': 'connection_lost',
  '28': 'authentication_failed',
  '53': 'target_busy',
  '58': 'target_error',
  XX: 'target_error',
};

/** An error of PostgreSQL or its driver as ours; the text quotes the server's message and SQLSTATE, never its detail. */
export function classifyPostgresError(error: unknown): AppError {
  const known = classifySocketError(error);
  if (known) return known;
  const { code, severity, message } = (error ?? {}) as {
    code?: unknown;
    severity?: unknown;
    message?: unknown;
  };
  const text = typeof message === 'string' ? message : String(error);
  // COPY is refused by the driver in the server's name, under the code of a cancelled statement.
  if (code === '57014' && text.startsWith('COPY'))
    return new AppError('request_rejected', 'COPY FROM STDIN has nothing to read here', { cause: error });
  if (typeof code === 'string' && typeof severity === 'string' && /^[0-9A-Z]{5}$/.test(code)) {
    if (code === '28000' && /not permitted to log in/.test(text))
      return new AppError('authentication_failed', `${text} (SQLSTATE ${code})`, {
        cause: error,
        details: { hint: 'the account is locked, or a group: ALTER ROLE … LOGIN there' },
      });
    const [known, hint] = states[code] ?? [classes[code.slice(0, 2)] ?? 'request_rejected'];
    return new AppError(known, `${text} (SQLSTATE ${code})`, {
      cause: error,
      ...(hint ? { details: { hint } } : {}),
    });
  }
  if (
    /^Connection terminated|connection error and is not queryable|was closed and is not queryable/.test(text)
  )
    return new AppError('connection_lost', undefined, { cause: error });
  if (/^SASL/.test(text)) return new AppError('authentication_failed', text, { cause: error });
  return new AppError('protocol_error', undefined, { cause: error });
}
