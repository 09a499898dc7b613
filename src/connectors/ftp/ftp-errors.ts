import { FTPError } from 'basic-ftp';
import { AppError, type ErrorCode } from '../../errors.ts';
import { socketErrorCode } from '../transport/socket-errors.ts';
import { classifyTlsError } from '../transport/tls-errors.ts';

/** An error of basic-ftp or a socket as one of ours; undefined when it is neither. */
export function classifyFtpError(error: unknown): AppError | undefined {
  if (error instanceof AppError) return error;
  if (!(error instanceof Error)) return undefined;
  if (error instanceof FTPError) return refusal(error);
  const { code } = error as { code?: unknown };
  const as = (ours: ErrorCode) => new AppError(ours, error.message, { cause: error });
  const tls = classifyTlsError(error);
  if (tls) return tls;
  const socket = socketErrorCode(code);
  if (socket) return as(socket);
  if (/^Timeout/i.test(error.message)) return as('target_timeout');
  if (/FIN packet|closed (the )?connection|is closed because|closed client|disconnected/i.test(error.message))
    return as('connection_lost');
  if (/Can't parse|unexpected|exceeded maximum|control characters/i.test(error.message))
    return as('protocol_error');
  return undefined;
}

/** A reply of 400 and above (RFC 959 4.2.1, RFC 2228 5.1). */
function refusal(error: FTPError): AppError {
  const [code, hint] = meaning(error.code, error.message);
  return new AppError(code, error.message.trim(), { cause: error, details: hint ? { hint } : {} });
}

function meaning(code: number, said: string): [ErrorCode, string?] {
  switch (code) {
    case 421:
      return ['target_busy', 'The server limits its sessions, or is shutting down.'];
    case 425:
    case 426:
      return [
        'connection_lost',
        'The data connection failed: the passive ports of the server must be reachable from the worker.',
      ];
    case 430:
    case 530:
      return [
        'authentication_failed',
        'Check user name and password; some servers take log-ins over TLS only.',
      ];
    case 450:
      return ['target_busy'];
    case 452:
    case 552:
      return ['quota_exceeded'];
    case 522:
    case 534:
      return ['permission_denied', 'The server demands TLS, or TLS sessions that are resumed.'];
    case 532:
    case 533:
      return ['permission_denied'];
    case 550:
    case 553:
      return /permission|denied|not permitted|not allowed|read.?only/i.test(said)
        ? ['permission_denied', 'The account lacks the right to do this there.']
        : ['request_rejected'];
  }
  return ['request_rejected'];
}
