import { AppError, type ErrorCode } from '../../errors.ts';
import { socketErrorCode } from './socket-errors.ts';

/** What ssh2 and Node put on their errors. */
interface SshFailure extends Error {
  level?: string;
  code?: string | number;
  /** Of a refused channel (RFC 4254 5.1). */
  reason?: number;
}

/** Reasons of SSH_MSG_DISCONNECT (RFC 4253 11.1). */
const disconnectCodes: Record<number, ErrorCode> = {
  1: 'permission_denied',
  2: 'protocol_error',
  3: 'protocol_error',
  7: 'target_busy',
  8: 'protocol_error',
  10: 'connection_lost',
  11: 'connection_lost',
  12: 'target_busy',
  13: 'authentication_failed',
  14: 'authentication_failed',
  15: 'authentication_failed',
};

/** An error of ssh2 or a socket as one of ours; undefined when it is neither. */
export function classifySshError(error: unknown): AppError | undefined {
  if (error instanceof AppError) return error;
  if (!(error instanceof Error)) return undefined;
  const { level, code, reason, message } = error as SshFailure;
  const as = (ours: ErrorCode, said = message, hint?: string) =>
    new AppError(ours, said, { cause: error, details: hint ? { hint } : {} });
  const socket = socketErrorCode(code);
  if (socket) return as(socket);
  if (/Too many authentication failures/i.test(message)) return as('authentication_failed');
  if (level === 'client-authentication') return as('authentication_failed');
  if (typeof code === 'number' && disconnectCodes[code])
    return as(disconnectCodes[code], `The server ended the session: ${message}`);
  if (/no matching/i.test(message))
    return as(
      'protocol_error',
      `The server and we have no algorithm in common (${message})`,
      'The server is likely to be very old: enable current key exchange, cipher and host key algorithms on it.',
    );
  if (level === 'client-timeout') return as('connection_lost', 'The server no longer answers');
  if (level === 'client-socket') return as('connection_lost');
  if (/before handshake|No response from server|Not connected|socket (has )?(been )?closed/i.test(message))
    return as('connection_lost', 'The server closed the connection');
  if (reason !== undefined)
    return as(
      reason === 4 ? 'target_busy' : 'request_rejected',
      `The server refused to open a channel (${message})`,
      'The server may limit the sessions of a connection, or forbid commands or SFTP to this account.',
    );
  if (level === 'handshake' || level === 'protocol') return as('protocol_error');
  return undefined;
}
