import { AppError, type ErrorCode } from '../../errors.ts';
import { socketErrorCode } from '../transport/socket-errors.ts';
import { classifyTlsError } from '../transport/tls-errors.ts';

/** Of undici, and of a signal. */
const codes: Record<string, ErrorCode> = {
  UND_ERR_CONNECT_TIMEOUT: 'connect_timeout',
  UND_ERR_HEADERS_TIMEOUT: 'target_timeout',
  UND_ERR_BODY_TIMEOUT: 'target_timeout',
  UND_ERR_SOCKET: 'connection_lost',
  UND_ERR_INFO: 'connection_lost',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'connection_lost',
  UND_ERR_HEADERS_OVERFLOW: 'protocol_error',
  UND_ERR_ABORTED: 'cancelled',
  UND_ERR_CLOSED: 'cancelled',
  UND_ERR_DESTROYED: 'cancelled',
  UND_ERR_INVALID_ARG: 'invalid_configuration',
  UND_ERR_NOT_SUPPORTED: 'invalid_configuration',
  ABORT_ERR: 'cancelled',
};

/** An error of undici, of a socket or of a signal as one of ours; ours pass as they are. */
export function classifyHttpError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const { name, code = '', cause } = (error ?? {}) as { name?: string; code?: unknown; cause?: unknown };
  if (cause instanceof AppError) return cause;
  // A timer that was aborted wraps the signal's reason.
  if (name === 'AbortError' && cause) return classifyHttpError(cause);
  if (name === 'TimeoutError') return new AppError('target_timeout', undefined, { cause: error });
  if (name === 'AbortError') return new AppError('cancelled', undefined, { cause: error });
  const text = String(code);
  const known = codes[text] ?? socketErrorCode(code);
  if (known) return new AppError(known, undefined, { cause: error });
  if (text.startsWith('HPE_') || name === 'HTTPParserError')
    return new AppError('protocol_error', 'The target does not speak HTTP/1.1', { cause: error });
  // In TLS 1.3 the target checks the client's certificate only after the handshake has succeeded here.
  const tls = classifyTlsError(error);
  if (tls) return tls;
  return new AppError('internal_error', undefined, { cause: error });
}
