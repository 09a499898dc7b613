import { AppError, type ErrorCode } from '../../errors.ts';
import { classifySocketError } from '../transport/socket-errors.ts';

// Error numbers of MySQL and MariaDB that say more than their SQLSTATE does.
const numbers: Readonly<Record<number, readonly [ErrorCode, hint?: string]>> = {
  1021: ['quota_exceeded', "the server's disk is full"],
  1040: [
    'target_busy',
    'the server has no connection left: lower maxPoolSize, also on the other workers, or raise max_connections',
  ],
  1044: ['permission_denied', 'the account may not use this database: grant it, or name another in jdbcUrl'],
  1045: [
    'authentication_failed',
    'check user name and password; accounts of MySQL are also bound to the address they log in from',
  ],
  1049: ['invalid_configuration', 'the database does not exist: check the name in jdbcUrl or databaseName'],
  1053: ['connection_lost', 'the server is shutting down'],
  1114: ['quota_exceeded', 'the table or its tablespace is full'],
  1129: ['permission_denied', 'the server blocks this host after too many failed log-ins: FLUSH HOSTS there'],
  1130: ['authentication_failed', "no account of the server may log in from the worker's address"],
  1142: ['permission_denied', 'grant the account what the statement needs'],
  1143: ['permission_denied', 'grant the account what the statement needs'],
  1153: ['message_too_large', 'raise max_allowed_packet on the server, or send less at once'],
  1203: ['target_busy', 'the account has no connection left: lower maxPoolSize'],
  1205: ['target_busy', 'a lock was not free in time'],
  1213: ['target_busy', 'the statement was part of a deadlock: it can succeed now'],
  1226: ['target_busy', 'the account used up its hourly or concurrent quota'],
  1227: ['permission_denied', 'grant the account what the statement needs'],
  1317: ['target_timeout', 'the statement was killed on the server'],
  1370: ['permission_denied', 'grant the account what the statement needs'],
  1698: ['authentication_failed', 'the account logs in by another way than a password, such as unix_socket'],
  1820: ['authentication_failed', 'the password has expired'],
  1862: ['authentication_failed', 'the password has expired'],
  1927: ['connection_lost'],
  1969: ['target_timeout', 'max_statement_time of the server is over'],
  3024: ['target_timeout', 'max_execution_time of the server is over'],
  3118: ['authentication_failed', 'the account is locked'],
  4150: [
    'authentication_failed',
    'the account is blocked after too many wrong passwords: FLUSH PRIVILEGES there unblocks it',
  ],
  4151: ['authentication_failed', 'the account is locked'],
};

const driverCodes: Readonly<Record<string, ErrorCode>> = {
  PROTOCOL_CONNECTION_LOST: 'connection_lost',
  HANDSHAKE_NO_SSL_SUPPORT: 'tls_not_offered',
  AUTH_SWITCH_PLUGIN_ERROR: 'authentication_failed',
};

/** An error of the server or its driver as ours; the text quotes the server's message, SQLSTATE and number. */
export function classifyMysqlError(error: unknown): AppError {
  const known = classifySocketError(error);
  if (known) return known;
  const { errno, sqlState, code, message } = (error ?? {}) as {
    errno?: unknown;
    sqlState?: unknown;
    code?: unknown;
    message?: unknown;
  };
  const text = typeof message === 'string' ? message : String(error);
  if (typeof errno === 'number' && errno >= 1000) {
    const lost = typeof sqlState === 'string' && sqlState.startsWith('08');
    const [known, hint] = numbers[errno] ?? [lost ? 'connection_lost' : 'request_rejected'];
    return new AppError(known, `${text} (SQLSTATE ${sqlState ?? 'HY000'}, error ${errno})`, {
      cause: error,
      ...(hint ? { details: { hint } } : {}),
    });
  }
  if (typeof code === 'string' && driverCodes[code]) {
    const quoted = code === 'AUTH_SWITCH_PLUGIN_ERROR' ? text : undefined;
    return new AppError(driverCodes[code], quoted, { cause: error });
  }
  if (/in closed state|Connection lost/.test(text))
    return new AppError('connection_lost', undefined, { cause: error });
  return new AppError('protocol_error', undefined, { cause: error });
}
