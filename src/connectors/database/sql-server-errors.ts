import { AppError, type ErrorCode } from '../../errors.ts';
import { classifySocketError } from '../transport/socket-errors.ts';
import { classifyTlsError } from '../transport/tls-errors.ts';

const numbers: Readonly<Record<number, readonly [ErrorCode, hint?: string]>> = {
  229: ['permission_denied', 'grant the account what the statement needs'],
  230: ['permission_denied', 'grant the account what the statement needs'],
  262: ['permission_denied', 'grant the account what the statement needs'],
  297: ['permission_denied'],
  596: ['connection_lost', 'the session was killed on the server'],
  701: ['target_busy', 'the server is out of memory'],
  916: ['permission_denied', 'the account may not use this database'],
  1105: ['quota_exceeded', 'a file group of the database is full'],
  1204: ['target_busy'],
  1205: ['target_busy', 'the statement was part of a deadlock: it can succeed now'],
  1222: ['target_busy', 'a lock was not free in time'],
  4060: ['invalid_configuration', 'the database does not exist, or the account may not open it'],
  4064: ['invalid_configuration', "the account's default database cannot be opened"],
  6005: ['target_busy', 'the server is shutting down'],
  9002: ['quota_exceeded', 'the transaction log is full'],
  10928: ['target_busy'],
  10929: ['target_busy'],
  17830: ['connection_lost'],
  18456: ['authentication_failed', 'check user name and password, and that SQL Server log-ins are enabled'],
  18486: ['authentication_failed', 'the account is locked'],
  18487: ['authentication_failed', 'the password has expired'],
  18488: ['authentication_failed', 'the password must be changed'],
  40197: ['target_busy'],
  40501: ['target_busy'],
  40613: ['target_busy'],
  40615: ['permission_denied', 'the firewall of the server does not let this address in'],
};

/** An error of the server or of tedious as ours; the text quotes the server's message and number. */
export function classifySqlServerError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const { code, number, message, cause } = (error ?? {}) as {
    code?: unknown;
    number?: unknown;
    message?: string;
    cause?: unknown;
  };
  if (cause instanceof AppError) return cause;
  if (typeof number === 'number') {
    const [known, hint] = numbers[number] ?? ['request_rejected'];
    return new AppError(known, `${message} (error ${number})`, {
      cause: error,
      ...(hint ? { details: { hint } } : {}),
    });
  }
  const reached = classifyTlsError(cause) ?? classifySocketError(cause);
  if (reached) return reached;
  switch (code) {
    case 'ELOGIN':
      return new AppError('authentication_failed', message, { cause: error });
    case 'ETIMEOUT':
      return new AppError('target_timeout', undefined, { cause: error });
    case 'ECANCEL':
    case 'EABORT':
      return new AppError('cancelled', undefined, { cause: error });
    case 'EENCRYPT':
      return /did not negotiate/.test(message ?? '')
        ? new AppError('tls_not_offered', undefined, { cause: error })
        : new AppError('invalid_configuration', 'the server takes only encrypted connections: encrypt=true', {
            cause: error,
          });
    case 'ESOCKET':
    case 'ECONNCLOSED':
      return new AppError('connection_lost', undefined, { cause: error });
    case 'EARGS':
    case 'EPARAM':
      return new AppError('request_rejected', message, { cause: error });
    default:
      return (
        classifyTlsError(error) ??
        classifySocketError(error) ??
        new AppError('protocol_error', undefined, { cause: error })
      );
  }
}
