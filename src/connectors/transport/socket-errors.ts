import { AppError, type ErrorCode } from '../../errors.ts';

/** Codes of Node and of the system. */
const codes = new Map<unknown, ErrorCode>([
  ['ENOTFOUND', 'name_not_resolved'],
  ['EAI_AGAIN', 'name_not_resolved'],
  ['ECONNREFUSED', 'connection_refused'],
  ['EHOSTUNREACH', 'host_unreachable'],
  ['ENETUNREACH', 'host_unreachable'],
  // Of a connection that stood: a dial that takes too long has a deadline of the worker's.
  ['ETIMEDOUT', 'connection_lost'],
  ['ECONNRESET', 'connection_lost'],
  ['ECONNABORTED', 'connection_lost'],
  ['EPIPE', 'connection_lost'],
  ['ERR_STREAM_DESTROYED', 'connection_lost'],
  ['ERR_STREAM_WRITE_AFTER_END', 'connection_lost'],
  ['ERR_STREAM_PREMATURE_CLOSE', 'connection_lost'],
]);

/** What a socket's code says, as one of ours; undefined for any other code. */
export function socketErrorCode(code: unknown): ErrorCode | undefined {
  return codes.get(code);
}

/** What a broken socket means, whichever library tells it; undefined for other errors. */
export function classifySocketError(error: unknown): AppError | undefined {
  if (error instanceof AppError) return error;
  const code = socketErrorCode((error as { code?: unknown } | null | undefined)?.code);
  return code && new AppError(code, undefined, { cause: error });
}
